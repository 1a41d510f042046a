//! The backlog: the frames of messages that the server has not been seen to have.
//!
//! Pure: one queue of bytes, walked by the frames' own lengths, so that a message costs no
//! allocation. Which are kept and for how long is decided by the [outbox](crate::outbox).

use crate::frame::{HEADER, frame_size};
use crate::message::Frame;

/// Room that an empty backlog keeps, so that an ordinary flow of messages reserves nothing.
const ROOM: usize = 64 * 1024;
/// The bytes of a message's id, which stands behind the header.
const ID: usize = 8;

/// Whole frames of Text, Bytes, Move and Direct, their ids rising by 1.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: Vec<u8>,
    /// Where the first frame begins; what lies before is dropped.
    start: usize,
}

impl Backlog {
    /// Takes one message in, and gives its bytes.
    pub(crate) fn push(&mut self, message: &Frame<'_>) -> &[u8] {
        let begin = self.bytes.len();
        message.encode(&mut self.bytes);
        &self.bytes[begin..]
    }

    /// How many bytes are kept.
    pub(crate) fn size(&self) -> usize {
        self.frames().len()
    }

    /// All that is kept.
    pub(crate) fn frames(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Drops the messages up to that id.
    pub(crate) fn drop_through(&mut self, last: u64) {
        while let Some((size, id)) = first_frame(&self.bytes[self.start..])
            && id <= last
        {
            self.start += size;
        }
        // What is moved is no more than what was dropped since the last time.
        if self.start > 0 && self.start >= self.size() {
            self.bytes.drain(..self.start);
            self.start = 0;
            let wanted = ROOM.max(2 * self.bytes.len());
            if self.bytes.capacity() > 2 * wanted {
                self.bytes.shrink_to(wanted);
            }
        }
    }

    /// Numbers the messages from 1 on, without those that are not to be kept.
    pub(crate) fn begin_anew(&mut self, mut is_to_be_kept: impl FnMut(&[u8]) -> bool) {
        let (mut from, mut to, mut last) = (self.start, self.start, 0u64);
        while let Some((size, _)) = first_frame(&self.bytes[from..]) {
            if is_to_be_kept(&self.bytes[from..from + size]) {
                last += 1;
                self.bytes.copy_within(from..from + size, to);
                self.bytes[to + HEADER..to + HEADER + ID].copy_from_slice(&last.to_be_bytes());
                to += size;
            }
            from += size;
        }
        self.bytes.truncate(to);
    }
}

/// The size and the id of the first frame.
fn first_frame(bytes: &[u8]) -> Option<(usize, u64)> {
    let id = bytes.get(HEADER..)?.first_chunk::<ID>()?;
    Some((frame_size(bytes), u64::from_be_bytes(*id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::decode;
    use crate::frame::Framer;

    fn ids(backlog: &Backlog) -> Vec<u64> {
        let mut framer = Framer::new(u32::MAX);
        framer.extend(backlog.frames());
        let mut ids = Vec::new();
        while let Some(raw) = framer.next_frame().expect("legal") {
            match decode(&raw).expect("legal") {
                Frame::Text { id, body } => {
                    assert!(body.iter().all(|byte| *byte == 7), "the body is whole");
                    ids.push(id);
                }
                Frame::Direct { id, to: "bob", body: b"hi" } => ids.push(id),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(framer.buffered(), 0, "whole frames only");
        ids
    }

    fn fill(backlog: &mut Backlog, ids: std::ops::RangeInclusive<u64>, size: usize) {
        for id in ids {
            let message = Frame::Text { id, body: &vec![7; size] };
            assert_eq!(backlog.push(&message), message.to_bytes());
        }
    }

    #[test]
    fn keeps_what_is_not_dropped_in_order() {
        let mut backlog = Backlog::default();
        fill(&mut backlog, 1..=5, 0);
        backlog.push(&Frame::Direct { id: 6, to: "bob", body: b"hi" });
        for (last, first) in [(0, 1), (2, 3), (1, 3), (5, 6), (u64::MAX, 7)] {
            backlog.drop_through(last);
            assert_eq!(ids(&backlog), (first..7).collect::<Vec<_>>(), "after {last}");
        }
        assert_eq!(backlog.size(), 0);
    }

    #[test]
    fn begun_anew_the_ids_have_no_hole_and_nothing_else_is_changed() {
        let mut backlog = Backlog::default();
        fill(&mut backlog, 1..=300, 3);
        backlog.push(&Frame::Direct { id: 301, to: "bob", body: b"hi" });
        fill(&mut backlog, 302..=302, 9);
        backlog.drop_through(290);
        backlog.begin_anew(|frame| frame.len() != HEADER + ID + 9);
        fill(&mut backlog, 12..=12, 1);
        assert_eq!(ids(&backlog), (1..=12).collect::<Vec<_>>());
        backlog.begin_anew(|frame| frame.len() != HEADER + ID + 3);
        assert_eq!(ids(&backlog), [1, 2], "the direct one, and the last");
    }

    #[test]
    fn memory_follows_what_is_kept() {
        let mut backlog = Backlog::default();
        for round in 0..100 {
            fill(&mut backlog, round * 1_000 + 1..=(round + 1) * 1_000, 100);
            backlog.drop_through((round + 1) * 1_000 - 10); // always lags by ten
        }
        assert_eq!(ids(&backlog).len(), 10);
        assert!(backlog.bytes.capacity() < 600_000, "{} bytes", backlog.bytes.capacity());
        backlog.drop_through(u64::MAX);
        assert!(backlog.bytes.capacity() <= 2 * ROOM, "{} bytes", backlog.bytes.capacity());
        assert_eq!(backlog.size(), 0);
    }
}
