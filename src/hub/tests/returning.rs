//! Lost connections whose sessions go on, and those that do not.

use std::time::Duration;

use super::harness::{Bench, init, rules, show, text};
use crate::end::Loss;
use crate::hub::{Commit, LinkId, Relay, Rules, Secret, Taken};
use crate::message::{Frame, Reason, SessionKey, Token, VERSION};
use crate::report::Report;

const SECOND: Duration = Duration::from_secs(1);

fn keeping() -> Rules {
    Rules { grace: 30 * SECOND, ..rules() }
}

/// The key of the session that was the bench's `number`th, from 1 on.
pub(super) fn key(number: u8) -> SessionKey {
    SessionKey([number; 16])
}

/// A client that shows the key of a session.
pub(super) fn come_back(bench: &mut Bench, session: SessionKey, received: u64) -> LinkId {
    let id = bench.connect();
    ask_for(bench, id, session, received);
    id
}

fn ask_for(bench: &mut Bench, id: LinkId, session: SessionKey, received: u64) {
    let (name, timezone, token) = ("ignored", "", Token(""));
    bench.say(id, &Frame::Init { version: VERSION, session, received, name, timezone, token });
}

/// What InitAck says: resumed, gap, seen, head, missed.
fn ack(frame: &[u8]) -> (bool, bool, u64, u64, u64) {
    assert_eq!(frame[4], 2, "no InitAck");
    let number = |at: usize| u64::from_be_bytes(frame[at..at + 8].try_into().expect("8 bytes"));
    (frame[7] & 1 > 0, frame[7] & 2 > 0, number(24), number(32), number(40))
}

fn shown(frames: &[Vec<u8>]) -> Vec<String> {
    frames.iter().map(|frame| show(frame)).collect()
}

#[test]
fn one_that_comes_back_goes_on_where_it_was_and_nobody_else_notices() {
    let mut bench = Bench::new(keeping());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    bench.say(alice, &text(1, "one"));
    bench.say(bob, &text(1, "of bob"));
    bench.hang_up(bob);
    bench.say(alice, &text(2, "two"));
    bench.say(alice, &Frame::Direct { id: 3, to: "BOB", body: b"for you" });
    assert!(matches!(&bench.reports[..], [.., Report::Away { loss: Loss::Closed, .. }]));
    // It had alice's first message, the third record behind both Joined.
    let bob = come_back(&mut bench, key(2), 3);
    let heard = bench.heard(bob);
    assert_eq!(ack(&heard[0]), (true, false, 1, 6, 0));
    let lines = shown(&heard[1..]);
    let expected = ["2 here: alice bob", "status 1 0", "alice: two", "alice to you: for you"]
        .map(str::to_owned);
    assert_eq!(lines, expected);
    bench.say(bob, &text(2, "back"));
    assert_eq!(bench.heard_lines(bob), ["status 2 0"]);
    let heard = bench.heard_lines(alice);
    assert_eq!(heard, ["status 1 0", "bob: of bob", "status 2 0", "status 3 0", "bob: back"]);
    assert!(bench.reports.iter().any(|r| matches!(r, Report::Resumed { missed: 0, .. })));
}

#[test]
fn after_the_grace_the_session_is_gone_and_its_name_is_free() {
    let mut bench = Bench::new(keeping());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    bench.hang_up(bob);
    bench.pass(Duration::from_millis(29_999));
    let second = bench.join("bob");
    assert_eq!(bench.heard_lines(alice), ["bob-2 joined"], "the name is taken meanwhile");
    bench.hang_up(second);
    bench.pass(Duration::from_millis(2));
    assert_eq!(bench.heard_lines(alice), ["bob left: connection lost"]);
    let third = come_back(&mut bench, key(2), 2);
    assert_eq!(ack(&bench.heard(third)[0]), (false, false, 0, 5, 0));
    assert_eq!(bench.heard_lines(alice), ["ignored joined"]);
}

#[test]
fn without_a_grace_nothing_is_kept() {
    let mut bench = Bench::new(rules());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    bench.hang_up(bob);
    assert_eq!(bench.heard_lines(alice), ["bob left: connection lost"]);
    assert_eq!(bench.hub.sessions(), 1);
}

#[test]
fn refusals_are_repeated_before_the_status_that_would_cover_them() {
    let mut bench = Bench::new(keeping());
    let alice = bench.join("alice");
    for id in 1..=3 {
        let (to, body) = ("nobody", &b""[..]);
        let direct = Frame::Direct { id, to, body };
        bench.say(alice, &direct);
    }
    bench.say(alice, &text(4, "good"));
    bench.say(alice, &Frame::Text { id: 5, body: b"\xff" });
    bench.hang_up(alice);
    let alice = come_back(&mut bench, key(1), 1);
    let lines = bench.heard_lines(alice);
    let statuses = ["status 1 11", "status 2 11", "status 3 11", "status 5 10", "status 5 0"];
    assert_eq!(lines[2..], statuses);
    bench.say(alice, &text(4, "again"));
    bench.say(alice, &text(6, "next"));
    assert_eq!(bench.heard_lines(alice), ["status 4 0", "status 6 0"]);
}

#[test]
fn a_session_with_forgotten_refusals_is_not_resumed() {
    let mut bench = Bench::new(keeping());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    for id in 1..=1025 {
        bench.say(alice, &Frame::Text { id, body: b"\xff" });
    }
    bench.hang_up(alice);
    bench.heard(bob);
    let back = come_back(&mut bench, key(1), 0);
    assert!(!ack(&bench.heard(back)[0]).0, "a status 0 would have said too much");
    assert_eq!(bench.heard_lines(bob), ["alice left: connection lost", "ignored joined"]);
}

#[test]
fn a_gap_is_told_with_its_size() {
    let mut bench = Bench::new(Rules { log_records: 4, ..keeping() });
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.hang_up(bob);
    for id in 1..=6 {
        bench.say(alice, &text(id, "x"));
    }
    bench.say(alice, &Frame::Direct { id: 7, to: "nobody", body: b"" });
    let bob = come_back(&mut bench, key(2), 2);
    let heard = bench.heard(bob);
    // The log gives up records side by side of one sender as one.
    assert_eq!(ack(&heard[0]), (true, true, 0, 8, 4), "records 3 to 6 are gone");
    assert_eq!(shown(&heard[2..]), ["alice: x", "alice: x"]);
    bench.hang_up(bob);
    let bob = come_back(&mut bench, key(2), 8);
    assert_eq!(ack(&bench.heard(bob)[0]), (true, false, 0, 8, 0));
    bench.hang_up(bob);
    let bob = come_back(&mut bench, key(2), 900);
    assert_eq!(ack(&bench.heard(bob)[0]), (true, true, 0, 8, 0), "it has what is not there");
}

#[test]
fn records_from_before_the_session_are_not_sent() {
    let mut bench = Bench::new(Rules { history: 1, ..keeping() });
    let alice = bench.join("alice");
    for id in 1..=3 {
        bench.say(alice, &text(id, &format!("{id}")));
    }
    let bob = bench.join("bob");
    bench.hang_up(bob);
    // It had nothing of what it was given; the one of its history is part of that.
    let bob = come_back(&mut bench, key(2), 0);
    let heard = bench.heard(bob);
    assert_eq!(ack(&heard[0]), (true, false, 0, 5, 0));
    let lines = shown(&heard[2..]);
    assert_eq!(lines, ["alice: 3"]);
}

#[test]
fn a_newer_connection_replaces_the_older_one() {
    let mut bench = Bench::new(keeping());
    let (alice, old) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    let new = come_back(&mut bench, key(2), 2);
    assert_eq!(bench.heard_lines(old), ["terminate 4"]);
    assert_eq!(bench.say(old, &text(1, "too late")), Taken::Over);
    assert_eq!(bench.heard_lines(alice), Vec::<String>::new());
    bench.hang_up(old);
    bench.say(new, &text(1, "in time"));
    bench.say(alice, &text(1, "heard"));
    assert_eq!(bench.heard_lines(alice), ["bob: in time", "status 1 0"]);
    assert_eq!(bench.heard_lines(new)[2..], ["status 1 0", "alice: heard"]);
    assert!(!bench.reports.iter().any(|r| matches!(r, Report::Away { .. } | Report::Left { .. })));
}

/// A server that was stopped finds all attempts of a client at once, and reads them in any order.
#[test]
fn an_attempt_that_was_given_up_does_not_replace_the_one_behind_it() {
    let mut bench = Bench::new(keeping());
    let (alice, old) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    let [early, late, last] = [(); 3].map(|()| bench.connect());
    ask_for(&mut bench, late, key(2), 2);
    bench.heard(late);
    ask_for(&mut bench, early, key(2), 2);
    assert_eq!(bench.heard_lines(early), ["error 10"]);
    bench.say(late, &text(1, "still here"));
    assert_eq!(bench.heard_lines(late), ["status 1 0"]);
    assert_eq!(bench.heard_lines(old), ["terminate 4"]);
    bench.hang_up(late);
    ask_for(&mut bench, last, key(2), 2);
    assert!(ack(&bench.heard(last)[0]).0, "the last one goes on");
    assert_eq!(bench.heard_lines(alice), ["bob: still here"]);
}

/// The end that a client chose is no loss; other ends are.
#[test]
fn which_ends_are_losses() {
    let terminate = |reason| Frame::Terminate { reason, retry_after_ms: 0, detail: "".into() };
    let error = Frame::Error { code: crate::message::ErrorCode::Internal, detail: "".into() };
    for (last_words, is_loss) in [
        (Some(terminate(Reason::Done)), false),
        (Some(error), false),
        (Some(text(9, "a hole")), false),
        (Some(terminate(Reason::NoHeartbeat)), true),
        (Some(terminate(Reason::Unknown(77))), true),
        (None, true),
    ] {
        let mut bench = Bench::new(keeping());
        let alice = bench.join("alice");
        if let Some(frame) = &last_words {
            bench.say(alice, frame);
        }
        bench.hang_up(alice);
        assert_eq!(bench.hub.sessions(), usize::from(is_loss), "{last_words:?}");
        let back = come_back(&mut bench, key(1), 0);
        assert_eq!(ack(&bench.heard(back)[0]).0, is_loss, "{last_words:?}");
    }
}

#[test]
fn an_idle_client_is_sent_away_and_may_come_back() {
    let mut rules = Rules { idle_time: 60 * SECOND, ..keeping() };
    rules.rhythm.data_threshold = 20 * SECOND;
    let mut bench = Bench::new(rules);
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    for second in 0..11 {
        bench.pass(5 * SECOND);
        for client in [alice, bob] {
            for frame in bench.heard(client) {
                if frame[4] == 8 {
                    let nonce = u64::from_be_bytes(frame[5..13].try_into().expect("a nonce"));
                    bench.say(client, &Frame::Pong { nonce });
                }
            }
        }
        bench.say(alice, &text(second + 1, "not idle"));
    }
    bench.pass(6 * SECOND);
    assert_eq!(bench.heard_lines(bob).last().map(String::as_str), Some("terminate 6"));
    let idle = Loss::Terminated(Reason::Idle);
    assert!(matches!(&bench.reports[..], [.., Report::Away { loss, .. }] if *loss == idle));
    assert_eq!(bench.hub.connected(), 1);
    let bob = come_back(&mut bench, key(2), 13);
    assert!(ack(&bench.heard(bob)[0]).0);
}

#[test]
fn of_too_many_away_the_one_longest_away_ends() {
    let mut bench = Bench::new(Rules { away: 2, ..keeping() });
    let watcher = bench.join("watcher");
    for name in ["one", "two", "three"] {
        let id = bench.join(name);
        bench.hang_up(id);
        bench.pass(SECOND);
    }
    let heard = bench.heard_lines(watcher);
    assert_eq!(heard.last().map(String::as_str), Some("one left: connection lost"));
    assert_eq!(bench.hub.sessions(), 3);
}

#[test]
fn a_full_server_does_not_take_one_back_and_keeps_its_session() {
    let mut bench = Bench::new(Rules { clients: 1, ..keeping() });
    let alice = bench.join("alice");
    bench.hang_up(alice);
    let bob = bench.join("bob");
    let back = come_back(&mut bench, key(1), 0);
    assert_eq!(bench.heard_lines(back), ["error 8"]);
    bench.hang_up(bob);
    let back = come_back(&mut bench, key(1), 0);
    assert!(ack(&bench.heard(back)[0]).0);
}

#[test]
fn the_token_is_judged_before_the_session() {
    let mut bench = Bench::new(Rules { token: Secret("secret".into()), ..keeping() });
    let id = bench.connect();
    let token = Token("secret");
    let (name, timezone, session) = ("alice", "", SessionKey::NEW);
    bench.say(id, &Frame::Init { version: VERSION, session, received: 0, name, timezone, token });
    bench.heard(id);
    bench.hang_up(id);
    let thief = come_back(&mut bench, key(1), 0);
    assert_eq!(bench.heard_lines(thief), ["error 7"]);
    assert_eq!(bench.hub.sessions(), 1, "the session still waits for its client");
}

#[test]
fn what_was_not_committed_before_the_loss_is_confirmed_after_it() {
    let mut bench = Bench::with(keeping(), Relay, Commit::Later);
    let id = bench.connect();
    bench.say(id, &init("alice"));
    let at = bench.at();
    let joined = bench.hub.take_proposals();
    bench.hub.commit(joined, at);
    bench.say(id, &text(1, "slow"));
    bench.hang_up(id);
    let back = come_back(&mut bench, key(1), 1);
    let heard = bench.heard_lines(back);
    assert_eq!(heard[1..], ["1 here: alice"], "nothing is accepted yet");
    let slow = bench.hub.take_proposals();
    bench.hub.commit(slow, at);
    bench.deliver();
    assert_eq!(bench.heard_lines(back), ["status 1 0"]);
}

#[test]
fn sessions_outlive_a_shutdown() {
    let mut bench = Bench::new(keeping());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    let at = bench.at();
    bench.hub.shut_down(at.now + SECOND, at);
    bench.deliver();
    bench.say(bob, &Frame::TerminateAck);
    bench.hang_up(bob);
    assert_eq!(bench.heard_lines(alice), ["terminate 1"], "nobody is told that bob left");
    assert_eq!(bench.hub.sessions(), 2);
}

#[test]
fn a_slow_reader_that_was_let_go_comes_back_for_the_rest() {
    let mut rules = keeping();
    (rules.frame_max, rules.log_bytes) = (4096, 12 << 10);
    let mut bench = Bench::new(rules);
    let (alice, slow) = (bench.join("alice"), bench.join("slow"));
    bench.wire(slow).room = 100;
    let mut id = 0;
    while bench.hub.connected() == 2 {
        id += 1;
        if bench.say(alice, &text(id, &"x".repeat(500))) == Taken::Blocked {
            bench.pass(SECOND);
        }
    }
    assert_eq!(bench.hub.sessions(), 2);
    bench.hang_up(slow);
    let slow = come_back(&mut bench, key(2), 2);
    let heard = bench.heard(slow);
    let (resumed, gap, .., missed) = ack(&heard[0]);
    assert!(resumed && gap == (missed > 0));
    assert_eq!(missed + heard.len() as u64 - 2, id, "each is sent or counted as missed");
}

/// Its patience is that of a session, not of a connection.
#[test]
fn to_come_back_again_and_again_gives_no_more_patience() {
    let mut rules = keeping();
    (rules.frame_max, rules.log_bytes) = (4096, 12 << 10);
    let mut bench = Bench::new(rules);
    let (alice, mut slow) = (bench.join("alice"), bench.join("slow"));
    let (mut id, mut blocked, mut returns) = (0, Duration::ZERO, 0u32);
    let step = Duration::from_millis(1);
    let end = bench.at().now + 55 * SECOND;
    while bench.at().now < end {
        bench.wire(slow).room = 0;
        while bench.wire(alice).taken != Taken::Blocked {
            id += 1;
            bench.say(alice, &text(id, &"x".repeat(500)));
            if bench.hub.connected() == 1 {
                break;
            }
        }
        while bench.wire(alice).taken == Taken::Blocked {
            blocked += step;
            bench.pass(step);
        }
        bench.pass(50 * step);
        if bench.hub.connected() == 1 {
            bench.hang_up(slow);
            slow = come_back(&mut bench, key(2), 2);
            bench.heard(slow);
            returns += 1;
        }
    }
    let most = 2 * SECOND + returns * 2 * step;
    assert!(returns > 10 && blocked <= most, "{blocked:?} of 55 s, {returns} returns");
}
