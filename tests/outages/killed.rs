//! A process is killed, without a chance to say anything: first a client, then the server.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;

use assert_cmd::cargo::cargo_bin;
use tcpkit::message::Reason;
use tcpkit::{Connection, Event, Fate};

use crate::common::SOON;
use crate::common::program::Program;
use crate::member::Member;

/// A line with its number, long enough that the end of a killed process cuts one in two.
fn line(number: usize) -> String {
    format!("{number} {}", "x".repeat(700))
}

/// Someone who hears what one client says, and how it comes and goes.
struct Watcher(Connection);

impl Watcher {
    fn join(address: SocketAddr) -> Self {
        Self(Connection::builder().name("bob").connect(&address.to_string()).expect("a connection"))
    }

    fn next(&self) -> Event {
        loop {
            let event = self.0.recv_timeout(SOON).expect("an event").expect("the connection lives");
            if !matches!(event, Event::Present { .. }) {
                return event;
            }
        }
    }

    fn joined(&self, expected: &str) {
        match self.next() {
            Event::Joined { name, .. } if name == expected => {}
            other => panic!("{expected} joins, but: {other}"),
        }
    }

    /// Hears `sender` say numbered lines, from 1 on, until it has heard `enough` of them, or it is
    /// told that `sender` has left. Gives the last number, and the reason.
    fn hear(&self, sender: &str, from: usize, enough: usize) -> (usize, Option<Reason>) {
        let mut heard = from;
        while heard < enough {
            match self.next() {
                Event::Text { from, body, .. } if from == sender => {
                    heard += 1;
                    assert_eq!(body, line(heard));
                }
                Event::Left { name, reason, .. } if name == sender => return (heard, Some(reason)),
                other => panic!("after {heard} of {sender}: {other}"),
            }
        }
        (heard, None)
    }
}

/// Sends `count` lines as `wanted`, and says that the client is called `name`.
fn sends_all(address: SocketAddr, bob: &Watcher, [wanted, name]: [&str; 2], count: usize) {
    let mut sender = Program::client(address, wanted, &["send", "--lines"]);
    bob.joined(name);
    sender.feed(&(1..=count).map(|number| line(number) + "\n").collect::<String>());
    assert_eq!(bob.hear(name, 0, count), (count, None));
    assert_eq!(sender.code(), Some(0), "{:?}", sender.stderr.texts());
    assert_eq!(bob.hear(name, count, usize::MAX), (count, Some(Reason::Done)));
}

#[test]
fn a_client_killed_in_mid_flow_leaves_whole_lines_and_its_name() {
    let (server, address) = Program::serve("127.0.0.1", &["--set", "session.grace=3"]);
    let bob = Watcher::join(address);
    let mut alice = Program::client(address, "alice", &["send", "--lines"]);
    bob.joined("alice");
    let mut stdin = alice.stdin();
    let feeding = thread::spawn(move || {
        let mut numbers = 1..;
        while stdin.write_all((line(numbers.next().expect("no end")) + "\n").as_bytes()).is_ok() {}
    });
    let (heard, _) = bob.hear("alice", 0, 1000);
    alice.kill();
    feeding.join().expect("it ends with its reader");
    let away = server.stderr.told(&["away name=alice ", " grace=3s"]).text;
    // Which of the two it is depends on whether a confirmation lay there unread.
    let reasons = ["\"closed without a goodbye\"", "\"connection reset\""];
    assert!(reasons.iter().any(|reason| away.contains(reason)), "{away}");

    // Meanwhile its name is taken. What it still sent comes before the new one.
    let mut heir = Program::client(address, "alice", &["send", "--lines"]);
    heir.stderr.told(&["alice is taken; this client is alice-2"]);
    let mut heard = heard;
    loop {
        match bob.next() {
            Event::Text { from, body, .. } if from == "alice" => {
                heard += 1;
                assert_eq!(body, line(heard));
            }
            Event::Joined { name, .. } if name == "alice-2" => break,
            other => panic!("after {heard} lines: {other}"),
        }
    }
    heir.feed(&(line(1) + "\n"));
    assert_eq!(bob.hear("alice-2", 0, 1), (1, None));
    assert_eq!(heir.code(), Some(0));
    assert_eq!(bob.hear("alice-2", 1, 2), (1, Some(Reason::Done)));

    assert_eq!(bob.hear("alice", heard, usize::MAX), (heard, Some(Reason::Lost)));
    server.stderr.told(&["left name=alice ", "reason=\"connection lost\""]);
    sends_all(address, &bob, ["alice", "alice"], 1000);
}

#[test]
fn a_server_killed_and_started_again_finds_newcomers_that_go_on() {
    // An address whose ports no other test's connection takes while the server is gone. A newcomer
    // gets what was said before it, so that it does not matter who is back first.
    let settings = ["--set", "relay.history=100"];
    let (mut server, address) = Program::serve("127.0.0.2", &settings);
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| Member::join(address, name));
    alice.send(5);
    bob.hear_until(SOON, |bob| bob.heard("alice") == 5);
    alice.connection.flush_timeout(SOON).expect("all is confirmed");

    server.stop(); // what is sent now has left, and is never confirmed
    alice.send(3);
    server.kill();
    for member in [&mut alice, &mut bob] {
        member.hear_until(SOON, |member| !member.losses.is_empty());
    }
    alice.send(2); // is kept
    bob.skip("alice", 3);
    let mut command = Command::new(cargo_bin!("server"));
    command.args(["--bind", &address.to_string()]).args(settings);
    let server = Program::start(command);
    assert_eq!(server.address(), address);

    alice.hear_until(SOON, |alice| alice.sessions_lost == [3]);
    bob.hear_until(SOON, |bob| bob.sessions_lost == [0]);
    alice.send(2);
    let fates = alice.fates();
    assert_eq!(fates[..5], [const { Fate::Accepted }; 5]);
    assert_eq!(fates[5..8], [const { Fate::Unknown }; 3]);
    assert_eq!(fates[8..], [const { Fate::Accepted }; 4]);
    bob.hear_until(SOON, |bob| bob.heard("alice") == 12);
    bob.send(1);
    alice.hear_until(SOON, |alice| alice.heard("bob") == 1);
    assert_eq!((alice.connection.name(), bob.connection.name()), ("alice".into(), "bob".into()));
    for member in [&alice, &bob] {
        assert_eq!((member.resumed.len(), member.sessions_lost.len()), (0, 1));
        member.connection.close().expect("a goodbye");
    }
    assert_eq!(server.stderr.count("joined name="), 2);
}
