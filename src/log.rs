//! The log: one order for all that is relayed (`PROTOCOL.md` section 5).
//!
//! Pure. Records are encoded once, into contiguous memory, and have two coordinates: their `seq`,
//! and the *position* of their first byte in the log's endless stream of bytes. Whoever reads
//! keeps a position as its cursor. Neighbouring records of one origin and one audience form a
//! *run*; what is not meant for a reader is skipped run by run, never record by record.
//!
//! The log is bounded by bytes (the runs' own cost included) and by records. Which readers may
//! hold it up, and for how long, is decided by the hub.

mod returning;

use std::collections::VecDeque;
use std::ops::Range;

use crate::frame::frame_size;
use returning::Ghost;

/// Names a session within this process; never given twice.
pub type SessionId = u64;

/// The origin of records that come from no session but the server itself: all sessions get them.
pub const SERVER: SessionId = u64::MAX;

/// Who gets a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everyone but the session that it comes from.
    Others,
    /// This session alone.
    Only(SessionId),
}

/// Records side by side that have the same origin and the same audience.
#[derive(Debug)]
struct Run {
    start: u64,
    first_seq: u64,
    origin: SessionId,
    audience: Audience,
}

impl Audience {
    /// Whether `session` gets a record that comes from `origin`.
    fn includes(self, session: SessionId, origin: SessionId) -> bool {
        match self {
            Audience::Others => origin != session,
            Audience::Only(receiver) => receiver == session,
        }
    }
}

impl Run {
    fn is_for(&self, session: SessionId) -> bool {
        self.audience.includes(session, self.origin)
    }
}

/// Bytes that lie together in memory. A record never spans two segments.
#[derive(Debug)]
struct Segment {
    start: u64,
    bytes: Vec<u8>,
}

/// What a run costs beside its bytes.
const RUN_COST: u64 = size_of::<Run>() as u64;
/// A run is cut at this size, so that the log gives its oldest part back in small pieces.
const RUN_MAX: u64 = 64 * 1024;
/// Memory comes in pieces of this size: large enough to be rare, small against the whole.
const SEGMENT: usize = 256 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub struct Log {
    segments: VecDeque<Segment>,
    runs: VecDeque<Run>,
    /// Runs that were given up, oldest first.
    ghosts: VecDeque<Ghost>,
    /// The memory of a segment that was given up, for the next one.
    spare: Vec<u8>,
    head: u64,
    last_seq: u64,
    max_bytes: u64,
    max_records: u64,
    segment_size: usize,
}

impl Log {
    /// An empty log that holds at most `max_bytes` bytes and `max_records` records.
    pub fn new(max_bytes: u64, max_records: u64) -> Self {
        let segment_size = SEGMENT.min((max_bytes / 8) as usize).max(4096);
        Self {
            segments: VecDeque::new(),
            runs: VecDeque::new(),
            ghosts: VecDeque::new(),
            spare: Vec::new(),
            head: 0,
            last_seq: 0,
            max_bytes,
            max_records,
            segment_size,
        }
    }

    /// The position behind the last record.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The `seq` of the last record; 0 if there was none yet.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The position of the oldest record that is still held.
    pub fn oldest(&self) -> u64 {
        self.runs.front().map_or(self.head, |run| run.start)
    }

    /// How many bytes the log may hold.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// How many bytes it holds, the runs' own cost included.
    pub fn bytes(&self) -> u64 {
        self.head - self.oldest() + self.runs.len() as u64 * RUN_COST
    }

    /// How many records it holds.
    pub fn records(&self) -> u64 {
        self.runs.front().map_or(0, |run| self.last_seq + 1 - run.first_seq)
    }

    fn has_room(&self, size: u64) -> bool {
        self.bytes() + size + RUN_COST <= self.max_bytes && self.records() < self.max_records
    }

    /// Makes room for one record of `size` bytes by giving up the oldest runs that end at or
    /// before `floor`. False if that was not enough.
    pub fn make_room(&mut self, size: u64, floor: u64) -> bool {
        while !self.has_room(size) {
            if self.runs.is_empty() {
                return true; // a record larger than the log still gets its place, alone
            }
            if self.run_end(0) > floor {
                return false;
            }
            self.give_up_oldest_run();
        }
        true
    }

    /// Up to which position the log must be given up to make room for a record of `size` bytes.
    pub fn line_for(&self, size: u64) -> u64 {
        let (mut bytes, mut records) = (self.bytes(), self.records());
        for index in 0..self.runs.len() {
            if bytes + size + RUN_COST <= self.max_bytes && records < self.max_records {
                return self.runs[index].start;
            }
            bytes -= self.run_end(index) - self.runs[index].start + RUN_COST;
            records -= self.run_end_seq(index) - self.runs[index].first_seq;
        }
        self.head
    }

    fn run_end(&self, index: usize) -> u64 {
        self.runs.get(index + 1).map_or(self.head, |next| next.start)
    }

    fn run_end_seq(&self, index: usize) -> u64 {
        self.runs.get(index + 1).map_or(self.last_seq + 1, |next| next.first_seq)
    }

    fn give_up_oldest_run(&mut self) {
        self.remember_oldest_run();
        self.runs.pop_front();
        let oldest = self.oldest();
        while let Some(segment) = self.segments.front() {
            let end = segment.start + segment.bytes.len() as u64;
            if end > oldest {
                break;
            }
            let segment = self.segments.pop_front().map(|segment| segment.bytes);
            if let Some(mut bytes) = segment
                && bytes.capacity() == self.segment_size
            {
                bytes.clear();
                self.spare = bytes;
            }
        }
    }

    /// Appends one record of about `size` bytes, which `encode` writes given its `seq`.
    /// [`make_room`](Self::make_room) has been asked before.
    #[inline]
    pub fn append(
        &mut self,
        origin: SessionId,
        audience: Audience,
        size: usize,
        encode: impl FnOnce(&mut Vec<u8>, u64),
    ) -> u64 {
        self.last_seq += 1;
        let seq = self.last_seq;
        self.join_run(origin, audience, seq);
        let fits = self
            .segments
            .back()
            .is_some_and(|segment| segment.bytes.len() + size <= segment.bytes.capacity());
        if !fits {
            self.add_segment(size);
        }
        if let Some(segment) = self.segments.back_mut() {
            let before = segment.bytes.len();
            encode(&mut segment.bytes, seq);
            self.head += (segment.bytes.len() - before) as u64;
        }
        seq
    }

    #[inline]
    fn join_run(&mut self, origin: SessionId, audience: Audience, seq: u64) {
        let joins = self.runs.back().is_some_and(|run| {
            run.origin == origin && run.audience == audience && self.head - run.start < RUN_MAX
        });
        if !joins {
            self.runs.push_back(Run { start: self.head, first_seq: seq, origin, audience });
        }
    }

    #[cold]
    fn add_segment(&mut self, size: usize) {
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.reserve_exact(size.max(self.segment_size));
        self.segments.push_back(Segment { start: self.head, bytes });
    }

    /// Appends the bytes from one position to another to `out`.
    pub fn copy(&self, range: Range<u64>, out: &mut Vec<u8>) {
        let mut index = self.segment_at(range.start);
        let mut position = range.start;
        while position < range.end {
            let Some(segment) = self.segments.get(index) else { return };
            let from = (position - segment.start) as usize;
            let to = segment.bytes.len().min((range.end - segment.start) as usize);
            out.extend_from_slice(&segment.bytes[from..to]);
            position = segment.start + to as u64;
            index += 1;
        }
    }

    fn segment_at(&self, position: u64) -> usize {
        if let Some(last) = self.segments.back()
            && last.start <= position
        {
            return self.segments.len() - 1;
        }
        self.segments.partition_point(|segment| segment.start <= position).saturating_sub(1)
    }

    fn run_at(&self, position: u64) -> usize {
        if let Some(last) = self.runs.back()
            && last.start <= position
        {
            return self.runs.len() - 1;
        }
        self.runs.partition_point(|run| run.start <= position).saturating_sub(1)
    }

    /// Which bytes behind `from` and before `to` are meant for `session`: pushes their ranges to
    /// `ranges`, adjoining ones as one, until they stretch over `most` bytes (or somewhat more: a
    /// run is given whole) or are `pieces` many. Returns the position up to which the answer is
    /// complete: `to`, or the end of a run, so never the middle of a record.
    pub fn ranges_for(
        &self,
        session: SessionId,
        from: u64,
        to: u64,
        (most, pieces): (u64, usize),
        ranges: &mut Vec<Range<u64>>,
    ) -> u64 {
        let first = ranges.len();
        let mut index = self.run_at(from);
        let mut position = from;
        while position < to {
            let Some(run) = self.runs.get(index) else { break };
            let end = self.run_end(index).min(to);
            if run.is_for(session) {
                if ranges.get(first).is_some_and(|range| position - range.start >= most) {
                    break;
                }
                let adjoins = ranges[first..].last().is_some_and(|last| last.end == position);
                if adjoins && let Some(last) = ranges.last_mut() {
                    last.end = end;
                } else if ranges.len() - first == pieces {
                    break;
                } else {
                    ranges.push(position..end);
                }
            }
            position = end;
            index += 1;
        }
        position
    }

    /// The first boundary between records at or behind `position`.
    pub fn boundary_at(&self, position: u64) -> u64 {
        let run = self.runs.get(self.run_at(position)).map_or(position, |run| run.start);
        let segment = self.segments.get(self.segment_at(position));
        let mut at = run.max(segment.map_or(position, |segment| segment.start));
        while at < position {
            at = self.end_of_record(at);
        }
        at
    }

    /// Where the record ends that begins at `position`.
    fn end_of_record(&self, position: u64) -> u64 {
        let Some(segment) = self.segments.get(self.segment_at(position)) else { return self.head };
        position + frame_size(&segment.bytes[(position - segment.start) as usize..]) as u64
    }

    /// The position from which on the latest `count` records for `session` lie (fewer, if the log
    /// holds fewer).
    pub fn latest_for(&self, session: SessionId, count: u64) -> u64 {
        let mut missing = count;
        let mut position = self.head;
        for index in (0..self.runs.len()).rev() {
            if missing == 0 {
                break;
            }
            let run = &self.runs[index];
            if !run.is_for(session) {
                continue;
            }
            let held = self.run_end_seq(index) - run.first_seq;
            position = (0..held.saturating_sub(missing))
                .fold(run.start, |position, _| self.end_of_record(position));
            missing -= held.min(missing);
        }
        position
    }
}

#[cfg(test)]
mod tests;
