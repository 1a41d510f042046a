//! Uploads: which are opened, what is sent of them, and what becomes of each.

use super::loss::{events, open_at};
use super::*;
use crate::message::FLAG_RESUMED;
use crate::transfer::Facts;

fn begin(session: &mut ClientSession, name: &str) -> u64 {
    session.begin_upload(Facts { size: Some(10), name, media_type: "" }).expect("alive")
}

fn open(stream: u64, name: &str) -> String {
    format!("{:?}", Frame::StreamOpen { stream, size: Some(10), name, media_type: "" })
}

fn credit(session: &mut ClientSession, stream: u64, offset: u64) {
    give(session, &Frame::StreamCredit { stream, offset, limit: 10 });
}

fn status(session: &mut ClientSession, stream: u64, code: StatusCode, detail: &str) {
    give(session, &Frame::StreamStatus { stream, code, detail: detail.into() });
}

/// Reads and puts in line what is next; where that begins and ends.
fn serve(session: &mut ClientSession) -> Option<(u64, u64)> {
    let piece = session.next_piece()?;
    let (begin, count) = piece.range().unwrap_or((piece.end(), 0));
    session.put_piece(&piece, &vec![7; count], 99);
    Some((begin, piece.end()))
}

fn cut(session: &mut ClientSession, flags: u8) {
    session.lost(None, Instant::now());
    session.reconnect();
    session.outgoing.clear();
    let Frame::InitAck { version, mode, session: key, seen, head, missed, .. } = init_ack(1 << 20)
    else {
        unreachable!("it is one")
    };
    let (frame_max, grace_ms, name) = (1 << 20, 0, "alice");
    let answer = Frame::InitAck {
        version,
        mode,
        flags,
        session: key,
        seen,
        head,
        missed,
        frame_max,
        grace_ms,
        name,
    };
    give(session, &answer);
    events(session);
}

#[test]
fn content_follows_the_credit_and_then_its_end() {
    let mut session = open_session();
    let upload = begin(&mut session, "a");
    assert_eq!(sent(&mut session), [open(1, "a")]);
    assert!(!session.has_piece() && session.next_piece().is_none());
    credit(&mut session, 1, 0);
    assert!(session.has_piece());
    session.serve_uploads(true);
    assert!(!session.has_piece(), "somebody is at it");
    session.serve_uploads(false);
    assert_eq!(serve(&mut session), Some((0, 10)));
    assert_eq!(session.upload_progress(upload), (10, 0));
    assert_eq!(serve(&mut session), Some((10, 10)));
    assert_eq!(serve(&mut session), None);
    let data = Frame::StreamData { stream: 1, offset: 0, bytes: &[7; 10] };
    let end = Frame::StreamEnd { stream: 1, size: 10, crc32c: 99 };
    assert_eq!(sent(&mut session), [data, end].map(|frame| format!("{frame:?}")));
    let answers = session.answers();
    status(&mut session, 1, StatusCode::Accepted, "alice/a");
    assert!(session.answers() > answers, "whoever waits looks again");
    assert_eq!(session.upload_fate(upload).expect("told").expect("stored"), "alice/a");
    assert_eq!((session.upload_progress(upload), session.uploads_under_way()), ((10, 10), 0));
}

#[test]
fn eight_are_open_at_once_and_the_next_one_follows_a_fate() {
    let mut session = open_session();
    let uploads: Vec<_> = (1..=10).map(|_| begin(&mut session, "x")).collect();
    assert_eq!(sent(&mut session).len(), 8);
    session.forget_upload(uploads[8]);
    assert_eq!(sent(&mut session), [""; 0], "what was never opened need not be cancelled");
    status(&mut session, 3, StatusCode::TooLarge, "");
    assert_eq!(sent(&mut session), [open(9, "x")]);
    let fate = session.upload_fate(uploads[2]).expect("told");
    assert!(matches!(fate, Err(Error::NotStored { code: StatusCode::TooLarge, .. })), "{fate:?}");
    assert!(session.upload_fate(uploads[9]).is_none());
}

#[test]
fn what_was_too_many_waits_until_there_is_room() {
    let mut session = open_session();
    let uploads = ["a", "b", "c"].map(|name| begin(&mut session, name));
    sent(&mut session);
    status(&mut session, 2, StatusCode::TooMany, "1 at once");
    status(&mut session, 3, StatusCode::TooMany, "1 at once");
    assert_eq!(sent(&mut session), [""; 0]);
    status(&mut session, 1, StatusCode::Refused, "");
    assert_eq!(sent(&mut session), [open(4, "b")], "in the order of the calls, one at a time");
    assert!(session.upload_fate(uploads[1]).is_none());
    // Alone it cannot have been too early.
    status(&mut session, 4, StatusCode::TooMany, "0 at once");
    let fate = session.upload_fate(uploads[1]).expect("told");
    assert!(matches!(fate, Err(Error::NotStored { code: StatusCode::TooMany, .. })), "{fate:?}");
    assert_eq!(sent(&mut session), [open(5, "c")]);
}

#[test]
fn a_resume_opens_again_before_it_repeats_messages() {
    let mut session = open_at(Instant::now());
    begin(&mut session, "a");
    let cancelled = begin(&mut session, "b");
    credit(&mut session, 1, 0);
    let piece = session.next_piece().expect("credit");
    session.send_text("hi").expect("open");
    session.lost(None, Instant::now());
    session.cancel_upload(cancelled);
    begin(&mut session, "c");
    cut(&mut session, FLAG_RESUMED);
    let cancel = format!("{:?}", Frame::StreamCancel { stream: 2, detail: "".into() });
    let text = format!("{:?}", Frame::Text { id: 1, body: b"hi" });
    let again = [open(1, "a"), open(2, "b"), cancel, open(3, "c"), text];
    assert_eq!(sent(&mut session), again);
    session.put_piece(&piece, &[7; 10], 0);
    assert_eq!(sent(&mut session), [""; 0], "it was read for a connection that is lost");
    credit(&mut session, 1, 0);
    assert_eq!(serve(&mut session), Some((0, 10)), "so it is read again");
}

#[test]
fn with_the_session_goes_what_was_open_and_what_waits_is_opened_anew() {
    let mut session = open_at(Instant::now());
    let uploads: Vec<_> = (0..9).map(|_| begin(&mut session, "x")).collect();
    cut(&mut session, 0);
    assert_eq!(sent(&mut session), [open(1, "x")]);
    for upload in &uploads[..8] {
        let fate = session.upload_fate(*upload);
        assert!(matches!(fate, Some(Err(Error::UploadUnknown))), "{fate:?}");
    }
    status(&mut session, 1, StatusCode::Refused, "");
    let fate = session.upload_fate(uploads[8]);
    assert!(matches!(fate, Some(Err(Error::NotStored { .. }))), "{fate:?}");
}

#[test]
fn at_the_end_what_never_left_is_told_how_it_ended() {
    let mut session = open_session();
    let uploads: Vec<_> = (0..9).map(|_| begin(&mut session, "x")).collect();
    session.lost(None, Instant::now());
    assert!(matches!(session.upload_fate(uploads[0]), Some(Err(Error::UploadUnknown))));
    assert!(matches!(session.upload_fate(uploads[8]), Some(Err(Error::Lost))));
    let facts = Facts { size: None, name: "x", media_type: "" };
    assert!(matches!(session.begin_upload(facts), Err(Error::Lost)));
}

#[test]
fn a_piece_of_what_was_given_up_meanwhile_is_not_sent() {
    let mut session = open_session();
    let upload = begin(&mut session, "a");
    credit(&mut session, 1, 0);
    let piece = session.next_piece().expect("credit");
    session.cancel_upload(upload);
    assert!(sent(&mut session)[1].starts_with("StreamCancel"));
    session.put_piece(&piece, &[7; 10], 0);
    assert_eq!(sent(&mut session), [""; 0]);
    status(&mut session, 1, StatusCode::Cancelled, "");
    assert!(matches!(session.upload_fate(upload), Some(Err(Error::NotStored { .. }))));
}

#[test]
fn the_server_may_cancel_and_must_not_invent() {
    let mut session = open_session();
    let upload = begin(&mut session, "a");
    for (stream, words) in [(2, "none"), (1, "shut")] {
        give(&mut session, &Frame::StreamCancel { stream, detail: words.into() });
    }
    let fate = session.upload_fate(upload).expect("told").expect_err("cancelled");
    assert_eq!(fate.to_string(), "not stored: cancelled (shut)");
    status(&mut session, 1, StatusCode::Cancelled, "");
    assert!(session.is_open(), "told twice");
    status(&mut session, 2, StatusCode::Refused, "");
    assert_eq!(violation_of(&session), ErrorCode::Malformed);
}

#[test]
fn others_uploads_are_events() {
    let mut session = open_session();
    let (from, name) = ("bob", "bob/photo.jpg");
    give(&mut session, &Frame::Uploaded { seq: 5, time_ms: 0, size: 2_200_000, from, name });
    let event = session.next_event().expect("an event");
    assert_eq!((event.seq(), &*event.to_string()), (Some(5), "bob sent photo.jpg, 2.1 MiB"));
}

#[test]
fn an_end_that_another_upload_disturbs_is_asked_for_again() {
    let mut session = open_session();
    let (upload, other) = (begin(&mut session, "a"), begin(&mut session, "b"));
    credit(&mut session, 1, 0);
    assert_eq!(serve(&mut session), Some((0, 10)));
    let end = session.next_piece().expect("its end");
    session.cancel_upload(other);
    session.outgoing.clear();
    session.put_piece(&end, &[], 99);
    assert!(session.outgoing.is_empty(), "something has changed meanwhile");
    assert_eq!(serve(&mut session), Some((10, 10)));
    status(&mut session, 1, StatusCode::Accepted, "alice/a");
    assert!(session.upload_fate(upload).is_some());
}
