//! A session goes on over a new connection, or is lost.

use super::loss::{events, open_at, persistent};
use super::*;
use crate::message::{FLAG_GAP, FLAG_RESUMED};

const KEY: SessionKey = SessionKey([7; 16]);

/// An answer to an Init that asked for a session: flags, key, seen, head.
fn answer(flags: u8, session: SessionKey, seen: u64, head: u64) -> Frame<'static> {
    Frame::InitAck {
        version: VERSION,
        mode: Mode::Echo,
        flags,
        session,
        seen,
        head,
        missed: u64::from(flags & FLAG_GAP),
        frame_max: 1 << 16,
        grace_ms: 30_000,
        name: "alice-3",
    }
}

pub(super) fn resumed(seen: u64) -> Frame<'static> {
    answer(FLAG_RESUMED, KEY, seen, 100)
}

pub(super) fn new_one() -> Frame<'static> {
    answer(0, SessionKey([9; 16]), 0, 1)
}

pub(super) fn status(id: u64, code: StatusCode) -> Frame<'static> {
    Frame::Status { id, code, detail: Cow::Borrowed("") }
}

/// An open session that has sent `texts` and lost its connection.
fn away(texts: &[&str]) -> ClientSession {
    let mut session = open_at(Instant::now());
    for text in texts {
        session.send_text(text).expect("open");
    }
    lose(&mut session);
    session
}

pub(super) fn lose(session: &mut ClientSession) {
    session.lost(None, Instant::now());
    assert!(matches!(events(session).last(), Some(Event::Reconnecting { .. })));
}

/// Connects again. What is outgoing behind the answer.
pub(super) fn come_back(session: &mut ClientSession, answer: &Frame<'_>) -> Vec<String> {
    session.reconnect();
    assert_eq!(session.frame_max(), HANDSHAKE_FRAME_MAX);
    let init = sent(session);
    assert!(init.len() == 1 && init[0].starts_with("Init"), "{init:?}");
    give(session, answer);
    assert!(session.is_open(), "{:?}", session.ended());
    sent(session)
}

/// As `Debug` shows it.
fn text_of(id: u64, body: &str) -> String {
    format!("{:?}", Frame::Text { id, body: body.as_bytes() })
}

#[test]
fn asks_for_its_session_from_the_last_record_taken_in() {
    let mut session = open_at(Instant::now());
    give(&mut session, &text(4));
    give(&mut session, &text(9)); // both still lie in the inbox
    session.send_text("x").expect("open");
    session.lost(None, Instant::now());
    session.reconnect();
    let init = Frame::Init {
        version: VERSION,
        session: KEY,
        received: 9,
        name: "alice",
        timezone: "",
        token: Token("secret"),
    };
    assert_eq!(session.outgoing, init.to_bytes());
    let shown = format!("{session:?}");
    assert!(!shown.contains("secret") && !shown.contains("7, 7"), "{shown}");
}

#[test]
fn a_resumed_session_sends_what_the_server_has_not_seen() {
    let mut session = away(&["one", "two", "three"]);
    assert_eq!(session.send_text("four").expect("kept").number(), 4);
    session.reconnect();
    assert_eq!(session.send_text("five").expect("kept").number(), 5);
    assert_eq!(sent(&mut session).len(), 1, "nothing but Init before the answer");
    give(&mut session, &resumed(2));
    assert_eq!(events(&mut session), [Event::Resumed { missed: 0 }]);
    assert_eq!((session.name(), session.mode()), ("alice-3", Mode::Echo));
    assert_eq!(session.frame_max(), 1 << 16);
    session.send_text("six").expect("open");
    let expected = [(3, "three"), (4, "four"), (5, "five"), (6, "six")];
    assert_eq!(sent(&mut session), expected.map(|(id, body)| text_of(id, body)));
    assert_eq!(session.fate(Receipt(1)), None, "seen is not accepted");

    // Nothing is sent twice but what may have been lost twice.
    lose(&mut session);
    assert_eq!(come_back(&mut session, &resumed(5)), [text_of(6, "six")]);
    give(&mut session, &status(6, StatusCode::Accepted));
    assert_eq!((session.unsettled(Receipt(6)), session.kept_bytes()), (0, 0));
    lose(&mut session);
    assert!(come_back(&mut session, &resumed(6)).is_empty());
}

#[test]
fn statuses_that_were_told_before_are_harmless() {
    let mut session = open_at(Instant::now());
    for _ in 0..4 {
        session.send_text("x").expect("open");
    }
    give(&mut session, &status(1, StatusCode::Refused));
    give(&mut session, &status(2, StatusCode::Accepted));
    lose(&mut session);
    come_back(&mut session, &resumed(4));
    events(&mut session);
    let answers = session.answers();
    for (id, code) in
        [(1, StatusCode::Refused), (2, StatusCode::Accepted), (1, StatusCode::Accepted)]
    {
        give(&mut session, &status(id, code));
    }
    assert!(session.is_open() && events(&mut session).is_empty());
    assert_eq!(session.answers(), answers);
    give(&mut session, &status(3, StatusCode::NotUtf8));
    give(&mut session, &status(4, StatusCode::Accepted));
    let fates = [1, 2, 3, 4].map(|number| session.fate(Receipt(number)));
    assert!(matches!(fates[0], Some(Fate::Refused { code: StatusCode::Refused, .. })));
    assert!(matches!(fates[2], Some(Fate::Refused { code: StatusCode::NotUtf8, .. })));
    assert_eq!((&fates[1], &fates[3]), (&Some(Fate::Accepted), &Some(Fate::Accepted)));
}

#[test]
fn a_lost_session_sends_again_only_what_never_left() {
    let mut session = open_at(Instant::now());
    for text in ["refused", "accepted", "open", "refused too"] {
        session.send_text(text).expect("open");
    }
    give(&mut session, &status(1, StatusCode::Refused));
    give(&mut session, &status(2, StatusCode::Accepted));
    give(&mut session, &status(4, StatusCode::Refused));
    give(&mut session, &text(50));
    lose(&mut session);
    assert_eq!(session.send_text("five").expect("kept").number(), 5);
    assert_eq!(session.send_direct("bob", "six").expect("kept").number(), 6);
    let answers = session.answers();
    let frames = come_back(&mut session, &new_one());
    let direct = format!("{:?}", Frame::Direct { id: 2, to: "bob", body: b"six" });
    assert_eq!(frames, [text_of(1, "five"), direct]);
    let lost = Event::SessionLost { unconfirmed: 1, up_to: Receipt(4) };
    assert_eq!(events(&mut session), [lost]);
    assert_ne!(session.answers(), answers, "those who wait look again");
    let shown = |session: &ClientSession| {
        let fates = (1..=6).map(|number| match session.fate(Receipt(number)) {
            None => '.',
            Some(Fate::Accepted) => 'a',
            Some(Fate::Refused { .. }) => 'r',
            Some(Fate::Unknown) => '?',
        });
        fates.collect::<String>()
    };
    assert_eq!(shown(&session), "ra?r..");

    // Ids begin anew, receipts go on.
    give(&mut session, &status(1, StatusCode::Refused));
    give(&mut session, &status(2, StatusCode::Accepted));
    let detail = String::new();
    let refused = Event::Refused { receipt: Receipt(5), code: StatusCode::Refused, detail };
    assert_eq!(events(&mut session), [refused, Event::Accepted { receipt: Receipt(6) }]);
    assert_eq!(shown(&session), "ra?rra");
    assert_eq!(session.send_text("seven").expect("open").number(), 7);
    assert_eq!(sent(&mut session), [text_of(3, "seven")]);

    // The log is another one: its numbers begin anew, and so does what is asked for.
    give(&mut session, &text(2));
    assert!(session.is_open());
    lose(&mut session);
    session.reconnect();
    let init = sent(&mut session).remove(0);
    assert!(init.contains("received: 2"), "{init}");
    give(&mut session, &answer(FLAG_RESUMED, SessionKey([9; 16]), 3, 2));
    assert!(session.is_open(), "the new key is asked for: {:?}", session.ended());
}

#[test]
fn what_is_gone_from_the_log_is_told() {
    for (flags, missed, received) in [(FLAG_RESUMED, 0, 9), (FLAG_RESUMED | FLAG_GAP, 2, 5)] {
        let mut session = open_at(Instant::now());
        give(&mut session, &text(9));
        lose(&mut session);
        come_back(&mut session, &answer(flags, KEY, 0, 5));
        assert_eq!(events(&mut session), [Event::Resumed { missed }]);
        lose(&mut session);
        session.reconnect();
        let init = sent(&mut session).remove(0);
        assert!(init.contains(&format!("received: {received},")), "{init}");
    }
    let mut session = open_at(Instant::now());
    give(&mut session, &text(9));
    lose(&mut session);
    come_back(&mut session, &answer(FLAG_RESUMED | FLAG_GAP, KEY, 0, 20));
    give(&mut session, &text(15));
    assert!(session.is_open(), "a head ahead raises nothing: {:?}", session.ended());
    give(&mut session, &text(15));
    assert_eq!(violation_of(&session), ErrorCode::OutOfOrder);
}

#[test]
fn an_answer_that_makes_no_sense_is_a_violation() {
    let mut first = persistent(ReconnectPolicy::default());
    give(&mut first, &resumed(0));
    assert_eq!(violation_of(&first), ErrorCode::Malformed, "nothing was asked for");
    for bad in [
        answer(FLAG_RESUMED, SessionKey([8; 16]), 2, 0),
        answer(FLAG_RESUMED, SessionKey::NEW, 2, 0),
        resumed(0), // 1 was accepted
        resumed(3), // 3 never left
        init_ack(4095),
    ] {
        let mut session = open_at(Instant::now());
        session.send_text("one").expect("open");
        session.send_text("two").expect("open");
        give(&mut session, &status(1, StatusCode::Accepted));
        lose(&mut session);
        session.send_text("three").expect("kept");
        session.reconnect();
        session.outgoing.clear();
        give(&mut session, &bad);
        assert_eq!(violation_of(&session), ErrorCode::Malformed, "{bad:?}");
        assert_eq!(sent(&mut session).len(), 1, "an Error, and no message");
        assert!(events(&mut session).is_empty());
    }
}

#[test]
fn the_size_of_messages_is_held_to_the_last_answer() {
    let mut session = away(&[]);
    let limit = (1 << 20) - BODY_MARGIN as usize;
    let too_large =
        |result| matches!(result, Err(Error::TooLarge { limit: told, .. }) if told == limit);
    assert!(too_large(session.send_bytes(&vec![0; limit + 1])));
    session.reconnect();
    assert!(too_large(session.send_bytes(&vec![0; limit + 1])));
    assert_eq!(session.send_bytes(&vec![0; limit]).expect("fits").number(), 1);
    assert_eq!(session.kept_bytes(), 4 + 1 + 8 + limit);
}

#[test]
fn a_server_that_came_back_is_sent_nothing_that_it_does_not_take() {
    for (size, is_taken) in [((1 << 16) - 9, true), ((1 << 16) - 8, false)] {
        let mut session = away(&[]);
        let large = session.send_bytes(&vec![0; size]).expect("kept");
        session.send_text("small").expect("kept");
        let frames = come_back(&mut session, &new_one());
        if is_taken {
            assert_eq!((frames.len(), session.fate(large)), (2, None), "its own limit is 65,536");
            continue;
        }
        assert_eq!(frames, [text_of(1, "small")]);
        let detail = "the server that came back takes at most 64512 bytes".into();
        let refused = Event::Refused { receipt: large, code: StatusCode::TooLarge, detail };
        assert_eq!(events(&mut session).last(), Some(&refused));
    }
}

#[test]
fn a_status_for_what_never_left_is_a_violation() {
    let mut session = away(&["one"]);
    session.send_text("two").expect("kept");
    assert_eq!(come_back(&mut session, &new_one()), [text_of(1, "two")]);
    give(&mut session, &status(2, StatusCode::Accepted));
    assert_eq!(violation_of(&session), ErrorCode::Malformed);
}
