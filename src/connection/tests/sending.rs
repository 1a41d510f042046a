//! Sending: gathering, room, servers that do not read or have gone.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Counts writes, and holds them up while its gate is closed.
#[derive(Debug)]
struct Gated {
    pipe: PipeEnd,
    writes: Arc<AtomicUsize>,
    gate: Arc<Mutex<()>>,
}

impl Transport for Gated {
    fn read(&self, space: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        self.pipe.read(space, limit)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock());
        self.pipe.write(bytes)
    }

    fn shutdown(&self, how: Shutdown) {
        self.pipe.shutdown(how);
    }
}

/// A connection whose writes are counted from now on, and its gate.
fn gated() -> (Arc<Connection>, Peer, Arc<AtomicUsize>, Arc<Mutex<()>>) {
    let (near, far) = pipe();
    let (writes, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(())));
    let near = Gated { pipe: near, writes: Arc::clone(&writes), gate: Arc::clone(&gate) };
    let (connection, peer) = open(Arc::new(near), Box::new(far), KEEP);
    writes.store(0, Ordering::SeqCst);
    (Arc::new(connection), peer, writes, gate)
}

#[test]
fn a_lone_send_is_one_write_and_sends_of_many_gather() {
    let (connection, mut peer, writes, gate) = gated();
    for _ in 0..10 {
        connection.send("alone").expect("open");
    }
    assert_eq!(writes.load(Ordering::SeqCst), 10);

    let closed = gate.lock().expect("no panic");
    let other = Arc::clone(&connection);
    let writer = start(move || other.send("first"));
    until(|| writes.load(Ordering::SeqCst) == 11);
    for _ in 0..1000 {
        connection.send("gathered").expect("the writer takes it along");
    }
    drop(closed);
    result_of(&writer).expect("open");
    assert_eq!(writes.load(Ordering::SeqCst), 12, "a thousand in one write");
    let server = start(move || peer.serve());
    connection.flush_timeout(PATIENCE).expect("all accepted");
    connection.close().expect("answered");
    assert_eq!(result_of(&server).len(), 1011);
}

#[test]
fn one_thread_receives_while_four_send() {
    const COUNT: usize = 2000;
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let server = start(move || {
            (1..=100).for_each(|seq| peer.send(&text(seq, "news")));
            peer.serve()
        });
        let other = Arc::clone(&connection);
        let receiver =
            start(move || (0..100).all(|_| body_of(other.recv().expect("open")) == "news"));
        let senders: Vec<_> = (0..4)
            .map(|thread| {
                let other = Arc::clone(&connection);
                start(move || {
                    let receipts: Vec<_> = (0..COUNT)
                        .map(|number| other.send(&format!("{thread} {number}")).expect("open"))
                        .collect();
                    assert!(receipts.is_sorted(), "numbered in the order of sending");
                    for receipt in receipts {
                        let fate = other.confirm_timeout(receipt, PATIENCE).expect("open");
                        assert_eq!(fate, Fate::Accepted);
                    }
                })
            })
            .collect();
        senders.iter().for_each(result_of);
        assert!(result_of(&receiver));
        connection.close().expect("answered");
        let bodies = result_of(&server);
        for thread in 0..4 {
            let prefix = format!("{thread} ");
            let of_thread: Vec<_> =
                bodies.iter().filter(|body| body.starts_with(prefix.as_bytes())).collect();
            assert_eq!(of_thread.len(), COUNT);
            let in_order = of_thread
                .iter()
                .enumerate()
                .all(|(number, body)| **body == format!("{prefix}{number}").as_bytes());
            assert!(in_order);
        }
    }
}

/// A server that stops reading while it cannot write its statuses, and a program that only sends:
/// the sender has to read, or both wait for ever.
#[test]
fn a_sender_and_a_server_that_wait_for_each_other_do_not_lock_up() {
    const COUNT: u64 = 200_000; // 20 MB, and 50 MB of statuses: more than sockets hold
    let (near, far) = pipe();
    let memory = open(Arc::new(near), Box::new(far), KEEP_NOTHING);
    for (connection, mut peer) in [memory, over_tcp(KEEP_NOTHING)] {
        let connection = Arc::new(connection);
        let server = start(move || {
            let detail = "d".repeat(240);
            for number in 1..=COUNT {
                let id = peer.next_with(|frame| match frame {
                    Frame::Bytes { id, .. } => *id,
                    other => panic!("{other:?}"),
                });
                assert_eq!(id, Some(number));
                let detail = detail.as_str().into();
                peer.send(&Frame::Status { id: number, code: StatusCode::Refused, detail });
            }
            assert!(peer.next().expect("a goodbye").starts_with("Terminate"));
            peer.send(&Frame::TerminateAck);
        });
        let other = Arc::clone(&connection);
        let sender = start(move || {
            for _ in 0..COUNT {
                other.send_bytes(&[0; 100]).expect("it goes on");
            }
        });
        result_of(&sender);
        connection.flush_timeout(PATIENCE).expect("all have their fate");
        let last = connection.core.lock().session.last_receipt();
        assert!(matches!(connection.confirm(last), Ok(Fate::Refused { .. })));
        connection.close().expect("answered");
        result_of(&server);
    }
}

#[test]
fn a_send_blocks_when_much_is_outgoing_and_goes_on_when_it_leaves() {
    for (connection, mut peer) in both() {
        let connection = Arc::new(connection);
        let sent = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (other, sent) = (Arc::clone(&connection), Arc::clone(&sent));
                start(move || {
                    for _ in 0..200 {
                        other.send_bytes(&vec![0; 100_000]).expect("open");
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        until(|| connection.core.room.is_awaited());
        assert!(sent.load(Ordering::SeqCst) < 400, "40 MB do not fit into any buffer");
        let held = connection.core.lock().session.outgoing.capacity();
        assert!(held < 4 << 20, "{held} bytes held");
        let server = start(move || peer.serve());
        senders.iter().for_each(result_of);
        connection.flush_timeout(PATIENCE).expect("all accepted");
        connection.close().expect("answered");
        assert_eq!(result_of(&server).len(), 400);
    }
}

// One thread writes; more than may wait is added; two wait for room. When the writer has written
// what it had in hand it leaves, and one of those who wait must go on, and make room for the other.
#[test]
fn a_writer_is_relieved_by_those_who_wait_for_room() {
    let (connection, mut peer, writes, gate) = gated();
    let closed = gate.lock().expect("no panic");
    let send = |body: Vec<u8>| {
        let other = Arc::clone(&connection);
        start(move || other.send_bytes(&body))
    };
    let writer = send(vec![1]);
    until(|| writes.load(Ordering::SeqCst) == 1);
    for _ in 0..11 {
        connection.send_bytes(&vec![2; 100_000]).expect("the writer takes it along");
    }
    let waiting = [send(vec![3]), send(vec![3])];
    until(|| connection.core.room.waiting() == 2);
    drop(closed);
    result_of(&writer).expect("open");
    let server = start(move || peer.serve());
    for sender in waiting {
        result_of(&sender).expect("open");
    }
    connection.flush_timeout(PATIENCE).expect("all accepted");
    connection.close().expect("answered");
    assert_eq!(result_of(&server).len(), 14);
}

#[test]
fn a_writer_tells_a_close_that_waits_for_it() {
    let (connection, mut peer, writes, gate) = gated();
    let other = Arc::clone(&connection);
    let receiver = start(move || other.recv());
    until_someone_reads(&connection);
    let closed = gate.lock().expect("no panic");
    let other = Arc::clone(&connection);
    let writer = start(move || other.send("x"));
    until(|| writes.load(Ordering::SeqCst) == 1);
    let other = Arc::clone(&connection);
    let closer = start(move || other.close());
    assert!(matches!(result_of(&receiver), Ok(None)));
    until(|| connection.core.lock().reader == Reader::Shut && connection.core.answers.is_awaited());
    let begin = Instant::now();
    drop(closed);
    result_of(&closer).expect("all is written");
    assert!(begin.elapsed() < SOON);
    result_of(&writer).expect("written");
    assert!(peer.next().expect("the message").starts_with("Text"));
    assert!(peer.next().expect("a goodbye").starts_with("Terminate"));
}

#[test]
fn an_end_wakes_sends_that_are_blocked() {
    for (connection, peer) in both() {
        let connection = Arc::new(connection);
        let senders = blocked_senders(&connection);
        drop(peer);
        for sender in &senders {
            let error = result_of(sender);
            assert!(matches!(error, Error::Io(_) | Error::Lost), "{error:?}");
        }
    }
}

#[test]
fn a_send_that_would_wait_for_ever_behind_a_full_inbox_says_so() {
    let (connection, peer) = in_memory();
    let connection = Arc::new(connection);
    let flood = start(move || {
        let body = "b".repeat(100_000);
        for seq in 1..=200 {
            peer.send(&text(seq, &body)); // and reads nothing meanwhile
        }
        peer
    });
    let other = Arc::clone(&connection);
    let sender = start(move || {
        let mut receipts = 0;
        loop {
            match other.send_bytes(&vec![0; 100_000]) {
                Ok(receipt) => receipts = receipt.number(),
                Err(Error::InboxFull) => return receipts,
                Err(other) => panic!("{other:?}"),
            }
        }
    });
    let sent = result_of(&sender);
    assert_eq!(connection.core.lock().session.last_receipt().number(), sent, "no number is wasted");
    for _ in 0..200 {
        connection.recv_timeout(PATIENCE).expect("an event").expect("open");
    }
    let mut peer = result_of(&flood);
    let server = start(move || peer.serve());
    connection.flush_timeout(PATIENCE).expect("what was left behind is written");
    connection.close().expect("answered");
    assert_eq!(result_of(&server).len() as u64, sent);
}

#[test]
fn a_send_to_a_server_that_went_with_words_gives_the_words() {
    for (connection, peer) in both() {
        let detail = "out of memory".into();
        peer.send(&Frame::Error { code: crate::message::ErrorCode::Internal, detail });
        drop(peer); // over TCP a reset, if it has not read all
        let mut result = connection.send("x");
        until(|| {
            result.is_err() || {
                result = connection.send("x");
                false
            }
        });
        assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    }
}

#[test]
fn a_write_that_fails_wakes_the_thread_that_reads() {
    let (connection, peer) = in_memory();
    let connection = Arc::new(connection);
    let other = Arc::clone(&connection);
    let receiver = start(move || other.recv());
    until_someone_reads(&connection);
    peer.transport.shutdown(Shutdown::Read); // it goes on writing: the reader alone notices nothing
    let other = Arc::clone(&connection);
    let sender = start(move || other.send("x"));
    assert!(matches!(result_of(&sender), Err(Error::Io(_))));
    assert!(matches!(result_of(&receiver), Err(Error::Io(_))));
}
