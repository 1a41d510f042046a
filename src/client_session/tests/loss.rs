//! What is a loss, what is an end, and when it is tried again.

use std::time::Duration;

use super::*;
use crate::end::Loss;
use crate::message::Violation;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> ReconnectPolicy {
    let first = Duration::from_millis(200);
    ReconnectPolicy { first, most: 15 * SECOND, attempts: 0, give_up_after: Duration::ZERO }
}

/// A session with a policy, before its first handshake.
pub(super) fn persistent(policy: ReconnectPolicy) -> ClientSession {
    let reconnect = Some(policy);
    let options = Options { name: "alice", token: Token("secret"), ..Options::anonymous(ALL) };
    ClientSession::new(&Options { reconnect, seed: 1, ..options }).expect("short fields")
}

/// A session with a policy, open since `now`.
pub(super) fn open_at(now: Instant) -> ClientSession {
    open_with(policy(), now)
}

fn open_with(policy: ReconnectPolicy, now: Instant) -> ClientSession {
    let mut session = persistent(policy);
    session.outgoing.clear();
    give_at(&mut session, &init_ack(1 << 20), now);
    assert!(session.is_open() && session.outgoing.is_empty());
    session
}

pub(super) fn events(session: &mut ClientSession) -> Vec<Event> {
    std::iter::from_fn(|| session.next_event()).collect()
}

/// The one event of a loss: the attempt, the wait, the reason. The machine is away until then.
fn loss_of(session: &mut ClientSession, now: Instant) -> (u32, Duration, Loss) {
    assert!(session.is_away() && session.is_alive() && !session.is_open());
    match *events(session) {
        [Event::Reconnecting { attempt, next_in, loss }] => {
            assert_eq!(session.retry_at(), Some(now + next_in));
            (attempt, next_in, loss)
        }
        ref other => panic!("{other:?}"),
    }
}

fn error(code: ErrorCode) -> Frame<'static> {
    Frame::Error { code, detail: Cow::Borrowed("oops") }
}

#[test]
fn a_lost_connection_is_tried_again() {
    let now = Instant::now();
    for (cause, loss) in [
        (None, Loss::Closed),
        (Some(io::ErrorKind::ConnectionReset), Loss::Reset),
        (Some(io::ErrorKind::HostUnreachable), Loss::Broken(io::ErrorKind::HostUnreachable)),
    ] {
        let mut session = open_at(now);
        session.send_text("x").expect("open");
        session.lost(cause.map(io::Error::from), now);
        assert!(session.outgoing.is_empty() && !session.may_write());
        let (attempt, wait, told) = loss_of(&mut session, now);
        assert_eq!((attempt, told), (1, loss));
        assert!(wait <= policy().first);
        session.lost(None, now);
        assert!(events(&mut session).is_empty(), "a connection is lost once");
    }
}

#[test]
fn what_the_server_says_is_a_loss_or_the_end() {
    let now = Instant::now();
    let lost = [Reason::ShuttingDown, Reason::NoHeartbeat, Reason::TooSlow, Reason::Idle];
    for reason in lost.into_iter().chain([Reason::Lost, Reason::Unknown(99)]) {
        let mut session = open_at(now);
        give_at(&mut session, &terminate(reason), now);
        let (attempt, wait, loss) = loss_of(&mut session, now);
        assert_eq!((attempt, loss), (1, Loss::Terminated(reason)));
        let least = Duration::from_millis(1500);
        assert!((least..=least + policy().first).contains(&wait), "{wait:?}");
        assert!(session.may_write());
        assert_eq!(sent(&mut session), ["TerminateAck"]);
    }
    for reason in [Reason::Done, Reason::Replaced, Reason::TurnedOut] {
        let mut session = open_at(now);
        give_at(&mut session, &terminate(reason), now);
        assert!(matches!(session.ended(), Some(End::Terminated { .. })), "{reason}");
        assert!(session.may_write() && session.retry_at().is_none());
    }
    for number in 0..=12 {
        let code = ErrorCode::from_number(number);
        let mut session = open_at(now);
        give_at(&mut session, &error(code), now);
        if [8, 10, 11].contains(&number) {
            assert_eq!(loss_of(&mut session, now).2, Loss::Refused(code));
        } else {
            assert!(matches!(session.ended(), Some(End::Refused { .. })), "{code}");
        }
        assert!(!session.may_write());
    }
}

#[test]
fn a_violation_is_the_end() {
    let now = Instant::now();
    let mut session = open_at(now);
    give_at(&mut session, &text(1), now);
    give_at(&mut session, &text(1), now);
    assert_eq!(violation_of(&session), ErrorCode::OutOfOrder);
    assert!(session.may_write());
    session.lost(None, now);
    session.unreachable(io::ErrorKind::TimedOut.into(), now);
    session.unanswered(now);
    session.reconnect();
    assert_eq!(violation_of(&session), ErrorCode::OutOfOrder, "the first end stays");
}

#[test]
fn the_last_words_go_behind_what_was_in_line() {
    let now = Instant::now();
    let mut session = open_at(now);
    session.send_text("x").expect("open");
    session.outgoing.drain(..7); // the rest of a write that found no room
    give_at(&mut session, &terminate(Reason::TooSlow), now);
    let frame = Frame::Text { id: 1, body: b"x" }.to_bytes();
    assert_eq!(session.outgoing, [&frame[7..], &Frame::TerminateAck.to_bytes()].concat());
    session.reconnect();
    assert!(sent(&mut session)[0].starts_with("Init"), "and are forgotten on the next connection");
}

#[test]
fn a_dead_server_is_told_so_and_tried_again() {
    let mut now = Instant::now();
    let mut session = open_at(now);
    let rhythm = Rhythm { data_threshold: SECOND, ..Rhythm::default() };
    session.watch(rhythm, now);
    while session.is_open()
        && let Some(due) = session.beat(now)
    {
        now = due;
    }
    assert_eq!(loss_of(&mut session, now).2, Loss::Silent);
    assert!(session.may_write());
    let last = sent(&mut session).pop().expect("the last words");
    assert!(last.starts_with("Terminate { reason: NoHeartbeat"), "{last}");
    assert_eq!(session.beat(now), None, "nobody is listened to");

    // The next connection begins its silence anew, at its InitAck.
    session.reconnect();
    assert_eq!(session.beat(now), None);
    now += 100 * SECOND;
    give_at(&mut session, &init_ack(1 << 20), now);
    session.outgoing.clear();
    session.heard(&[], now);
    assert_eq!(session.beat(now), Some(now + SECOND));
    assert!(!session.is_beating() && session.outgoing.is_empty());
}

#[test]
fn the_first_handshake_is_never_tried_again() {
    let now = Instant::now();
    let mut ends = Vec::new();
    for step in 0..5 {
        let mut session = persistent(policy());
        match step {
            0 => session.lost(None, now),
            1 => session.lost(Some(io::ErrorKind::ConnectionReset.into()), now),
            2 => session.unanswered(now),
            3 => give_at(&mut session, &error(ErrorCode::ServerFull), now),
            _ => give_at(&mut session, &terminate(Reason::ShuttingDown), now),
        }
        ends.push(session.ended().cloned().expect("the end"));
        assert!(events(&mut session).is_empty());
    }
    assert!(matches!(
        &*ends,
        [End::Lost, End::Io(_), End::Io(_), End::Refused { .. }, End::Terminated { .. }]
    ));
}

#[test]
fn each_failed_attempt_is_told_and_the_last_loss_is_the_end() {
    let limited = ReconnectPolicy { attempts: 5, ..policy() };
    let mut now = Instant::now();
    let mut session = open_with(limited, now);
    session.lost(None, now);
    assert_eq!(loss_of(&mut session, now).2, Loss::Closed);

    session.unreachable(io::ErrorKind::ConnectionRefused.into(), now);
    let loss = Loss::Unreachable(io::ErrorKind::ConnectionRefused);
    assert_eq!((loss_of(&mut session, now).0, session.is_away()), (2, true));

    session.reconnect();
    assert!(session.is_in_handshake() && session.retry_at().is_none());
    now += 10 * SECOND;
    session.unanswered(now);
    assert_eq!(loss_of(&mut session, now).2, Loss::NoAnswer);

    session.reconnect();
    give_at(&mut session, &error(ErrorCode::ServerFull), now);
    assert_eq!(loss_of(&mut session, now).2, Loss::Refused(ErrorCode::ServerFull));

    session.reconnect();
    give_at(&mut session, &terminate(Reason::ShuttingDown), now);
    assert!(session.outgoing.is_empty(), "silent until InitAck");
    assert_eq!(loss_of(&mut session, now).0, 5);

    session.unreachable(io::ErrorKind::ConnectionRefused.into(), now);
    let Some(End::Io(cause)) = session.ended() else { panic!("{:?}", session.ended()) };
    assert_eq!(Loss::Unreachable(cause.kind()), loss);
    assert!(!session.is_alive() && events(&mut session).is_empty());
}

#[test]
fn the_count_begins_anew_only_after_a_connection_has_held() {
    let mut now = Instant::now();
    let mut session = open_at(now);
    let mut numbers = Vec::new();
    for held in [1, 14, 15, 3] {
        now += held * SECOND;
        session.lost(None, now);
        numbers.push(loss_of(&mut session, now).0);
        session.reconnect();
        give_at(&mut session, &init_ack(1 << 20), now);
        events(&mut session);
    }
    assert_eq!(numbers, [1, 2, 1, 2]);
}

#[test]
fn a_goodbye_without_a_connection_ends_at_once() {
    let now = Instant::now();
    for is_in_handshake in [false, true] {
        let mut session = open_at(now);
        session.lost(None, now);
        if is_in_handshake {
            session.reconnect();
        }
        session.terminate();
        assert!(matches!(session.ended(), Some(End::Closed { answered: false })));
        assert!(session.outgoing.is_empty() && session.retry_at().is_none());
        assert!(matches!(session.send_text("x"), Err(Error::Closed)));
    }
    let mut session = open_at(now);
    session.terminate();
    session.lost(None, now);
    assert!(matches!(session.ended(), Some(End::Closed { answered: false })), "no way back");
}

#[test]
fn pings_die_with_their_connection() {
    let now = Instant::now();
    let mut session = open_at(now);
    let (answered, open) = (session.ping().expect("open"), session.ping().expect("open"));
    give_at(&mut session, &Frame::Pong { nonce: answered }, now);
    let answers = session.answers();
    session.lost(None, now);
    assert_ne!(session.answers(), answers, "those who wait look again");
    for step in 0..3 {
        assert!(matches!(session.has_pong(answered), Ok(true)));
        assert!(matches!(session.has_pong(open), Err(Error::Reconnecting)));
        match step {
            0 => {
                assert!(matches!(session.ping(), Err(Error::Reconnecting)));
                session.reconnect();
            }
            1 => {
                assert!(matches!(session.ping(), Err(Error::Reconnecting)));
                give_at(&mut session, &init_ack(1 << 20), now);
            }
            _ => give_at(&mut session, &Frame::Pong { nonce: open }, now),
        }
    }
    assert!(matches!(session.has_pong(open), Err(Error::Reconnecting)), "not by another's Pong");
    session.forget_ping(open);
    let next = session.ping().expect("open");
    assert!(matches!(session.has_pong(next), Ok(false)));
    give_at(&mut session, &Frame::Pong { nonce: next }, now);
    assert!(matches!(session.has_pong(next), Ok(true)));
}

#[test]
fn what_is_read_of_a_lost_connection_is_dropped() {
    let now = Instant::now();
    let mut session = open_at(now);
    give_at(&mut session, &terminate(Reason::TooSlow), now);
    events(&mut session);
    sent(&mut session);
    give_at(&mut session, &text(1), now);
    give_at(&mut session, &terminate(Reason::Done), now);
    session.receive(&RawFrame { kind: kind::INIT, payload: &[] }, now);
    session.violated(Violation::new(ErrorCode::TooLarge, "half a frame"));
    assert!(session.is_away() && events(&mut session).is_empty() && session.outgoing.is_empty());
}
