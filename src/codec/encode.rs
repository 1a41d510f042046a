//! Frames to bytes.

use super::UNKNOWN_SIZE;
use crate::frame::write_frame;
use crate::message::{Frame, MAGIC, kind};

/// Appends a `str`: its byte count, then its bytes.
///
/// One longer than 65,535 bytes is cut at the last character that fits; every caller in this
/// crate has checked its length before.
fn put_str(out: &mut Vec<u8>, text: &str) {
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

    /// Appends this frame's bytes to `out`. The inverse of [`decode`](super::decode).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Frame::RelayedText { seq, time_ms, from, body }
            | Frame::RelayedDirect { seq, time_ms, from, body } => {
                return put_relayed(out, self.kind(), (*seq, *time_ms), from, body.as_bytes());
            }
            Frame::RelayedBytes { seq, time_ms, from, body } => {
                return put_relayed(out, self.kind(), (*seq, *time_ms), from, body);
            }
            _ => {}
        }
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
            Frame::Init { version, session, received, name, timezone, token } => {
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
            Frame::Terminate { reason, retry_after_ms, detail } => {
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
            Frame::Joined { seq, time_ms, name } => {
                put_record(out, *seq, *time_ms);
                out.extend_from_slice(name.as_bytes());
            }
            Frame::Left { seq, time_ms, reason, name } => {
                put_record(out, *seq, *time_ms);
                out.push(reason.number());
                out.extend_from_slice(name.as_bytes());
            }
            Frame::Uploaded { seq, time_ms, size, from, name } => {
                put_record(out, *seq, *time_ms);
                put_u64(out, *size);
                put_str(out, from);
                out.extend_from_slice(name.as_bytes());
            }
            Frame::TurnEnded { seq, time_ms, turn, outcome, from, next, body } => {
                put_record(out, *seq, *time_ms);
                put_u64(out, *turn);
                out.push(outcome.number());
                put_str(out, from);
                put_str(out, next);
                out.extend_from_slice(body.as_bytes());
            }
            Frame::Present { total, names } => {
                put_u32(out, *total);
                for name in names {
                    put_str(out, name);
                }
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
            Frame::StreamOpen { stream, size, name, media_type } => {
                put_u64(out, *stream);
                put_u64(out, size.unwrap_or(UNKNOWN_SIZE));
                put_str(out, name);
                put_str(out, media_type);
            }
            Frame::StreamCredit { stream, offset, limit } => {
                put_u64(out, *stream);
                put_u64(out, *offset);
                put_u64(out, *limit);
            }
            Frame::StreamData { stream, offset, bytes } => {
                put_u64(out, *stream);
                put_u64(out, *offset);
                out.extend_from_slice(bytes);
            }
            Frame::StreamEnd { stream, size, crc32c } => {
                put_u64(out, *stream);
                put_u64(out, *size);
                put_u32(out, *crc32c);
            }
            Frame::StreamStatus { stream, code, detail } => {
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

/// Appends a relayed message, the frame that a server writes most: its fixed part at once.
#[inline]
pub(crate) fn put_relayed(
    out: &mut Vec<u8>,
    kind: u8,
    (seq, time_ms): (u64, u64),
    from: &str,
    body: &[u8],
) {
    const FIXED: usize = 4 + 1 + 8 + 8 + 2;
    let length = FIXED - 4 + from.len() + body.len();
    let mut head = [0; FIXED];
    head[..4].copy_from_slice(&(length as u32).to_be_bytes());
    head[4] = kind;
    head[5..13].copy_from_slice(&seq.to_be_bytes());
    head[13..21].copy_from_slice(&time_ms.to_be_bytes());
    head[21..].copy_from_slice(&(from.len() as u16).to_be_bytes());
    out.reserve(4 + length);
    out.extend_from_slice(&head);
    out.extend_from_slice(from.as_bytes());
    out.extend_from_slice(body);
}

fn put_record(out: &mut Vec<u8>, seq: u64, time_ms: u64) {
    put_u64(out, seq);
    put_u64(out, time_ms);
}
