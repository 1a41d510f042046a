//! The test vectors in `tests/vectors/` held against the framer and the codec, and `PROTOCOL.md`
//! held against both: its table of kinds and its worked example.
//!
//! The vectors were made apart from this codec, and other implementations read the same files.
//! What a machine does with a decoded frame is tested elsewhere.

#[path = "vectors/reader.rs"]
mod reader;

use reader::{Vector, from_hex, vectors};
use tcpkit::codec::decode;
use tcpkit::frame::{DEFAULT_FRAME_MAX, Framer, HEADER, RawFrame};
use tcpkit::message::{ErrorCode, Frame, StatusCode, Violation, kind};

const PROTOCOL: &str = include_str!("../PROTOCOL.md");

/// The frame that the fields of a vector describe.
macro_rules! build {
    ($vector:ident: $($name:ident { $($field:ident),* })*) => {
        match $vector.get::<&str>("kind") {
            $(stringify!($name) => Frame::$name {
                $($field: $vector.field(stringify!($field)),)*
            },)*
            unknown => panic!("{}: no frame is called {unknown}", $vector.name),
        }
    };
}

fn build(vector: &Vector) -> Frame<'_> {
    build! { vector:
        Init { version, session, received, name, timezone, token }
        InitAck {
            version, mode, flags, session, seen, head, missed, frame_max, grace_ms, name
        }
        Terminate { reason, retry_after_ms, detail }
        TerminateAck {}
        Error { code, detail }
        Ping { nonce }
        Pong { nonce }
        Text { id, body }
        Bytes { id, body }
        Move { id, turn, body }
        Direct { id, to, body }
        Status { id, code, detail }
        RelayedText { seq, time_ms, from, body }
        RelayedBytes { seq, time_ms, from, body }
        Joined { seq, time_ms, name }
        Left { seq, time_ms, reason, name }
        RelayedDirect { seq, time_ms, from, body }
        Uploaded { seq, time_ms, size, from, name }
        TurnEnded { seq, time_ms, turn, outcome, from, next, body }
        Present { total, names }
        Go { turn, deadline_ms }
        Wait { turn, holder }
        StreamOpen { stream, size, name, media_type }
        StreamCredit { stream, offset, limit }
        StreamData { stream, offset, bytes }
        StreamEnd { stream, size, crc32c }
        StreamStatus { stream, code, detail }
        StreamCancel { stream, detail }
        Hint { kind, payload }
    }
}

/// Cuts the one frame out of `bytes`, which hold nothing else, and decodes it for `check`.
fn with_decoded(bytes: &[u8], check: impl FnOnce(Result<Frame<'_>, Violation>)) {
    let mut framer = Framer::new(DEFAULT_FRAME_MAX);
    framer.extend(bytes);
    check(match framer.next_frame() {
        Ok(raw) => {
            let raw = raw.expect("a whole frame");
            assert_eq!(HEADER + raw.payload.len(), bytes.len(), "one frame and no more");
            decode(&raw)
        }
        Err(violation) => Err(violation),
    });
}

#[test]
fn frames_decode_to_their_fields_and_encode_to_their_bytes() {
    for vector in vectors().0 {
        let (name, built) = (&vector.name, build(&vector));
        with_decoded(&vector.bytes, |decoded| assert_eq!(decoded.as_ref(), Ok(&built), "{name}"));
        if !vector.has("decode_only") {
            assert_eq!(built.to_bytes(), vector.bytes, "{name}");
        }
        if vector.has("status") {
            assert_eq!(vector.get::<StatusCode>("status"), StatusCode::NotUtf8, "{name}");
            assert!(str::from_utf8(vector.field("body")).is_err(), "{name}");
        }
    }
}

#[test]
fn violations_have_the_code_that_is_told() {
    for vector in vectors().1 {
        let (name, why) = (&vector.name, vector.get::<&str>("why"));
        with_decoded(&vector.bytes, |decoded| {
            let code = decoded.map_err(|violation| violation.code);
            assert_eq!(code, Err(vector.get("error")), "{name}: {why}");
        });
    }
}

// |frame|frame|frame ...|   cut at every byte, once
#[test]
fn all_in_one_stream_survive_any_cut() {
    let pieces: Vec<_> = vectors().0.into_iter().map(|vector| vector.bytes).collect();
    let stream = pieces.concat();
    for cut in 0..=stream.len() {
        let mut framer = Framer::new(DEFAULT_FRAME_MAX);
        let mut expected = pieces.iter();
        for part in [&stream[..cut], &stream[cut..]] {
            framer.extend(part);
            while let Some(raw) = framer.next_frame().expect("legal frames") {
                let bytes = expected.next().expect("no more frames than there are");
                assert_eq!((raw.kind, raw.payload), (bytes[4], &bytes[HEADER..]), "cut at {cut}");
            }
        }
        assert_eq!((expected.len(), framer.buffered()), (0, 0), "cut at {cut}");
    }
}

#[test]
fn a_payload_cut_anywhere_is_a_frame_or_malformed() {
    for vector in vectors().0 {
        let (kind, payload) = (vector.bytes[4], &vector.bytes[HEADER..]);
        for size in 0..payload.len() {
            let Err(violation) = decode(&RawFrame { kind, payload: &payload[..size] }) else {
                continue;
            };
            let without_magic = kind == kind::INIT && size < 6;
            let code = if without_magic { ErrorCode::NotTcpkit } else { ErrorCode::Malformed };
            assert_eq!(violation.code, code, "{} cut to {size}", vector.name);
        }
    }
}

#[test]
fn the_table_of_kinds_agrees_and_each_kind_has_a_vector() {
    let (frames, _) = vectors();
    let mut listed = Vec::new();
    for row in PROTOCOL.lines().filter(|line| line.starts_with("| 0x")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let number = u8::from_str_radix(&cells[1][2..], 16).expect("the number of a kind");
        let (name, by) = (cells[2], cells[3]);
        assert_eq!(kind::sent_by_client(number), by != "S", "{name}");
        assert_eq!(kind::sent_by_server(number), by != "C", "{name}");
        let shows = |vector: &&Vector| vector.get::<&str>("kind") == name;
        let vector = frames.iter().find(shows).unwrap_or_else(|| panic!("no vector of {name}"));
        assert_eq!(vector.bytes[4], number, "{name}");
        listed.push(number);
    }
    for number in 0..kind::FIRST_HINT {
        let decoded = decode(&RawFrame { kind: number, payload: &[] });
        let unknown = decoded.is_err_and(|violation| violation.code == ErrorCode::UnknownKind);
        assert_eq!(listed.contains(&number), !unknown, "kind 0x{number:02x}");
        let sent = kind::sent_by_client(number) || kind::sent_by_server(number);
        assert_eq!(listed.contains(&number), sent, "kind 0x{number:02x}");
    }
}

/// Each block of the document that is fenced as `hex` is one frame: in each line pairs of hex
/// digits and then, two spaces on, what they mean.
#[test]
fn the_worked_example_is_made_of_vectors() {
    let (frames, _) = vectors();
    let blocks: Vec<_> = PROTOCOL.split("```hex\n").skip(1).collect();
    assert!(blocks.len() > 5, "the example is gone");
    for block in blocks {
        let (lines, _) = block.split_once("```").expect("the end of the block");
        let digits = lines.lines().filter_map(|line| line.split("  ").next());
        let bytes = from_hex(&digits.collect::<String>().replace(' ', ""));
        assert!(frames.iter().any(|vector| vector.bytes == bytes), "no vector is\n{lines}");
    }
}
