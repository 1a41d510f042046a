//! Goodbyes, violations, and what is due by the time.

use std::time::Duration;

use super::harness::{Bench, init, rules, text};
use crate::hub::{Rules, Taken};
use crate::message::{Frame, Reason};
use crate::report::Report;

fn terminate(reason: Reason) -> Frame<'static> {
    Frame::Terminate { reason, retry_after_ms: 0, detail: "".into() }
}

#[test]
fn a_goodbye_is_answered_behind_all_that_is_queued() {
    let mut bench = Bench::new(rules());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    bench.wire(bob).room = 10;
    bench.say(alice, &text(1, "for bob"));
    bench.say(bob, &text(1, "for alice"));
    assert_eq!(bench.say(bob, &terminate(Reason::Done)), Taken::Over);
    assert_eq!(bench.say(bob, &text(2, "behind it")), Taken::Over);
    bench.say(alice, &text(2, "too late for bob"));
    bench.wire(bob).room = usize::MAX;
    bench.deliver();
    assert_eq!(bench.heard_lines(bob), ["alice: for bob", "status 1 0", "TerminateAck"]);
    assert!(bench.wire(bob).shut);
    let heard = bench.heard_lines(alice);
    assert_eq!(heard, ["status 1 0", "bob: for alice", "bob left: done", "status 2 0"]);
}

#[test]
fn a_peer_that_does_not_close_is_cut_off() {
    let mut bench = Bench::new(rules());
    let alice = bench.join("alice");
    bench.say(alice, &Frame::Text { id: 9, body: b"a hole" });
    assert_eq!(bench.heard_lines(alice), ["error 6"]);
    bench.pass(Duration::from_millis(900));
    assert!(!bench.wire(alice).dead);
    bench.pass(Duration::from_millis(200));
    assert!(bench.wire(alice).dead);
}

#[test]
fn violations_end_the_session_and_nobody_elses() {
    let frames: [(&[u8], &str); 8] = [
        (&[0, 0, 0, 0], "error 1"),
        (&[0, 0x10, 0, 1], "error 2"),
        (&[0xff; 4], "error 2"),
        (&[0, 0, 0, 1, 0x7f], "error 3"),
        (&[0, 0, 0, 10, 0x18, 0, 0, 0, 0, 0, 0, 0, 1, 0], "error 3"),
        (&[0, 0, 0, 9, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], "error 6"),
        (&[0, 0, 0, 3, 0x10, 0, 0], "error 1"),
        (&init("again").to_bytes(), "error 6"),
    ];
    for (bytes, error) in frames {
        let mut bench = Bench::new(rules());
        let (alice, bob) = (bench.join("alice"), bench.join("bob"));
        bench.heard(alice);
        bench.say_bytes(bob, bytes);
        assert_eq!(bench.heard_lines(bob), [error], "{bytes:?}");
        assert!(bench.wire(bob).shut);
        assert_eq!(bench.heard_lines(alice), ["bob left: turned out by the server"]);
        bench.say(alice, &text(1, "go on"));
        assert_eq!(bench.heard_lines(alice), ["status 1 0"]);
    }
}

#[test]
fn hints_are_skipped() {
    let mut bench = Bench::new(rules());
    let alice = bench.join("alice");
    bench.say(alice, &Frame::Hint { kind: 0x80, payload: b"of a later version" });
    bench.say(alice, &Frame::TerminateAck);
    assert!(bench.heard(alice).is_empty());
}

#[test]
fn before_init_only_pings_and_not_for_ever() {
    let mut bench = Bench::new(rules());
    let stranger = bench.connect();
    bench.say(stranger, &Frame::Ping { nonce: 5 });
    assert_eq!(bench.heard_lines(stranger), ["pong 5"]);
    bench.pass(Duration::from_millis(9_900));
    assert!(bench.heard(stranger).is_empty());
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.heard_lines(stranger), ["error 10"]);
    assert_eq!(bench.hub.sessions(), 0);

    let hasty = bench.connect();
    let mut bytes = init("hasty").to_bytes();
    text(1, "x").encode(&mut bytes);
    bench.say_bytes(hasty, &bytes);
    assert_eq!(bench.heard_lines(hasty), ["error 6"]);
    assert!(!bench.reports.iter().any(|report| matches!(report, Report::Joined { .. })));
}

#[test]
fn a_frame_that_has_begun_must_be_whole_in_time() {
    let mut bench = Bench::new(rules());
    let alice = bench.join("alice");
    let bytes = text(1, "slow").to_bytes();
    for byte in &bytes[..bytes.len() - 1] {
        bench.say_bytes(alice, &[*byte]);
        bench.pass(Duration::from_secs(1));
    }
    assert!(bench.heard(alice).is_empty());
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.heard_lines(alice), ["error 1"]);
    let bob = bench.join("bob");
    bench.say_bytes(bob, &bytes[..5]);
    bench.pass(Duration::from_secs(29));
    bench.say_bytes(bob, &bytes[5..]);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.heard_lines(bob), ["status 1 0"]);
}

#[test]
fn one_that_always_sends_may_always_be_in_the_middle_of_a_frame() {
    let mut bench = Bench::new(rules());
    let alice = bench.join("alice");
    bench.say_bytes(alice, &[0, 0, 0]);
    for id in 1..100 {
        // The rest of one frame, and the beginning of the next.
        let frame = text(id, "x").to_bytes();
        bench.say_bytes(alice, &[&frame[3..], &[0, 0, 0]].concat());
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.heard_lines(alice).last().map(String::as_str), Some("status 99 0"));
}

#[test]
fn a_shutdown_says_goodbye_behind_what_is_queued() {
    let mut bench = Bench::new(rules());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    let stranger = bench.connect();
    bench.wire(bob).room = 0;
    bench.say(alice, &text(1, "queued"));
    bench.heard(alice);
    let at = bench.at();
    bench.hub.shut_down(at.now + Duration::from_secs(10), at);
    bench.deliver();
    assert!(bench.hub.connect("127.0.0.1:2", at).is_none());
    assert_eq!(bench.heard_lines(stranger), ["terminate 1"]);
    bench.wire(bob).room = usize::MAX;
    bench.deliver();
    assert_eq!(bench.heard_lines(bob), ["alice: queued", "terminate 1"]);
    assert_eq!(bench.heard_lines(alice), ["terminate 1"]);
    bench.say(alice, &text(2, "still taken"));
    bench.say(alice, &Frame::TerminateAck);
    assert!(bench.wire(alice).shut);
    bench.say(bob, &terminate(Reason::Done));
    assert_eq!(bench.heard_lines(bob).last().map(String::as_str), Some("TerminateAck"));
    bench.pass(Duration::from_secs(10));
    assert!(bench.wire(alice).dead && bench.wire(bob).dead && bench.wire(stranger).dead);
}

#[test]
fn a_silent_client_holds_up_a_shutdown_for_the_time_of_an_answer() {
    let mut bench = Bench::new(rules());
    let alice = bench.join("alice");
    let at = bench.at();
    bench.hub.shut_down(at.now + Duration::from_secs(60), at);
    bench.deliver();
    bench.pass(Duration::from_millis(4_900));
    assert!(!bench.wire(alice).dead);
    bench.pass(Duration::from_millis(200));
    assert!(bench.wire(alice).dead);
}

#[test]
fn too_many_without_a_session_are_turned_away() {
    let mut bench = Bench::new(Rules { handshaking: 2, ..rules() });
    let (first, _) = (bench.connect(), bench.connect());
    let at = bench.at();
    assert!(bench.hub.connect("127.0.0.1:9", at).is_none());
    bench.say(first, &init("first"));
    assert!(bench.hub.connect("127.0.0.1:9", at).is_some());
}
