//! The chat in a real terminal: tmux plays it, and its screen is read as a person would.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tcpkit::message::{Frame, Mode, SessionKey, VERSION};
use tcpkit::{Connection, Event, Server, ServerHandle, Turns};

const DEADLINE: Duration = Duration::from_secs(20);

/// A terminal of 80 columns and 24 rows with one program in it.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn start(name: &str, program: &[&str]) -> Self {
        let terminal = Self { socket: format!("tcpkit-{}-{name}", std::process::id()) };
        let words = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24"];
        let output = terminal.tmux(&[&words[..], program].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        terminal
    }

    fn tmux(&self, words: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.args(["-u", "-L", &self.socket]).args(words);
        tmux.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").env_remove("TMUX");
        tmux.env("TZ", "UTC").output().expect("tmux was found before")
    }

    fn type_keys(&self, keys: &str) {
        self.tmux(&["send-keys", "-l", keys]);
    }

    fn press_enter(&self) {
        self.tmux(&["send-keys", "Enter"]);
    }

    /// The lines on the screen, without empty ones.
    fn screen(&self) -> Vec<String> {
        let output = self.tmux(&["capture-pane", "-p"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.trim_end().to_owned()).filter(|l| !l.is_empty()).collect()
    }

    /// Looks at the screen until it is as expected. Each look starts a process, which is pause
    /// enough.
    fn wait_until(&self, what: &str, is_there: impl Fn(&[String]) -> bool) -> Vec<String> {
        let end = Instant::now() + DEADLINE;
        loop {
            let screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "no {what} on the screen:\n{}", screen.join("\n"));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

fn has_tmux() -> bool {
    let found = Command::new("tmux").arg("-V").output().is_ok();
    if !found {
        eprintln!("skipped: tmux is not installed, and there is no other terminal to look at");
    }
    found
}

/// A server, its address, and bob, who is connected to it; `None` without a terminal.
fn room_with_bob() -> Option<(ServerHandle, String, Connection)> {
    if !has_tmux() {
        return None;
    }
    let server = Server::builder().bind("127.0.0.1:0").and_then(Server::spawn).expect("a server");
    let address = server.addr().to_string();
    let bob = Connection::builder().name("bob").connect(&address).expect("a connection");
    Some((server, address, bob))
}

fn next_text(connection: &Connection) -> String {
    loop {
        if let Some(Event::Text { body, .. }) = connection.recv_timeout(DEADLINE).expect("an event")
        {
            return body;
        }
    }
}

fn is_last(screen: &[String], line: &str) -> bool {
    screen.last().is_some_and(|last| last == line)
}

#[test]
fn an_incoming_line_is_inserted_above_a_half_typed_one() {
    let Some((server, address, bob)) = room_with_bob() else { return };
    let client = env!("CARGO_BIN_EXE_client");
    let program = [client, "--server", &address, "--name", "alice"];
    let terminal = Terminal::start("half", &program);
    terminal.wait_until("greeting", |screen| {
        screen.iter().any(|line| line.contains("as alice; also here: bob."))
    });

    // Near the top of the screen, then at its bottom.
    for round in 0..2 {
        terminal.type_keys("half a li");
        terminal.wait_until("half a line", |screen| is_last(screen, "half a li"));
        for number in 0..=30 * round {
            bob.send(&format!("message {round} {number}")).expect("a send");
        }
        let last = format!("bob: message {round} {}", 30 * round);
        let screen = terminal.wait_until("message", |screen| {
            screen.iter().any(|line| line.ends_with(&last)) && is_last(screen, "half a li")
        });
        assert!(screen[screen.len() - 2].ends_with(&last), "{}", screen.join("\n"));
        terminal.type_keys("ne");
        terminal.press_enter();
        assert_eq!(next_text(&bob), "half a line");
        terminal.wait_until("tick", |screen| is_last(screen, "  ✓"));
    }
    terminal.type_keys("/quit");
    terminal.press_enter();
    loop {
        if let Some(Event::Left { name, .. }) = bob.recv_timeout(DEADLINE).expect("an event") {
            assert_eq!(name, "alice");
            break;
        }
    }
    drop(bob); // a connection that nobody reads from would not answer the server's goodbye
    server.shutdown(Duration::from_secs(5));
}

#[test]
fn a_name_is_asked_for_and_what_comes_cannot_move_the_cursor() {
    if !has_tmux() {
        return;
    }
    let server = Server::builder().bind("127.0.0.1:0").and_then(Server::spawn).expect("a server");
    let address = server.addr().to_string();
    let terminal = Terminal::start("name", &[env!("CARGO_BIN_EXE_client"), "--server", &address]);
    terminal.wait_until("question", |screen| screen.iter().any(|l| l.starts_with("Your name")));
    terminal.type_keys("carol");
    terminal.press_enter();
    terminal.wait_until("greeting", |screen| screen.iter().any(|l| l.contains("as carol;")));
    let bob = Connection::builder().name("bob").connect(&address).expect("a connection");
    bob.send("\u{1b}[2J\u{1b}[H\u{202e}gone").expect("a send");
    let screen = terminal.wait_until("message", |screen| {
        screen.iter().any(|line| line.ends_with("bob: \\u{1b}[2J\\u{1b}[H\\u{202e}gone"))
    });
    assert!(screen[0].starts_with("Your name"), "{}", screen.join("\n"));
    drop((bob, terminal));
    server.shutdown(Duration::from_secs(5));
}

#[test]
fn commands_are_obeyed_and_a_taken_name_is_told() {
    let Some((server, address, bob)) = room_with_bob() else { return };
    let program = [env!("CARGO_BIN_EXE_client"), "--server", &address, "--name", "alice"];
    let first = Terminal::start("commands", &program);
    let shows = |terminal: &Terminal, what: &str, is_it: &dyn Fn(&str) -> bool| {
        terminal.wait_until(what, |screen| screen.iter().any(|line| is_it(line)))
    };
    shows(&first, "greeting", &|line| line.contains(" as alice; also here: bob."));

    let types = |line: &str| {
        first.type_keys(line);
        first.press_enter();
    };
    types("/who");
    shows(&first, "list", &|line| line == "here: alice (you), bob");
    types("/msg bob psst");
    let direct = loop {
        if let Some(Event::Direct { from, body, .. }) = bob.recv_timeout(DEADLINE).expect("one") {
            break (from, body);
        }
    };
    assert_eq!(direct, ("alice".into(), "psst".into()));
    first.wait_until("tick", |screen| is_last(screen, "  ✓"));
    types("/ping");
    shows(&first, "pong", &|line| line.starts_with("pong in ") && line.ends_with(" ms"));
    types("/help");
    shows(&first, "help", &|line| line.starts_with("/msg NAME TEXT  "));
    shows(&first, "end of the help", &|line| line.starts_with("//text  "));
    types("/whoo");
    let advice = "unknown command /whoo; did you mean /who?";
    shows(&first, "advice", &|line| line == advice);
    types("//slash");
    assert_eq!(next_text(&bob), "/slash");
    first.wait_until("second tick", |screen| is_last(screen, "  ✓"));

    let second = Terminal::start("taken", &program);
    shows(&second, "new name", &|line| line.contains(" as alice-2 (alice is taken); also here: "));
    shows(&first, "newcomer", &|line| line.ends_with(" alice-2 joined"));
    drop((bob, first, second));
    server.shutdown(Duration::from_secs(5));
}

#[test]
fn a_new_session_may_bring_another_name() {
    if !has_tmux() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let program = [env!("CARGO_BIN_EXE_client"), "--server", &address, "--name", "alice"];
    let terminal = Terminal::start("renamed", &program);
    for (name, news) in [("alice", " as alice; nobody else is here"), ("alice-2", "as a newcomer")]
    {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 4096]).expect("an Init");
        let (seen, head, missed) = (0, 0, 0);
        let (mode, flags, session) = (Mode::Relay, 0, SessionKey([7; 16]));
        let (version, frame_max, grace_ms) = (VERSION, 1 << 20, 0);
        let welcome = Frame::InitAck {
            version,
            mode,
            flags,
            session,
            seen,
            head,
            missed,
            frame_max,
            grace_ms,
            name,
        };
        let present = Frame::Present { total: 1, names: vec![name] };
        let answer = [welcome.to_bytes(), present.to_bytes()].concat();
        stream.write_all(&answer).expect("it reads");
        terminal.wait_until(news, |screen| screen.iter().any(|line| line.contains(news)));
        terminal.type_keys("/who");
        terminal.press_enter();
        let list = format!("here: {name} (you)");
        terminal.wait_until(&list, |screen| is_last(screen, &list));
    }
}

#[test]
fn a_line_that_the_terminal_has_cut_is_not_sent() {
    let Some((server, address, bob)) = room_with_bob() else { return };
    let client = env!("CARGO_BIN_EXE_client");
    let terminal = Terminal::start("cut", &[client, "--server", &address, "--name", "alice"]);
    terminal.wait_until("greeting", |screen| screen.iter().any(|l| l.contains("as alice;")));
    terminal.type_keys(&"x".repeat(5000));
    terminal.press_enter();
    terminal.wait_until("refusal", |screen| screen.iter().any(|line| line.contains("✗ not sent")));
    terminal.type_keys("short");
    terminal.press_enter();
    assert_eq!(next_text(&bob), "short");
    drop((bob, terminal));
    server.shutdown(Duration::from_secs(5));
}

#[test]
fn a_line_is_a_move_when_it_is_ones_turn() {
    if !has_tmux() {
        return;
    }
    let server = Server::builder().handler(Turns).bind("127.0.0.1:0").and_then(Server::spawn);
    let server = server.expect("a server");
    let address = server.addr().to_string();
    let program = [env!("CARGO_BIN_EXE_client"), "--server", &address, "--name", "alice"];
    let terminal = Terminal::start("turns", &program);
    let shows = |what: &str| {
        terminal.wait_until(what, |screen| screen.iter().any(|line| line.ends_with(what)))
    };
    let types = |line: &str| {
        terminal.type_keys(line);
        terminal.press_enter();
    };
    shows("nobody has the turn yet");
    types("too early");
    shows("✗ not sent: nobody has the turn yet; /say TEXT sends a message");
    let bob = Connection::builder().name("bob").connect(&address).expect("a connection");
    shows("it is your turn: a line is your move");
    types("e4");
    let turn = loop {
        let event = bob.recv_timeout(DEADLINE).expect("an event").expect("no end");
        assert!(!matches!(event, Event::Text { .. }), "{event}");
        match event {
            Event::TurnEnded { body, .. } => assert_eq!(body, "e4"),
            Event::Go { turn, .. } => break turn,
            _ => {}
        }
    };
    shows("it is bob's turn");
    terminal.wait_until("tick", |screen| screen.iter().any(|line| line == "  ✓"));
    types("e5");
    shows("✗ not sent: it is bob's turn; /say TEXT sends a message");
    types("/say your move");
    assert_eq!(next_text(&bob), "your move");
    bob.play(turn, "c5").expect("a move");
    let screen = shows("bob moved: c5");
    assert!(screen.iter().any(|line| line.contains(':') && line.ends_with(" bob moved: c5")));
    types("/help");
    shows("a line is your move, when it is your turn");
    drop((bob, terminal));
    server.shutdown(Duration::from_secs(5));
}
