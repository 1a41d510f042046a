//! `client play`, with real processes that are stopped and killed, and the log of `server`.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command as Process, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use common::game::Game;
use common::program::Program;
use common::{SOON, Site, settings};
use tcpkit::message::Mode;
use tcpkit::settings::Settings;

/// A program that runs; it is killed when its test is over.
struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    fn start(mut command: Process) -> Self {
        command.env_clear().current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// A player, once it has its seat.
    fn play(address: &str, arguments: &[&str]) -> Self {
        let mut command = Process::new(cargo_bin!("client"));
        command.args(["--server", address, "play"]).args(arguments);
        let running = Self::start(command);
        let greeting = running.stderr.recv_timeout(SOON).expect("a greeting");
        assert!(greeting.contains(", seat "), "{greeting}");
        running
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Process::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// The rest of what it writes to stdout and stderr, up to its end, and its exit code.
    fn finish(mut self) -> (Vec<String>, Vec<String>, Option<i32>) {
        let rest = |lines: &Receiver<String>| {
            std::iter::from_fn(|| match lines.recv_timeout(SOON) {
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the program does not end"),
                line => line.ok(),
            })
            .collect()
        };
        let (stdout, stderr) = (rest(&self.stdout), rest(&self.stderr));
        (stdout, stderr, self.child.wait().unwrap().code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        self.child.wait().unwrap();
    }
}

/// The lines of a pipe, which a thread takes until its end, so that a wait can have a deadline.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (give, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| give.send(line))
    });
    lines
}

fn turn_mode(change: impl FnOnce(&mut Settings)) -> Settings {
    settings(|settings| {
        settings.server.mode = Mode::Turn;
        settings.session.grace = Duration::from_millis(50);
        change(settings);
    })
}

#[test]
fn two_count_together_and_each_move_is_logged_once() {
    let _alone = Site::open(); // whose descriptors are counted
    let mut command = Process::new(cargo_bin!("server"));
    command.args(["--bind", "127.0.0.1:0", "--mode", "turn"]);
    let server = Running::start(command);
    let ready = server.stdout.recv_timeout(SOON).expect("a ready line");
    let address = ready.rsplit(' ').next().unwrap();
    assert!(server.stdout.recv_timeout(SOON).unwrap().starts_with("  mode    turn "));
    let play = |name| Running::play(address, &["--name", name, "--count", "3", "--every", "50ms"]);
    let (one, two) = (play("Client1"), play("Client2"));
    let (moves, _, code) = one.finish();
    let expected = ["Client1 sent: 1", "Client1 sent: 3", "Client1 sent: 5"];
    assert_eq!((&moves[..], code), (&expected.map(String::from)[..], Some(0)));
    let (moves, _, code) = two.finish();
    let expected = ["Client2 sent: 2", "Client2 sent: 4", "Client2 sent: 6"];
    assert_eq!((&moves[..], code), (&expected.map(String::from)[..], Some(0)));

    server.signal("-TERM");
    let (_, log, code) = server.finish();
    assert_eq!(code, Some(0));
    let logged: Vec<_> = log.iter().filter(|line| line.contains(" moved ")).collect();
    assert_eq!(logged.len(), 6, "{log:#?}");
    for (line, number) in logged.iter().zip(1..) {
        let name = format!("Client{}", 2 - number % 2);
        assert!(line.contains(&format!(" info moved turn={number} name={name} next=")), "{line}");
        assert!(line.ends_with(&format!(" text={name}:{number}")), "{line}");
    }
}

#[test]
fn one_plays_alone_where_one_is_enough_and_by_other_numbers() {
    let site = Site::with(turn_mode(|settings| settings.turn.min_players = 1));
    let address = site.addr().to_string();
    let options = ["--count=3", "--every=0", "--start=10", "--step=5", "--name=Zoë"];
    let (moves, _, code) = Running::play(&address, &options).finish();
    assert_eq!((&*moves.join(", "), code), ("Zoë sent: 10, Zoë sent: 15, Zoë sent: 20", Some(0)));
    let (moves, _, _) = Running::play(&address, &["--count", "2", "--every", "0"]).finish();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    assert_eq!(moves, [1, 2].map(|number| format!("{} sent: {number}", host.trim())));
}

#[test]
fn a_slow_pace_gives_way_to_the_deadline() {
    let site = Site::with(turn_mode(|settings| {
        settings.turn.deadline = Duration::from_millis(500);
    }));
    let game = Game::start(&site);
    let address = site.addr().to_string();
    let player = Running::play(&address, &["--name=mallory", "--every=1h", "--count=3"]);
    let (moves, told, code) = player.finish();
    assert_eq!((moves.len(), told.len(), code), (3, 0, Some(0)), "{told:?}");
    let heard = game.finish();
    assert!(!heard.iter().any(|line| line.contains("time out")), "{heard:?}");
}

#[cfg(unix)]
#[test]
fn the_game_goes_on_beside_a_player_that_is_stopped_and_then_killed() {
    let site = Site::with(turn_mode(|settings| {
        settings.turn.deadline = Duration::from_millis(300);
    }));
    let game = Game::start(&site);
    let player = Running::play(&site.addr().to_string(), &["--name=mallory", "--every=0"]);
    player.stdout.recv_timeout(SOON).expect("a move");
    player.signal("-STOP");
    for _ in 0..2 {
        game.waits_for("mallory");
        game.goes_on();
    }
    while player.stdout.try_recv().is_ok() {}
    player.signal("-CONT");
    player.stdout.recv_timeout(SOON).expect("it plays on");
    player.signal("-KILL");
    game.goes_on();
    let mut heard = game.finish();
    heard.retain(|line| !line.contains("moved"));
    assert_eq!(heard[..2], ["mallory joined", "mallory lost: time out"]);
    assert!(heard.iter().all(|line| line.starts_with("mallory")), "{heard:?}");
}

#[cfg(unix)]
#[test]
fn a_holder_that_is_killed_loses_its_turn_without_any_deadline() {
    let site = Site::with(turn_mode(|_| {}));
    let game = Game::start(&site);
    let player = Running::play(&site.addr().to_string(), &["--name=mallory", "--every=1h"]);
    player.stdout.recv_timeout(SOON).expect("the first move, at once");
    game.waits_for("mallory");
    player.signal("-KILL");
    game.goes_on();
    let heard = game.finish();
    let ending = ["mallory lost: left", "mallory left: connection lost"];
    assert_eq!(heard, ["mallory joined", "mallory moved: mallory:3", ending[0], ending[1]]);
}

#[cfg(unix)]
#[test]
fn a_turn_that_is_lost_is_logged_with_its_holder_and_why() {
    let _alone = Site::open(); // whose descriptors are counted
    let settings = ["--mode=turn", "--set=session.grace=0.05"];
    let (server, address) = Program::serve("127.0.0.1", &settings);
    let play = |name| Running::play(&address.to_string(), &[name, "--every=1h"]);
    let (alice, _bob) = (play("--name=alice"), play("--name=bob"));
    server.stderr.told(&[" info moved turn=2 name=bob next=alice "]);
    alice.signal("-KILL");
    let line = server.stderr.told(&["turn-ended"]).text;
    assert!(line.ends_with(" info turn-ended turn=3 name=alice next=\"\" reason=left"), "{line}");
}

#[test]
fn what_keeps_it_from_playing_is_told() {
    let relay = Site::open();
    let client = |arguments: &[&str]| {
        let mut command = Process::new(cargo_bin!("client"));
        command.args(["--server", &relay.addr().to_string(), "play"]).args(arguments);
        Running::start(command).finish()
    };
    let (_, told, code) = client(&[]);
    let problem = format!("client: {} takes no turns.", relay.addr());
    let advice = "Start one with: cargo run --bin server -- --mode turn";
    assert_eq!((told, code), (vec![problem, advice.into()], Some(1)));
    for wrong in [["--count", "0"], ["--start", "-1"], ["--step", "x"], ["--every", "x"]] {
        assert_eq!(client(&wrong).2, Some(2), "{wrong:?}");
    }
}

#[cfg(unix)]
#[test]
fn moves_that_are_missing_and_a_server_that_is_gone_are_exit_codes() {
    for (count, expected) in [(&["--count=5"][..], Some(3)), (&[], Some(0))] {
        let mut site = Site::with(turn_mode(|_| {}));
        let address = site.addr().to_string();
        let interrupted = Running::play(&address, count);
        let mut command = Process::new(cargo_bin!("client"));
        command.args(["--server", &address, "--set=reconnect.attempts=1", "play", "--every=1h"]);
        command.args(count);
        let abandoned = Running::start(command);
        interrupted.stdout.recv_timeout(SOON).expect("a move");
        abandoned.stdout.recv_timeout(SOON).expect("a move");
        interrupted.signal("-INT");
        assert_eq!(interrupted.finish().2, expected);
        site.take_server().shutdown(SOON);
        let (_, told, code) = abandoned.finish();
        assert_eq!(code, Some(1), "{told:?}");
        assert!(told.iter().any(|line| line.contains("shutting down")), "{told:?}");
    }
}
