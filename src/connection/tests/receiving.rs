//! Receiving: time limits, the role of the reader, the inbox.

use super::*;
use crate::client_session::INBOX_MAX;
use crate::message::ErrorCode;

// |len kind seq time from body|   cut at every place; each piece but the last one times out
#[test]
fn a_limit_in_the_middle_of_a_frame_loses_nothing() {
    for (connection, peer) in both() {
        let bytes = text(1, "hello").to_bytes();
        for byte in &bytes[..bytes.len() - 1] {
            peer.send_raw(&[*byte]);
            let limit = Duration::from_millis(1);
            let result = connection.recv_timeout(limit);
            assert!(matches!(result, Err(Error::Timeout(Waiting::Event, same)) if same == limit));
        }
        peer.send_raw(&bytes[bytes.len() - 1..]);
        assert_eq!(body_of(connection.recv_timeout(PATIENCE).expect("a frame")), "hello");
    }
}

#[test]
fn try_recv_never_waits_and_misses_nothing() {
    for (connection, peer) in both() {
        let nothing = connection.try_recv();
        assert!(matches!(nothing, Err(Error::Timeout(Waiting::Event, Duration::ZERO))));
        peer.send(&text(1, "one"));
        let mut event = connection.try_recv();
        until(|| {
            event.is_ok() || {
                event = connection.try_recv();
                false
            }
        });
        assert_eq!(body_of(event.expect("an event")), "one");
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        until_someone_reads(&connection);
        assert!(connection.try_recv().is_err(), "also while another thread reads");
        peer.send(&text(2, "two"));
        assert_eq!(body_of(result_of(&receiver).expect("an event")), "two");
        drop(peer);
    }
}

#[test]
fn a_confirm_that_reads_keeps_events_for_a_later_recv() {
    for (connection, peer) in both() {
        let receipt = connection.send("x").expect("open");
        peer.send(&text(1, "one"));
        peer.send(&text(2, "two"));
        peer.send(&accepted(1));
        let fate = connection.confirm_timeout(receipt, PATIENCE).expect("confirmed");
        assert_eq!(fate, Fate::Accepted);
        assert_eq!(body_of(connection.try_recv().expect("kept")), "one");
        assert_eq!(body_of(connection.try_recv().expect("kept")), "two");
    }
}

#[test]
fn a_confirm_is_served_by_the_thread_in_recv() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        until_someone_reads(&connection);
        let other = Arc::clone(&connection);
        let confirmed = start(move || other.confirm(other.send("x")?));
        assert!(peer.next().expect("a message").starts_with("Text"));
        until(|| connection.core.answers.is_awaited());
        peer.send(&accepted(1));
        assert_eq!(result_of(&confirmed).expect("open"), Fate::Accepted);
        assert!(receiver.try_recv().is_err(), "recv goes on waiting");
        peer.send(&text(1, "for recv"));
        assert_eq!(body_of(result_of(&receiver).expect("an event")), "for recv");
        drop(peer);
    }
}

#[test]
fn a_recv_is_served_by_the_thread_in_confirm() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let confirmed = start(move || other.confirm(other.send("x")?));
        assert!(peer.next().is_some());
        until_someone_reads(&connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        until(|| connection.core.events.is_awaited());
        peer.send(&text(1, "for recv"));
        assert_eq!(body_of(result_of(&receiver).expect("an event")), "for recv");
        assert!(confirmed.try_recv().is_err(), "confirm goes on waiting");
        peer.send(&accepted(1));
        assert_eq!(result_of(&confirmed).expect("open"), Fate::Accepted);
        drop(peer);
    }
}

#[test]
fn the_role_passes_to_one_who_waits_when_the_reader_leaves() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let confirmed = start(move || other.confirm(other.send("x")?));
        assert!(peer.next().is_some());
        until_someone_reads(&connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        until(|| connection.core.events.is_awaited());
        peer.send(&accepted(1));
        assert_eq!(result_of(&confirmed).expect("open"), Fate::Accepted);
        until(|| !connection.core.events.is_awaited());
        peer.send(&text(1, "inherited"));
        assert_eq!(body_of(result_of(&receiver).expect("an event")), "inherited");
        drop(peer);
    }
}

#[test]
fn pings_are_answered_by_whoever_reads_and_ours_are_measured() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        peer.send(&Frame::Ping { nonce: 5 });
        assert_eq!(peer.next().as_deref(), Some("Pong { nonce: 5 }"));
        let other = Arc::clone(&connection);
        let pinged = start(move || other.ping());
        assert_eq!(peer.next().as_deref(), Some("Ping { nonce: 1 }"));
        peer.send(&Frame::Pong { nonce: 1 });
        assert!(result_of(&pinged).expect("answered") < PATIENCE);
        let limit = Duration::from_millis(5);
        let result = connection.ping_timeout(limit);
        assert!(matches!(result, Err(Error::Timeout(Waiting::Pong, _))));
        peer.send(&text(1, "end"));
        result_of(&receiver).expect("an event");
        drop(peer);
    }
}

#[test]
fn the_inbox_is_bounded_and_recv_empties_it() {
    let (connection, mut peer) = in_memory();
    let connection = Arc::new(connection);
    let receipt = connection.send("x").expect("open");
    let count = 300; // 30 MB
    let flood = start(move || {
        let body = "b".repeat(100_000);
        (1..=count).for_each(|seq| peer.send(&text(seq, &body)));
        peer.send(&accepted(1));
        peer.next();
        peer
    });
    let other = Arc::clone(&connection);
    let confirmed = start(move || other.confirm_timeout(receipt, PATIENCE));
    assert!(matches!(result_of(&confirmed), Err(Error::InboxFull)));
    assert!(matches!(connection.flush(), Err(Error::InboxFull)));
    assert!(matches!(connection.ping(), Err(Error::InboxFull)));
    let mut taken = 0;
    while taken < count {
        connection.recv_timeout(PATIENCE).expect("an event").expect("open");
        taken += 1;
        assert!(!connection.core.lock().session.inbox_is_full());
    }
    let fate = connection.confirm_timeout(receipt, PATIENCE).expect("room again");
    assert_eq!(fate, Fate::Accepted);
    assert!(count * 100_000 > INBOX_MAX as u64);
    drop(result_of(&flood));
}

#[test]
fn send_only_keeps_nothing() {
    let (connection, peer) = over_tcp(KEEP_NOTHING);
    let receipt = connection.send("x").expect("open");
    let flood = start(move || {
        let body = "b".repeat(100_000);
        (1..=300).for_each(|seq| peer.send(&text(seq, &body)));
        peer.send(&accepted(1));
        peer
    });
    let fate = connection.confirm_timeout(receipt, PATIENCE).expect("never full");
    assert_eq!(fate, Fate::Accepted);
    assert!(connection.try_recv().is_err());
    drop(result_of(&flood));
}

#[test]
fn a_large_present_right_behind_the_answer_is_no_violation() {
    let names: Vec<_> = (0..1000).map(|number| format!("client number {number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (near, far) = pipe();
    let mut bytes = init_ack().to_bytes();
    Frame::Present { total: 1000, names }.encode(&mut bytes);
    assert_eq!(far.write(&bytes).expect("room"), bytes.len());
    let session = ClientSession::anonymous(KEEP);
    let connection = Connection::new(Arc::new(near), None, session, Queue::default(), None);
    connection.handshake(PATIENCE).expect("welcome");
    let event = connection.try_recv().expect("there").expect("open");
    assert!(matches!(event, Event::Present { total: 1000, .. }));
    drop(far);
}

#[test]
fn a_violation_is_told_to_the_server_before_the_end() {
    for (connection, mut peer) in both() {
        peer.send(&text(2, "good"));
        peer.send(&text(1, "behind"));
        peer.send(&text(3, "too late"));
        assert_eq!(body_of(connection.recv().expect("before the end")), "good");
        for _ in 0..2 {
            let Err(Error::Violation(violation)) = connection.recv() else { panic!("no end") };
            assert_eq!(violation.code, ErrorCode::OutOfOrder);
        }
        let told = peer.next().expect("an Error");
        assert!(told.starts_with("Error { code: OutOfOrder"), "{told}");
        assert_eq!(peer.next(), None, "the writing half is ended");
        assert!(matches!(connection.send("x"), Err(Error::Violation(_))));
    }
}

/// A reader, confirming senders and pinging threads, with the roles going round all the time: no
/// wake-up may get lost.
#[test]
fn many_threads_share_the_roles() {
    const ROUNDS: u64 = 300;
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let server = start(move || peer.serve());
        let mut threads = Vec::new();
        for _ in 0..3 {
            let other = Arc::clone(&connection);
            threads.push(start(move || {
                (0..ROUNDS).all(|_| {
                    let receipt = other.send("x").expect("open");
                    other.confirm(receipt).expect("open") == Fate::Accepted
                })
            }));
            let other = Arc::clone(&connection);
            threads.push(start(move || (0..ROUNDS).all(|_| other.ping().is_ok())));
            let other = Arc::clone(&connection);
            threads.push(start(move || {
                (0..ROUNDS).all(|_| other.recv_timeout(Duration::from_micros(50)).is_err())
            }));
        }
        assert!(threads.iter().all(result_of));
        connection.flush_timeout(PATIENCE).expect("all accepted");
        connection.close().expect("answered");
        assert_eq!(result_of(&server).len() as u64, 3 * ROUNDS);
    }
}
