//! Payloads to frames. A payload shorter than its fields or a `str` that is not UTF-8 is malformed;
//! bytes behind the last field are ignored (room for later fields).

use std::borrow::Cow;

use super::UNKNOWN_SIZE;
use crate::frame::RawFrame;
use crate::message::{
    ErrorCode, Frame, MAGIC, Mode, Outcome, Reason, SessionKey, StatusCode, Token, VERSION,
    Violation, kind,
};

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
        kind::TEXT..=kind::DIRECT | kind::STATUS => decode_message(raw.kind, fields),
        0x20..=0x3F => decode_record(raw.kind, fields),
        kind::STREAM_OPEN..=kind::STREAM_CANCEL => decode_stream(raw.kind, fields),
        kind::FIRST_HINT.. => Ok(Frame::Hint { kind: raw.kind, payload: raw.payload }),
        unknown => Err(unknown_kind(unknown)),
    }
}

#[cold]
fn unknown_kind(kind: u8) -> Violation {
    Violation::new(ErrorCode::UnknownKind, format!("no frame has the kind 0x{kind:02x}"))
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
        kind::ERROR => {
            Frame::Error { code: ErrorCode::from_number(fields.byte()?), detail: fields.detail() }
        }
        kind::PING => Frame::Ping { nonce: fields.u64()? },
        kind::PONG => Frame::Pong { nonce: fields.u64()? },
        unknown => return Err(unknown_kind(unknown)),
    })
}

/// The version is judged before the rest is parsed, so that a later Init may look different.
fn decode_init(mut fields: Fields<'_>) -> Result<Frame<'_>, Violation> {
    if fields.take().ok().as_ref() != Some(MAGIC) {
        return Err(Violation::new(ErrorCode::NotTcpkit, "an Init without its magic"));
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
        kind::TEXT => Frame::Text { id, body: fields.rest },
        kind::BYTES => Frame::Bytes { id, body: fields.rest },
        kind::MOVE => Frame::Move { id, turn: fields.u64()?, body: fields.rest },
        kind::DIRECT => Frame::Direct { id, to: fields.str()?, body: fields.rest },
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
            return Ok(Frame::Go { turn: fields.u64()?, deadline_ms: fields.u32()? });
        }
        kind::WAIT => {
            return Ok(Frame::Wait { turn: fields.u64()?, holder: fields.str()? });
        }
        kind::RELAYED_TEXT..=kind::TURN_ENDED => {}
        unknown => return Err(unknown_kind(unknown)),
    }
    let (seq, time_ms) = (fields.u64()?, fields.u64()?);
    Ok(match kind {
        kind::RELAYED_TEXT => {
            Frame::RelayedText { seq, time_ms, from: fields.str()?, body: fields.rest_str()? }
        }
        kind::RELAYED_BYTES => {
            Frame::RelayedBytes { seq, time_ms, from: fields.str()?, body: fields.rest }
        }
        kind::JOINED => Frame::Joined { seq, time_ms, name: fields.rest_str()? },
        kind::LEFT => Frame::Left {
            seq,
            time_ms,
            reason: Reason::from_number(fields.byte()?),
            name: fields.rest_str()?,
        },
        kind::RELAYED_DIRECT => {
            Frame::RelayedDirect { seq, time_ms, from: fields.str()?, body: fields.rest_str()? }
        }
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
            Frame::StreamOpen { stream, size, name: fields.str()?, media_type: fields.str()? }
        }
        kind::STREAM_CREDIT => {
            Frame::StreamCredit { stream, offset: fields.u64()?, limit: fields.u64()? }
        }
        kind::STREAM_DATA => {
            Frame::StreamData { stream, offset: fields.u64()?, bytes: fields.rest }
        }
        kind::STREAM_END => Frame::StreamEnd { stream, size: fields.u64()?, crc32c: fields.u32()? },
        kind::STREAM_STATUS => Frame::StreamStatus {
            stream,
            code: StatusCode::from_number(fields.byte()?),
            detail: fields.detail(),
        },
        kind::STREAM_CANCEL => Frame::StreamCancel { stream, detail: fields.detail() },
        unknown => return Err(unknown_kind(unknown)),
    })
}
