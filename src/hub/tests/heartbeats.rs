//! Silence, and what becomes of it.

use std::time::Duration;

use super::harness::{Bench, rules, text};
use crate::heartbeat::Rhythm;
use crate::hub::{LinkId, Rules, Taken};
use crate::message::Frame;

const SECOND: Duration = Duration::from_secs(1);

fn beating() -> Rules {
    let rhythm = Rhythm {
        data_threshold: 20 * SECOND,
        interval: 5 * SECOND,
        threshold: 10 * SECOND,
        additional_tries: 3,
    };
    Rules { rhythm, ..rules() }
}

fn nonces(bench: &mut Bench, id: LinkId) -> Vec<u64> {
    let pings = bench.heard(id).into_iter().filter(|frame| frame[4] == 0x08);
    pings.map(|ping| u64::from_be_bytes(ping[5..13].try_into().expect("eight bytes"))).collect()
}

#[test]
fn a_client_that_says_nothing_is_dead_in_time() {
    let mut bench = Bench::new(beating());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    for second in 0..60 {
        assert_eq!(bench.hub.sessions(), 2, "after {second} s");
        bench.say(alice, &text(second + 1, "I am here"));
        bench.pass(SECOND);
    }
    assert_eq!(bench.hub.sessions(), 1);
    let heard = bench.heard_lines(bob);
    let own: Vec<_> = heard.iter().filter(|line| !line.starts_with("alice")).collect();
    assert_eq!(own, ["ping", "ping", "ping", "ping", "terminate 2"]);
    let left = bench.heard_lines(alice);
    assert!(left.contains(&"bob left: no heartbeat".to_owned()), "{left:?}");
    assert!(!left.contains(&"ping".to_owned()), "no heartbeat while data flows");
}

#[test]
fn a_client_that_answers_lives_for_ever() {
    let mut bench = Bench::new(beating());
    let alice = bench.join("alice");
    let mut pings = 0;
    for _ in 0..600 {
        bench.pass(SECOND);
        for nonce in nonces(&mut bench, alice) {
            pings += 1;
            bench.say(alice, &Frame::Pong { nonce });
        }
    }
    // Twenty seconds of silence, then one every five.
    assert_eq!(pings, 1 + (600 - 20) / 5);
    assert_eq!(bench.hub.sessions(), 1);
}

#[test]
fn pings_and_wrong_pongs_are_no_sign_of_life_but_half_a_frame_is() {
    let mut bench = Bench::new(beating());
    let alice = bench.join("alice");
    for second in 0..60u64 {
        assert_eq!(bench.hub.sessions(), 1, "after {second} s");
        bench.say(alice, &Frame::Ping { nonce: second });
        bench.say(alice, &Frame::Pong { nonce: second });
        bench.pass(SECOND);
    }
    assert_eq!(bench.hub.sessions(), 0);

    let mut bench = Bench::new(beating());
    let bob = bench.join("bob");
    bench.pass(19 * SECOND);
    bench.say_bytes(bob, &text(1, "half").to_bytes()[..6]);
    bench.pass(19 * SECOND);
    assert!(nonces(&mut bench, bob).is_empty());
    bench.pass(2 * SECOND);
    assert_eq!(nonces(&mut bench, bob).len(), 1);
}

#[test]
fn whoever_is_not_read_is_not_silent() {
    let mut rules = Rules { log_bytes: 64 * 1024, frame_max: 16 * 1024, ..beating() };
    (rules.patience, rules.stall) = (60 * SECOND, 90 * SECOND);
    let mut bench = Bench::new(rules);
    let (sender, reader) = (bench.join("sender"), bench.join("reader"));
    bench.heard(sender);
    bench.wire(reader).room = 0;
    let mut id = 0;
    while bench.wire(sender).taken != Taken::Blocked {
        id += 1;
        bench.say(sender, &text(id, &"x".repeat(1000)));
    }
    for _ in 0..50 {
        bench.pass(SECOND);
        bench.say(reader, &Frame::Hint { kind: 0x80, payload: &[] });
    }
    assert!(nonces(&mut bench, sender).is_empty(), "it could not have answered");
    bench.wire(reader).room = usize::MAX;
    bench.deliver();
    assert_eq!(bench.wire(sender).taken, Taken::All);
    bench.pass(19 * SECOND);
    assert!(nonces(&mut bench, sender).is_empty());
    bench.pass(2 * SECOND);
    assert_eq!(nonces(&mut bench, sender).len(), 1);
}
