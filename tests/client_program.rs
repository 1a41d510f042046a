//! The program `client` against a server in this process: what it prints, and its exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use tcpkit::message::Reason;
use tcpkit::{Connection, Event, Fate, Server, ServerHandle};

/// For everything that is sure to happen soon.
const SOON: Duration = Duration::from_secs(10);

fn serve() -> (ServerHandle, String) {
    serve_on("127.0.0.1:0")
}

fn serve_on(address: &str) -> (ServerHandle, String) {
    let server = Server::builder().bind(address).unwrap().spawn().unwrap();
    let address = server.addr().to_string();
    (server, address)
}

fn join(address: &str, name: &str) -> Connection {
    Connection::builder().name(name).connect(address).unwrap()
}

/// The program without the settings that this machine may have.
fn client(address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("client"));
    command.env_clear().timeout(SOON).args(["--server", address]).args(arguments);
    command
}

/// The program with pipes, for a test that acts while it runs.
fn start(address: &str, arguments: &[&str]) -> Child {
    let mut command = Process::new(cargo_bin!("client"));
    command.env_clear().args(["--server", address]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until it is seen to be through with the handshake and able to take signals: it has told
/// who is there, or delivered a line.
fn ready(child: &mut Child, bob: &Connection, arguments: &[&str]) {
    if arguments.contains(&"watch") {
        child.stderr.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    } else {
        child.stdin.as_mut().unwrap().write_all(b"ready\n").unwrap();
        assert_eq!(next(bob, text).1, "ready");
    }
}

/// What it wrote, and its exit code. Its stdin stays open.
fn finish(mut child: Child) -> (String, String, Option<i32>) {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < SOON, "the program does not end");
        std::thread::yield_now();
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// The next event that `wanted` takes.
fn next<T>(connection: &Connection, wanted: impl Fn(&Event) -> Option<T>) -> T {
    loop {
        let event = connection.recv_timeout(SOON).unwrap().expect("the connection lives");
        if let Some(found) = wanted(&event) {
            return found;
        }
    }
}

fn text(event: &Event) -> Option<(String, String)> {
    match event {
        Event::Text { from, body, .. } => Some((from.clone(), body.clone())),
        _ => None,
    }
}

fn joined(event: &Event) -> Option<String> {
    match event {
        Event::Joined { name, .. } => Some(name.clone()),
        _ => None,
    }
}

fn left(event: &Event) -> Option<Reason> {
    match event {
        Event::Left { reason, .. } => Some(*reason),
        _ => None,
    }
}

fn confirmed(connection: &Connection, text: &str) {
    let receipt = connection.send(text).unwrap();
    assert_eq!(connection.confirm_timeout(receipt, SOON).unwrap(), Fate::Accepted);
}

#[test]
fn piped_lines_are_all_delivered_before_the_program_ends() {
    let (_server, address) = serve();
    let bob = join(&address, "bob");
    let output =
        client(&address, &["--name", "alice"]).write_stdin("one\r\n/who\n\nlast").assert().code(0);
    for body in ["one", "/who", "", "last"] {
        assert_eq!(next(&bob, text), ("alice".into(), body.into()));
    }
    let told = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert_eq!(told, format!("connected to {address} as alice; also here: bob.\n"));
    output.stdout("");
}

#[test]
fn a_piped_chat_shows_what_comes_and_nothing_for_terminals() {
    let (_server, address) = serve();
    let mut child = start(&address, &["--set", "client.timezone=UTC"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.ends_with("as guest-1; nobody else is here yet.\n"), "{line}");
    let bob = join(&address, "bob");
    confirmed(&bob, "a\u{1b}[2Jb");
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line[2..3], *":");
    assert_eq!(line[5..], *" bob: a\\u{1b}[2Jb\n");
    drop(child.stdin.take());
    assert_eq!(finish(child).2, Some(0));
}

#[test]
fn many_lines_are_sent_without_a_round_trip_each() {
    let (_server, address) = serve();
    let bob = join(&address, "bob");
    let lines: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    client(&address, &["send", "--lines"])
        .write_stdin(lines.join("\n"))
        .assert()
        .code(0)
        .stdout("")
        .stderr("");
    for line in lines {
        assert_eq!(next(&bob, text).1, line);
    }
}

#[test]
fn a_line_that_cannot_be_sent_is_told_and_keeps_back_no_other() {
    let (_server, address) = serve();
    let bob = join(&address, "bob");
    let mut input = b"one\n\xff\n".to_vec();
    input.extend(vec![b'x'; 2 << 20]);
    input.extend(b"\nlast\n");
    let output = client(&address, &["send", "--lines"]).write_stdin(input).assert().code(3);
    assert_eq!(next(&bob, text).1, "one");
    assert_eq!(next(&bob, text).1, "last");
    output.stderr(
        "line 2 is not delivered: not UTF-8\n\
         line 3 is not delivered: a message of 2097152 bytes, the server takes 1047552\n\
         client: not all is delivered: 2 of 4 messages were accepted\n",
    );
}

#[test]
fn words_are_one_message_and_the_name_is_taken_from_where_it_is_set() {
    let (_server, address) = serve();
    let bob = join(&address, "bob");
    client(&address, &["send", "hello", "there"])
        .env("TCPKIT_CLIENT_NAME", "zoë")
        .assert()
        .code(0)
        .stdout("");
    assert_eq!(next(&bob, text), ("zoë".into(), "hello there".into()));
    client(&address, &["send", "--name=carol", "--", "--hi"])
        .env("TCPKIT_CLIENT_NAME", "zoë")
        .assert()
        .code(0);
    assert_eq!(next(&bob, text), ("carol".into(), "--hi".into()));
}

#[test]
fn watch_counts_messages_and_not_notices() {
    let (_server, address) = serve();
    let bob = join(&address, "bob");
    let plain = start(&address, &["watch", "--count", "2"]);
    let json = start(&address, &["watch", "--json", "--count=2"]);
    next(&bob, joined);
    next(&bob, joined);
    drop(join(&address, "eve"));
    assert_eq!(next(&bob, left), Reason::Done);
    confirmed(&bob, "hi");
    bob.send_bytes(&[0, 255]).unwrap();
    bob.flush_timeout(SOON).unwrap();
    let (stdout, stderr, code) = finish(plain);
    assert_eq!((&*stdout, code), ("bob: hi\nbob sent 2 bytes\n", Some(0)));
    assert!(stderr.contains("eve joined\neve left\n"), "{stderr}");
    let (stdout, stderr, code) = finish(json);
    assert_eq!((&*stderr, code), ("", Some(0)));
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with(r#"{"event":"present","total":"#), "{stdout}");
    assert!(lines[lines.len() - 1].ends_with(r#","from":"bob","base64":"AP8="}"#), "{stdout}");
    assert!(stdout.contains(r#","name":"eve","reason":"done"}"#), "{stdout}");
}

#[test]
fn watch_ends_when_its_time_is_over() {
    let (_server, address) = serve();
    client(&address, &["watch", "--wait", "50ms"]).assert().code(0).stdout("");
    client(&address, &["watch", "--wait", "50ms", "--count", "1"])
        .assert()
        .code(4)
        .stdout("")
        .stderr(format!(
            "1 here: {0}\nclient: the time is over: 0 of 1 messages have come\n",
            "guest-2"
        ));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let (_server, address) = serve();
    let bob = join(&address, "bob");
    let mut child = start(&address, &["watch"]);
    next(&bob, joined);
    drop(child.stdout.take());
    confirmed(&bob, "hi");
    assert_eq!(next(&bob, left), Reason::Done);
    let (_, stderr, code) = finish(child);
    assert_eq!((code, stderr.contains("panicked")), (Some(0), false), "{stderr}");
}

#[test]
fn ping_is_a_health_check_that_nobody_notices() {
    let (server, address) = serve();
    let bob = join(&address, "bob");
    let output = client(&address, &["ping"]).assert().code(0).stderr("");
    let line = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(line.starts_with(&format!("pong from {address} in ")), "{line}");
    assert!(line.ends_with(" ms\n"), "{line}");
    confirmed(&bob, "the end");
    assert!(matches!(bob.recv_timeout(SOON).unwrap(), Some(Event::Present { .. })));
    assert!(bob.recv_timeout(Duration::ZERO).is_err(), "nobody joined");
    bob.close().unwrap();
    server.shutdown(SOON);
    client(&address, &["ping"]).assert().code(1).stdout("").stderr(format!(
        "client: cannot connect to {address}: connection refused.\n\
         Is a server running there? The address is set with --server ADDR.\n"
    ));
}

#[test]
fn a_server_that_does_not_come_back_is_given_up() {
    let (server, address) = serve();
    let bob = join(&address, "bob");
    let mut children = Vec::new();
    for arguments in [&["send", "--lines"][..], &[], &["watch"], &["watch", "--count", "1"]] {
        let limit = ["--set", "reconnect.give_up_after=0.2"];
        let mut child = start(&address, &[arguments, &limit].concat());
        ready(&mut child, &bob, arguments);
        children.push(child);
    }
    bob.close().unwrap();
    server.shutdown(SOON);
    let ended: Vec<_> = children.into_iter().map(finish).collect();
    let codes: Vec<_> = ended.iter().map(|(.., code)| *code).collect();
    assert_eq!(codes, [Some(3), Some(3), Some(1), Some(1)], "{ended:#?}");
    for (_, told, _) in &ended[1..3] {
        assert!(told.contains("connection lost (shutting down); reconnecting\n"), "{told}");
    }
}

/// One end of the chat is a program; the server goes and comes back under it.
#[test]
fn a_script_goes_on_when_the_server_is_back() {
    // An address whose ports no other test's connection takes while the server is gone.
    let (server, address) = serve_on("127.0.0.2:0");
    let bob = join(&address, "bob");
    let mut child = start(&address, &["send", "--lines"]);
    ready(&mut child, &bob, &[]);
    bob.close().unwrap();
    server.shutdown(SOON);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"kept\n").unwrap();
    let (server, _) = serve_on(&address);
    let bob = join(&address, "bob");
    stdin.write_all(b"after\n").unwrap();
    drop(stdin);
    // Bob may have come too late for the one that was kept.
    while next(&bob, text).1 != "after" {}
    let (_, told, code) = finish(child);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("reconnected as a newcomer"), "{told}");
    drop(bob);
    server.shutdown(SOON);
}

#[test]
fn a_script_fails_when_more_waits_for_the_server_than_is_allowed() {
    let (server, address) = serve_on("127.0.0.2:0");
    let bob = join(&address, "bob");
    let settings = ["client.on_full=fail", "client.queue=4KiB", "reconnect.give_up_after=2"];
    let settings = settings.map(|setting| ["--set", setting]).concat();
    let mut child = start(&address, &[&["send", "--lines"], &settings[..]].concat());
    ready(&mut child, &bob, &[]);
    bob.close().unwrap();
    server.shutdown(SOON);
    let line = format!("{}\n", "x".repeat(1024));
    child.stdin.as_mut().unwrap().write_all(line.repeat(5).as_bytes()).unwrap();
    let (_, told, code) = finish(child);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("too many messages wait for their confirmation; "), "{told}");
}

#[test]
fn the_command_line_and_the_configuration_are_checked_before_anything_is_done() {
    for (arguments, words) in [
        (&["--nmae", "x"][..], "unknown option '--nmae'; did you mean '--name'?"),
        (&["sned", "x"], "unknown command 'sned'; did you mean 'send'?"),
        (&["send"], "nothing to send: give TEXT, or --lines"),
        (&["send", "--lines", "x"], "give TEXT or --lines, not both"),
        (&["watch", "--count", "0"], "--count '0': a whole number of at least 1 is needed"),
        (&["watch", "--wait", "5x"], "--wait '5x'"),
        (&["--set", "client.nam=x"], "unknown key 'nam' in [client]; did you mean 'name'?"),
        (&["--set", "client.timezone=../x", "send", "x"], "a time zone is written as"),
        (&["--config", "missing.ini"], "cannot read missing.ini: no such file"),
        (&["--token-file", "missing", "send", "x"], "cannot read the token in missing: no such"),
    ] {
        let output = client("127.0.0.1:1", arguments).assert().code(2).stdout("");
        let told = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(told.starts_with("client: ") && told.contains(words), "{told}");
        assert!(told.lines().count() <= 3, "{told}");
    }
    client("127.0.0.1:1", &["--help"]).assert().code(0).stderr("");
    client("127.0.0.1:1", &["--version"]).assert().code(0).stdout("client 0.1.0\n");
}

#[cfg(unix)]
#[test]
fn ctrl_c_says_goodbye() {
    let (_server, address) = serve();
    let bob = join(&address, "bob");
    for (arguments, expected) in [
        (&["watch"][..], Some(0)),
        (&["watch", "--count", "1"], Some(4)),
        (&["send", "--lines"], Some(3)),
        (&[], Some(3)),
    ] {
        let mut child = start(&address, arguments);
        ready(&mut child, &bob, arguments);
        let pid = child.id().to_string();
        assert!(Process::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(next(&bob, left), Reason::Done, "{arguments:?}");
        let (_, stderr, code) = finish(child);
        assert_eq!(code, expected, "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_message_at_intervals_reports_each_reply() {
    let (_server, address) = serve();
    let bob = join(&address, "bob");
    let words = ["send", "--every", "--count", "3", "--set", "client.data_interval=20ms", "tick"];
    let output = client(&address, &words).assert().success().get_output().clone();
    let lines = String::from_utf8(output.stdout).unwrap();
    let replies: Vec<_> = lines.lines().map(|line| line.split(" in ").next().unwrap()).collect();
    assert_eq!(replies, ["message 1: accepted", "message 2: accepted", "message 3: accepted"]);
    for _ in 0..3 {
        assert_eq!(next(&bob, text).1, "tick");
    }
}

#[test]
fn a_token_file_without_a_token_and_a_count_without_every_are_told() {
    let (_server, address) = serve();
    let empty = std::env::temp_dir().join(format!("tcpkit-empty-token-{}", std::process::id()));
    std::fs::write(&empty, "\n").unwrap();
    let path = empty.to_str().unwrap();
    let outcome = client(&address, &["--token-file", path, "send", "hi"]).assert().code(2);
    let words = String::from_utf8_lossy(&outcome.get_output().stderr).into_owned();
    assert!(words.contains("is no token: it is empty"), "{words}");
    std::fs::remove_file(&empty).unwrap();
    let outcome = client(&address, &["send", "--count", "2", "hi"]).assert().code(2);
    let words = String::from_utf8_lossy(&outcome.get_output().stderr).into_owned();
    assert!(words.contains("--count goes with --every"), "{words}");
}

#[test]
fn a_script_is_told_that_its_name_was_taken() {
    let (_server, address) = serve();
    let alice = join(&address, "alice");
    let words = ["--name", "alice", "send", "hi"];
    client(&address, &words).assert().success().stderr("alice is taken; this client is alice-2\n");
    assert_eq!(next(&alice, text).1, "hi");
}
