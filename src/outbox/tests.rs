//! The outbox, status by status and session by session.

use super::*;
use crate::codec::decode;
use crate::frame::Framer;

fn with_messages(count: u64) -> Outbox {
    let mut outbox = Outbox::new(true);
    assert_eq!(ids(&send(&mut outbox, count)), (1..=count).collect::<Vec<_>>());
    outbox
}

/// Sends on an open connection; what is put in line.
fn send(outbox: &mut Outbox, count: u64) -> Vec<u8> {
    let mut line = Vec::new();
    for _ in 0..count {
        let message = Frame::Text { id: outbox.next_id(), body: b"hi" };
        outbox.push(&message, Some(&mut line));
    }
    line
}

/// Sends while there is no connection.
fn send_away(outbox: &mut Outbox, count: u64) {
    for _ in 0..count {
        outbox.push(&Frame::Text { id: outbox.next_id(), body: b"hi" }, None);
    }
}

fn lost(unconfirmed: u64, up_to: u64) -> LostSession {
    LostSession { unconfirmed, up_to: Receipt(up_to), refused: Vec::new() }
}

fn ids(line: &[u8]) -> Vec<u64> {
    let mut framer = Framer::new(u32::MAX);
    framer.extend(line);
    let mut ids = Vec::new();
    while let Some(raw) = framer.next_frame().expect("legal") {
        match decode(&raw).expect("legal") {
            Frame::Text { id, body: b"hi" } => ids.push(id),
            other => panic!("{other:?}"),
        }
    }
    ids
}

/// What is put in line when there is a connection again.
fn sent_again(outbox: &mut Outbox) -> Vec<u64> {
    let mut line = Vec::new();
    outbox.put_in_line(&mut line);
    ids(&line)
}

fn fates(outbox: &Outbox) -> String {
    (1..=outbox.last().0)
        .map(|id| match outbox.fate(Receipt(id)) {
            None => '.',
            Some(Fate::Accepted) => 'a',
            Some(Fate::Refused { .. }) => 'r',
            Some(Fate::Unknown) => '?',
        })
        .collect()
}

#[test]
fn a_refusal_too_proves_that_the_server_has_what_came_before() {
    let mut outbox = with_messages(3);
    assert_eq!(outbox.refuse(2, StatusCode::NotUtf8, ""), Ok(Some(Receipt(2))));
    assert_eq!((sent_again(&mut outbox), outbox.unsettled(Receipt(3))), (vec![3], 2));
    assert_eq!(outbox.refuse(3, StatusCode::NotUtf8, ""), Ok(Some(Receipt(3))));
    assert_eq!((outbox.kept_bytes(), outbox.unsettled(Receipt(3))), (0, 1));
    assert!(outbox.resume(2).is_err(), "it has seen 3");
}

#[test]
fn a_status_0_covers_all_that_was_not_refused() {
    let mut outbox = with_messages(6);
    assert_eq!(outbox.refuse(2, StatusCode::NotUtf8, "byte 3"), Ok(Some(Receipt(2))));
    assert_eq!(fates(&outbox), ".r....");
    assert_eq!(outbox.refuse(4, StatusCode::TooLarge, ""), Ok(Some(Receipt(4))));
    assert_eq!(outbox.accept(5), Ok(Some(Receipt(5))));
    assert_eq!(fates(&outbox), "arara.");
    let fate = Fate::Refused { code: StatusCode::NotUtf8, detail: "byte 3".into() };
    assert_eq!(outbox.fate(Receipt(2)), Some(fate));
}

#[test]
fn repeats_say_nothing_new() {
    let mut outbox = with_messages(5);
    assert_eq!(outbox.refuse(3, StatusCode::Refused, ""), Ok(Some(Receipt(3))));
    assert_eq!(outbox.accept(4), Ok(Some(Receipt(4))));
    assert_eq!(outbox.accept(4), Ok(None));
    assert_eq!(outbox.accept(2), Ok(None));
    assert_eq!(outbox.refuse(3, StatusCode::Refused, ""), Ok(None));
    // a forgetful server repeats the refusal as a status 0
    assert_eq!(outbox.accept(3), Ok(None));
    assert_eq!(fates(&outbox), "aara.");
}

#[test]
fn statuses_that_make_no_sense_are_violations() {
    let mut outbox = with_messages(2);
    for id in [0, 3, u64::MAX] {
        let code = ErrorCode::Malformed;
        assert_eq!(outbox.accept(id).expect_err("nonsense").code, code);
        let refused = outbox.refuse(id, StatusCode::Refused, "");
        assert_eq!(refused.expect_err("nonsense").code, code);
    }
    assert_eq!(outbox.accept(1), Ok(Some(Receipt(1))));
    let late = outbox.refuse(1, StatusCode::Refused, "").expect_err("accepted before");
    assert_eq!(late.code, ErrorCode::OutOfOrder);
}

#[test]
fn counts_what_is_open() {
    let mut outbox = with_messages(6);
    assert_eq!(outbox.unsettled(Receipt(6)), 6);
    assert_eq!(outbox.unsettled(Receipt(0)), 0);
    outbox.refuse(5, StatusCode::Refused, "").expect("legal");
    outbox.refuse(2, StatusCode::Refused, "").expect("legal");
    assert_eq!(outbox.unsettled(Receipt(6)), 4);
    assert_eq!(outbox.unsettled(Receipt(2)), 1);
    outbox.accept(4).expect("legal");
    assert_eq!(outbox.unsettled(Receipt(5)), 0, "the refusal ahead counts");
    assert_eq!(outbox.unsettled(Receipt(6)), 1);
}

#[test]
fn a_receipt_of_another_connection_is_unknown() {
    let outbox = with_messages(1);
    assert_eq!(outbox.fate(Receipt(7)), Some(Fate::Unknown));
    assert_eq!(outbox.fate(Receipt(0)), Some(Fate::Unknown));
}

#[test]
fn refusals_are_bounded_and_what_is_forgotten_is_unknown() {
    let count = REFUSALS_MAX as u64 + 10;
    let mut outbox = with_messages(count + 1);
    for id in 1..=count {
        let words = "é".repeat(1000);
        assert_eq!(outbox.refuse(id, StatusCode::Refused, &words), Ok(Some(Receipt(id))));
    }
    assert_eq!(outbox.refusals.len(), REFUSALS_MAX);
    assert!(outbox.refusals.values().all(|(_, detail)| detail.len() <= DETAIL_MAX));
    assert_eq!(outbox.fate(Receipt(10)), Some(Fate::Unknown));
    assert!(matches!(outbox.fate(Receipt(11)), Some(Fate::Refused { .. })));
    assert_eq!(outbox.unsettled(Receipt(count)), 0);
    assert_eq!(outbox.refuse(5, StatusCode::Refused, ""), Ok(None), "a repeat after all");
    assert_eq!(outbox.fate(Receipt(count + 1)), None);
}

#[test]
fn messages_are_kept_until_the_server_has_them() {
    let mut outbox = with_messages(6);
    let one = outbox.kept_bytes() / 6;
    assert_eq!(one, 4 + 1 + 8 + 2);
    outbox.accept(2).expect("legal");
    outbox.refuse(3, StatusCode::Refused, "").expect("legal");
    assert_eq!(outbox.kept_bytes(), 3 * one, "the server has a refused one");
    outbox.accept(2).expect("a repeat");
    assert_eq!(outbox.kept_bytes(), 3 * one);
    outbox.resume(5).expect("sense");
    assert_eq!(outbox.kept_bytes(), one);
    assert_eq!(fates(&outbox), "aar...", "seen is no fate");
    assert_eq!(sent_again(&mut outbox), [6]);
    outbox.accept(6).expect("legal");
    assert_eq!((outbox.kept_bytes(), &*fates(&outbox)), (0, "aaraaa"));
}

#[test]
fn without_a_policy_nothing_is_kept() {
    let mut outbox = Outbox::new(false);
    assert_eq!(ids(&send(&mut outbox, 3)), [1, 2, 3]);
    assert_eq!(outbox.kept_bytes(), 0);
}

#[test]
fn a_seen_that_makes_no_sense_is_a_violation() {
    let mut outbox = with_messages(5);
    outbox.accept(2).expect("legal");
    send_away(&mut outbox, 3);
    for seen in [0, 1, 6, 8, u64::MAX] {
        assert_eq!(outbox.resume(seen).expect_err("nonsense").code, ErrorCode::Malformed);
    }
    outbox.resume(4).expect("sense");
    outbox.resume(3).expect_err("4 was dropped");
    assert_eq!(sent_again(&mut outbox), [5, 6, 7, 8]);
    outbox.resume(8).expect("they were in line");
}

#[test]
fn no_status_for_what_never_left() {
    let mut outbox = with_messages(2);
    send_away(&mut outbox, 1);
    outbox.accept(3).expect_err("nobody can have seen it");
    assert_eq!(sent_again(&mut outbox), [1, 2, 3]);
    assert_eq!(outbox.accept(3), Ok(Some(Receipt(3))));
}

#[test]
fn a_lost_session_leaves_what_was_told_and_what_never_left() {
    let mut outbox = with_messages(7);
    outbox.refuse(2, StatusCode::Refused, "").expect("legal");
    outbox.accept(3).expect("legal");
    outbox.refuse(6, StatusCode::Refused, "").expect("legal");
    send_away(&mut outbox, 2);
    assert_eq!(outbox.unsettled(Receipt(9)), 5);
    assert_eq!(outbox.lose_session(1 << 20), lost(3, 7));
    assert_eq!(fates(&outbox), "ara??r?..");
    assert_eq!((outbox.unsettled(Receipt(7)), outbox.unsettled(Receipt(9))), (0, 2));
    assert_eq!(sent_again(&mut outbox), [1, 2]);
    assert_eq!(outbox.accept(1), Ok(Some(Receipt(8))));
    assert_eq!(outbox.refuse(2, StatusCode::Refused, ""), Ok(Some(Receipt(9))));
    outbox.accept(3).expect_err("ids are those of the new session");
    assert_eq!(outbox.next_id(), 3);
    assert_eq!(fates(&outbox), "ara??r?ar");
}

#[test]
fn a_move_that_never_left_is_refused_and_leaves_no_hole() {
    let mut outbox = with_messages(1);
    for round in 0..3 {
        send_away(&mut outbox, round);
        outbox.push(&Frame::Move { id: outbox.next_id(), turn: 1, body: b"e4" }, None);
    }
    send_away(&mut outbox, 2);
    let refused = [2, 4, 7].map(Receipt).to_vec();
    let up_to = Receipt(1);
    assert_eq!(outbox.lose_session(1 << 20), LostSession { unconfirmed: 1, up_to, refused });
    assert_eq!((&*fates(&outbox), outbox.unsettled(outbox.last())), ("?r.r..r..", 5));
    assert_eq!(sent_again(&mut outbox), [1, 2, 3, 4, 5]);
    assert_eq!(ids(&send(&mut outbox, 1)), [6]);
    outbox.accept(7).expect_err("six were sent");
    assert_eq!(outbox.refuse(2, StatusCode::Refused, ""), Ok(Some(Receipt(5))));
    assert_eq!(outbox.accept(3), Ok(Some(Receipt(6))));
    outbox.resume(2).expect_err("3 was accepted");
    outbox.resume(4).expect("sense");
    assert_eq!(sent_again(&mut outbox), [5, 6]);
    assert_eq!(outbox.accept(4), Ok(Some(Receipt(8))));
    assert_eq!(fates(&outbox), "?rarrara..");
    assert_eq!(outbox.lose_session(1 << 20), lost(2, 10));
    assert_eq!((&*fates(&outbox), outbox.next_id()), ("?rarrara??", 1));
}

#[test]
fn many_sessions_are_lost_one_after_the_other() {
    let mut outbox = Outbox::new(true);
    let mut expected = String::new();
    for session in 1..=50 {
        send(&mut outbox, session % 4);
        outbox.accept(1).ok();
        expected += ["", "a", "a?", "a??"][session as usize % 4];
        let unconfirmed = (session % 4).saturating_sub(1);
        assert_eq!(outbox.lose_session(1 << 20), lost(unconfirmed, expected.len() as u64));
        assert_eq!(outbox.kept_bytes(), 0);
    }
    assert_eq!(fates(&outbox), expected);
    assert!(outbox.unknown.len() < 50);
}

#[test]
fn unknown_ranges_are_bounded_and_only_ever_say_less() {
    let mut outbox = Outbox::new(true);
    let sessions = UNKNOWN_MAX as u64 + 10;
    for session in 1..=sessions {
        send(&mut outbox, 3);
        outbox.refuse(1, StatusCode::Refused, "").expect("legal");
        outbox.accept(2).expect("legal");
        assert_eq!(outbox.lose_session(1 << 20), lost(1, 3 * session));
    }
    assert_eq!(outbox.unknown.len(), UNKNOWN_MAX);
    // Of the eleven oldest, which are one range now, the acceptances between are forgotten.
    let forgotten = "ra?".to_owned() + &"r??".repeat(10);
    let remembered = "ra?".repeat(UNKNOWN_MAX - 1);
    assert_eq!(fates(&outbox), forgotten + &remembered);
    assert_eq!(outbox.unsettled(outbox.last()), 0);
    assert_eq!(outbox.unknown(Receipt(0), outbox.last()), 21 + UNKNOWN_MAX as u64 - 1);
}

#[test]
fn counts_what_is_unknown_in_a_range() {
    let mut outbox = Outbox::new(true);
    for _ in 0..2 {
        send(&mut outbox, 5);
        outbox.accept(1).expect("legal");
        outbox.refuse(3, StatusCode::Refused, "").expect("legal");
        outbox.lose_session(1 << 20);
    }
    assert_eq!(fates(&outbox), "a?r??a?r??");
    for first in 0..=10 {
        for last in 0..=10 {
            let fates = fates(&outbox);
            let range = fates.get(first..last.max(first)).unwrap_or_default();
            let (first, last) = (Receipt(first as u64), Receipt(last as u64));
            assert_eq!(outbox.unknown(first, last), range.matches('?').count() as u64);
        }
    }
}

#[test]
fn neighbouring_ranges_are_one() {
    let mut outbox = Outbox::new(true);
    for _ in 0..10 {
        send(&mut outbox, 2);
        outbox.lose_session(1 << 20);
    }
    assert_eq!(outbox.unknown, [1..=20]);
}
