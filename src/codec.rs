//! The codec: [`Frame`]s from payloads and back, for every kind of the protocol.
//!
//! Pure: bytes in, values out. Which kinds a side takes, and when, is decided by the machines
//! that use this; a payload shorter than its fields or a `str` that is not UTF-8 is malformed
//! here, and bytes behind the last field are ignored (room for later fields).

use std::borrow::Cow;

use crate::frame::{RawFrame, write_frame};
use crate::message::{
    ErrorCode, Frame, MAGIC, Mode, Outcome, Reason, SessionKey, StatusCode, Token, VERSION,
    Violation, kind,
};

/// A stream of unknown size, on the wire.
const UNKNOWN_SIZE: u64 = u64::MAX;

/// Reads fields from the front of a payload.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or_else(too_short)?;
        self.rest = rest;
        Ok(*field)
    }

    fn byte(&mut self) -> Result<u8, Violation> {
        Ok(self.take::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, Violation> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, Violation> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn str(&mut self) -> Result<&'a str, Violation> {
        let size = usize::from(u16::from_be_bytes(self.take()?));
        let (field, rest) = self.rest.split_at_checked(size).ok_or_else(too_short)?;
        self.rest = rest;
        utf8(field)
    }

    fn rest_str(self) -> Result<&'a str, Violation> {
        utf8(self.rest)
    }

    fn detail(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.rest)
    }
}

#[cold]
fn too_short() -> Violation {
    Violation::new(ErrorCode::Malformed, "a payload shorter than its fields")
}

fn utf8(bytes: &[u8]) -> Result<&str, Violation> {
    str::from_utf8(bytes)
        .map_err(|_| Violation::new(ErrorCode::Malformed, "a string that is not UTF-8"))
}

/// Decodes one frame.
///
/// # Errors
/// [`ErrorCode::Malformed`] as the module says, [`ErrorCode::NotTcpkit`] for an Init without the
/// magic, [`ErrorCode::UnsupportedVersion`] for an Init of another version, and
/// [`ErrorCode::UnknownKind`] for a kind below 0x80 that the protocol does not have.
pub fn decode<'a>(raw: &RawFrame<'a>) -> Result<Frame<'a>, Violation> {
    let fields = Fields { rest: raw.payload };
    match raw.kind {
        0x00..=0x0F => decode_control(raw.kind, fields),
        0x10..=0x1F => decode_message(raw.kind, fields),
        0x20..=0x3F => decode_record(raw.kind, fields),
        0x40..=0x4F => decode_stream(raw.kind, fields),
        kind::FIRST_HINT.. => Ok(Frame::Hint {
            kind: raw.kind,
            payload: raw.payload,
        }),
        unknown => Err(unknown_kind(unknown)),
    }
}

#[cold]
fn unknown_kind(kind: u8) -> Violation {
    Violation::new(
        ErrorCode::UnknownKind,
        format!("no frame has the kind 0x{kind:02x}"),
    )
}

fn decode_control(kind: u8, mut fields: Fields<'_>) -> Result<Frame<'_>, Violation> {
    Ok(match kind {
        kind::INIT => return decode_init(fields),
        kind::INIT_ACK => Frame::InitAck {
            version: fields.byte()?,
            mode: Mode::from_number(fields.byte()?),
            flags: fields.byte()?,
            session: SessionKey(fields.take()?),
            seen: fields.u64()?,
            head: fields.u64()?,
            missed: fields.u64()?,
            frame_max: fields.u32()?,
            grace_ms: fields.u32()?,
            name: fields.str()?,
        },
        kind::TERMINATE => Frame::Terminate {
            reason: Reason::from_number(fields.byte()?),
            retry_after_ms: fields.u32()?,
            detail: fields.detail(),
        },
        kind::TERMINATE_ACK => Frame::TerminateAck,
        kind::ERROR => Frame::Error {
            code: ErrorCode::from_number(fields.byte()?),
            detail: fields.detail(),
        },
        kind::PING => Frame::Ping {
            nonce: fields.u64()?,
        },
        kind::PONG => Frame::Pong {
            nonce: fields.u64()?,
        },
        unknown => return Err(unknown_kind(unknown)),
    })
}

/// The version is judged before the rest is parsed, so that a later Init may look different.
fn decode_init(mut fields: Fields<'_>) -> Result<Frame<'_>, Violation> {
    if fields.take().ok().as_ref() != Some(MAGIC) {
        return Err(Violation::new(
            ErrorCode::NotTcpkit,
            "an Init without its magic",
        ));
    }
    let version = fields.byte()?;
    if version != VERSION {
        let words = format!("version {version} is asked for, this side speaks {VERSION}");
        return Err(Violation::new(ErrorCode::UnsupportedVersion, words));
    }
    Ok(Frame::Init {
        version,
        session: SessionKey(fields.take()?),
        received: fields.u64()?,
        name: fields.str()?,
        timezone: fields.str()?,
        token: Token(fields.str()?),
    })
}

fn decode_message(kind: u8, mut fields: Fields<'_>) -> Result<Frame<'_>, Violation> {
    let id = fields.u64()?;
    Ok(match kind {
        kind::TEXT => Frame::Text {
            id,
            body: fields.rest,
        },
        kind::BYTES => Frame::Bytes {
            id,
            body: fields.rest,
        },
        kind::MOVE => Frame::Move {
            id,
            turn: fields.u64()?,
            body: fields.rest,
        },
        kind::DIRECT => Frame::Direct {
            id,
            to: fields.str()?,
            body: fields.rest,
        },
        kind::STATUS => Frame::Status {
            id,
            code: StatusCode::from_number(fields.byte()?),
            detail: fields.detail(),
        },
        unknown => return Err(unknown_kind(unknown)),
    })
}

fn decode_record(kind: u8, mut fields: Fields<'_>) -> Result<Frame<'_>, Violation> {
    match kind {
        kind::PRESENT => return decode_present(fields),
        kind::GO => {
            return Ok(Frame::Go {
                turn: fields.u64()?,
                deadline_ms: fields.u32()?,
            });
        }
        kind::WAIT => {
            return Ok(Frame::Wait {
                turn: fields.u64()?,
                holder: fields.str()?,
            });
        }
        kind::RELAYED_TEXT..=kind::TURN_ENDED => {}
        unknown => return Err(unknown_kind(unknown)),
    }
    let (seq, time_ms) = (fields.u64()?, fields.u64()?);
    Ok(match kind {
        kind::RELAYED_TEXT => Frame::RelayedText {
            seq,
            time_ms,
            from: fields.str()?,
            body: fields.rest_str()?,
        },
        kind::RELAYED_BYTES => Frame::RelayedBytes {
            seq,
            time_ms,
            from: fields.str()?,
            body: fields.rest,
        },
        kind::JOINED => Frame::Joined {
            seq,
            time_ms,
            name: fields.rest_str()?,
        },
        kind::LEFT => Frame::Left {
            seq,
            time_ms,
            reason: Reason::from_number(fields.byte()?),
            name: fields.rest_str()?,
        },
        kind::RELAYED_DIRECT => Frame::RelayedDirect {
            seq,
            time_ms,
            from: fields.str()?,
            body: fields.rest_str()?,
        },
        kind::UPLOADED => Frame::Uploaded {
            seq,
            time_ms,
            size: fields.u64()?,
            from: fields.str()?,
            name: fields.rest_str()?,
        },
        _ => Frame::TurnEnded {
            seq,
            time_ms,
            turn: fields.u64()?,
            outcome: Outcome::from_number(fields.byte()?),
            from: fields.str()?,
            next: fields.str()?,
            body: fields.rest_str()?,
        },
    })
}

fn decode_present(mut fields: Fields<'_>) -> Result<Frame<'_>, Violation> {
    let total = fields.u32()?;
    let mut names = Vec::new();
    while !fields.rest.is_empty() {
        names.push(fields.str()?);
    }
    Ok(Frame::Present { total, names })
}

fn decode_stream(kind: u8, mut fields: Fields<'_>) -> Result<Frame<'_>, Violation> {
    let stream = fields.u64()?;
    Ok(match kind {
        kind::STREAM_OPEN => {
            let size = fields.u64()?;
            let size = (size != UNKNOWN_SIZE).then_some(size);
            Frame::StreamOpen {
                stream,
                size,
                name: fields.str()?,
                media_type: fields.str()?,
            }
        }
        kind::STREAM_CREDIT => Frame::StreamCredit {
            stream,
            offset: fields.u64()?,
            limit: fields.u64()?,
        },
        kind::STREAM_DATA => Frame::StreamData {
            stream,
            offset: fields.u64()?,
            bytes: fields.rest,
        },
        kind::STREAM_END => Frame::StreamEnd {
            stream,
            size: fields.u64()?,
            crc32c: fields.u32()?,
        },
        kind::STREAM_STATUS => Frame::StreamStatus {
            stream,
            code: StatusCode::from_number(fields.byte()?),
            detail: fields.detail(),
        },
        kind::STREAM_CANCEL => Frame::StreamCancel {
            stream,
            detail: fields.detail(),
        },
        unknown => return Err(unknown_kind(unknown)),
    })
}

/// Appends a `str`: its byte count, then its bytes.
///
/// One longer than 65,535 bytes is cut at the last character that fits; every caller in this
/// crate has checked its length before.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    let mut size = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(size) {
        size -= 1;
    }
    let text = &text[..size];
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

impl Frame<'_> {
    /// The kind byte of this frame.
    pub fn kind(&self) -> u8 {
        match self {
            Frame::Init { .. } => kind::INIT,
            Frame::InitAck { .. } => kind::INIT_ACK,
            Frame::Terminate { .. } => kind::TERMINATE,
            Frame::TerminateAck => kind::TERMINATE_ACK,
            Frame::Error { .. } => kind::ERROR,
            Frame::Ping { .. } => kind::PING,
            Frame::Pong { .. } => kind::PONG,
            Frame::Text { .. } => kind::TEXT,
            Frame::Bytes { .. } => kind::BYTES,
            Frame::Move { .. } => kind::MOVE,
            Frame::Direct { .. } => kind::DIRECT,
            Frame::Status { .. } => kind::STATUS,
            Frame::RelayedText { .. } => kind::RELAYED_TEXT,
            Frame::RelayedBytes { .. } => kind::RELAYED_BYTES,
            Frame::Joined { .. } => kind::JOINED,
            Frame::Left { .. } => kind::LEFT,
            Frame::RelayedDirect { .. } => kind::RELAYED_DIRECT,
            Frame::Uploaded { .. } => kind::UPLOADED,
            Frame::TurnEnded { .. } => kind::TURN_ENDED,
            Frame::Present { .. } => kind::PRESENT,
            Frame::Go { .. } => kind::GO,
            Frame::Wait { .. } => kind::WAIT,
            Frame::StreamOpen { .. } => kind::STREAM_OPEN,
            Frame::StreamCredit { .. } => kind::STREAM_CREDIT,
            Frame::StreamData { .. } => kind::STREAM_DATA,
            Frame::StreamEnd { .. } => kind::STREAM_END,
            Frame::StreamStatus { .. } => kind::STREAM_STATUS,
            Frame::StreamCancel { .. } => kind::STREAM_CANCEL,
            Frame::Hint { kind, .. } => *kind,
        }
    }

    /// Appends this frame's bytes to `out`. The inverse of [`decode`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_frame(out, self.kind(), |out| match self.kind() {
            0x00..=0x0F => self.encode_control(out),
            0x10..=0x1F => self.encode_message(out),
            0x20..=0x3F => self.encode_record(out),
            _ => self.encode_stream(out),
        });
    }

    /// This frame's bytes. See [`encode`](Self::encode).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn encode_control(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Init {
                version,
                session,
                received,
                name,
                timezone,
                token,
            } => {
                out.extend_from_slice(MAGIC);
                out.push(*version);
                out.extend_from_slice(&session.0);
                put_u64(out, *received);
                put_str(out, name);
                put_str(out, timezone);
                put_str(out, token.0);
            }
            Frame::InitAck {
                version,
                mode,
                flags,
                session,
                seen,
                head,
                missed,
                frame_max,
                grace_ms,
                name,
            } => {
                out.extend_from_slice(&[*version, mode.number(), *flags]);
                out.extend_from_slice(&session.0);
                put_u64(out, *seen);
                put_u64(out, *head);
                put_u64(out, *missed);
                put_u32(out, *frame_max);
                put_u32(out, *grace_ms);
                put_str(out, name);
            }
            Frame::Terminate {
                reason,
                retry_after_ms,
                detail,
            } => {
                out.push(reason.number());
                put_u32(out, *retry_after_ms);
                out.extend_from_slice(detail.as_bytes());
            }
            Frame::Error { code, detail } => {
                out.push(code.number());
                out.extend_from_slice(detail.as_bytes());
            }
            Frame::Ping { nonce } | Frame::Pong { nonce } => put_u64(out, *nonce),
            _ => {}
        }
    }

    fn encode_message(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Text { id, body } | Frame::Bytes { id, body } => {
                put_u64(out, *id);
                out.extend_from_slice(body);
            }
            Frame::Move { id, turn, body } => {
                put_u64(out, *id);
                put_u64(out, *turn);
                out.extend_from_slice(body);
            }
            Frame::Direct { id, to, body } => {
                put_u64(out, *id);
                put_str(out, to);
                out.extend_from_slice(body);
            }
            Frame::Status { id, code, detail } => {
                put_u64(out, *id);
                out.push(code.number());
                out.extend_from_slice(detail.as_bytes());
            }
            _ => {}
        }
    }

    fn encode_record(&self, out: &mut Vec<u8>) {
        match self {
            Frame::RelayedText {
                seq,
                time_ms,
                from,
                body,
            }
            | Frame::RelayedDirect {
                seq,
                time_ms,
                from,
                body,
            } => {
                put_record(out, *seq, *time_ms);
                put_str(out, from);
                out.extend_from_slice(body.as_bytes());
            }
            Frame::RelayedBytes {
                seq,
                time_ms,
                from,
                body,
            } => {
                put_record(out, *seq, *time_ms);
                put_str(out, from);
                out.extend_from_slice(body);
            }
            Frame::Joined { seq, time_ms, name } => {
                put_record(out, *seq, *time_ms);
                out.extend_from_slice(name.as_bytes());
            }
            Frame::Left {
                seq,
                time_ms,
                reason,
                name,
            } => {
                put_record(out, *seq, *time_ms);
                out.push(reason.number());
                out.extend_from_slice(name.as_bytes());
            }
            Frame::Uploaded {
                seq,
                time_ms,
                size,
                from,
                name,
            } => {
                put_record(out, *seq, *time_ms);
                put_u64(out, *size);
                put_str(out, from);
                out.extend_from_slice(name.as_bytes());
            }
            Frame::TurnEnded {
                seq,
                time_ms,
                turn,
                outcome,
                from,
                next,
                body,
            } => {
                put_record(out, *seq, *time_ms);
                put_u64(out, *turn);
                out.push(outcome.number());
                put_str(out, from);
                put_str(out, next);
                out.extend_from_slice(body.as_bytes());
            }
            Frame::Present { total, names } => {
                put_u32(out, *total);
                names.iter().for_each(|name| put_str(out, name));
            }
            Frame::Go { turn, deadline_ms } => {
                put_u64(out, *turn);
                put_u32(out, *deadline_ms);
            }
            Frame::Wait { turn, holder } => {
                put_u64(out, *turn);
                put_str(out, holder);
            }
            _ => {}
        }
    }

    fn encode_stream(&self, out: &mut Vec<u8>) {
        match self {
            Frame::StreamOpen {
                stream,
                size,
                name,
                media_type,
            } => {
                put_u64(out, *stream);
                put_u64(out, size.unwrap_or(UNKNOWN_SIZE));
                put_str(out, name);
                put_str(out, media_type);
            }
            Frame::StreamCredit {
                stream,
                offset,
                limit,
            } => {
                put_u64(out, *stream);
                put_u64(out, *offset);
                put_u64(out, *limit);
            }
            Frame::StreamData {
                stream,
                offset,
                bytes,
            } => {
                put_u64(out, *stream);
                put_u64(out, *offset);
                out.extend_from_slice(bytes);
            }
            Frame::StreamEnd {
                stream,
                size,
                crc32c,
            } => {
                put_u64(out, *stream);
                put_u64(out, *size);
                put_u32(out, *crc32c);
            }
            Frame::StreamStatus {
                stream,
                code,
                detail,
            } => {
                put_u64(out, *stream);
                out.push(code.number());
                out.extend_from_slice(detail.as_bytes());
            }
            Frame::StreamCancel { stream, detail } => {
                put_u64(out, *stream);
                out.extend_from_slice(detail.as_bytes());
            }
            Frame::Hint { payload, .. } => out.extend_from_slice(payload),
            _ => {}
        }
    }
}

fn put_record(out: &mut Vec<u8>, seq: u64, time_ms: u64) {
    put_u64(out, seq);
    put_u64(out, time_ms);
}
