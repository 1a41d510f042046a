//! `Connection` as a user sees it, over loopback, against a server that is played by hand.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tcpkit::codec::decode;
use tcpkit::error::Waiting;
use tcpkit::frame::Framer;
use tcpkit::message::{ErrorCode, Frame, Mode, Reason, SessionKey, StatusCode, Token};
use tcpkit::{Connection, End, Error, Event, Fate};

/// No test waits longer for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server's end of one connection.
struct Peer {
    stream: TcpStream,
    framer: Framer,
}

impl Peer {
    fn send(&mut self, frame: &Frame<'_>) {
        self.stream.write_all(&frame.to_bytes()).expect("the client reads");
    }

    /// Reads the next frame and gives what `take` makes of it; `None` at the end.
    fn take<T>(&mut self, take: impl FnOnce(Frame<'_>) -> T) -> Option<T> {
        loop {
            if let Some(raw) = self.framer.next_frame().expect("legal frames") {
                return Some(take(decode(&raw).expect("legal frames")));
            }
            let count = self.stream.read(self.framer.space()).expect("a client that writes");
            if count == 0 {
                return None;
            }
            self.framer.filled(count);
        }
    }

    fn welcome(&mut self, name: &str, mode: Mode) {
        self.take(|frame| assert!(matches!(frame, Frame::Init { .. }), "{frame:?}"));
        self.send(&Frame::InitAck {
            version: 1,
            mode,
            flags: 0,
            session: SessionKey([9; 16]),
            seen: 0,
            head: 0,
            missed: 0,
            frame_max: 1 << 20,
            grace_ms: 30_000,
            name,
        });
    }
}

/// A server for one client; gives its address and the thread that plays it.
fn serve<T: Send + 'static>(
    play: impl FnOnce(Peer) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        play(Peer { stream, framer: Framer::new(1 << 20) })
    });
    (address, server)
}

fn accepted(id: u64) -> Frame<'static> {
    Frame::Status { id, code: StatusCode::Accepted, detail: "".into() }
}

#[test]
fn a_whole_dialogue() {
    let (address, server) = serve(|mut peer| {
        peer.welcome("alice-2", Mode::Program(77));
        peer.send(&Frame::Present { total: 2, names: vec!["alice-2", "bob"] });
        peer.take(|frame| assert_eq!(frame, Frame::Text { id: 1, body: "grüß dich".as_bytes() }));
        peer.take(|frame| assert_eq!(frame, Frame::Bytes { id: 2, body: &[0, 255] }));
        peer.take(|frame| assert_eq!(frame, Frame::Direct { id: 3, to: "bob", body: b"psst" }));
        let (code, detail) = (StatusCode::NoSuchRecipient, "bob has gone".into());
        peer.send(&Frame::Status { id: 3, code, detail });
        peer.send(&accepted(3));
        peer.send(&Frame::RelayedText { seq: 5, time_ms: 1500, from: "bob", body: "hi" });
        peer.send(&Frame::Left { seq: 8, time_ms: 1600, reason: Reason::Idle, name: "bob" });
        peer.take(|frame| assert!(matches!(frame, Frame::Terminate { reason: Reason::Done, .. })));
        peer.send(&Frame::TerminateAck);
        assert_eq!(peer.take(|frame| format!("{frame:?}")), None);
    });
    let connection = Connection::connect(&address).expect("welcome");
    assert_eq!((connection.name().as_str(), connection.mode()), ("alice-2", Mode::Program(77)));
    assert_eq!(connection.server_addr().expect("TCP").to_string(), address);
    let text = connection.send("grüß dich").expect("open");
    let bytes = connection.send_bytes(&[0, 255]).expect("open");
    let direct = connection.send_to("bob", "psst").expect("open");
    assert_eq!((text.number(), bytes.number(), direct.number()), (1, 2, 3));
    connection.flush_timeout(PATIENCE).expect("all have their fate");
    assert_eq!(connection.confirm(text).expect("told"), Fate::Accepted);
    let fate = connection.confirm_timeout(direct, PATIENCE).expect("told");
    assert!(matches!(fate, Fate::Refused { code: StatusCode::NoSuchRecipient, .. }));
    let mut events = connection.events();
    let mut next = || events.next().expect("an event").expect("open");
    assert!(matches!(next(), Event::Present { total: 2, .. }));
    assert!(matches!(next(), Event::Refused { receipt, .. } if receipt == direct));
    let hi = next();
    assert_eq!((hi.seq(), hi.to_string().as_str()), (Some(5), "bob: hi"));
    assert_eq!(next().to_string(), "bob left: idle too long");
    connection.close().expect("answered");
    assert!(matches!(connection.ended(), Some(End::Closed { answered: true })));
    server.join().expect("no failed assertion");
}

#[test]
fn init_carries_what_the_builder_was_told() {
    let (address, server) = serve(|mut peer| {
        peer.take(|frame| {
            let Frame::Init { session, received, name, timezone, token, .. } = frame else {
                panic!("{frame:?}");
            };
            assert_eq!((session, received), (SessionKey::NEW, 0));
            assert_eq!((name, timezone, token), ("alice", "Europe/Vienna", Token("secret")));
        });
        let detail = "no".into();
        peer.send(&Frame::Error { code: ErrorCode::NotAuthorised, detail });
    });
    let builder = Connection::builder().name("alice").timezone("Europe/Vienna").token("secret");
    assert!(!format!("{builder:?}").contains("secret"));
    let error = builder.connect(&address).expect_err("refused");
    assert!(matches!(error, Error::Refused { code: ErrorCode::NotAuthorised, .. }), "{error:?}");
    server.join().expect("no failed assertion");
}

#[test]
fn a_server_that_does_not_answer_is_left_after_the_limit() {
    let (address, server) = serve(|mut peer| {
        peer.take(|frame| assert!(matches!(frame, Frame::Init { .. })));
        peer.take(|frame| format!("{frame:?}"))
    });
    let (limit, begin) = (Duration::from_millis(50), Instant::now());
    let result = Connection::builder().handshake_timeout(limit).connect(&address);
    let Err(Error::Timeout(Waiting::Handshake, told)) = result else { panic!("{result:?}") };
    assert_eq!(told, limit);
    assert!(begin.elapsed() >= limit);
    assert_eq!(server.join().expect("no failed assertion"), None, "silent until InitAck");
}

#[test]
fn what_is_no_tcpkit_server_is_told_so() {
    for words in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.6\r\n", &[0; 4]] {
        let (address, server) = serve(move |mut peer| {
            peer.stream.write_all(words).expect("the client reads");
            peer.take(|frame| assert!(matches!(frame, Frame::Init { .. })));
            peer.take(|frame| assert!(matches!(frame, Frame::Error { .. }), "{frame:?}"));
        });
        let error = Connection::connect(&address).expect_err("no server");
        assert!(matches!(error, Error::Violation(_)), "{error:?}");
        server.join().expect("no failed assertion");
    }
}

#[test]
fn a_server_that_goes_during_the_handshake_is_lost() {
    let (address, server) = serve(|mut peer| {
        peer.take(|frame| assert!(matches!(frame, Frame::Init { .. })));
    });
    let error = Connection::connect(&address).expect_err("lost");
    assert!(matches!(error, Error::Lost), "{error:?}");
    server.join().expect("no failed assertion");
}

#[test]
fn where_nobody_listens_the_address_and_the_cause_are_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let free = listener.local_addr().expect("bound").to_string();
    drop(listener);
    for address in [free.as_str(), "no port", "127.0.0.1:99999"] {
        let error = Connection::connect(address).expect_err("nobody");
        assert!(matches!(&error, Error::Connect { address: told, .. } if told == address));
        assert!(std::error::Error::source(&error).is_some());
    }
    let result = Connection::builder().connect_timeout(Duration::ZERO).connect(&free);
    assert!(matches!(result, Err(Error::Connect { .. })));
}

#[test]
fn a_scope_of_threads_shares_one_connection() {
    let (address, server) = serve(|mut peer| {
        peer.welcome("guest", Mode::Echo);
        let mut seq = 0;
        loop {
            let answers = peer.take(|frame| match frame {
                Frame::Text { id, body } => {
                    seq += 1;
                    let body = std::str::from_utf8(body).expect("UTF-8");
                    let mut bytes = accepted(id).to_bytes();
                    Frame::RelayedText { seq, time_ms: 0, from: "guest", body }.encode(&mut bytes);
                    bytes
                }
                _ => Frame::TerminateAck.to_bytes(),
            });
            let Some(answers) = answers else { return seq };
            peer.stream.write_all(&answers).expect("the client reads");
        }
    });
    let connection = Connection::connect(&address).expect("welcome");
    thread::scope(|scope| {
        let receiver = scope.spawn(|| connection.events().flatten().count());
        let senders: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..500 {
                        connection.send("x").expect("open");
                    }
                    connection.flush_timeout(PATIENCE)
                })
            })
            .collect();
        for sender in senders {
            sender.join().expect("no panic").expect("all accepted");
        }
        connection.close().expect("answered");
        let received = receiver.join().expect("no panic");
        assert!(received <= 2000, "{received}");
    });
    assert_eq!(server.join().expect("no failed assertion"), 2000);
}

#[test]
fn delivery_events_come_in_order_and_send_only_leaves_the_rest_out() {
    let (address, server) = serve(|mut peer| {
        peer.welcome("guest", Mode::Relay);
        peer.send(&Frame::Present { total: 1, names: vec!["guest"] });
        peer.send(&Frame::RelayedText { seq: 1, time_ms: 0, from: "bob", body: "not wanted" });
        for _ in 0..3 {
            peer.take(|frame| assert!(matches!(frame, Frame::Text { .. })));
        }
        peer.send(&accepted(1));
        let (code, detail) = (StatusCode::Refused, "no".into());
        peer.send(&Frame::Status { id: 2, code, detail });
        peer.send(&accepted(3));
        let (reason, detail) = (Reason::ShuttingDown, "bye".into());
        peer.send(&Frame::Terminate { reason, retry_after_ms: 0, detail });
        peer.take(|frame| assert_eq!(frame, Frame::TerminateAck));
    });
    let builder = Connection::builder().send_only(true).delivery_events(true).reconnect(None);
    let connection = builder.connect(&address).expect("welcome");
    for _ in 0..3 {
        connection.send("x").expect("open");
    }
    let mut told = Vec::new();
    while let Some(event) = connection.recv().expect("an orderly end") {
        told.push(event.to_string());
    }
    let refused = "message 2 was refused: refused by the server's program (no)";
    assert_eq!(told, ["accepted up to message 1", refused, "accepted up to message 3"]);
    let end = connection.ended();
    assert!(matches!(end, Some(End::Terminated { reason: Reason::ShuttingDown, .. })), "{end:?}");
    server.join().expect("no failed assertion");
}

#[test]
fn a_dropped_connection_says_goodbye_behind_what_was_sent() {
    let (address, server) = serve(|mut peer| {
        peer.welcome("guest", Mode::Relay);
        let mut frames = Vec::new();
        while let Some(frame) = peer.take(|frame| format!("{frame:?}")) {
            if frame.starts_with("Terminate") {
                peer.send(&Frame::TerminateAck);
            }
            frames.push(frame);
        }
        frames
    });
    let begin = Instant::now();
    let connection = Connection::connect(&address).expect("welcome");
    for _ in 0..100 {
        connection.send("x").expect("open");
    }
    drop(connection);
    assert!(begin.elapsed() < PATIENCE);
    let frames = server.join().expect("no failed assertion");
    assert_eq!(frames.len(), 101);
    assert!(frames[100].starts_with("Terminate { reason: Done"), "{}", frames[100]);
}
