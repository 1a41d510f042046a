//! The connection against a far end that is played by hand, in memory and over TCP.
//!
//! A test that waits for a thread to be somewhere looks at the roles and bells; nothing sleeps,
//! and each wait ends after [`PATIENCE`] with a panic.

mod closing;
mod receiving;
mod restoring;
mod sending;

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::wait::Reader;
use super::*;
use crate::client_session::Keep;
use crate::codec::decode;
use crate::message::{Frame, Reason, SessionKey, StatusCode, VERSION};
use crate::transport::{PipeEnd, Tcp, is_timeout, pipe};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// "At once", on a machine that is busy.
const SOON: Duration = Duration::from_secs(2);

const KEEP: Keep = Keep { records: true, refusals: true, acceptances: false };
const KEEP_NOTHING: Keep = Keep { records: false, refusals: false, acceptances: false };

/// The far end, over either transport.
struct Peer {
    transport: Box<dyn Transport>,
    framer: Framer,
}

impl Peer {
    fn send(&self, frame: &Frame<'_>) {
        self.send_raw(&frame.to_bytes());
    }

    fn send_raw(&self, bytes: &[u8]) {
        self.try_send(bytes).expect("the connection reads");
    }

    /// Writes, and waits for as long as it takes.
    fn try_send(&self, mut bytes: &[u8]) -> std::io::Result<()> {
        let begin = Instant::now();
        while !bytes.is_empty() {
            match self.transport.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_timeout(&error) && begin.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next frame, described; `None` at the end.
    fn next(&mut self) -> Option<String> {
        self.next_with(|frame| format!("{frame:?}"))
    }

    fn next_with<T>(&mut self, describe: impl FnOnce(&Frame<'_>) -> T) -> Option<T> {
        loop {
            if let Some(raw) = self.framer.next_frame().expect("legal frames") {
                return Some(describe(&decode(&raw).expect("legal frames")));
            }
            match self.transport.read(self.framer.space(), Some(PATIENCE)) {
                Ok(0) => return None,
                Ok(count) => self.framer.filled(count),
                Err(error) if is_timeout(&error) => panic!("the connection sends nothing"),
                Err(_) => return None,
            }
        }
    }

    /// Accepts every message until the goodbye, which it answers, and gives the bodies.
    fn serve(&mut self) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        loop {
            let answer = self.next_with(|frame| match frame {
                Frame::Text { id, body } | Frame::Bytes { id, body } => {
                    assert_eq!(*id, bodies.len() as u64 + 1, "no hole, no repeat");
                    bodies.push(body.to_vec());
                    accepted(*id)
                }
                Frame::Ping { nonce } => Frame::Pong { nonce: *nonce },
                Frame::Terminate { .. } => Frame::TerminateAck,
                other => panic!("{other:?}"),
            });
            let Some(answer) = answer else { return bodies };
            self.send(&answer);
            if answer == Frame::TerminateAck {
                return bodies;
            }
        }
    }
}

fn accepted(id: u64) -> Frame<'static> {
    Frame::Status { id, code: StatusCode::Accepted, detail: "".into() }
}

fn text(seq: u64, body: &str) -> Frame<'_> {
    Frame::RelayedText { seq, time_ms: 0, from: "bob", body }
}

fn body_of(event: Option<Event>) -> String {
    match event {
        Some(Event::Text { body, .. }) => body,
        other => panic!("{other:?}"),
    }
}

/// An open connection over `near`, whose far end is `far`.
fn open(near: Arc<dyn Transport>, far: Box<dyn Transport>, keep: Keep) -> (Connection, Peer) {
    let session = ClientSession::anonymous(keep);
    let connection = Connection::new(near, None, session, Queue::default(), None);
    let mut peer = Peer { transport: far, framer: Framer::new(1 << 20) };
    peer.send(&init_ack());
    connection.handshake(PATIENCE).expect("welcome");
    assert!(peer.next().expect("a client").starts_with("Init"));
    (connection, peer)
}

fn init_ack() -> Frame<'static> {
    Frame::InitAck {
        version: VERSION,
        mode: Mode::Relay,
        flags: 0,
        session: SessionKey([1; 16]),
        seen: 0,
        head: 0,
        missed: 0,
        frame_max: 1 << 20,
        grace_ms: 0,
        name: "alice",
    }
}

fn in_memory() -> (Connection, Peer) {
    let (near, far) = pipe();
    open(Arc::new(near), Box::new(far), KEEP)
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    (near, listener.accept().expect("accepts").0)
}

fn over_tcp(keep: Keep) -> (Connection, Peer) {
    let (near, far) = sockets();
    let (near, far) = (Tcp::new(near).expect("options"), Tcp::new(far).expect("options"));
    open(Arc::new(near), Box::new(far), keep)
}

/// One of each kind, for tests of what must hold for both.
fn both() -> [(Connection, Peer); 2] {
    [in_memory(), over_tcp(KEEP)]
}

/// Runs `work` in a thread that may hang without hanging the test.
fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver
}

/// What [`start`] was given comes to its end.
fn result_of<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("a thread ends in time")
}

fn until(mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "it does not happen");
        thread::yield_now();
    }
}

/// Waits until a thread is about to read, or reading.
fn until_someone_reads(connection: &Connection) {
    until(|| connection.core.lock().reader == Reader::Busy);
}

/// Three threads that send until they fail, one of them writing and the others waiting for room.
fn blocked_senders(connection: &Arc<Connection>) -> Vec<Receiver<Error>> {
    let send = |other: Arc<Connection>| {
        start(move || {
            loop {
                if let Err(error) = other.send_bytes(&vec![0; 50_000]) {
                    return error;
                }
            }
        })
    };
    let senders = (0..3).map(|_| send(Arc::clone(connection))).collect();
    until(|| connection.core.room.waiting() == 2);
    senders
}
