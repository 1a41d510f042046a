//! Connections that are lost and restored, against a server that is played by hand.

use std::io;
use std::sync::mpsc::{Sender, channel};

use super::*;
use crate::backoff::ReconnectPolicy;
use crate::client_session::Options;
use crate::end::Loss;
use crate::message::{FLAG_RESUMED, Token};
use crate::settings::OnFull;

const KEY: SessionKey = SessionKey([1; 16]);

/// How the next attempt to connect goes.
type Dial = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

fn soon() -> ReconnectPolicy {
    let millisecond = Duration::from_millis(1);
    ReconnectPolicy { first: millisecond, most: millisecond, ..ReconnectPolicy::default() }
}

/// An open connection that is restored, its far end, and the far ends of those to come.
fn restored(
    policy: ReconnectPolicy,
    queue: Queue,
    attempt: Dial,
) -> (Connection, Peer, Receiver<Peer>) {
    let (near, far) = pipe();
    let keep = Keep { acceptances: true, ..KEEP };
    let options =
        Options { token: Token("t"), reconnect: Some(policy), ..Options::anonymous(keep) };
    let session = ClientSession::new(&options).expect("short");
    let (dialled, to_come): (Sender<Peer>, _) = channel();
    let dial = Box::new(move || {
        attempt()?;
        let (near, far) = pipe();
        let peer = Peer { transport: Box::new(far), framer: Framer::new(1 << 20) };
        dialled.send(peer).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        let near: Arc<dyn Transport> = Arc::new(near);
        Ok((near, None))
    });
    let dialer = Dialer { dial, handshake_timeout: Duration::from_millis(100) };
    let connection = Connection::new(Arc::new(near), None, session, queue, Some(dialer));
    let mut peer = Peer { transport: Box::new(far), framer: Framer::new(1 << 20) };
    peer.send(&init_ack());
    connection.handshake(PATIENCE).expect("welcome");
    assert!(peer.next().expect("a client").starts_with("Init"));
    let connection = connection.kept(None).expect("a thread");
    (connection, peer, to_come)
}

pub(super) fn restored_at_once() -> (Connection, Peer, Receiver<Peer>) {
    restored(soon(), Queue::default(), Box::new(|| Ok(())))
}

/// The next connection, with what its Init asked for: a session, and what has come of it.
pub(super) fn next_peer(to_come: &Receiver<Peer>) -> (Peer, SessionKey, u64) {
    let mut peer = to_come.recv_timeout(PATIENCE).expect("an attempt");
    let asked = peer.next_with(|frame| match frame {
        Frame::Init { session, received, .. } => (*session, *received),
        other => panic!("{other:?}"),
    });
    let (session, received) = asked.expect("an Init");
    (peer, session, received)
}

pub(super) fn resumed(seen: u64, head: u64, missed: u64) -> Frame<'static> {
    let Frame::InitAck { version, mode, frame_max, grace_ms, name, .. } = init_ack() else {
        unreachable!("it is one")
    };
    let (flags, session) = (FLAG_RESUMED, KEY);
    Frame::InitAck { version, mode, flags, session, seen, head, missed, frame_max, grace_ms, name }
}

/// The events up to one that is no attempt.
fn next_event(connection: &Connection) -> Event {
    loop {
        match connection.recv_timeout(PATIENCE).expect("an event").expect("it goes on") {
            Event::Reconnecting { .. } => {}
            event => return event,
        }
    }
}

#[test]
fn what_was_not_seen_is_sent_again_and_receipts_go_on() {
    let (connection, mut peer, to_come) = restored_at_once();
    let receipts = ["one", "two", "three"].map(|body| connection.send(body).expect("open"));
    peer.send(&text(7, "before"));
    assert!(peer.next().expect("a message").contains("id: 1"));
    assert_eq!(body_of(connection.recv().expect("open")), "before");
    drop(peer);
    let event = connection.recv_timeout(PATIENCE).expect("open");
    assert!(
        matches!(event, Some(Event::Reconnecting { attempt: 1, loss: Loss::Closed, .. })),
        "{event:?}"
    );
    let (mut peer, session, received) = next_peer(&to_come);
    assert_eq!((session, received), (KEY, 7));
    peer.send(&resumed(1, 7, 2));
    assert_eq!(next_event(&connection), Event::Resumed { missed: 2 });
    for (id, body) in [(2, "two"), (3, "three")] {
        let frame = format!("{:?}", Frame::Text { id, body: body.as_bytes() });
        assert_eq!(peer.next(), Some(frame));
    }
    peer.send(&accepted(3));
    for receipt in receipts {
        assert_eq!(connection.confirm_timeout(receipt, PATIENCE).expect("told"), Fate::Accepted);
    }
    let four = connection.send("four").expect("open");
    assert_eq!(four.number(), 4);
}

#[test]
fn messages_wait_for_the_connection_and_go_into_a_new_session_if_need_be() {
    let (connection, peer, to_come) = restored_at_once();
    let left = connection.send("left").expect("open");
    drop(peer);
    let (mut peer, ..) = next_peer(&to_come); // it does not answer
    let kept = connection.send("kept").expect("kept");
    assert!(!connection.is_connected());
    let (mut second, ..) = next_peer(&to_come);
    assert_eq!(peer.next(), None, "the unanswered attempt was given up");
    second.send(&init_ack());
    let lost = Event::SessionLost { unconfirmed: 1, up_to: left };
    assert_eq!(next_event(&connection), lost);
    assert_eq!(connection.confirm(left).expect("told"), Fate::Unknown);
    let frame = format!("{:?}", Frame::Text { id: 1, body: b"kept" });
    assert_eq!(second.next(), Some(frame));
    second.send(&accepted(1));
    assert_eq!(connection.confirm_timeout(kept, PATIENCE).expect("told"), Fate::Accepted);
}

#[test]
fn a_flush_tells_once_of_what_was_lost_with_its_session() {
    let (connection, mut peer, to_come) = restored_at_once();
    let connection = Arc::new(connection);
    for is_under_way in [true, false] {
        connection.send("left").expect("open");
        let other = Arc::clone(&connection);
        let flush = move || other.flush_timeout(PATIENCE);
        let begun = is_under_way.then(|| start(flush.clone()));
        drop(peer);
        (peer, ..) = next_peer(&to_come);
        peer.send(&init_ack());
        until(|| connection.is_connected());
        let flushed = begun.map_or_else(flush, |begun| result_of(&begun));
        assert!(matches!(flushed, Err(Error::Unconfirmed(1))), "{flushed:?}");
        connection.flush().expect("it is told, and nothing was sent since");
    }
}

#[test]
fn calls_that_wait_through_an_outage_are_ended_by_close() {
    let (connection, peer, to_come) = restored_at_once();
    let connection = Arc::new(connection);
    let receipt = connection.send("left").expect("open");
    drop(peer);
    let (peer, ..) = next_peer(&to_come); // it does not answer
    let [confirming, flushing] = [(); 2].map(|()| Arc::clone(&connection));
    let confirmed = start(move || confirming.confirm(receipt).map(|_| ()));
    let flushed = start(move || flushing.flush());
    until(|| connection.core.answers.waiting() == 2);
    let _ = connection.close(); // nobody is there to be told
    drop(peer);
    for told in [result_of(&confirmed), result_of(&flushed)] {
        assert!(matches!(told, Err(Error::Closed)), "{told:?}");
    }
}

#[test]
fn a_full_queue_fails_or_blocks_until_there_is_room() {
    for on_full in [OnFull::Fail, OnFull::Block] {
        let queue = Queue { bytes: 1000, on_full };
        let (connection, peer, to_come) = restored(soon(), queue, Box::new(|| Ok(())));
        drop(peer);
        let (mut peer, ..) = next_peer(&to_come);
        connection.send(&"x".repeat(5000)).expect("one may always be sent");
        let connection = Arc::new(connection);
        let other = Arc::clone(&connection);
        let second = start(move || other.send("second"));
        if on_full == OnFull::Fail {
            assert!(matches!(result_of(&second), Err(Error::QueueFull)));
        } else {
            until(|| connection.core.answers.is_awaited());
        }
        peer.send(&resumed(0, 0, 0));
        assert!(peer.next().expect("the first").contains("id: 1"));
        peer.send(&accepted(1));
        if on_full == OnFull::Block {
            assert_eq!(result_of(&second).expect("there is room").number(), 2);
            assert!(peer.next().expect("the second").contains("id: 2"));
        }
        peer.send(&Frame::Terminate { reason: Reason::Done, retry_after_ms: 0, detail: "".into() });
    }
}

#[test]
fn a_queue_takes_messages_as_long_as_less_than_its_limit_is_kept() {
    let body = "x".repeat(100 - 4 - 1 - 8); // a frame of 100 bytes
    for (bytes, fit) in [(999, 10), (1000, 10), (1001, 11)] {
        let queue = Queue { bytes, on_full: OnFull::Fail };
        let (connection, peer, _to_come) = restored(soon(), queue, Box::new(|| Ok(())));
        let first = connection.send(&body).expect("one may always be sent");
        for number in 2..=fit {
            connection.send(&body).unwrap_or_else(|error| panic!("{number} of {fit}: {error}"));
        }
        assert!(matches!(connection.send(&body), Err(Error::QueueFull)), "{bytes} bytes");
        peer.send(&accepted(1));
        let fate = connection.confirm_timeout(first, PATIENCE).expect("told");
        assert_eq!(fate, Fate::Accepted);
        connection.send(&body).expect("there is room for one");
        assert!(matches!(connection.send(&body), Err(Error::QueueFull)), "{bytes} bytes");
    }
}

#[test]
fn a_server_that_shuts_down_is_answered_and_one_that_replaced_us_is_left_alone() {
    let terminate = |reason| Frame::Terminate { reason, retry_after_ms: 0, detail: "".into() };
    let (connection, mut peer, to_come) = restored_at_once();
    peer.send(&terminate(Reason::ShuttingDown));
    let event = connection.recv_timeout(PATIENCE).expect("open");
    let Some(Event::Reconnecting { loss, .. }) = event else { panic!("{event:?}") };
    assert_eq!(loss, Loss::Terminated(Reason::ShuttingDown));
    assert_eq!(peer.next().as_deref(), Some("TerminateAck"));
    assert_eq!(peer.next(), None);
    let (peer, ..) = next_peer(&to_come);
    peer.send(&resumed(0, 0, 0));
    assert_eq!(next_event(&connection), Event::Resumed { missed: 0 });
    peer.send(&terminate(Reason::Replaced));
    let end = connection.recv_timeout(PATIENCE);
    assert!(matches!(end, Err(Error::Ended { reason: Reason::Replaced, .. })), "{end:?}");
    drop(connection);
    assert!(to_come.recv().is_err(), "no further attempt");
}

#[test]
fn attempts_are_counted_and_the_last_loss_is_the_end() {
    let policy = ReconnectPolicy { attempts: 3, ..soon() };
    let refuse = || Err(io::ErrorKind::ConnectionRefused.into());
    let (connection, peer, _) = restored(policy, Queue::default(), Box::new(refuse));
    let receipt = connection.send("lost").expect("open");
    drop(peer);
    assert_eq!(connection.confirm_timeout(receipt, PATIENCE).expect("told"), Fate::Unknown);
    let mut attempts = Vec::new();
    let end = loop {
        match connection.recv_timeout(PATIENCE) {
            Ok(Some(Event::Reconnecting { attempt, .. })) => attempts.push(attempt),
            end => break end,
        }
    };
    assert_eq!(attempts.last(), Some(&3));
    assert!(matches!(&end, Err(Error::Io(e)) if e.kind() == io::ErrorKind::ConnectionRefused));
}

#[test]
fn calls_that_wait_in_an_outage_are_woken_by_a_close() {
    let policy = ReconnectPolicy { first: PATIENCE, most: PATIENCE, ..soon() };
    let (connection, peer, _) = restored(policy, Queue::default(), Box::new(|| Ok(())));
    let connection = Arc::new(connection);
    let receipt = connection.send("open").expect("open");
    drop(peer);
    assert!(matches!(connection.recv(), Ok(Some(Event::Reconnecting { .. }))));
    assert!(matches!(connection.ping(), Err(Error::Reconnecting)));
    let (receiving, confirming) = (Arc::clone(&connection), Arc::clone(&connection));
    let received = start(move || receiving.recv());
    let confirmed = start(move || confirming.confirm(receipt));
    until(|| connection.core.events.is_awaited() && connection.core.answers.is_awaited());
    let begin = Instant::now();
    assert!(matches!(connection.close(), Err(Error::Lost)));
    assert!(matches!(result_of(&received), Ok(None)));
    assert!(matches!(result_of(&confirmed), Err(Error::Closed) | Ok(Fate::Unknown)));
    drop(connection);
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

#[test]
fn a_drop_does_not_wait_for_an_attempt_that_hangs() {
    let (reached, begun) = channel();
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let hang = move || {
        let _ = reached.send(());
        let _ = released.lock().expect("one attempt").recv();
        Err(io::ErrorKind::TimedOut.into())
    };
    let (connection, peer, to_come) = restored(soon(), Queue::default(), Box::new(hang));
    drop(peer);
    begun.recv_timeout(PATIENCE).expect("an attempt");
    let begin = Instant::now();
    drop(connection);
    assert!(begin.elapsed() < 2 * DROP_WAIT, "{:?}", begin.elapsed());
    drop(release);
    assert!(to_come.recv().is_err(), "the thread has ended");
}

/// A small server that forgets nothing: its connections break after a few frames.
fn serve_with_cuts(mut peer: Peer, to_come: &Receiver<Peer>, cuts: u64) -> Vec<Vec<u8>> {
    let (mut bodies, mut random) = (Vec::new(), 1u64);
    for cut in 0.. {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
        let mut left = if cut < cuts { random >> 33 & 31 } else { u64::MAX };
        while left > 0 {
            left -= 1;
            let answer = peer.next_with(|frame| match frame {
                Frame::Bytes { id, body } => {
                    assert!(*id <= bodies.len() as u64 + 1, "a hole before {id}");
                    if *id > bodies.len() as u64 {
                        bodies.push(body.to_vec());
                    }
                    Some(accepted(*id))
                }
                Frame::Terminate { .. } => Some(Frame::TerminateAck),
                _ => None,
            });
            match answer {
                None => break,
                Some(None) => {}
                Some(Some(answer)) => {
                    // Half of the cuts swallow the last answer.
                    let _ =
                        (left > 0 || random & 1 == 0).then(|| peer.try_send(&answer.to_bytes()));
                    if answer == Frame::TerminateAck {
                        return bodies;
                    }
                }
            }
        }
        drop(peer);
        peer = next_peer(to_come).0;
        peer.send(&resumed(bodies.len() as u64, 0, 0));
    }
    bodies
}

#[test]
fn threads_that_send_through_many_cuts_lose_and_double_nothing() {
    let (connection, peer, to_come) = restored_at_once();
    let server = start(move || serve_with_cuts(peer, &to_come, 60));
    thread::scope(|scope| {
        let receiver = scope.spawn(|| while let Ok(Some(_)) = connection.recv() {});
        let senders: Vec<_> = (0..3u8)
            .map(|sender| {
                let connection = &connection;
                scope.spawn(move || {
                    for number in 0..1000u16 {
                        let [high, low] = number.to_be_bytes();
                        connection.send_bytes(&[sender, high, low]).expect("it is restored");
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.join().expect("no panic");
        }
        connection.flush_timeout(PATIENCE).expect("all is confirmed");
        connection.close().expect("a goodbye");
        receiver.join().expect("no panic");
    });
    let bodies = result_of(&server);
    assert_eq!(bodies.len(), 3000);
    for sender in 0..3u8 {
        let numbers = bodies.iter().filter(|body| body[0] == sender);
        let numbers: Vec<_> = numbers.map(|body| u16::from_be_bytes([body[1], body[2]])).collect();
        assert!(numbers.iter().copied().eq(0..1000), "{numbers:?}");
    }
}

/// A server that does not read just then still has something to say.
#[test]
fn much_that_is_sent_again_keeps_nobody_from_reading() {
    let (connection, peer, to_come) = restored_at_once();
    drop(peer);
    let (peer, ..) = next_peer(&to_come);
    for _ in 0..60 {
        connection.send_bytes(&vec![0; 50_000]).expect("kept");
    }
    let server = start(move || {
        peer.send(&resumed(0, 0, 0));
        for seq in 1..=60 {
            let body = &"x".repeat(50_000);
            peer.send(&Frame::RelayedText { seq, time_ms: 0, from: "bob", body });
        }
        peer
    });
    let begin = Instant::now();
    assert_eq!(next_event(&connection), Event::Resumed { missed: 0 });
    for _ in 0..60 {
        assert!(matches!(next_event(&connection), Event::Text { .. }));
    }
    // One that leaves it to the keeper reads twice a second.
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    drop(result_of(&server));
}
