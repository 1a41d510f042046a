//! The heartbeat for real, with short times: a program that is busy, a server that is dead, and a
//! client that is dead.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::program::Program;
use common::within;
use tcpkit::codec::decode;
use tcpkit::frame::Framer;
use tcpkit::heartbeat::Rhythm;
use tcpkit::message::{Frame, Mode, Reason, SessionKey, StatusCode, Token, VERSION};
use tcpkit::settings::Settings;
use tcpkit::{Connection, Error, Event, Loss, ReconnectPolicy, Server};

const DEADLINE: Duration = Duration::from_secs(20);

fn rhythm(milliseconds: u64) -> Rhythm {
    let unit = Duration::from_millis(milliseconds);
    Rhythm { data_threshold: 2 * unit, interval: unit, threshold: unit, additional_tries: 2 }
}

/// A peer that says what it is told to say, over a real socket.
struct Peer {
    socket: TcpStream,
    framer: Framer,
}

impl Peer {
    fn new(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket's option");
        Self { socket, framer: Framer::new(1 << 20) }
    }

    fn say(&mut self, frame: &Frame<'_>) {
        self.socket.write_all(&frame.to_bytes()).expect("a write");
    }

    /// Reads up to the first frame that `found` takes; `None` at the end.
    fn await_frame<T>(&mut self, found: impl Fn(&Frame<'_>) -> Option<T>) -> Option<T> {
        loop {
            while let Some(raw) = self.framer.next_frame().expect("a legal frame") {
                if let Some(result) = found(&decode(&raw).expect("a legal frame")) {
                    return Some(result);
                }
            }
            match self.socket.read(self.framer.space()).expect("a read in time") {
                0 => return None,
                count => self.framer.filled(count),
            }
        }
    }
}

/// Takes the client that comes next, and welcomes it.
fn welcome(listener: &TcpListener) -> Peer {
    let mut peer = Peer::new(listener.accept().expect("a client").0);
    peer.await_frame(|frame| matches!(frame, Frame::Init { .. }).then_some(()));
    peer.say(&Frame::InitAck {
        version: VERSION,
        mode: Mode::Relay,
        flags: 0,
        session: SessionKey([1; 16]),
        seen: 0,
        head: 0,
        missed: 0,
        frame_max: 1 << 20,
        grace_ms: 0,
        name: "tester",
    });
    peer
}

/// A connection, and the server that it is connected to, played by the test.
fn connection(rhythm: Rhythm, policy: Option<ReconnectPolicy>) -> (Connection, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let server = std::thread::spawn(move || welcome(&listener));
    let builder = Connection::builder().heartbeat(rhythm).reconnect(policy);
    let connection = builder.connect(&address).expect("a connection");
    (connection, server.join().expect("the far end"))
}

#[test]
fn pings_are_answered_while_the_program_calls_nothing() {
    let (connection, mut peer) = connection(rhythm(100), None);
    for nonce in 1..=5 {
        peer.say(&Frame::Ping { nonce });
        let answered = |frame: &Frame<'_>| matches!(frame, Frame::Pong { nonce: n } if *n == nonce);
        peer.await_frame(|frame| answered(frame).then_some(())).expect("a Pong");
    }
    // What came meanwhile is kept for the program.
    let (seq, time_ms, from, body) = (1, 0, "bob", "kept");
    peer.say(&Frame::RelayedText { seq, time_ms, from, body });
    peer.say(&Frame::Ping { nonce: 99 });
    peer.await_frame(|frame| matches!(frame, Frame::Pong { nonce: 99 }).then_some(()));
    let event = connection.recv_timeout(DEADLINE).expect("an event");
    assert!(matches!(event, Some(Event::Text { body, .. }) if body == "kept"));
}

#[test]
fn a_silent_server_is_dead_in_time_whoever_waits_for_it() {
    let slow = ReconnectPolicy { first: DEADLINE, most: DEADLINE, ..ReconnectPolicy::default() };
    for (waits, policy) in [(true, None), (false, None), (true, Some(slow)), (false, Some(slow))] {
        let rhythm = rhythm(60);
        let (connection, mut peer) = connection(rhythm, policy);
        let start = Instant::now();
        let is_told = || match connection.recv() {
            Ok(Some(Event::Reconnecting { loss: Loss::Silent, .. })) => policy.is_some(),
            end => policy.is_none() && matches!(end, Err(Error::Silent)),
        };
        if waits {
            assert!(is_told());
        }
        let mut pings = 0;
        let goodbye = loop {
            let next = peer.await_frame(|frame| match frame {
                Frame::Ping { .. } => Some(None),
                Frame::Terminate { reason, .. } => Some(Some(*reason)),
                _ => None,
            });
            match next.expect("a goodbye before the end") {
                Some(reason) => break reason,
                None => pings += 1,
            }
        };
        assert_eq!((goodbye, pings), (Reason::NoHeartbeat, 3));
        let elapsed = start.elapsed();
        let bound = rhythm.worst_case();
        // The lower bound is exact; above it stands what a busy machine may add.
        assert!(elapsed + Duration::from_millis(30) >= bound, "{elapsed:?}, bound {bound:?}");
        assert!(elapsed < bound + Duration::from_secs(5), "{elapsed:?}, bound {bound:?}");
        assert!(waits || is_told());
        let sent = connection.send("too late");
        assert_eq!(sent.is_ok(), policy.is_some(), "{sent:?}");
    }
}

/// The thread that waits for an event reads the Pong; the one that sends the Pings has to learn it.
#[test]
fn the_next_ping_is_in_time_whoever_reads_the_pong() {
    let unit = Duration::from_millis(20);
    let rhythm =
        Rhythm { data_threshold: unit, interval: unit, threshold: 100 * unit, additional_tries: 0 };
    let (connection, mut peer) = connection(rhythm, None);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| connection.recv());
        let ping = |frame: &Frame<'_>| match frame {
            Frame::Ping { nonce } => Some(*nonce),
            _ => None,
        };
        let start = Instant::now();
        for _ in 0..10 {
            let nonce = peer.await_frame(ping).expect("a Ping");
            peer.say(&Frame::Pong { nonce });
        }
        // Left to its other alarms, the thread would come to each of them half a second late.
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        let detail = "".into();
        peer.say(&Frame::Terminate { reason: Reason::Done, retry_after_ms: 0, detail });
        assert!(matches!(receiver.join().expect("no panic"), Ok(None)));
    });
}

#[test]
fn a_silent_client_is_dead_and_one_that_answers_is_not() {
    let mut settings = Settings::default();
    let unit = Duration::from_millis(60);
    settings.heartbeat.data_threshold = 2 * unit;
    settings.heartbeat.heart_beat_interval = unit;
    settings.heartbeat.heart_beat_threshold = unit;
    settings.heartbeat.heart_beat_additional_tries = 2;
    settings.session.grace = unit;
    let server = Server::builder().settings(settings).bind("127.0.0.1:0").expect("a port");
    let server = server.spawn().expect("a server");
    let address = server.addr().to_string();
    // It asks as well, and is answered: only the one that is silent is dead.
    let builder = Connection::builder().name("alive").heartbeat(rhythm(40));
    let alive = builder.connect(&address).expect("a connection");
    let mut dead = Peer::new(TcpStream::connect(&address).expect("a connection"));
    let (session, token) = (SessionKey::NEW, Token::default());
    let (name, timezone) = ("dead", "");
    dead.say(&Frame::Init { version: VERSION, session, received: 0, name, timezone, token });
    let reason = dead.await_frame(|frame| match frame {
        Frame::Terminate { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reason, Some(Reason::NoHeartbeat));
    let left = loop {
        match alive.recv_timeout(DEADLINE).expect("an event") {
            Some(Event::Left { name, reason, .. }) => break (name, reason),
            Some(_) => {}
            None => panic!("the living one was put out"),
        }
    };
    assert_eq!(left, ("dead".to_owned(), Reason::NoHeartbeat));
    drop(alive);
    server.shutdown(Duration::from_secs(5));
}

#[test]
fn an_idle_program_does_not_hold_up_a_shutdown() {
    let server = Server::builder().bind("127.0.0.1:0").and_then(Server::spawn).expect("a server");
    let builder = Connection::builder().reconnect(None);
    let connection = builder.connect(&server.addr().to_string()).expect("a connection");
    let start = Instant::now();
    assert!(server.shutdown(DEADLINE), "the connection's own thread says goodbye");
    // A server waits for 5 s for an answer.
    assert!(start.elapsed() < Duration::from_millis(4500), "{:?}", start.elapsed());
    assert!(matches!(connection.recv(), Ok(Some(Event::Present { .. }))));
    assert!(matches!(connection.recv(), Ok(None)));
}

/// It is the program's own time between its messages that the heartbeats fill.
#[test]
fn a_sender_goes_over_to_heartbeats_between_its_messages_and_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let settings = [
        "client.data_interval=1",
        "heartbeat.data_threshold=0.15",
        "heartbeat.heart_beat_interval=0.1",
    ];
    let settings = settings.map(|setting| ["--set", setting]).concat();
    let arguments = [&["send", "--every"], &settings[..], &["tick"]].concat();
    let _client = Program::client(address, "alice", &arguments);
    let mut peer = within(DEADLINE, move || welcome(&listener));
    let mut kinds = Vec::new();
    // It would go on for ever. More than 100 frames are no rhythm of that kind.
    while kinds.iter().filter(|kind| **kind == "Text").count() < 3 && kinds.len() < 100 {
        let (kind, answer) = peer
            .await_frame(|frame| match frame {
                Frame::Text { id, .. } => {
                    let (id, code, detail) = (*id, StatusCode::Accepted, "".into());
                    Some(("Text", Frame::Status { id, code, detail }))
                }
                Frame::Ping { nonce } => Some(("Ping", Frame::Pong { nonce: *nonce })),
                other => panic!("{other:?}"),
            })
            .expect("it goes on");
        peer.say(&answer);
        kinds.push(kind);
    }
    kinds.dedup();
    assert_eq!(kinds, ["Text", "Ping", "Text", "Ping", "Text"]);
}
