//! Bad input over a real socket, while two good clients go on chatting unharmed: what the server
//! answers to it, that it closes orderly, and who hears of it.
//!
//! Each offence is tried twice: alone, so that it must be answered as soon as it is plain, and
//! with more behind it, so that the answer must survive input that nobody reads any more.

mod common;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::chat::Chat;
use common::raw::{Raw, init, text};
use common::{Census, PACE, SOON, Site, settings};
use tcpkit::frame::{DEFAULT_FRAME_MAX, write_frame};
use tcpkit::message::{ErrorCode, Frame, Reason, StatusCode, kind};

/// A handshake that takes longer is ended; long enough for good clients on a busy machine.
const HANDSHAKE_TIME: Duration = Duration::from_millis(500);
/// What is sent behind an offence: more than the server reads at once, less than TCP holds.
const TAIL: usize = 64 * 1024;

/// The offence alone, and with more behind it.
fn variants(offence: &[u8]) -> [Vec<u8>; 2] {
    let tail = vec![b'x'; TAIL];
    [offence.to_vec(), [offence, &tail].concat()]
}

/// The beginning of what was sent, for people.
fn shown(bytes: &[u8]) -> String {
    let begin = &bytes[..bytes.len().min(80)];
    format!("{} bytes: {}", bytes.len(), begin.escape_ascii())
}

/// One that is not in yet says `offence`, and is answered with Error `code`; nobody hears of it.
/// Gives the server's words.
fn stranger(offence: &[u8], code: ErrorCode) -> String {
    let site = Site::open();
    let chat = Chat::start(&site);
    let mut words = String::new();
    for bytes in variants(offence) {
        let mut raw = Raw::connect(site.addr());
        raw.send(&bytes);
        let (told, detail) = raw.refused();
        assert_eq!(told, code, "{detail}, for {}", shown(&bytes));
        words = detail;
        chat.goes_on();
    }
    chat.finish(&[]);
    words
}

/// One that is in says `offence`, and is answered with Error `code`; the others hear `said`, and
/// that it was turned out.
fn member(offence: &[u8], code: ErrorCode, said: &[&str]) {
    let site = Site::open();
    let chat = Chat::start(&site);
    let mut heard = Vec::new();
    for bytes in variants(offence) {
        let mut raw = Raw::join(site.addr(), "mallory");
        raw.send(&bytes);
        let (told, detail) = raw.refused();
        assert_eq!(told, code, "{detail}, for {}", shown(&bytes));
        chat.goes_on();
        heard.push("mallory joined");
        heard.extend(said);
        heard.push("mallory left: turned out by the server");
    }
    chat.finish(&heard);
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, kind, |out| out.extend_from_slice(payload));
    bytes
}

#[test]
fn a_length_of_zero() {
    stranger(&[0; 4], ErrorCode::NotTcpkit);
    member(&[0; 4], ErrorCode::Malformed, &[]);
}

#[test]
fn a_length_of_frame_max_and_one() {
    stranger(&4097u32.to_be_bytes(), ErrorCode::NotTcpkit);
    member(&(DEFAULT_FRAME_MAX + 1).to_be_bytes(), ErrorCode::TooLarge, &[]);
}

#[test]
fn a_length_of_all_ones() {
    stranger(&[0xff; 4], ErrorCode::NotTcpkit);
    member(&[0xff; 4], ErrorCode::TooLarge, &[]);
}

#[test]
fn a_frame_cut_off_by_a_close() {
    let site = Site::open();
    let chat = Chat::start(&site);
    let init = init("mallory");
    for cut in 1..init.len() {
        let mut raw = Raw::connect(site.addr());
        raw.send(&init[..cut]);
        raw.hang_up();
        raw.at_end();
    }
    chat.goes_on();
    let mut raw = Raw::join(site.addr(), "mallory");
    let message = text(1, b"half a message");
    raw.send(&message[..message.len() / 2]);
    chat.goes_on();
    raw.hang_up();
    chat.finish(&["mallory joined", "mallory left: connection lost"]);
}

#[test]
fn one_byte_at_a_time_slowly_within_the_limits() {
    let site = Site::open();
    let chat = Chat::start(&site);
    let mut raw = Raw::connect(site.addr());
    let init = init("mallory");
    let (last, others) = init.split_last().expect("bytes");
    assert!(raw.send_slowly(others, PACE).is_none());
    chat.goes_on();
    raw.send(&[*last]);
    raw.welcomed();
    let message = text(1, b"slow");
    let (last, others) = message.split_last().expect("bytes");
    assert!(raw.send_slowly(others, PACE).is_none());
    chat.goes_on();
    raw.send(&[*last]);
    assert_eq!(raw.status(), (1, StatusCode::Accepted));
    chat.finish(&["mallory joined", "mallory: slow"]);
}

/// One that never ends its handshake sends `bytes`, each after a pause; it is told so in time.
fn too_slow_a_handshake(bytes: &[u8]) {
    let site = Site::with(settings(|settings| settings.limits.handshake_time = HANDSHAKE_TIME));
    let chat = Chat::start(&site);
    let start = Instant::now();
    let mut raw = Raw::connect(site.addr());
    // Twice as long as it has.
    let pause = 2 * HANDSHAKE_TIME / bytes.len().max(1) as u32;
    let answer = raw.send_slowly(bytes, pause).unwrap_or_else(|| raw.next());
    let took = start.elapsed();
    let Frame::Error { code, .. } = answer.frame() else { panic!("no Error but {answer:?}") };
    assert_eq!(code, ErrorCode::HandshakeTimedOut);
    assert!(took >= HANDSHAKE_TIME && took < SOON, "told after {took:?}");
    raw.at_end();
    chat.finish(&[]);
}

#[test]
fn one_byte_at_a_time_beyond_the_time_for_the_handshake() {
    too_slow_a_handshake(&init("mallory"));
}

#[test]
fn nothing_at_all() {
    too_slow_a_handshake(&[]);
}

#[test]
fn pings_and_never_an_init() {
    let site = Site::with(settings(|settings| settings.limits.handshake_time = HANDSHAKE_TIME));
    let chat = Chat::start(&site);
    let mut raw = Raw::connect(site.addr());
    let start = Instant::now();
    let mut nonce = 0;
    let code = loop {
        assert!(start.elapsed() < SOON, "still answered after {nonce} pings");
        nonce += 1;
        raw.send(&Frame::Ping { nonce }.to_bytes());
        match raw.next().frame() {
            Frame::Pong { nonce: answered } => assert_eq!(answered, nonce),
            Frame::Error { code, .. } => break code,
            other => panic!("neither Pong nor Error but {other:?}"),
        }
    };
    assert_eq!(code, ErrorCode::HandshakeTimedOut);
    raw.at_end();
    chat.finish(&[]);
}

#[test]
fn a_message_slower_than_the_time_for_a_frame() {
    let frame_time = Duration::from_millis(200);
    let site = Site::with(settings(|settings| settings.limits.frame_time = frame_time));
    let chat = Chat::start(&site);
    let mut raw = Raw::join(site.addr(), "mallory");
    let answer = raw.send_slowly(&text(1, &[b'x'; 5000]), PACE).expect("an answer");
    let Frame::Error { code, .. } = answer.frame() else { panic!("no Error but {answer:?}") };
    assert_eq!(code, ErrorCode::Malformed);
    chat.finish(&["mallory joined", "mallory left: turned out by the server"]);
}

#[test]
fn http() {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for size in [1, 4, request.len()] {
        stranger(&request[..size], ErrorCode::NotTcpkit);
    }
}

#[test]
fn tls() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for size in [1, 4, hello.len()] {
        stranger(&hello[..size], ErrorCode::NotTcpkit);
    }
}

#[test]
fn bad_magic() {
    let mut whole = init("mallory");
    whole[10] = b'T';
    for size in [11, whole.len()] {
        stranger(&whole[..size], ErrorCode::NotTcpkit);
    }
}

#[test]
fn version_2() {
    let mut whole = init("mallory");
    whole[11] = 2;
    for bytes in [whole, frame(kind::INIT, b"tcpkit\x02as it may look one day")] {
        let words = stranger(&bytes, ErrorCode::UnsupportedVersion);
        assert!(words.contains('1'), "it names the version that is spoken: {words}");
    }
}

#[test]
fn init_twice() {
    member(&init("mallory"), ErrorCode::OutOfOrder, &[]);
}

#[test]
fn text_before_init() {
    stranger(&text(1, b"hello"), ErrorCode::NotTcpkit);
}

#[test]
fn a_hint_before_init() {
    stranger(&frame(kind::FIRST_HINT, b"hello"), ErrorCode::NotTcpkit);
}

#[test]
fn text_behind_init_before_the_answer() {
    for behind in [text(1, b"hello"), Frame::Ping { nonce: 1 }.to_bytes(), init("mallory")] {
        stranger(&[init("mallory"), behind].concat(), ErrorCode::OutOfOrder);
    }
}

#[test]
fn an_id_that_leaves_a_hole() {
    member(&text(0, b"none"), ErrorCode::OutOfOrder, &[]);
    member(&text(2, b"two"), ErrorCode::OutOfOrder, &[]);
    let hole = [text(1, b"one"), text(3, b"three")].concat();
    member(&hole, ErrorCode::OutOfOrder, &["mallory: one"]);
}

#[test]
fn an_id_repeated() {
    let site = Site::open();
    let chat = Chat::start(&site);
    let mut raw = Raw::join(site.addr(), "mallory");
    for (id, body, code) in [
        (1, &b"one"[..], StatusCode::Accepted),
        (1, b"one again", StatusCode::Accepted),
        (2, b"\xff", StatusCode::NotUtf8),
        (2, b"now good", StatusCode::NotUtf8),
        (3, b"three", StatusCode::Accepted),
        (1, b"one at last", StatusCode::Accepted),
    ] {
        raw.send(&text(id, body));
        assert_eq!(raw.status(), (id, code), "for {}", body.escape_ascii());
        chat.goes_on();
    }
    chat.finish(&["mallory joined", "mallory: one", "mallory: three"]);
}

#[test]
fn an_unknown_kind_below_0x80() {
    for kind in [0x00, 0x06, 0x14, 0x27, 0x7f] {
        member(&frame(kind, b"12345678"), ErrorCode::UnknownKind, &[]);
    }
}

#[test]
fn kinds_that_only_a_server_sends() {
    let (id, code, detail) = (1, StatusCode::Accepted, "".into());
    member(&Frame::Status { id, code, detail }.to_bytes(), ErrorCode::UnknownKind, &[]);
    for kind in [kind::INIT_ACK, kind::RELAYED_TEXT, kind::PRESENT, kind::STREAM_CREDIT] {
        member(&frame(kind, &[0; 64]), ErrorCode::UnknownKind, &[]);
    }
}

#[test]
fn an_unknown_kind_above_0x80_is_skipped() {
    let site = Site::open();
    let chat = Chat::start(&site);
    let mut raw = Raw::join(site.addr(), "mallory");
    for (id, kind) in (1..).zip([0x80, 0x9d, 0xff]) {
        raw.send(&[frame(kind, b""), frame(kind, &[0; 5000]), text(id, b"on")].concat());
        assert_eq!(raw.status(), (id, StatusCode::Accepted), "behind kind {kind:#x}");
        chat.goes_on();
    }
    chat.finish(&["mallory joined", "mallory: on", "mallory: on", "mallory: on"]);
}

#[test]
fn a_payload_that_is_not_what_its_kind_says() {
    member(&frame(kind::TEXT, b"short"), ErrorCode::Malformed, &[]);
    member(&frame(kind::DIRECT, b"12345678\x00\x09bob"), ErrorCode::Malformed, &[]);
    member(&frame(kind::DIRECT, b"12345678\x00\x01\xff"), ErrorCode::Malformed, &[]);
    let whole = init("mallory");
    stranger(&frame(kind::INIT, &whole[5..whole.len() - 1]), ErrorCode::Malformed);
    let mut not_utf8 = whole;
    not_utf8[38] = 0xff;
    stranger(&not_utf8, ErrorCode::Malformed);
}

#[test]
fn a_name_of_65_bytes() {
    stranger(&init(&"x".repeat(65)), ErrorCode::NameRefused);
    stranger(&init(&"x".repeat(4000)), ErrorCode::NameRefused);
}

#[test]
fn a_name_that_makes_init_longer_than_4096_bytes() {
    stranger(&init(&"x".repeat(4096)), ErrorCode::NotTcpkit);
}

#[test]
fn a_name_with_a_newline() {
    stranger(&init("mal\nlory"), ErrorCode::NameRefused);
}

#[test]
fn a_name_with_nul() {
    stranger(&init("mal\0lory"), ErrorCode::NameRefused);
}

#[test]
fn a_name_with_esc() {
    stranger(&init("\x1b[2Jmallory"), ErrorCode::NameRefused);
}

#[test]
fn a_name_with_a_zero_width_space() {
    stranger(&init("alice\u{200b}"), ErrorCode::NameRefused);
}

#[test]
fn a_name_with_a_right_to_left_override() {
    stranger(&init("\u{202e}ecila"), ErrorCode::NameRefused);
}

#[test]
fn an_empty_name_and_one_of_spaces() {
    let site = Site::open();
    let chat = Chat::start(&site);
    for (name, given) in [("", "guest-1"), ("   ", "guest-2"), (" \t\n", "guest-3")] {
        let mut raw = Raw::connect(site.addr());
        raw.send(&init(name));
        assert_eq!(raw.welcomed().0, given, "for {name:?}");
        raw.send(
            &Frame::Terminate { reason: Reason::Done, retry_after_ms: 0, detail: "".into() }
                .to_bytes(),
        );
        chat.goes_on();
    }
    chat.finish(&[
        "guest-1 joined",
        "guest-1 left",
        "guest-2 joined",
        "guest-2 left",
        "guest-3 joined",
        "guest-3 left",
    ]);
}

#[test]
fn a_body_as_large_as_it_may_be_and_one_byte_more() {
    let site = Site::open();
    let chat = Chat::start(&site);
    let longest_name = "m".repeat(64);
    let mut raw = Raw::join(site.addr(), &longest_name);
    let mut witness = Raw::join(site.addr(), "witness");
    let largest = DEFAULT_FRAME_MAX as usize - 1024;
    let mut body: Vec<u8> = (0..=largest).map(|index| b'a' + (index % 26) as u8).collect();
    raw.send(&text(1, &body));
    assert_eq!(raw.status(), (1, StatusCode::TooLarge));
    chat.goes_on();
    raw.send(&text(2, &vec![b'x'; DEFAULT_FRAME_MAX as usize - 9]));
    assert_eq!(raw.status(), (2, StatusCode::TooLarge));
    body.truncate(largest);
    raw.send(&text(3, &body));
    assert_eq!(raw.status(), (3, StatusCode::Accepted));
    loop {
        match witness.next().frame() {
            Frame::RelayedText { from, .. } if ["alice", "bob"].contains(&from) => {}
            Frame::RelayedText { from, body: relayed, .. } => {
                assert_eq!(from, longest_name);
                assert!(relayed.as_bytes() == body, "{} of {largest} bytes", relayed.len());
                break;
            }
            other => panic!("{:?} is not for the witness", other.kind()),
        }
    }
    let joined = format!("{longest_name} joined");
    let said = format!("{longest_name}: abcdefghijklmn");
    chat.finish(&[&joined, "witness joined", &said]);
}

#[test]
fn a_reset_in_the_middle_of_a_frame() {
    let site = Site::open();
    let chat = Chat::start(&site);
    let before = Census::now();
    let ping = Frame::Ping { nonce: 1 }.to_bytes();
    let init = init("mallory");
    let mut stranger = Raw::connect(site.addr());
    stranger.send(&[&ping, &init[..20]].concat());
    stranger.reset(); // with the Pong unread
    before.returns();
    let mut raw = Raw::join(site.addr(), "mallory");
    raw.send(&text(1, b"half a message")[..10]);
    chat.goes_on();
    raw.reset(); // with the chat unread
    before.returns();
    chat.finish(&["mallory joined", "mallory left: connection lost"]);
}

#[test]
fn connect_and_close_at_once_1000_times() {
    let site = Site::open();
    let chat = Chat::start(&site);
    let before = Census::now();
    for nonce in 0..20 {
        for _ in 0..50 {
            drop(TcpStream::connect_timeout(&site.addr(), SOON).unwrap());
        }
        // One that stays is served between them, before more come than can wait to be accepted.
        let mut raw = Raw::connect(site.addr());
        raw.send(&Frame::Ping { nonce }.to_bytes());
        assert_eq!(raw.next().frame(), Frame::Pong { nonce });
    }
    chat.goes_on();
    before.returns();
    assert_eq!(site.server().clients(), 2);
    chat.finish(&[]);
}
