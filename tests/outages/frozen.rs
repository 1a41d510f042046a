//! The server is stopped for longer than the heartbeat allows, and goes on.
//!
//! The kernel of a stopped program still takes connections and what is sent over them. So each
//! client tries again and again, and the server, when it goes on, finds all those tries at once.

use std::time::{Duration, Instant};

use tcpkit::{Fate, Loss};

use crate::common::SOON;
use crate::common::program::Program;
use crate::member::{Member, RHYTHM};

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// How often the server is stopped.
const ROUNDS: usize = 3;
/// How many numbers each client sends before, at the beginning of, and in the midst of an outage.
const NUMBERS: usize = 20;
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);
/// How many tries of each client the server finds, at least, when it goes on.
const TRIES: usize = 3;

/// Waits until each has heard all that the others have sent.
fn all_hear_all(members: &mut [Member], sent: usize) {
    for member in members {
        member.hear_until(SOON, |member| {
            let own = member.connection.name();
            NAMES.iter().all(|name| *name == own || member.heard(name) == sent as u64)
        });
    }
}

fn send_all(members: &mut [Member]) {
    for member in members {
        member.send(NUMBERS);
    }
}

#[test]
fn a_server_that_was_stopped_is_noticed_and_then_taken_up_again() {
    let (server, address) = Program::serve("127.0.0.1", &["--set", "session.grace=60"]);
    let mut members = NAMES.map(|name| Member::join(address, name));
    for round in 1..=ROUNDS {
        send_all(&mut members);
        all_hear_all(&mut members, NUMBERS * (3 * round - 2));

        server.stop();
        let stopped = Instant::now();
        let before = members.each_ref().map(|member| member.losses.len());
        send_all(&mut members); // leaves, but does not arrive
        for (member, before) in members.iter_mut().zip(before) {
            member.hear_until(RHYTHM.worst_case() + SLACK, |member| member.losses.len() > before);
            let took = stopped.elapsed();
            assert_eq!(member.losses[before], Loss::Silent, "round {round}");
            assert!(took < RHYTHM.worst_case() + SLACK, "round {round}: noticed after {took:?}");
        }
        send_all(&mut members); // is kept
        for (member, before) in members.iter_mut().zip(before) {
            member.hear_until(SOON, |member| member.losses.len() > before + TRIES);
        }

        server.go_on();
        for member in &mut members {
            member.hear_until(SOON, |member| member.resumed.len() >= round);
        }
        all_hear_all(&mut members, NUMBERS * 3 * round);
    }
    for member in &members {
        assert_eq!(member.fates(), vec![Fate::Accepted; NUMBERS * 3 * ROUNDS]);
        assert_eq!(member.sessions_lost, []);
        assert!(member.resumed.iter().all(|missed| *missed == 0), "{:?}", member.resumed);
        // Once for each time that it was stopped, and once more at most: for the try that the
        // server found too late, which the client had given up a moment before.
        assert!(member.resumed.len() <= 2 * ROUNDS, "{:?}", member.losses);
        member.connection.close().expect("a goodbye");
    }
    for name in NAMES {
        server.stderr.told(&["left name=", name, "reason=done"]);
    }
    assert_eq!(server.stderr.count(" joined name="), NAMES.len());
    assert_eq!(server.stderr.count(" left name="), NAMES.len());
}
