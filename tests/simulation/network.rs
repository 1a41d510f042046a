//! The network: connections as TCP makes them, with TCP's own faults.
//!
//! A [`Pipe`] is one direction of a connection: bytes are written, are under way, arrive, and are
//! read in pieces of any size. It holds only so many at a time, and it can stall, be cut at any
//! byte, or swallow everything without a word. What is done to it is decided elsewhere.

use std::collections::VecDeque;

/// Virtual time, in nanoseconds since the beginning.
pub(crate) type Time = u64;
/// Later than everything.
pub(crate) const NEVER: Time = u64::MAX;

/// A direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Way {
    pub(crate) fn back(self) -> Self {
        match self {
            Way::Up => Way::Down,
            Way::Down => Way::Up,
        }
    }
}

/// What a reader finds behind the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Eof,
    Reset,
}

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Bytes(usize),
    End(Ending),
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    /// Written and not read, in order; the first `arrived` can be read.
    bytes: VecDeque<u8>,
    arrived: usize,
    /// How many bytes arrive when.
    under_way: VecDeque<(Time, usize)>,
    /// How many bytes it holds.
    capacity: usize,
    /// Bytes that will never arrive, and take up room for ever.
    swallowed: usize,
    /// Nothing arrives before this.
    pub(crate) stalled_until: Time,
    /// Everything that is written from now on is swallowed.
    is_cut: bool,
    /// So many more bytes pass, then it is cut.
    pub(crate) fuse: Option<usize>,
    pub(crate) fuse_has_burnt: bool,
    /// What follows the last byte, and from when on.
    ending: Option<(Time, Ending)>,
    /// When its reader looks next.
    pub(crate) look_at: Time,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            arrived: 0,
            under_way: VecDeque::new(),
            capacity,
            swallowed: 0,
            stalled_until: 0,
            is_cut: false,
            fuse: None,
            fuse_has_burnt: false,
            ending: None,
            look_at: NEVER,
        }
    }

    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len() + self.swallowed)
    }

    /// Whether a writer that waits for room is woken: a socket waits for a third of it.
    pub(crate) fn is_writable(&self) -> bool {
        self.room() > self.capacity / 3
    }

    /// Takes as much as there is room for; it arrives at `arrival` or later.
    pub(crate) fn write(&mut self, bytes: &[u8], arrival: Time) -> usize {
        let count = bytes.len().min(self.room());
        let mut passing = if self.is_cut { 0 } else { count };
        if let Some(fuse) = &mut self.fuse {
            passing = passing.min(*fuse);
            *fuse -= passing;
            self.fuse_has_burnt |= passing < count && !self.is_cut;
        }
        self.swallowed += count - passing;
        if passing > 0 {
            let last = self.under_way.back().map_or(0, |(time, _)| *time);
            self.bytes.extend(&bytes[..passing]);
            self.under_way.push_back((arrival.max(last), passing));
        }
        count
    }

    /// When there is something to read that is not here yet.
    pub(crate) fn next_arrival(&self) -> Option<Time> {
        let bytes =
            if self.arrived > 0 { Some(0) } else { self.under_way.front().map(|(t, _)| *t) };
        bytes.or(self.ending.map(|(time, _)| time)).map(|time| time.max(self.stalled_until))
    }

    /// Reads into `space`.
    pub(crate) fn read(&mut self, space: &mut [u8], now: Time) -> Came {
        if self.stalled_until > now {
            return Came::Nothing;
        }
        while let Some((time, count)) = self.under_way.front().copied()
            && time <= now
        {
            self.under_way.pop_front();
            self.arrived += count;
        }
        if self.arrived == 0 {
            let is_empty = self.bytes.is_empty();
            return match self.ending {
                Some((time, ending)) if is_empty && time <= now => Came::End(ending),
                _ => Came::Nothing,
            };
        }
        let count = self.arrived.min(space.len());
        let (first, second) = self.bytes.as_slices();
        let from_first = count.min(first.len());
        space[..from_first].copy_from_slice(&first[..from_first]);
        space[from_first..count].copy_from_slice(&second[..count - from_first]);
        self.bytes.drain(..count);
        self.arrived -= count;
        Came::Bytes(count)
    }

    /// Whether its reader has everything that was ever written.
    pub(crate) fn is_drained(&self) -> bool {
        self.bytes.is_empty() && self.swallowed == 0 && !self.is_cut
    }

    /// How many bytes have left and not arrived.
    pub(crate) fn bytes_under_way(&self) -> usize {
        self.bytes.len() - self.arrived
    }

    /// Cuts it: of what is under way only `kept` bytes still arrive, then the ending, if any.
    pub(crate) fn cut(&mut self, kept: usize, ending: Option<(Time, Ending)>) {
        let kept = self.arrived + kept.min(self.bytes_under_way());
        self.swallowed += self.bytes.len() - kept;
        self.bytes.truncate(kept);
        let mut left = kept - self.arrived;
        self.under_way.retain_mut(|(_, count)| {
            *count = left.min(*count);
            left -= *count;
            *count > 0
        });
        self.is_cut = true;
        if self.ending.is_none_or(|(_, old)| old == Ending::Eof) && ending.is_some() {
            self.ending = ending;
        }
    }

    /// The writer is done: an end follows what it wrote, unless the pipe is cut.
    pub(crate) fn finish(&mut self, time: Time) {
        if !self.is_cut && self.ending.is_none() {
            self.ending = Some((time, Ending::Eof));
        }
    }

    /// Whether its reader has been told of a reset, read or not.
    pub(crate) fn is_reset(&self, now: Time) -> bool {
        let ending = self.ending.filter(|(time, _)| (*time).max(self.stalled_until) <= now);
        ending.is_some_and(|(_, ending)| ending == Ending::Reset)
    }
}
