//! The framer: bytes in by any cut, frames out.
//!
//! A frame is `length:u32 kind:u8 payload`, where the length counts the kind and the payload
//! (`PROTOCOL.md` section 1). The framer owns one buffer and does no reading itself: the caller
//! reads into [`Framer::space`] and says how much came with [`Framer::filled`]. What a kind's
//! payload holds is the business of [`crate::codec`].

use crate::message::{ErrorCode, Violation};

/// Bytes in front of every payload: the length and the kind.
pub const HEADER: usize = 5;
/// The limit for frames in both directions until the handshake is done.
pub const HANDSHAKE_FRAME_MAX: u32 = 4096;
/// `frame_max` by default: 1 MiB.
pub const DEFAULT_FRAME_MAX: u32 = 1 << 20;

/// What the body of a message must leave free of a frame, so that it still fits when it is relayed.
pub const BODY_MARGIN: u32 = 1024;

/// The buffer of an idle connection: most messages fit, and ten thousand of them cost 10 MiB.
const SMALL: usize = 1024;
/// The buffer of a busy connection: beyond it a larger read saves little (measured: 64 KiB).
const LARGE: usize = 64 * 1024;

/// One frame as it lies in the buffer: its kind, and its payload undecoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// The kind byte.
    pub kind: u8,
    /// Everything behind the kind.
    pub payload: &'a [u8],
}

/// Cuts a stream of bytes into frames. See the [module](self) for how it is fed.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    frame_max: u32,
    frames: u64,
    busy: bool,
}

impl Framer {
    /// A framer that takes frames of at most `frame_max` bytes (the length field's value).
    pub fn new(frame_max: u32) -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0, frame_max, frames: 0, busy: false }
    }

    /// Changes the limit, from the next frame on.
    pub fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    /// How many bytes are held that no frame has used yet.
    pub fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// How many frames were cut off so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The bytes that are held and not yet used.
    pub fn peek(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Room for the next read; never empty.
    ///
    /// The buffer is small while little comes, larger after a read that filled it, and larger
    /// again for a frame that has begun, at most twice what has come of it: a length that is only
    /// claimed reserves nothing.
    pub fn space(&mut self) -> &mut [u8] {
        let held = self.buffered();
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, held);
        }
        let wanted = if self.busy { LARGE.max(held * 2) } else { SMALL.max(held * 2) };
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        } else if self.buffer.len() > wanted {
            self.buffer.truncate(wanted);
            self.buffer.shrink_to(wanted);
        }
        &mut self.buffer[self.end..]
    }

    /// Takes note that `count` bytes were read into [`space`](Self::space).
    ///
    /// # Panics
    /// If `count` is more than the room that there was.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "more bytes than room");
        self.end += count;
        self.busy = self.end == self.buffer.len() || (self.busy && count > SMALL);
    }

    /// Takes in bytes that the caller holds already; the same as reading them into the space.
    pub fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.filled(count);
            bytes = &bytes[count..];
        }
    }

    /// How many bytes the next frame takes, header included, if it is whole and not too large.
    #[inline]
    pub fn whole_frame(&self) -> Option<usize> {
        let size = frame_size(self.peek());
        (size > 0 && size <= self.buffered() && size - 4 <= self.frame_max as usize).then_some(size)
    }

    /// The next whole frame, or `None` until more bytes have come.
    ///
    /// # Errors
    /// A length of 0 is malformed, one above the limit too large; both as soon as the length is
    /// there. The framer is of no more use then.
    #[expect(clippy::inline_always, reason = "a call would put each frame through memory: 9 ns")]
    #[inline(always)]
    pub fn next_frame(&mut self) -> Result<Option<RawFrame<'_>>, Violation> {
        let held = &self.buffer[self.start..self.end];
        let Some((header, rest)) = held.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header);
        if length == 0 || length > self.frame_max {
            return Err(self.bad_length(length));
        }
        let length = length as usize;
        if rest.len() < length {
            return Ok(None);
        }
        self.start += 4 + length;
        self.frames += 1;
        Ok(Some(RawFrame { kind: rest[0], payload: &rest[1..length] }))
    }

    #[cold]
    fn bad_length(&self, length: u32) -> Violation {
        if length == 0 {
            Violation::new(ErrorCode::Malformed, "a frame of length 0")
        } else {
            let limit = self.frame_max;
            let words = format!("a frame of {length} bytes, {limit} are allowed");
            Violation::new(ErrorCode::TooLarge, words)
        }
    }
}

/// Appends one frame to `out`: `payload` writes what follows the kind.
#[inline]
pub fn write_frame(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind]);
    payload(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// How many bytes the frame takes that begins at the head of `bytes`, header included; 0 if not
/// even its length is there.
pub fn frame_size(bytes: &[u8]) -> usize {
    let length = bytes.first_chunk::<4>().map(|header| u32::from_be_bytes(*header) as usize);
    length.map_or(0, |length| length.saturating_add(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream_of(bodies: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for body in bodies {
            write_frame(&mut out, 0x11, |out| out.extend_from_slice(body));
        }
        out
    }

    fn drain(framer: &mut Framer) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while let Some(raw) = framer.next_frame().expect("legal frames") {
            assert_eq!(raw.kind, 0x11);
            out.push(raw.payload.to_vec());
        }
        out
    }

    // |len kind body|len kind|len kind body ...|   cut at every place, once
    #[test]
    fn any_single_cut_gives_the_same_frames() {
        let large = vec![7; 3000];
        let bodies: [&[u8]; 4] = [b"hello", b"", &large, b"x"];
        let bytes = stream_of(&bodies);
        for cut in 0..=bytes.len() {
            let mut framer = Framer::new(DEFAULT_FRAME_MAX);
            framer.extend(&bytes[..cut]);
            let mut got = drain(&mut framer);
            framer.extend(&bytes[cut..]);
            got.extend(drain(&mut framer));
            assert_eq!(got, bodies, "cut at {cut}");
            assert_eq!(framer.buffered(), 0);
        }
    }

    // |l|e|n|g|k|b|o|d|y|
    #[test]
    fn byte_by_byte() {
        let bytes = stream_of(&[b"one", b"", b"three"]);
        let mut framer = Framer::new(DEFAULT_FRAME_MAX);
        let mut got = Vec::new();
        for byte in &bytes {
            framer.extend(&[*byte]);
            got.extend(drain(&mut framer));
        }
        assert_eq!(got, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn lengths_out_of_bounds_are_told_before_any_payload() {
        for (length, code) in [
            (0u32, ErrorCode::Malformed),
            (4097, ErrorCode::TooLarge),
            (u32::MAX, ErrorCode::TooLarge),
        ] {
            let mut framer = Framer::new(4096);
            framer.extend(&length.to_be_bytes());
            assert_eq!(framer.next_frame().expect_err("a violation").code, code, "length {length}");
            assert!(framer.buffer.len() <= SMALL, "nothing is reserved on a claim");
        }
        let mut framer = Framer::new(4096);
        framer.extend(&4096u32.to_be_bytes());
        assert_eq!(framer.next_frame(), Ok(None));
    }

    #[test]
    fn the_buffer_grows_with_what_has_come_and_shrinks_again() {
        let body = vec![1; 900_000];
        let bytes = stream_of(&[&body]);
        let mut framer = Framer::new(DEFAULT_FRAME_MAX);
        for piece in bytes.chunks(10_000) {
            framer.extend(piece);
            assert!(framer.buffer.len() <= LARGE.max(2 * framer.buffered()));
        }
        assert_eq!(drain(&mut framer), [body]);
        framer.extend(b"\0");
        framer.space();
        assert!(framer.buffer.capacity() <= SMALL * 2, "{}", framer.buffer.capacity());
    }

    #[test]
    fn a_busy_reader_keeps_its_large_buffer() {
        let mut framer = Framer::new(DEFAULT_FRAME_MAX);
        let bytes = stream_of(&[&vec![0; 60_000]]);
        framer.extend(&bytes);
        drain(&mut framer);
        let room = framer.space().len();
        assert!(room >= LARGE, "{room}");
    }
}
