//! The end of the file, a reset, a missed heartbeat and idleness are told apart: in the server's
//! log, and in the client's events as JSON.

use std::net::TcpListener;

use tcpkit::Connection;
use tcpkit::frame::{DEFAULT_FRAME_MAX, Framer, HANDSHAKE_FRAME_MAX};
use tcpkit::message::{FLAG_RESUMED, Frame, Mode, Reason, SessionKey, VERSION};

use crate::common::eventually;
use crate::common::program::Program;
use crate::common::raw::Raw;
use crate::member;

/// A dead peer is noticed within 1.2 s; one that lives may take half a second to answer.
const RHYTHM: [&str; 6] = [
    "--set",
    "heartbeat.data_threshold=0.2",
    "--set",
    "heartbeat.heart_beat_threshold=0.5",
    "--set",
    "heartbeat.heart_beat_additional_tries=1",
];

#[test]
fn in_the_log_of_the_server() {
    let settings = ["--set", "limits.idle_time=2.5", "--set", "session.grace=0.3"];
    let (server, address) = Program::serve("127.0.0.1", &[&RHYTHM[..], &settings].concat());
    // One that answers Pings, says nothing, and does not come back.
    let idle = Connection::builder().name("idle").heartbeat(member::RHYTHM).reconnect(None);
    let _idle = idle.connect(&address.to_string()).expect("a connection");
    let _silent = Raw::join(address, "silent");
    Raw::join(address, "closed").hang_up();
    Raw::join(address, "reset").reset(); // with what is told of others unread
    for (name, loss, reason) in [
        ("closed", "\"closed without a goodbye\"", "\"connection lost\""),
        ("reset", "\"connection reset\"", "\"connection lost\""),
        ("silent", "\"no heartbeat\"", "\"no heartbeat\""),
        ("idle", "\"idle too long\"", "\"idle too long\""),
    ] {
        let name = format!(" name={name} ");
        server.stderr.told(&["away", &name, &format!(" reason={loss} grace=0.3s")]);
        server.stderr.told(&["left", &name, &format!(" reason={reason}")]);
    }
}

/// The session of the client that a test welcomes.
const KEY: SessionKey = SessionKey([1; 16]);

/// Takes the client that comes next, and welcomes it, as one that is known if it says so.
fn welcome(listener: &TcpListener) -> Raw {
    let mut accepted = None;
    eventually(|| {
        accepted = listener.accept().map_err(|error| error.to_string()).ok();
        accepted.as_ref().map(|_| ()).ok_or_else(|| "nobody comes".into())
    });
    let (socket, _) = accepted.expect("someone came");
    socket.set_nonblocking(false).expect("a socket");
    let mut raw = Raw { socket, framer: Framer::new(HANDSHAKE_FRAME_MAX) };
    let flags = match raw.next().frame() {
        Frame::Init { session: SessionKey::NEW, .. } => 0,
        Frame::Init { session: KEY, .. } => FLAG_RESUMED,
        other => panic!("no Init but {other:?}"),
    };
    let ack = Frame::InitAck {
        version: VERSION,
        mode: Mode::Relay,
        flags,
        session: KEY,
        seen: 0,
        head: 0,
        missed: 0,
        frame_max: DEFAULT_FRAME_MAX,
        grace_ms: 30_000,
        name: "alice",
    };
    raw.send(&ack.to_bytes());
    raw
}

/// The server is one that the test plays.
#[test]
fn in_the_events_of_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let arguments = [&["watch", "--json", "--set", "reconnect.first=0.01"], &RHYTHM[..]].concat();
    let client = Program::client(address, "alice", &arguments);
    let told_of = |loss: &str| {
        client.stdout.told(&["{\"event\":\"reconnecting\"", &format!("\"loss\":\"{loss}\"}}")]);
    };

    welcome(&listener).hang_up();
    told_of("closed without a goodbye");

    let mut resetting = welcome(&listener);
    resetting.send(&Frame::Ping { nonce: 1 }.to_bytes());
    resetting.reset(); // with the Pong unread
    told_of("connection reset");

    let silent = welcome(&listener);
    told_of("no heartbeat");
    drop(silent);

    let mut ending = welcome(&listener);
    let (reason, detail) = (Reason::Idle, "".into());
    ending.send(&Frame::Terminate { reason, retry_after_ms: 0, detail }.to_bytes());
    told_of("idle too long");

    let _last = welcome(&listener);
    eventually(|| match client.stdout.count("\"event\":\"resumed\"") {
        4 => Ok(()),
        count => Err(format!("resumed {count} times")),
    });
    assert_eq!(client.stdout.count("\"event\":\"reconnecting\""), 4);
}
