//! The client's side, sentence by sentence of section 8.

use super::*;
use crate::error::Error;
use crate::message::Frame;
use crate::transfer::{Ending, Next, Outgoing};

/// One stream of a file of this size, with its first credit.
fn sending(size: u64, limit: u64) -> Outgoing {
    let mut outgoing = Outgoing::default();
    assert_eq!(outgoing.open(facts(size)).expect("short"), 1);
    outgoing.whole(1, size);
    outgoing.credit(1, 0, limit).expect("legal");
    outgoing
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what is next")]
fn data(stream: u64, offset: u64, count: u64, repeated: u64) -> Option<Next> {
    let [count, repeated] = [count, repeated].map(|size| size as usize);
    Some(Next::Data { stream, offset, count, repeated })
}

/// Sends what is next, and gives it.
fn send(outgoing: &mut Outgoing, most: usize) -> Option<Next> {
    let next = outgoing.next(most);
    if let Some(Next::Data { stream, count, .. }) = next {
        outgoing.sent(stream, count);
    }
    next
}

#[test]
fn nothing_is_sent_before_the_first_credit_nor_past_it() {
    let mut outgoing = Outgoing::default();
    outgoing.open(facts(100)).expect("short");
    outgoing.whole(1, 100);
    assert_eq!(outgoing.next(1000), None);
    outgoing.credit(1, 0, 60).expect("legal");
    assert_eq!(send(&mut outgoing, 40), data(1, 0, 40, 0));
    assert_eq!(send(&mut outgoing, 40), data(1, 40, 20, 0));
    assert_eq!(send(&mut outgoing, 40), None);
    outgoing.credit(1, 50, 1000).expect("legal");
    assert_eq!(outgoing.stored(1), Some(50));
    assert_eq!(send(&mut outgoing, 1000), data(1, 60, 40, 0));
    let end = Some(Next::End { stream: 1, size: 100 });
    assert_eq!(outgoing.next(1000), end);
    assert_eq!(outgoing.next(1000), end, "it was not sent");
    outgoing.ended(1);
    assert_eq!(outgoing.next(1000), None, "it ends once");
}

#[test]
fn a_stream_of_no_bytes_waits_for_its_credit_too() {
    let mut outgoing = Outgoing::default();
    outgoing.open(facts(0)).expect("short");
    outgoing.whole(1, 0);
    assert_eq!(outgoing.next(10), None);
    outgoing.credit(1, 0, 0).expect("legal");
    assert_eq!(outgoing.next(10), Some(Next::End { stream: 1, size: 0 }));
}

#[test]
fn streams_take_turns_in_pieces_of_at_most_65536_bytes() {
    let mut outgoing = sending(1 << 20, 1 << 20);
    for number in 2..=3 {
        outgoing.open(facts(1 << 20)).expect("short");
        outgoing.whole(number, 1 << 20);
        outgoing.credit(number, 0, if number == 2 { 64 * KIB } else { 1 << 20 }).expect("legal");
    }
    let turns: Vec<_> =
        std::iter::repeat_with(|| send(&mut outgoing, usize::MAX)).take(5).collect();
    let chunk = |stream, index: u64| data(stream, index * 64 * KIB, 64 * KIB, 0);
    assert_eq!(turns, [chunk(1, 0), chunk(2, 0), chunk(3, 0), chunk(1, 1), chunk(3, 1)]);
}

#[test]
fn content_of_unknown_size_is_sent_as_it_comes_and_kept_until_it_is_stored() {
    let mut outgoing = Outgoing::default();
    outgoing.open(facts(None)).expect("short");
    assert_eq!(outgoing.wanted(1, 1000), 0, "before its credit");
    outgoing.credit(1, 0, 300).expect("legal");
    assert_eq!((outgoing.wanted(1, 1000), outgoing.wanted(1, 200)), (300, 200));
    assert_eq!(outgoing.next(1000), None, "nothing was read yet");
    outgoing.available(1, 200);
    assert_eq!(outgoing.wanted(1, 200), 0);
    assert_eq!(send(&mut outgoing, 1000), data(1, 0, 200, 0));
    assert_eq!(outgoing.next(1000), None);
    outgoing.credit(1, 150, 450).expect("legal");
    assert_eq!(outgoing.wanted(1, 200), 150, "what is stored is not kept");
    outgoing.whole(1, 210);
    assert_eq!(outgoing.wanted(1, 200), 0);
    assert_eq!(send(&mut outgoing, 1000), data(1, 200, 10, 0));
    assert_eq!(outgoing.next(1000), Some(Next::End { stream: 1, size: 210 }));
}

#[test]
fn a_file_that_turns_out_shorter_ends_there() {
    let mut outgoing = sending(100, 100);
    assert_eq!(outgoing.next(60), data(1, 0, 60, 0));
    outgoing.sent(1, 20);
    outgoing.whole(1, 20);
    assert_eq!(outgoing.next(60), Some(Next::End { stream: 1, size: 20 }));
}

#[test]
fn after_an_offset_mismatch_it_goes_back_and_ends_again() {
    let mut outgoing = sending(100, 100);
    send(&mut outgoing, 100);
    assert!(matches!(outgoing.next(1), Some(Next::End { .. })));
    outgoing.ended(1);
    assert_eq!(outgoing.status(1, StatusCode::OffsetMismatch, ""), Ok(None));
    assert_eq!(outgoing.next(100), None, "the credit says where to go on");
    outgoing.credit(1, 30, 100).expect("legal");
    assert_eq!(outgoing.next(50), data(1, 30, 50, 50));
    outgoing.sent(1, 50);
    assert_eq!(send(&mut outgoing, 50), data(1, 80, 20, 20));
    assert_eq!(outgoing.next(100), Some(Next::End { stream: 1, size: 100 }));
}

#[test]
fn after_a_resume_it_is_opened_again_and_goes_on_where_the_server_says() {
    let mut outgoing = sending(100, 100);
    outgoing.next(60);
    outgoing.sent(1, 60);
    outgoing.open(facts(None)).expect("short");
    outgoing.status(2, StatusCode::TooMany, "").expect("legal");
    outgoing.open(facts(5)).expect("short");
    let (name, media_type) = ("photo.jpg", "image/jpeg");
    let frame = |stream, size| Frame::StreamOpen { stream, size, name, media_type };
    assert_eq!(outgoing.resumed(), [frame(1, Some(100)), frame(3, Some(5))]);
    assert_eq!(outgoing.next(100), None, "the old credit does not hold");
    outgoing.credit(1, 40, 100).expect("legal");
    assert_eq!(outgoing.next(100), data(1, 40, 60, 20), "part of the checksum already");
    assert_eq!(outgoing.stored(1), Some(40), "and what is before need not be kept");
}

#[test]
fn one_that_had_ended_ends_again_after_a_resume_or_learns_its_fate() {
    let mut outgoing = sending(5, 5);
    send(&mut outgoing, 5);
    outgoing.ended(1);
    outgoing.resumed();
    let mut other = sending(5, 5);
    send(&mut other, 5);
    other.ended(1);
    other.resumed();
    other.credit(1, 5, 5).expect("legal");
    assert_eq!(other.next(5), Some(Next::End { stream: 1, size: 5 }));
    let ending = outgoing.status(1, StatusCode::Accepted, "a/b").expect("legal");
    let (stream, code, detail) = (1, StatusCode::Accepted, "a/b".into());
    assert_eq!(ending, Some(Ending { stream, code, detail }));
    assert_eq!(outgoing.status(1, StatusCode::Accepted, "a/b"), Ok(None), "once");
    assert_eq!((outgoing.count(), outgoing.resumed().len()), (0, 0));
    assert_eq!(outgoing.credit(1, 5, 5), Ok(()), "late credit is ignored");
}

#[test]
fn one_that_is_cancelled_sends_no_more_and_learns_its_fate() {
    let mut outgoing = sending(100, 100);
    send(&mut outgoing, 10);
    let frame = Frame::StreamCancel { stream: 1, detail: "".into() };
    assert_eq!(outgoing.cancel(1), Some(frame.clone()));
    assert_eq!(outgoing.cancel(1), None);
    assert_eq!(outgoing.next(100), None);
    let frames = outgoing.resumed();
    assert_eq!(frames[1..], [frame], "the first may be lost");
    outgoing.credit(1, 10, 100).expect("legal");
    assert_eq!(outgoing.next(100), None);
    let ending = outgoing.status(1, StatusCode::Cancelled, "").expect("legal");
    assert_eq!(ending.map(|ending| ending.code), Some(StatusCode::Cancelled));
    assert_eq!(outgoing.cancel(1), None);
}

#[test]
fn with_the_session_all_fates_are_lost_and_the_numbers_begin_anew() {
    let mut outgoing = sending(100, 100);
    outgoing.open(facts(5)).expect("short");
    assert_eq!(outgoing.forget(), [1, 2]);
    assert_eq!(outgoing.count(), 0);
    assert_eq!(outgoing.open(facts(5)).expect("short"), 1);
    assert!(matches!(outgoing.open_frame(1), Some(Frame::StreamOpen { stream: 1, .. })));
}

#[test]
fn a_server_that_makes_no_sense_is_told_so() {
    let mut outgoing = sending(100, 100);
    outgoing.next(50);
    outgoing.sent(1, 50);
    outgoing.credit(1, 40, 100).expect("legal");
    for (number, offset, limit) in
        [(0, 0, 9), (2, 0, 9), (1, 51, 100), (1, 50, 49), (1, u64::MAX, u64::MAX)]
    {
        let violation = outgoing.credit(number, offset, limit).expect_err("nonsense");
        assert_eq!(violation.code, ErrorCode::Malformed);
    }
    outgoing.credit(1, 0, 10).expect("an old one says nothing new");
    assert_eq!((outgoing.stored(1), outgoing.next(100)), (Some(40), data(1, 50, 50, 0)));
    for number in [0, 2] {
        assert!(outgoing.status(number, StatusCode::Refused, "").is_err());
    }
    assert!(outgoing.status(1, StatusCode::Accepted, "").is_err(), "it has not ended");
    outgoing.resumed();
    assert!(outgoing.credit(1, 39, 100).is_err(), "that was stored, and is kept no more");
    assert!(outgoing.credit(1, 40, u64::MAX).is_ok());
}

#[test]
fn fields_that_do_not_fit_are_refused() {
    let long = "x".repeat(1001);
    let mut outgoing = Outgoing::default();
    let name = outgoing.open(named(&long));
    assert!(matches!(name, Err(Error::FieldTooLong("file name"))));
    let media_type = outgoing.open(Facts { media_type: &long, ..facts(1) });
    assert!(matches!(media_type, Err(Error::FieldTooLong("media type"))));
    assert_eq!(outgoing.open(facts(1)).expect("short"), 1, "no number was used");
}
