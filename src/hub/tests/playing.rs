//! Turns: which records and frames they make, in which place, and for whom.

use std::time::Duration;

use super::harness::{Bench, init, rules, show, text};
use super::returning::{come_back, key};
use crate::hub::{Commit, Handler, LinkId, Message, Refusal, Room, Rules, Turns};
use crate::message::{Frame, Mode, Reason};
use crate::report::Report;
use crate::settings::OnTimeout;
use crate::turns::TurnRules;

const SECOND: Duration = Duration::from_secs(1);

fn table(turns: TurnRules) -> Bench {
    let rules = Rules { grace: 30 * SECOND, announce: 0, turns, ..rules() };
    Bench::with(rules, Turns, Commit::AtOnce)
}

/// Two players at a table without a deadline; what they heard is forgotten.
fn two() -> (Bench, LinkId, LinkId) {
    let mut bench = table(TurnRules::default());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    (bench, alice, bob)
}

/// One turn that passes is one too many.
fn strict() -> TurnRules {
    let (deadline, on_timeout, strikes) = (SECOND, OnTimeout::TurnOut, 1);
    TurnRules { deadline, on_timeout, strikes, ..TurnRules::default() }
}

fn play(id: u64, turn: u64, body: &str) -> Frame<'_> {
    Frame::Move { id, turn, body: body.as_bytes() }
}

#[test]
fn two_take_turns_and_a_hand_over_is_two_frames_beside_the_record() {
    let mut bench = table(TurnRules::default());
    let alice = bench.connect();
    bench.say(alice, &super::harness::init("alice"));
    assert_eq!(bench.heard_lines(alice)[2..], ["wait 0 "], "nobody's yet");
    let bob = bench.connect();
    bench.say(bob, &super::harness::init("bob"));
    assert_eq!(bench.heard_lines(bob)[2..], ["wait 1 alice"]);
    assert_eq!(bench.heard_lines(alice), ["go 1 0"]);
    bench.say(alice, &play(1, 1, "alice:1"));
    assert_eq!(bench.heard_lines(alice), ["status 1 0", "wait 2 bob"]);
    assert_eq!(bench.heard_lines(bob), ["1 alice moved, bob: alice:1", "go 2 0"]);
    bench.say(bob, &play(1, 2, "any text"));
    assert_eq!(bench.heard_lines(bob), ["status 1 0", "wait 3 alice"]);
    assert_eq!(bench.heard_lines(alice), ["2 bob moved, alice: any text", "go 3 0"]);
    let moved = |r: &&Report| matches!(r, Report::TurnEnded { .. });
    assert_eq!(bench.reports.iter().filter(moved).count(), 2, "each move once");
}

#[test]
fn a_hand_over_costs_the_same_however_many_sit_there() {
    for seats in [2, 100, 1_000] {
        let rules = Rules { clients: seats, announce: 0, ..rules() };
        let mut bench = Bench::with(rules, Turns, Commit::AtOnce);
        let players: Vec<_> = (0..seats).map(|seat| bench.join(&format!("{seat}"))).collect();
        bench.heard(players[0]);
        let before = bench.visits;
        bench.say(players[0], &play(1, 1, "x"));
        assert_eq!(bench.visits - before, seats, "the record's receivers, and the mover");
        let heard: Vec<_> = players.iter().flat_map(|id| bench.heard_lines(*id)).collect();
        let (records, own): (Vec<_>, _) =
            heard.into_iter().partition(|line| line == "1 0 moved, 1: x");
        assert_eq!(own, ["status 1 0", "wait 2 1", "go 2 0"], "with {seats} seats");
        assert_eq!(records.len(), seats - 1);
    }
}

#[test]
fn a_move_that_is_not_due_is_refused_and_changes_nothing() {
    let (mut bench, alice, bob) = two();
    bench.say(bob, &play(1, 1, "out of turn"));
    bench.say(alice, &play(1, 2, "too early"));
    bench.say(alice, &play(2, 1, "right"));
    bench.say(alice, &play(3, 1, "twice"));
    bench.say(alice, &play(2, 1, "right")); // a repeat by id gets its old status
    let heard = bench.heard_lines(alice);
    let statuses = ["status 1 2", "status 2 0", "wait 2 bob", "status 3 2", "status 2 0"];
    assert_eq!(heard, statuses);
    let heard = bench.heard_lines(bob);
    assert_eq!(heard, ["status 1 2", "1 alice moved, bob: right", "go 2 0"]);
    bench.say(bob, &Frame::Move { id: 2, turn: 2, body: b"\xff" });
    bench.say(bob, &play(3, 2, &"x".repeat((1 << 20) - 1023)));
    bench.say(bob, &play(4, 2, &"x".repeat((1 << 20) - 1024)));
    let heard = bench.heard_lines(bob);
    assert_eq!(heard, ["status 2 10", "status 3 3", "status 4 0", "wait 3 alice"]);
}

#[test]
fn in_other_modes_there_is_no_turn() {
    let mut bench = Bench::new(rules());
    let alice = bench.join("alice");
    bench.say(alice, &play(1, 1, "x"));
    assert_eq!(bench.heard_lines(alice), ["status 1 2"]);
}

#[test]
fn go_comes_behind_every_record_up_to_its_cause_and_before_later_ones() {
    let (mut bench, alice, bob) = two();
    bench.wire(bob).room = 0;
    bench.say(alice, &text(1, "before"));
    bench.say(alice, &play(2, 1, "a"));
    bench.say(alice, &text(3, "after"));
    for _ in 0..1_000 {
        bench.wire(bob).room = 3;
        bench.deliver();
    }
    bench.wire(bob).room = usize::MAX;
    bench.deliver();
    let expected = ["alice: before", "1 alice moved, bob: a", "go 2 0", "alice: after"];
    assert_eq!(bench.heard_lines(bob), expected);
}

#[test]
fn a_slow_client_is_told_the_latest_only() {
    let mut bench = table(TurnRules { deadline: 3 * SECOND, ..TurnRules::default() });
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| bench.join(name));
    bench.wire(carol).room = 0;
    for round in [0, 1] {
        bench.say(alice, &play(round + 1, 3 * round + 1, "a"));
        bench.say(bob, &play(round + 1, 3 * round + 2, "b"));
        if round == 0 {
            bench.pass(Duration::from_millis(3_001)); // Carol does not move
        }
    }
    bench.wire(carol).room = usize::MAX;
    bench.deliver();
    let heard = bench.heard_lines(carol);
    let records = heard.iter().filter(|line| line.contains("moved")).count();
    let notices = heard.iter().filter(|line| line.starts_with("go"));
    let notices: Vec<_> = notices.map(String::as_str).collect();
    assert_eq!((records, notices), (4, vec!["go 6 3000"]), "{heard:?}");
}

#[test]
fn a_deadline_passes_the_turn_and_everyone_is_told() {
    let rules = TurnRules { deadline: 3 * SECOND, ..TurnRules::default() };
    let mut bench = table(rules);
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    assert_eq!(bench.heard_lines(alice), ["go 1 3000"]);
    bench.pass(Duration::from_millis(2_999));
    assert_eq!(bench.heard_lines(alice), Vec::<String>::new());
    bench.pass(Duration::from_millis(2));
    assert_eq!(bench.heard_lines(alice), ["1 alice time out, bob: "]);
    assert_eq!(bench.heard_lines(bob), ["1 alice time out, bob: ", "go 2 3000"]);
    bench.say(alice, &play(1, 1, "too late"));
    assert_eq!(bench.heard_lines(alice), ["status 1 2"]);
}

#[test]
fn one_that_sleeps_too_often_is_turned_out() {
    let mut bench = table(strict());
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    bench.pass(Duration::from_millis(1_001));
    assert_eq!(bench.heard_lines(alice), ["terminate 5"]);
    assert_eq!(bench.heard_lines(bob), ["1 alice time out, "], "one alone has no turn");
    bench.hang_up(alice);
    let back = come_back(&mut bench, key(1), 0);
    assert!(bench.heard(back)[0][7] & 1 == 0, "the session has ended");
}

#[test]
fn a_holder_that_is_away_keeps_its_turn_until_the_grace_or_the_deadline_is_over() {
    let rules = TurnRules { deadline: 10 * SECOND, ..TurnRules::default() };
    let mut bench = table(rules);
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.hang_up(alice);
    bench.pass(4 * SECOND);
    assert_eq!(bench.heard_lines(bob), Vec::<String>::new());
    let alice = come_back(&mut bench, key(1), 0);
    let heard = bench.heard_lines(alice);
    assert_eq!(heard.last().map(String::as_str), Some("go 1 6000"), "with the time that is left");
    bench.say(alice, &play(1, 1, "a"));
    bench.hang_up(bob);
    bench.pass(Duration::from_millis(10_001));
    let heard = bench.heard_lines(alice);
    let after = ["status 1 0", "wait 2 bob", "2 bob time out, "];
    assert_eq!(heard, after, "alone there is no next turn");
    let bob = come_back(&mut bench, key(2), 0);
    assert_eq!(bench.heard_lines(bob).last().map(String::as_str), Some("wait 3 alice"));

    let (mut bench, alice, bob) = two();
    bench.hang_up(alice);
    bench.pass(Duration::from_millis(30_001));
    assert_eq!(bench.heard_lines(bob), ["1 alice left, "]);
}

#[test]
fn a_takeover_gets_the_turn_again_and_the_old_connection_cannot_move() {
    let (mut bench, old, bob) = two();
    let alice = come_back(&mut bench, key(1), 0);
    assert_eq!(bench.heard_lines(alice).last().map(String::as_str), Some("go 1 0"));
    bench.say(old, &play(1, 1, "of the old one"));
    assert_eq!(bench.heard_lines(bob), Vec::<String>::new());
    bench.say(alice, &play(1, 1, "of the new one"));
    assert_eq!(bench.heard_lines(bob), ["1 alice moved, bob: of the new one", "go 2 0"]);
}

#[test]
fn who_leaves_passes_the_turn_on_before_it_is_gone() {
    let mut bench = Bench::with(rules(), Turns, Commit::AtOnce);
    let ids = ["alice", "bob", "carol"].map(|name| bench.join(name));
    bench.heard(ids[1]);
    bench.hang_up(ids[0]);
    let heard = bench.heard_lines(ids[1]);
    assert_eq!(heard, ["1 alice left, bob: ", "go 2 0", "alice left: connection lost"]);
}

#[test]
fn with_late_commits_go_waits_for_the_record() {
    let rules = Rules { announce: 0, ..rules() };
    let mut bench = Bench::with(rules, Turns, Commit::Later);
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    bench.say(alice, &play(1, 1, "a"));
    assert_eq!(bench.heard_lines(alice), Vec::<String>::new());
    assert_eq!(bench.heard_lines(bob), Vec::<String>::new());
    let (at, moved) = (bench.at(), bench.hub.take_proposals());
    bench.hub.commit(moved, at);
    bench.deliver();
    assert_eq!(bench.heard_lines(alice), ["status 1 0", "wait 2 bob"]);
    assert_eq!(bench.heard_lines(bob), ["1 alice moved, bob: a", "go 2 0"]);
}

/// What is said of a turn stands before the record that ends it, also in one group of commits.
#[test]
fn with_late_commits_nobody_is_told_old_news_last() {
    let rules = Rules { announce: 0, ..rules() };
    let mut bench = Bench::with(rules, Turns, Commit::Later);
    let [alice, bob, _] = ["alice", "bob", "carol"].map(|name| bench.join(name));
    bench.heard(alice);
    bench.say(alice, &play(1, 1, "a"));
    bench.say(bob, &play(1, 2, "b"));
    let (at, moved) = (bench.at(), bench.hub.take_proposals());
    bench.hub.commit(moved, at);
    bench.deliver();
    assert_eq!(bench.heard_lines(alice), ["status 1 0", "wait 2 bob", "2 bob moved, carol: b"]);
}

#[test]
fn a_go_is_not_replaced_by_a_wait_from_before() {
    let mut bench = Bench::with(rules(), Turns, Commit::Later);
    let (alice, bob) = (bench.connect(), bench.connect());
    bench.say(alice, &init("alice"));
    bench.say(bob, &init("bob"));
    let (at, joined) = (bench.at(), bench.hub.take_proposals());
    bench.hub.commit(joined, at);
    bench.deliver();
    assert_eq!(bench.heard_lines(alice).last().map(String::as_str), Some("go 1 0"));
}

/// A game whose rules allow even numbers only.
struct Even;

impl Handler for Even {
    fn mode(&self) -> Mode {
        Mode::Turn
    }

    fn message(&self, _: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
        match message {
            Message::Move { text, .. } if text.parse().is_ok_and(|n: u64| n.is_multiple_of(2)) => {
                Ok(())
            }
            _ => Err(Refusal::new("an even number is needed")),
        }
    }
}

#[test]
fn a_handler_may_refuse_a_move_and_the_turn_stays() {
    let mut bench = Bench::with(Rules { announce: 0, ..rules() }, Even, Commit::AtOnce);
    let (alice, bob) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    bench.say(bob, &play(1, 1, "2"));
    assert_eq!(bench.heard_lines(bob), ["status 1 2"], "it is not asked out of turn");
    bench.say(alice, &play(1, 1, "3"));
    bench.say(alice, &play(2, 1, "4"));
    assert_eq!(bench.heard_lines(alice), ["status 1 1", "status 2 0", "wait 2 bob"]);
}

#[test]
fn a_shutdown_gives_no_second_turn() {
    let (mut bench, alice, bob) = two();
    let at = bench.at();
    bench.hub.shut_down(at.now + SECOND, at);
    bench.deliver();
    bench.say(alice, &play(1, 1, "last words"));
    assert_eq!(bench.heard_lines(alice), ["terminate 1", "status 1 0"]);
    assert_eq!(bench.heard_lines(bob), ["terminate 1"]);
    let frames = bench.heard(bob);
    assert!(frames.iter().all(|frame| !show(frame).starts_with("go")));
}

#[test]
fn nothing_behind_a_move_that_turns_its_player_out_is_taken() {
    let mut bench = table(strict());
    let (alice, _) = (bench.join("alice"), bench.join("bob"));
    bench.heard(alice);
    // The move is faster than the timer.
    bench.sleep(Duration::from_millis(1_001));
    let mut bytes = play(1, 1, "too late").to_bytes();
    Frame::Ping { nonce: 9 }.encode(&mut bytes);
    let (reason, detail) = (Reason::Done, "".into());
    Frame::Terminate { reason, retry_after_ms: 0, detail }.encode(&mut bytes);
    bench.say_bytes(alice, &bytes);
    assert_eq!(bench.heard_lines(alice), ["terminate 5"]);
}
