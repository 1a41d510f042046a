//! The client's side of the streams of one session: what to send next, and what became of each.

use std::collections::BTreeMap;

use super::{DATA_MAX, Facts};
use crate::error::Error;
use crate::message::{ErrorCode, Frame, StatusCode, Violation};

/// The longest name, and the longest media type, in bytes. Real ones are shorter; that it allows
/// only shorter ones is for the server to say.
const FIELD_MAX: usize = 1000;

/// What is to be sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Content. Once it was read, report with [`Outgoing::sent`] how much it was.
    Data {
        /// The stream's number.
        stream: u64,
        /// Where it begins in the content.
        offset: u64,
        /// How many bytes at the most; at least 1.
        count: usize,
        /// How many of the first bytes were sent before, and are part of the checksum already.
        repeated: usize,
    },
    /// A StreamEnd with this size, and the checksum of all bytes. Once it was sent, report with
    /// [`Outgoing::ended`].
    End {
        /// The stream's number.
        stream: u64,
        /// The size of the content.
        size: u64,
    },
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The stream's number.
    pub stream: u64,
    /// Stored, or why not.
    pub code: StatusCode,
    /// The path under which it is stored, or words.
    pub detail: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// The next credit says where to go on, and nothing is sent before: it was opened, opened
    /// again, or went astray.
    Waiting,
    Sending,
    /// Its StreamEnd was sent on the present connection.
    Ended,
}

#[derive(Debug)]
struct Stream {
    size: Option<u64>,
    name: String,
    media_type: String,
    phase: Phase,
    is_cancelled: bool,
    /// Its StreamEnd was sent on any connection, so that it may be stored.
    was_ended: bool,
    /// Where the next data begins.
    position: u64,
    /// The highest position so far.
    reached: u64,
    /// What the server has, and never asks for again.
    stored: u64,
    /// Up to where the server takes data.
    limit: u64,
    /// Up to where there is content.
    available: u64,
    /// All of the content is available.
    is_whole: bool,
}

impl Stream {
    fn next(&self, number: u64, most: usize) -> Option<Next> {
        if self.phase != Phase::Sending || self.is_cancelled {
            return None;
        }
        let end = self.limit.min(self.available);
        let left = usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let count = left.min(most).min(DATA_MAX);
        if count > 0 {
            let repeated = usize::try_from(self.reached - self.position).unwrap_or(usize::MAX);
            let (offset, repeated) = (self.position, repeated.min(count));
            return Some(Next::Data { stream: number, offset, count, repeated });
        }
        let is_over = self.is_whole && self.position == self.available;
        is_over.then_some(Next::End { stream: number, size: self.available })
    }

    fn open(&self, number: u64) -> Frame<'_> {
        let (name, media_type) = (&self.name, &self.media_type);
        Frame::StreamOpen { stream: number, size: self.size, name, media_type }
    }
}

/// The streams of one session, as its client sees them.
///
/// It does not hold content. What [`next`](Self::next) may ask for again lies between
/// [`stored`](Self::stored) and what is available: of content that cannot be read twice the caller
/// keeps that much, and reads ahead no further than [`wanted`](Self::wanted) says.
#[derive(Debug, Default)]
pub struct Outgoing {
    streams: BTreeMap<u64, Stream>,
    /// The highest number so far.
    last: u64,
    /// Which one was served last.
    served: u64,
}

impl Outgoing {
    /// Begins a stream: gives its number. Its [`open_frame`](Self::open_frame) is to be sent.
    ///
    /// # Errors
    /// [`Error::FieldTooLong`] for a name or a media type of more than 1,000 bytes.
    pub fn open(&mut self, facts: Facts<'_>) -> Result<u64, Error> {
        Self::check(facts)?;
        self.last += 1;
        let stream = Stream {
            size: facts.size,
            name: facts.name.to_owned(),
            media_type: facts.media_type.to_owned(),
            phase: Phase::Waiting,
            is_cancelled: false,
            was_ended: false,
            position: 0,
            reached: 0,
            stored: 0,
            limit: 0,
            available: 0,
            is_whole: false,
        };
        self.streams.insert(self.last, stream);
        Ok(self.last)
    }

    /// Whether a stream with these facts can be opened at all.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn check(facts: Facts<'_>) -> Result<(), Error> {
        for (field, text) in [("file name", facts.name), ("media type", facts.media_type)] {
            if text.len() > FIELD_MAX {
                return Err(Error::FieldTooLong(field));
            }
        }
        Ok(())
    }

    /// The StreamOpen of a stream that is under way.
    pub fn open_frame(&self, number: u64) -> Option<Frame<'_>> {
        self.streams.get(&number).map(|stream| stream.open(number))
    }

    /// Content can be read up to this offset.
    pub fn available(&mut self, number: u64, up_to: u64) {
        if let Some(stream) = self.streams.get_mut(&number)
            && !stream.is_whole
        {
            stream.available = stream.available.max(up_to);
        }
    }

    /// The content ends here, and can be read up to there: known from the start for a file, told
    /// again if it turns out to be shorter. Another size than was announced is for the server to
    /// refuse, which it does.
    pub fn whole(&mut self, number: u64, size: u64) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.available = size.max(stream.position);
            stream.is_whole = true;
        }
    }

    /// How many bytes further the content should be made available, so that at most `most` bytes
    /// of it are kept: at least [`WINDOW`](super::WINDOW), since a server may want more before it
    /// tells what it has.
    pub fn wanted(&self, number: u64, most: u64) -> u64 {
        self.streams.get(&number).map_or(0, |stream| {
            let end = stream.limit.min(stream.stored.saturating_add(most));
            if stream.is_whole { 0 } else { end.saturating_sub(stream.available) }
        })
    }

    /// A StreamCredit came.
    ///
    /// # Errors
    /// One of an unknown number, for what was not sent, that goes back behind what was stored, or
    /// whose limit is below its offset.
    pub fn credit(&mut self, number: u64, offset: u64, limit: u64) -> Result<(), Violation> {
        let Some(stream) = self.find(number)? else { return Ok(()) };
        if offset > stream.reached || limit < offset {
            let words = format!("credit from {offset} to {limit}, {} sent", stream.reached);
            return Err(Violation::new(ErrorCode::Malformed, words));
        }
        if stream.phase != Phase::Waiting {
            stream.stored = stream.stored.max(offset);
            stream.limit = stream.limit.max(limit);
            return Ok(());
        }
        if offset < stream.stored {
            let words = format!("credit from {offset}, {} was stored", stream.stored);
            return Err(Violation::new(ErrorCode::Malformed, words));
        }
        stream.phase = Phase::Sending;
        stream.position = offset;
        // The server has it, in memory at least, and asks for it no more.
        stream.stored = offset;
        stream.limit = limit;
        Ok(())
    }

    /// What to send next, at most `most` bytes (and [`DATA_MAX`]): small where other things should
    /// not wait for long. Streams take turns. It counts as sent only when that is told.
    pub fn next(&mut self, most: usize) -> Option<Next> {
        let behind = self.streams.range(self.served.saturating_add(1)..);
        let before = self.streams.range(..=self.served);
        let next = behind.chain(before).find_map(|(number, stream)| stream.next(*number, most))?;
        let (Next::Data { stream: number, .. } | Next::End { stream: number, .. }) = next;
        self.served = number;
        Some(next)
    }

    /// The StreamEnd was sent that [`next`](Self::next) asked for.
    pub fn ended(&mut self, number: u64) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.phase = Phase::Ended;
            stream.was_ended = true;
        }
    }

    /// Whether there is something to send next.
    pub fn has_next(&self) -> bool {
        self.streams.iter().any(|(number, stream)| stream.next(*number, 1).is_some())
    }

    /// So many bytes of what was asked for were sent.
    pub fn sent(&mut self, number: u64, count: usize) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.position = stream.position.saturating_add(count as u64);
            stream.reached = stream.reached.max(stream.position);
        }
    }

    /// A StreamStatus came. Gives what became of the stream, once.
    ///
    /// # Errors
    /// One of an unknown number, or that says that it is stored before it has ended.
    pub fn status(
        &mut self,
        number: u64,
        code: StatusCode,
        detail: &str,
    ) -> Result<Option<Ending>, Violation> {
        let Some(stream) = self.find(number)? else { return Ok(None) };
        if code == StatusCode::OffsetMismatch {
            stream.phase = Phase::Waiting;
            return Ok(None);
        }
        if code == StatusCode::Accepted && !stream.was_ended {
            let words = format!("stream {number} is stored before it has ended");
            return Err(Violation::new(ErrorCode::Malformed, words));
        }
        self.streams.remove(&number);
        Ok(Some(Ending { stream: number, code, detail: detail.to_owned() }))
    }

    /// Gives a stream up: its StreamCancel is to be sent if that is new, and a status will tell
    /// its fate (stored, if it was too late).
    pub fn cancel(&mut self, number: u64) -> Option<Frame<'static>> {
        let stream = self.streams.get_mut(&number).filter(|stream| !stream.is_cancelled)?;
        stream.is_cancelled = true;
        Some(cancel_frame(number))
    }

    /// There is a new connection, and the session goes on: gives the frames that open all that
    /// have no fate yet again.
    pub fn resumed(&mut self) -> Vec<Frame<'_>> {
        for stream in self.streams.values_mut() {
            stream.phase = Phase::Waiting;
            stream.limit = 0;
        }
        let mut frames = Vec::new();
        for (number, stream) in &self.streams {
            frames.push(stream.open(*number));
            if stream.is_cancelled {
                frames.push(cancel_frame(*number));
            }
        }
        frames
    }

    /// The session is lost: gives the numbers of those whose fate will stay unknown. The next
    /// session counts from 1 again.
    pub fn forget(&mut self) -> Vec<u64> {
        std::mem::take(self).streams.into_keys().collect()
    }

    /// How much of it the server has stored, as far as is known; none once it has its fate.
    pub fn stored(&self, number: u64) -> Option<u64> {
        self.streams.get(&number).map(|stream| stream.stored)
    }

    /// How many have no fate yet.
    pub fn count(&self) -> usize {
        self.streams.len()
    }

    fn find(&mut self, number: u64) -> Result<Option<&mut Stream>, Violation> {
        if number == 0 || number > self.last {
            let words = format!("there is no stream {number}");
            return Err(Violation::new(ErrorCode::Malformed, words));
        }
        Ok(self.streams.get_mut(&number))
    }
}

fn cancel_frame(number: u64) -> Frame<'static> {
    Frame::StreamCancel { stream: number, detail: "".into() }
}
