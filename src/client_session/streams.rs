//! The uploads of a client: which are opened and when, what is sent next of which, and what became
//! of each.
//!
//! ```text
//!             room                  credit, pieces, End          StreamStatus
//!   Waiting --------> Open, number n ---------------------------------------> fate
//!      ^                  |        |
//!      '------------------'        '--> the session is lost: nobody will tell
//!        too many at once
//! ```
//!
//! An upload's number is for the user and goes on over all sessions of a connection; a stream's
//! number is for the wire and begins anew with each. What a session may send of each stream is
//! decided by [`Outgoing`]; the content itself is read by whoever drives the machine.
//!
//! How many streams a server allows at once is not told beforehand. So up to [`AT_ONCE`] are open,
//! and the others wait; one that is refused as too many, while others are under way, was merely too
//! early: it waits again, and no more are opened than the server took.

use std::collections::{BTreeMap, BTreeSet};

use super::{ClientSession, Phase};
use crate::error::Error;
use crate::message::{Frame, StatusCode, Violation};
use crate::transfer::{DATA_MAX, Facts, Next, Outgoing};

/// How many streams are open at once: what a server allows by default (`uploads.streams`), and
/// enough that small files need not wait for one another's round trips.
const AT_ONCE: usize = 8;

/// Something to be sent of an upload, valid until the connection or the stream changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The upload's number.
    pub upload: u64,
    next: Next,
    epoch: u64,
}

impl Piece {
    /// The bytes that are asked for, as offset and count, at most 65,536; `None`: the content ends
    /// here, and its checksum is.
    pub fn range(&self) -> Option<(u64, usize)> {
        match self.next {
            Next::Data { offset, count, .. } => Some((offset, count)),
            Next::End { .. } => None,
        }
    }

    /// Where the piece ends.
    pub fn end(&self) -> u64 {
        match self.next {
            Next::Data { offset, count, .. } => offset + count as u64,
            Next::End { size, .. } => size,
        }
    }
}

#[derive(Debug)]
struct Upload {
    size: Option<u64>,
    name: String,
    media_type: String,
    /// Its stream, once it was opened.
    stream: Option<u64>,
    /// Up to where its content is known, and whether that is all.
    available: u64,
    is_whole: bool,
    /// The highest offset that was sent.
    sent: u64,
    is_cancelled: bool,
    fate: Option<Fate>,
}

#[derive(Debug)]
enum Fate {
    Stored { path: String },
    NotStored { code: StatusCode, detail: String },
    Unknown,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Streams {
    outgoing: Outgoing,
    uploads: BTreeMap<u64, Upload>,
    /// The upload of each stream that is open.
    owners: BTreeMap<u64, u64>,
    /// The uploads that are not open yet.
    waiting: BTreeSet<u64>,
    /// The highest number of an upload.
    last: u64,
    at_once: usize,
    /// Changes with all that makes a piece that was asked for wrong.
    epoch: u64,
    is_served: bool,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            outgoing: Outgoing::default(),
            uploads: BTreeMap::new(),
            owners: BTreeMap::new(),
            waiting: BTreeSet::new(),
            last: 0,
            at_once: AT_ONCE,
            epoch: 0,
            is_served: false,
        }
    }
}

impl Streams {
    /// Opens what waits, as far as there is room.
    pub(super) fn open_waiting(&mut self, line: &mut Vec<u8>) {
        while self.outgoing.count() < self.at_once
            && let Some(number) = self.waiting.pop_first()
        {
            let Some(upload) = self.uploads.get_mut(&number) else { continue };
            let Upload { size, name, media_type, available, .. } = &*upload;
            let facts = Facts { size: *size, name, media_type };
            let Ok(stream) = self.outgoing.open(facts) else { continue }; // checked before
            if upload.is_whole {
                self.outgoing.whole(stream, *available);
            } else {
                self.outgoing.available(stream, *available);
            }
            upload.stream = Some(stream);
            self.owners.insert(stream, number);
            if let Some(open) = self.outgoing.open_frame(stream) {
                open.encode(line);
            }
        }
        if self.outgoing.count() == 0 {
            self.at_once = AT_ONCE;
        }
    }

    /// There is a new connection, and the session goes on.
    pub(super) fn resume(&mut self, line: &mut Vec<u8>) {
        self.epoch += 1;
        for frame in self.outgoing.resumed() {
            frame.encode(line);
        }
    }

    /// The session is lost, and with it the fate of all that was open.
    pub(super) fn lose_session(&mut self) {
        self.epoch += 1;
        for stream in self.outgoing.forget() {
            if let Some(upload) = self.owner(stream) {
                upload.fate = Some(Fate::Unknown);
            }
        }
        self.owners.clear();
        self.at_once = AT_ONCE;
    }

    pub(super) fn credit(&mut self, stream: u64, offset: u64, limit: u64) -> Result<(), Violation> {
        self.outgoing.credit(stream, offset, limit)
    }

    pub(super) fn status(
        &mut self,
        stream: u64,
        code: StatusCode,
        detail: &str,
    ) -> Result<(), Violation> {
        let Some(ending) = self.outgoing.status(stream, code, detail)? else {
            self.epoch += 1;
            return Ok(());
        };
        let under_way = self.outgoing.count();
        let Some(number) = self.owners.remove(&stream) else { return Ok(()) };
        let Some(upload) = self.uploads.get_mut(&number) else { return Ok(()) };
        if code == StatusCode::TooMany && under_way > 0 && upload.may_wait_again() {
            self.at_once = under_way;
            upload.stream = None;
            self.waiting.insert(number);
        } else if code == StatusCode::Accepted {
            upload.fate = Some(Fate::Stored { path: ending.detail });
        } else {
            upload.fate = Some(Fate::NotStored { code, detail: ending.detail });
        }
        Ok(())
    }

    /// The server gives a stream up; of nothing, that is ignored.
    pub(super) fn cancelled(&mut self, stream: u64, detail: &str) -> Result<(), Violation> {
        if !self.owners.contains_key(&stream) {
            return Ok(());
        }
        self.status(stream, StatusCode::Cancelled, detail)
    }

    fn owner(&mut self, stream: u64) -> Option<&mut Upload> {
        self.uploads.get_mut(self.owners.get(&stream)?)
    }

    fn cancel(&mut self, number: u64) -> Option<Frame<'static>> {
        let upload = self.uploads.get_mut(&number).filter(|upload| upload.fate.is_none())?;
        upload.is_cancelled = true;
        self.epoch += 1;
        let Some(stream) = upload.stream else {
            self.waiting.remove(&number);
            let (code, detail) = (StatusCode::Cancelled, String::new());
            upload.fate = Some(Fate::NotStored { code, detail });
            return None;
        };
        self.outgoing.cancel(stream)
    }
}

impl Upload {
    /// Whether it can be opened as if it never was.
    fn may_wait_again(&self) -> bool {
        self.sent == 0 && !self.is_cancelled
    }
}

impl ClientSession {
    /// Begins an upload, and gives its number. It is opened as soon as the connection is there and
    /// the server is thought to take one more.
    ///
    /// # Errors
    /// As for a message, after the end; [`Error::FieldTooLong`] for a name or a media type of more
    /// than 1,000 bytes.
    pub fn begin_upload(&mut self, facts: Facts<'_>) -> Result<u64, Error> {
        self.check_alive()?;
        Outgoing::check(facts)?;
        let Facts { size, name, media_type } = facts;
        let upload = Upload {
            size,
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            stream: None,
            available: size.unwrap_or(0),
            is_whole: size.is_some(),
            sent: 0,
            is_cancelled: false,
            fate: None,
        };
        self.streams.last += 1;
        let number = self.streams.last;
        self.streams.uploads.insert(number, upload);
        self.streams.waiting.insert(number);
        self.open_waiting();
        Ok(number)
    }

    /// Opens what waits, if there is a connection.
    pub(super) fn open_waiting(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.streams.open_waiting(&mut self.outgoing);
        }
    }

    /// Of an upload of unknown size, content can be read up to this offset; with `is_whole` there
    /// is no more.
    pub fn content_available(&mut self, number: u64, up_to: u64, is_whole: bool) {
        let Some(upload) = self.streams.uploads.get_mut(&number) else { return };
        upload.available = up_to;
        upload.is_whole = is_whole;
        match upload.stream {
            Some(stream) if is_whole => self.streams.outgoing.whole(stream, up_to),
            Some(stream) => self.streams.outgoing.available(stream, up_to),
            None => {}
        }
    }

    /// How many bytes more of an upload of unknown size are worth reading, so that at most `most`
    /// are kept.
    pub fn content_wanted(&self, number: u64, most: u64) -> u64 {
        let stream = self.streams.uploads.get(&number).and_then(|upload| upload.stream);
        stream.map_or(0, |stream| self.streams.outgoing.wanted(stream, most))
    }

    /// Whether a piece of some upload can be sent, and nobody is at it.
    pub fn has_piece(&self) -> bool {
        self.is_open() && !self.streams.is_served && self.streams.outgoing.has_next()
    }

    /// Somebody begins to send pieces, or ends: it is done by one at a time.
    pub fn serve_uploads(&mut self, is_served: bool) {
        self.streams.is_served = is_served;
    }

    /// Whether somebody is at sending pieces.
    pub fn uploads_are_served(&self) -> bool {
        self.streams.is_served
    }

    /// What is to be read and [put in line](Self::put_piece) next; the uploads take turns.
    pub fn next_piece(&mut self) -> Option<Piece> {
        if !self.is_open() {
            return None;
        }
        let next = self.streams.outgoing.next(DATA_MAX)?;
        let (Next::Data { stream, .. } | Next::End { stream, .. }) = next;
        let upload = *self.streams.owners.get(&stream)?;
        Some(Piece { upload, next, epoch: self.streams.epoch })
    }

    /// Puts a piece in line to be written, with its bytes, or with the checksum of all of them;
    /// unless something changed meanwhile: then it is asked for again, or not wanted any more.
    pub fn put_piece(&mut self, piece: &Piece, bytes: &[u8], crc32c: u32) {
        let (Next::Data { stream, .. } | Next::End { stream, .. }) = piece.next;
        if !self.is_open()
            || piece.epoch != self.streams.epoch
            || self.streams.outgoing.stored(stream).is_none()
        {
            return;
        }
        match piece.next {
            Next::Data { offset, .. } => {
                self.streams.outgoing.sent(stream, bytes.len());
                if let Some(upload) = self.streams.owner(stream) {
                    upload.sent = upload.sent.max(offset + bytes.len() as u64);
                }
                Frame::StreamData { stream, offset, bytes }.encode(&mut self.outgoing);
            }
            Next::End { size, .. } => {
                self.streams.outgoing.ended(stream);
                Frame::StreamEnd { stream, size, crc32c }.encode(&mut self.outgoing);
            }
        }
    }

    /// Gives an upload up: the server is told, and its answer is the fate.
    pub fn cancel_upload(&mut self, number: u64) {
        if let Some(cancel) = self.streams.cancel(number)
            && self.is_open()
        {
            cancel.encode(&mut self.outgoing);
        }
        self.answers += 1;
    }

    /// Nobody will ask for an upload any more; if it has no fate yet, it is given up.
    pub fn forget_upload(&mut self, number: u64) {
        self.cancel_upload(number);
        self.streams.uploads.remove(&number);
    }

    /// How many bytes of an upload were sent, and how many the server is known to have.
    pub fn upload_progress(&self, number: u64) -> (u64, u64) {
        let Some(upload) = self.streams.uploads.get(&number) else { return (0, 0) };
        if let Some(Fate::Stored { .. }) = upload.fate {
            return (upload.available, upload.available);
        }
        let stored = upload.stream.and_then(|stream| self.streams.outgoing.stored(stream));
        (upload.sent, stored.unwrap_or(0))
    }

    /// How many uploads have no fate yet.
    pub fn uploads_under_way(&self) -> usize {
        self.streams.waiting.len() + self.streams.outgoing.count()
    }

    /// The path under which an upload is stored, or why it is not; `None` while that is open.
    pub fn upload_fate(&self, number: u64) -> Option<Result<String, Error>> {
        let upload = self.streams.uploads.get(&number)?;
        match &upload.fate {
            Some(Fate::Stored { path }) => Some(Ok(path.clone())),
            Some(Fate::NotStored { code, detail }) => {
                Some(Err(Error::NotStored { code: *code, detail: detail.clone() }))
            }
            Some(Fate::Unknown) => Some(Err(Error::UploadUnknown)),
            None if self.is_closing() => Some(Err(Error::Closed)),
            None if upload.stream.is_some() => self.ended().map(|_| Err(Error::UploadUnknown)),
            None => self.ended().map(|end| Err(end.to_error())),
        }
    }
}
