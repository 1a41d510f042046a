//! The machine, frame by frame.

mod loss;
mod model;
mod resume;
mod streams;
mod turns;

use std::borrow::Cow;
use std::io;

use super::*;
use crate::codec::decode;
use crate::frame::{Framer, RawFrame};
use crate::message::{ErrorCode, Reason, StatusCode, kind};

const ALL: Keep = Keep { records: true, refusals: true, acceptances: true };

fn with_token(token: &str) -> Result<ClientSession, Error> {
    let timezone = "Europe/Vienna";
    let options = Options { name: "alice", timezone, ..Options::anonymous(ALL) };
    ClientSession::new(&Options { token: Token(token), ..options })
}

fn new_session() -> ClientSession {
    with_token("").expect("short fields")
}

fn init_ack(frame_max: u32) -> Frame<'static> {
    Frame::InitAck {
        version: VERSION,
        mode: Mode::Relay,
        flags: 0,
        session: SessionKey([7; 16]),
        seen: 0,
        head: 0,
        missed: 0,
        frame_max,
        grace_ms: 30_000,
        name: "alice-2",
    }
}

/// A session after its handshake.
fn open_session() -> ClientSession {
    let mut session = new_session();
    session.outgoing.clear();
    give(&mut session, &init_ack(1 << 20));
    assert!(session.is_open());
    session
}

fn give(session: &mut ClientSession, frame: &Frame<'_>) {
    give_at(session, frame, Instant::now());
}

fn give_at(session: &mut ClientSession, frame: &Frame<'_>, now: Instant) {
    let mut framer = Framer::new(u32::MAX);
    framer.extend(&frame.to_bytes());
    session.receive(&framer.next_frame().expect("legal").expect("whole"), now);
}

/// What is outgoing, as text, and takes it away.
fn sent(session: &mut ClientSession) -> Vec<String> {
    let mut framer = Framer::new(u32::MAX);
    framer.extend(&std::mem::take(&mut session.outgoing));
    let mut frames = Vec::new();
    while let Some(raw) = framer.next_frame().expect("legal") {
        frames.push(format!("{:?}", decode(&raw).expect("legal")));
    }
    assert_eq!(framer.buffered(), 0, "whole frames only");
    frames
}

fn text(seq: u64) -> Frame<'static> {
    Frame::RelayedText { seq, time_ms: 1000, from: "bob", body: "hi" }
}

fn terminate(reason: Reason) -> Frame<'static> {
    Frame::Terminate { reason, retry_after_ms: 1500, detail: Cow::Borrowed("see you") }
}

fn violation_of(session: &ClientSession) -> ErrorCode {
    match session.ended() {
        Some(End::Violation(violation)) => violation.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn begins_with_an_init_and_nothing_else_before_the_answer() {
    let mut session = with_token("secret").expect("short");
    let init = Frame::Init {
        version: 1,
        session: SessionKey::NEW,
        received: 0,
        name: "alice",
        timezone: "Europe/Vienna",
        token: Token("secret"),
    };
    assert_eq!(session.outgoing, init.to_bytes());
    assert!(matches!(session.send_text("early"), Err(Error::Closed)));
    assert!(session.ping().is_err());
    session.terminate();
    assert_eq!(session.outgoing, init.to_bytes());
}

#[test]
fn an_init_of_4096_bytes_is_the_longest() {
    let room = 4096 - INIT_OVERHEAD - "alice".len() - "Europe/Vienna".len();
    let session = with_token(&"t".repeat(room)).expect("fits");
    assert_eq!(session.outgoing.len(), 4 + 4096);
    for size in [room + 1, 70_000] {
        let result = with_token(&"t".repeat(size));
        assert!(matches!(result, Err(Error::FieldTooLong("token"))));
    }
}

#[test]
fn the_answer_opens_it() {
    let session = open_session();
    assert_eq!((session.name(), session.mode()), ("alice-2", Mode::Relay));
    assert_eq!(session.frame_max(), 1 << 20);
}

#[test]
fn frame_max_is_believed_up_to_a_ceiling_and_not_below_4096() {
    for (told, used) in [(4096, 4096), (u32::MAX, FRAME_MAX_CEILING)] {
        let mut session = new_session();
        give(&mut session, &init_ack(told));
        assert_eq!(session.frame_max(), used);
    }
    let mut session = new_session();
    give(&mut session, &init_ack(4095));
    assert_eq!(violation_of(&session), ErrorCode::Malformed);
}

#[test]
fn in_the_handshake_all_but_its_end_is_out_of_order() {
    for frame in [text(1), Frame::Ping { nonce: 1 }, Frame::TerminateAck] {
        let mut session = new_session();
        give(&mut session, &frame);
        assert_eq!(violation_of(&session), ErrorCode::OutOfOrder, "{frame:?}");
    }
    let mut session = new_session();
    session.outgoing.clear();
    give(&mut session, &Frame::Hint { kind: 0x80, payload: b"?" });
    assert!(session.ended().is_none());
    give(&mut session, &terminate(Reason::ShuttingDown));
    assert!(matches!(session.ended(), Some(End::Terminated { .. })));
    assert!(session.outgoing.is_empty(), "silent until InitAck");
}

#[test]
fn messages_are_numbered_and_get_their_fate() {
    let mut session = open_session();
    assert_eq!(session.send_text("one").expect("open"), Receipt(1));
    assert_eq!(session.send_bytes(b"two").expect("open"), Receipt(2));
    assert_eq!(session.send_direct("bob", "three").expect("open"), Receipt(3));
    let frames = sent(&mut session);
    assert!(frames[0].starts_with("Text { id: 1"), "{frames:?}");
    assert!(frames[2].starts_with("Direct { id: 3, to: \"bob\""), "{frames:?}");
    assert_eq!(session.unsettled(session.last_receipt()), 3);
    assert_eq!(session.kept_bytes(), 0, "without a policy nothing is sent again");
    let detail = Cow::Borrowed("too loud");
    give(&mut session, &Frame::Status { id: 2, code: StatusCode::Refused, detail });
    let detail = Cow::Borrowed("");
    give(&mut session, &Frame::Status { id: 3, code: StatusCode::Accepted, detail });
    assert_eq!(session.answers(), 2);
    assert_eq!(session.fate(Receipt(1)), Some(Fate::Accepted));
    let (code, detail) = (StatusCode::Refused, "too loud".to_owned());
    let refused = Event::Refused { receipt: Receipt(2), code, detail };
    assert_eq!(session.next_event(), Some(refused));
    assert_eq!(session.next_event(), Some(Event::Accepted { receipt: Receipt(3) }));
    assert_eq!(session.next_event(), None);
}

#[test]
fn a_message_that_is_too_large_takes_no_number() {
    let mut session = new_session();
    give(&mut session, &init_ack(4096));
    session.outgoing.clear();
    let result = session.send_bytes(&[0; 3073]);
    assert!(matches!(result, Err(Error::TooLarge { size: 3073, limit: 3072 })));
    let result = session.send_direct(&"n".repeat(1001), "");
    assert!(matches!(result, Err(Error::FieldTooLong(_))));
    assert!(session.outgoing.is_empty());
    assert_eq!(session.send_direct(&"n".repeat(1000), &"b".repeat(3072)).expect("fits").0, 1);
    assert!(session.outgoing.len() <= 4 + 4096);
}

#[test]
fn pings_are_answered_and_pongs_matched_by_nonce() {
    let mut session = open_session();
    give(&mut session, &Frame::Ping { nonce: 77 });
    assert_eq!(sent(&mut session), ["Pong { nonce: 77 }"]);
    let (first, second) = (session.ping().expect("open"), session.ping().expect("open"));
    give(&mut session, &Frame::Pong { nonce: second });
    give(&mut session, &Frame::Pong { nonce: 12_345 });
    assert!(matches!(session.has_pong(first), Ok(false)));
    assert!(matches!(session.has_pong(second), Ok(true)));
    assert_eq!(session.answers(), 1);
}

#[test]
fn records_come_in_order_and_seq_must_rise() {
    let mut session = open_session();
    give(&mut session, &Frame::Present { total: 1, names: vec!["alice-2"] });
    give(&mut session, &Frame::Joined { seq: 4, time_ms: 0, name: "bob" });
    give(&mut session, &text(9));
    let events: Vec<_> = std::iter::from_fn(|| session.next_event()).collect();
    assert_eq!(events.iter().map(Event::seq).collect::<Vec<_>>(), [None, Some(4), Some(9)]);
    give(&mut session, &text(9));
    assert_eq!(violation_of(&session), ErrorCode::OutOfOrder);
    assert_eq!(sent(&mut session).len(), 1, "the server is told");
}

#[test]
fn what_others_use_is_skipped() {
    let mut session = open_session();
    for frame in [Frame::TerminateAck, Frame::Hint { kind: 0xFF, payload: b"" }] {
        give(&mut session, &frame);
    }
    assert!(session.is_open() && !session.has_event() && session.outgoing.is_empty());
}

#[test]
fn frames_that_a_server_never_sends_are_violations() {
    for kind in [kind::INIT, kind::TEXT, kind::STREAM_DATA, 0x27, 0x7F, 0x00] {
        let mut session = open_session();
        session.receive(&RawFrame { kind, payload: &[] }, Instant::now());
        assert_eq!(violation_of(&session), ErrorCode::UnknownKind, "kind {kind:#x}");
        assert!(sent(&mut session)[0].starts_with("Error { code: UnknownKind"));
        assert!(matches!(session.send_text("x"), Err(Error::Violation(_))));
    }
    let mut session = open_session();
    session.receive(&RawFrame { kind: kind::STATUS, payload: &[0; 8] }, Instant::now());
    assert_eq!(violation_of(&session), ErrorCode::Malformed);
    let mut session = open_session();
    give(&mut session, &init_ack(1 << 20));
    assert_eq!(violation_of(&session), ErrorCode::OutOfOrder);
}

#[test]
fn the_server_says_goodbye_what_is_queued_goes_first_then_the_ack() {
    let mut session = open_session();
    session.send_text("last words").expect("open");
    give(&mut session, &text(1));
    give(&mut session, &terminate(Reason::TooSlow));
    give(&mut session, &text(2));
    let frames = sent(&mut session);
    assert!(frames[0].starts_with("Text") && frames[1] == "TerminateAck", "{frames:?}");
    assert!(session.next_event().is_some(), "what came before is handed out");
    assert!(session.next_event().is_none(), "what came behind is not");
    let Some(End::Terminated { reason, retry_after, detail }) = session.ended() else {
        panic!("{:?}", session.ended());
    };
    assert_eq!(
        (*reason, retry_after.as_millis(), detail.as_str()),
        (Reason::TooSlow, 1500, "see you")
    );
}

#[test]
fn our_goodbye_is_answered_and_statuses_still_count() {
    let mut session = open_session();
    session.send_text("x").expect("open");
    session.terminate();
    session.terminate();
    assert_eq!(sent(&mut session).len(), 2, "one message, one Terminate");
    assert!(matches!(session.send_text("y"), Err(Error::Closed)));
    let (code, detail) = (StatusCode::Accepted, Cow::Borrowed(""));
    give(&mut session, &Frame::Status { id: 1, code, detail });
    give(&mut session, &Frame::TerminateAck);
    assert!(matches!(session.ended(), Some(End::Closed { answered: true })));
    assert_eq!(session.fate(Receipt(1)), Some(Fate::Accepted));
}

#[test]
fn both_say_goodbye_at_once() {
    let mut session = open_session();
    session.terminate();
    sent(&mut session);
    give(&mut session, &terminate(Reason::ShuttingDown));
    assert_eq!(sent(&mut session), ["TerminateAck"]);
    give(&mut session, &text(1));
    assert!(!session.has_event(), "behind its Terminate only the Ack counts");
    assert!(session.is_closing());
    give(&mut session, &Frame::TerminateAck);
    assert!(matches!(session.ended(), Some(End::Closed { answered: true })));
}

#[test]
fn losses_are_told_apart() {
    let mut session = open_session();
    session.send_text("x").expect("open");
    session.lost(None, Instant::now());
    assert!(matches!(session.ended(), Some(End::Lost)));
    assert!(session.outgoing.is_empty());
    session.lost(Some(io::ErrorKind::BrokenPipe.into()), Instant::now());
    assert!(matches!(session.ended(), Some(End::Lost)), "the first end stays");

    let mut session = open_session();
    session.lost(Some(io::ErrorKind::ConnectionReset.into()), Instant::now());
    assert!(matches!(session.ended(), Some(End::Io(_))));

    let mut session = open_session();
    session.terminate();
    session.lost(None, Instant::now());
    assert!(matches!(session.ended(), Some(End::Closed { answered: false })));

    let mut session = open_session();
    let (code, detail) = (ErrorCode::Internal, Cow::Borrowed("oops"));
    give(&mut session, &Frame::Error { code, detail });
    assert!(matches!(session.ended(), Some(End::Refused { code: ErrorCode::Internal, .. })));
}

#[test]
fn only_what_is_asked_for_is_kept() {
    let keep = Keep { records: false, refusals: false, acceptances: true };
    let mut session = ClientSession::anonymous(keep);
    give(&mut session, &init_ack(1 << 20));
    for _ in 0..3 {
        session.send_text("x").expect("open");
    }
    give(&mut session, &text(1));
    give(&mut session, &Frame::Present { total: 0, names: vec![] });
    let detail = || Cow::Borrowed("");
    give(&mut session, &Frame::Status { id: 1, code: StatusCode::Refused, detail: detail() });
    give(&mut session, &Frame::Status { id: 2, code: StatusCode::Accepted, detail: detail() });
    give(&mut session, &Frame::Status { id: 3, code: StatusCode::Accepted, detail: detail() });
    let events: Vec<_> = std::iter::from_fn(|| session.next_event()).collect();
    assert_eq!(events, [Event::Accepted { receipt: Receipt(3) }], "two in a row become one");
}
