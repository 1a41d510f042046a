//! Every way in which it ends, and whom that wakes.

use super::*;
use crate::message::ErrorCode;

/// Has `connection` closed by another thread, and gives what `waiting` gave, which must have been
/// woken soon, however long the close itself takes.
fn close_wakes<T>(connection: &Arc<Connection>, waiting: &Receiver<T>) -> T {
    let (other, begin) = (Arc::clone(connection), Instant::now());
    thread::spawn(move || other.close());
    let result = result_of(waiting);
    assert!(begin.elapsed() < SOON, "at once, not after {:?}", begin.elapsed());
    result
}

/// What a sender leaves behind when its inbox is full: 10 MB, more than any transport holds.
fn leave_much_unsent(connection: &Connection) {
    let body = vec![0; 100_000];
    for _ in 0..100 {
        connection.core.lock().session.send_bytes(&body).expect("open");
    }
}

#[test]
fn close_wakes_a_recv_that_reads_from_a_silent_server() {
    for (connection, _peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        until_someone_reads(&connection);
        let result = close_wakes(&connection, &receiver);
        assert!(matches!(result, Ok(None)), "{result:?}");
        until(|| matches!(connection.ended(), Some(End::Closed { answered: false })));
        assert!(matches!(connection.recv(), Ok(None)));
    }
}

#[test]
fn close_wakes_a_confirm_that_reads() {
    for (connection, _peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let confirmed = start(move || other.confirm(other.send("x")?));
        until_someone_reads(&connection);
        let result = close_wakes(&connection, &confirmed);
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
        until(|| connection.ended().is_some());
        assert_eq!(connection.confirm(Receipt(1)).expect("told now"), Fate::Unknown);
        assert!(matches!(connection.flush(), Err(Error::Unconfirmed(1))));
    }
}

#[test]
fn close_wakes_those_who_wait_while_another_reads() {
    for (connection, _peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        until_someone_reads(&connection);
        let other = Arc::clone(&connection);
        let flushed = start(move || {
            other.send("x").expect("open");
            other.flush()
        });
        until(|| connection.core.answers.is_awaited());
        let other = Arc::clone(&connection);
        let second = start(move || other.recv());
        until(|| connection.core.events.is_awaited());
        leave_much_unsent(&connection);
        let result = close_wakes(&connection, &flushed);
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
        assert!(matches!(result_of(&second), Ok(None)));
        assert!(matches!(result_of(&receiver), Ok(None)));
    }
}

#[test]
fn close_wakes_sends_that_are_blocked() {
    for (connection, _peer) in both() {
        let connection = Arc::new(connection);
        for sender in blocked_senders(&connection) {
            let error = close_wakes(&connection, &sender);
            assert!(matches!(error, Error::Closed), "{error:?}");
        }
    }
}

#[test]
fn a_close_takes_over_what_a_blocked_sender_was_writing() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let senders = blocked_senders(&connection);
        let other = Arc::clone(&connection);
        let closed = start(move || other.close());
        for sender in senders {
            assert!(matches!(result_of(&sender), Error::Closed));
        }
        let begin = Instant::now();
        let server = start(move || peer.serve());
        result_of(&closed).expect("answered");
        assert!(begin.elapsed() < SOON);
        let sent = connection.core.lock().session.last_receipt().number();
        assert_eq!(result_of(&server).len() as u64, sent);
        connection.flush().expect("all accepted");
    }
}

#[test]
fn a_silent_server_holds_a_close_up_to_its_limit_and_no_longer() {
    for (connection, _peer) in both() {
        let (limit, begin) = (Duration::from_millis(150), Instant::now());
        let result = connection.core.close_within(limit);
        assert!(matches!(result, Err(Error::Timeout(Waiting::Goodbye, same)) if same == limit));
        assert!(begin.elapsed() >= limit && begin.elapsed() < SOON);
        connection.close().expect("closed already");
    }
}

#[test]
fn a_drop_takes_a_second_at_the_most() {
    for (connection, _peer) in both() {
        let begin = Instant::now();
        drop(connection);
        assert!(begin.elapsed() < Duration::from_secs(1) + SOON);
    }
}

#[test]
fn a_drop_is_bounded_also_with_much_unsent() {
    for (connection, _peer) in both() {
        leave_much_unsent(&connection);
        let begin = Instant::now();
        drop(connection);
        assert!(begin.elapsed() < Duration::from_secs(1) + SOON);
    }
}

#[test]
fn a_close_takes_in_what_still_comes() {
    for (connection, mut peer) in both() {
        let receipt = connection.send("x").expect("open");
        let server = start(move || {
            peer.next();
            assert!(peer.next().expect("a goodbye").starts_with("Terminate { reason: Done"));
            peer.send(&text(1, "last"));
            peer.send(&accepted(1));
            peer.send(&Frame::TerminateAck);
            peer.next()
        });
        connection.close().expect("answered");
        assert_eq!(result_of(&server), None, "the connection is closed");
        assert!(matches!(connection.ended(), Some(End::Closed { answered: true })));
        assert_eq!(connection.confirm(receipt).expect("told"), Fate::Accepted);
        connection.flush().expect("nothing is open");
        assert!(matches!(connection.send("y"), Err(Error::Closed)));
        assert!(matches!(connection.ping(), Err(Error::Closed)));
        assert_eq!(body_of(connection.recv().expect("orderly")), "last");
        assert!(matches!(connection.recv(), Ok(None)));
        assert_eq!(connection.events().count(), 0);
        connection.close().expect("closed already");
    }
}

#[test]
fn the_thread_in_recv_meets_the_answer_to_a_close() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        until_someone_reads(&connection);
        let server = start(move || peer.serve());
        connection.close().expect("answered");
        assert!(matches!(result_of(&receiver), Ok(None)));
        let end = connection.ended();
        assert!(matches!(end, Some(End::Closed { answered: true })), "{end:?}");
        result_of(&server);
    }
}

// Terminate waits behind 10 MB, and recv is called out of its read before they have left
#[test]
fn a_close_delivers_what_was_sent_also_when_it_has_to_wake_a_reader() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        until_someone_reads(&connection);
        leave_much_unsent(&connection);
        let other = Arc::clone(&connection);
        let closed = start(move || other.close());
        assert!(matches!(result_of(&receiver), Ok(None)));
        for _ in 0..100 {
            assert!(peer.next().expect("a message").starts_with("Bytes"));
        }
        assert!(peer.next().expect("a goodbye").starts_with("Terminate"));
        result_of(&closed).expect("all is written");
    }
}

#[test]
fn two_may_close_at_once() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let closers: Vec<_> = (0..3)
            .map(|_| {
                let other = Arc::clone(&connection);
                start(move || other.close())
            })
            .collect();
        let server = start(move || peer.serve());
        for closer in &closers {
            result_of(closer).expect("answered");
        }
        result_of(&server);
    }
}

#[test]
fn the_server_says_goodbye_for_each_reason() {
    for number in 0..=8 {
        let reason = Reason::from_number(number);
        for (connection, mut peer) in both() {
            connection.send("on its way").expect("open");
            peer.send(&text(1, "before"));
            let detail = "why not".into();
            peer.send(&Frame::Terminate { reason, retry_after_ms: 9, detail });
            peer.send(&text(2, "behind"));
            assert_eq!(body_of(connection.recv().expect("before the end")), "before");
            let end = connection.recv();
            if number <= 1 {
                assert!(matches!(end, Ok(None)), "{reason}: {end:?}");
            } else {
                let Err(Error::Ended { reason: told, detail }) = end else { panic!("{end:?}") };
                assert_eq!((told, detail.as_str()), (reason, "why not"));
            }
            assert!(matches!(connection.send("x"), Err(Error::Ended { .. })));
            assert!(matches!(connection.flush(), Err(Error::Unconfirmed(1))));
            assert!(peer.next().expect("the message").starts_with("Text"));
            assert_eq!(peer.next().as_deref(), Some("TerminateAck"));
            assert_eq!(peer.next(), None, "the writing half is ended");
            drop(peer);
            connection.close().expect("it has ended");
        }
    }
}

#[test]
fn a_goodbye_wakes_all_who_wait() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let confirmed = start(move || other.confirm(other.send("x")?));
        peer.next();
        until_someone_reads(&connection);
        let other = Arc::clone(&connection);
        let receiver = start(move || other.recv());
        let other = Arc::clone(&connection);
        let pinged = start(move || other.ping());
        until(|| connection.core.events.is_awaited() && connection.core.answers.is_awaited());
        let (reason, detail) = (Reason::ShuttingDown, "".into());
        peer.send(&Frame::Terminate { reason, retry_after_ms: 0, detail });
        assert_eq!(result_of(&confirmed).expect("told"), Fate::Unknown);
        assert!(matches!(result_of(&receiver), Ok(None)));
        assert!(matches!(result_of(&pinged), Err(Error::Ended { .. })));
        drop(peer);
    }
}

#[test]
fn an_end_of_file_is_a_loss_after_what_came_before() {
    for (connection, peer) in both() {
        peer.send(&text(1, "one"));
        peer.send_raw(&text(2, "torn").to_bytes()[..9]);
        drop(peer);
        assert_eq!(body_of(connection.recv().expect("before the end")), "one");
        for _ in 0..2 {
            assert!(matches!(connection.recv(), Err(Error::Lost)));
        }
        assert!(matches!(connection.ended(), Some(End::Lost)));
        let last: Vec<_> = connection.events().collect();
        assert!(matches!(last[..], [Err(Error::Lost)]), "told once, then it is over");
    }
}

#[test]
fn a_reset_is_an_error_of_the_system() {
    let (connection, peer) = over_tcp(KEEP);
    connection.send("unread, so that closing resets").expect("open");
    drop(peer);
    let Err(Error::Io(cause)) = connection.recv() else { panic!("no error") };
    assert_eq!(cause.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn an_error_frame_is_told_with_its_words() {
    for (connection, peer) in both() {
        let (code, detail) = (ErrorCode::Internal, "oh".into());
        peer.send(&Frame::Error { code, detail });
        let result = connection.recv();
        let Err(Error::Refused { code, detail }) = result else { panic!("{result:?}") };
        assert_eq!((code, detail.as_str()), (ErrorCode::Internal, "oh"));
    }
}

#[test]
fn a_server_that_goes_without_an_answer_is_told_by_close() {
    for (connection, mut peer) in both() {
        let server = start(move || peer.next());
        assert!(matches!(connection.close(), Err(Error::Lost)));
        result_of(&server);
        assert!(matches!(connection.recv(), Ok(None)), "it was closed all the same");
    }
}
