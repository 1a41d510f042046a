//! Turns: what is told, and that no turn is handed out in vain or twice.

use std::time::Duration;

use super::loss::{events, open_at};
use super::resume::{come_back, lose, new_one, resumed, status};
use super::*;
use crate::message::Outcome;

const GO: Frame<'static> = Frame::Go { turn: 5, deadline_ms: 0 };
const GO_EVENT: Event = Event::Go { turn: 5, deadline: None };

fn ended(seq: u64, turn: u64) -> Frame<'static> {
    let (outcome, from, next, body) = (Outcome::TimeOut, "alice", "bob", "");
    Frame::TurnEnded { seq, time_ms: 0, turn, outcome, from, next, body }
}

fn wait(turn: u64) -> Frame<'static> {
    Frame::Wait { turn, holder: "bob" }
}

/// A session that will come back, told that it has turn 5.
fn holder() -> ClientSession {
    let mut session = open_at(Instant::now());
    give(&mut session, &GO);
    session
}

#[test]
fn go_wait_and_the_end_of_a_turn_are_events() {
    let (mut session, now) = (open_session(), Instant::now());
    give(&mut session, &Frame::Wait { turn: 0, holder: "" });
    give(&mut session, &ended(7, 4));
    give_at(&mut session, &Frame::Go { turn: 5, deadline_ms: 1_500 }, now);
    let [nobody, over, go] = &events(&mut session)[..] else { panic!("other events") };
    assert_eq!(nobody, &Event::Wait { turn: 0, holder: None });
    assert_eq!((over.seq(), over.to_string()), (Some(7), "alice lost turn 4: time out".into()));
    let deadline = Some(now + Duration::from_millis(1_500));
    assert_eq!(go, &Event::Go { turn: 5, deadline });
    give(&mut session, &ended(7, 6));
    assert_eq!(violation_of(&session), ErrorCode::OutOfOrder, "a record as any other");
}

#[test]
fn a_move_is_a_numbered_message() {
    let mut session = holder();
    session.send_text("first").expect("open");
    let receipt = session.send_move(5, "e4").expect("open");
    let expected = format!("{:?}", Frame::Move { id: 2, turn: 5, body: b"e4" });
    assert_eq!(sent(&mut session)[1], expected);
    lose(&mut session);
    assert_eq!(come_back(&mut session, &resumed(1)), [expected], "kept, and sent again");
    give(&mut session, &status(2, StatusCode::NotYourTurn));
    assert!(matches!(session.fate(receipt), Some(Fate::Refused { .. })));
}

#[test]
fn a_turn_that_is_over_is_not_handed_out() {
    for over in [ended(1, 5), ended(1, 6), wait(6)] {
        let mut session = holder();
        give(&mut session, &over);
        assert!(!events(&mut session).contains(&GO_EVENT), "{over:?}");
    }
    let mut session = holder();
    give(&mut session, &ended(1, 4));
    assert!(events(&mut session).contains(&GO_EVENT), "an older one is no matter");
}

#[test]
fn a_turn_is_not_handed_out_again_while_a_move_of_it_is_under_way() {
    let mut session = holder();
    assert_eq!(events(&mut session), [GO_EVENT]);
    session.send_move(5, "e4").expect("open");
    lose(&mut session);
    come_back(&mut session, &resumed(0));
    give(&mut session, &GO);
    assert_eq!(events(&mut session), [Event::Resumed { missed: 0 }]);

    give(&mut session, &status(1, StatusCode::Refused));
    lose(&mut session);
    come_back(&mut session, &resumed(1));
    give(&mut session, &GO);
    let told = events(&mut session);
    assert_eq!(told.last(), Some(&GO_EVENT), "the rules did not allow it, and the turn stays");
}

#[test]
fn a_turn_that_was_not_played_comes_again_once() {
    let mut session = holder();
    session.lost(None, Instant::now());
    come_back(&mut session, &resumed(0));
    give(&mut session, &GO);
    assert_eq!(session.next_event(), Some(GO_EVENT));
    session.send_move(5, "e4").expect("open");
    assert!(!events(&mut session).contains(&GO_EVENT), "it lay there twice");
}

#[test]
fn a_new_session_has_no_turn_before_it_is_told() {
    let mut session = holder();
    session.lost(None, Instant::now());
    come_back(&mut session, &new_one());
    assert!(!events(&mut session).contains(&GO_EVENT));
    give(&mut session, &GO);
    assert_eq!(events(&mut session), [GO_EVENT]);
}

#[test]
fn a_new_session_may_have_a_turn_of_the_same_number() {
    let mut session = holder();
    events(&mut session);
    session.send_move(5, "e4").expect("open");
    give(&mut session, &status(1, StatusCode::Accepted));
    lose(&mut session);
    come_back(&mut session, &new_one());
    give(&mut session, &GO);
    assert_eq!(events(&mut session).last(), Some(&GO_EVENT), "of another game");
}

#[test]
fn a_move_of_the_old_game_is_not_made_in_the_new_one() {
    let mut session = holder();
    lose(&mut session);
    let receipt = session.send_move(5, "e4").expect("kept");
    session.send_text("well played").expect("kept");
    let text = format!("{:?}", Frame::Text { id: 1, body: b"well played" });
    assert_eq!(come_back(&mut session, &new_one()), [text]);
    let told = events(&mut session);
    let [Event::SessionLost { .. }, Event::Refused { receipt: refused, code, .. }] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((*refused, *code), (receipt, StatusCode::NotYourTurn));
    give(&mut session, &GO);
    assert_eq!(events(&mut session), [GO_EVENT]);
}

#[test]
fn who_only_sends_is_not_told() {
    let keep = Keep { records: false, refusals: true, acceptances: true };
    let mut session = ClientSession::anonymous(keep);
    give(&mut session, &init_ack(1 << 20));
    for frame in [GO, wait(6), ended(1, 6)] {
        give(&mut session, &frame);
    }
    assert!(!session.has_event());
}
