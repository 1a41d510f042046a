//! Streams: how a file, or other long content, gets from a client to the server, whole or not at
//! all (`PROTOCOL.md` section 8). [`Incoming`] is the server's side, [`Outgoing`] the client's.
//!
//! ```text
//!            open()            end()             done()
//!  (number) ------> Receiving ------> Ending ------------.
//!      |                |               |                v
//!      '----------------+---------------+--------> Finished: a status, remembered
//!        refused    cancel, failed,   failed
//!                   idle, 3, 6, 8
//! ```
//!
//! Pure: frames and reports of the disk come in as numbers, out come answers to the client and
//! orders to the disk. Neither side holds content: the server's caller hands bytes that were taken
//! to the disk's thread, the client's caller reads those that are asked for. Who has the bytes
//! computes the checksum (see [`crate::crc32c`]), and the server's disk compares it.

mod incoming;
mod outgoing;

use std::time::Duration;

use crate::message::{Frame, StatusCode};
use crate::settings::{Settings, UploadSettings};

pub use incoming::{Incoming, UnderWay};
pub use outgoing::{Ending, Next, Outgoing};

/// The most content of one StreamData, in bytes.
pub const DATA_MAX: usize = 65_536;
/// How far a client may be ahead of the disk, in bytes for each stream: enough for 1 GB/s where the
/// credit takes 1 ms to come back, and what each stream of a client may cost in memory.
pub const WINDOW: u64 = 1 << 20;
/// How many finished streams of a session are remembered at least.
pub const REMEMBERED: usize = 256;

/// What a file of that size costs of a quota, in bytes: at least a block of the disk, which even an
/// empty one may take up.
pub fn cost(size: u64) -> u64 {
    size.max(4096)
}

/// What a server allows each session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest content, in bytes.
    pub file: u64,
    /// How many streams at once; 0: no content is taken at all.
    pub streams: usize,
    /// How far the client may be ahead of the disk, in bytes for each stream; at least
    /// [`DATA_MAX`]. See [`WINDOW`].
    pub window: u64,
    /// How long a stream may stand still while it is the client's turn.
    pub idle_time: Duration,
}

impl From<&UploadSettings> for Limits {
    fn from(settings: &UploadSettings) -> Self {
        Self {
            file: settings.file,
            streams: if settings.folder.is_empty() { 0 } else { settings.streams },
            window: WINDOW,
            idle_time: settings.idle_time,
        }
    }
}

/// The defaults of the settings.
impl Default for Limits {
    fn default() -> Self {
        Self::from(&Settings::default().uploads)
    }
}

/// What a StreamOpen says of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// In bytes; `None` while that is unknown.
    pub size: Option<u64>,
    /// What the file shall be called.
    pub name: &'a str,
    /// What kind of content it is, as in `image/jpeg`.
    pub media_type: &'a str,
}

/// What a server tells a client of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The client may send up to `limit`.
    Credit {
        /// The stream's number.
        stream: u64,
        /// After an Open or a mismatch: where to go on; else how much is stored.
        offset: u64,
        /// Up to where the client may send.
        limit: u64,
    },
    /// What became of it, or that an offset was wrong.
    Status {
        /// The stream's number.
        stream: u64,
        /// The fate.
        code: StatusCode,
        /// The path below the upload folder, or what is wrong.
        detail: String,
    },
}

impl Answer {
    /// The frame that says so.
    pub fn frame(&self) -> Frame<'_> {
        match self {
            Answer::Credit { stream, offset, limit } => {
                Frame::StreamCredit { stream: *stream, offset: *offset, limit: *limit }
            }
            Answer::Status { stream, code, detail } => {
                Frame::StreamStatus { stream: *stream, code: *code, detail: detail.into() }
            }
        }
    }
}

/// What the disk is to do, in this order for each stream. When one fails, the disk drops the part
/// and what follows of that stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Make a file for a part. Reported by [`Incoming::failed`] if it fails.
    Create {
        /// The stream's number.
        stream: u64,
    },
    /// Append the bytes that were just taken. Reported by [`Incoming::stored`].
    Append {
        /// The stream's number.
        stream: u64,
        /// Where they belong: the size of the part before.
        offset: u64,
    },
    /// Compare the checksum, sync, and give the file its name. Reported by [`Incoming::done`], or
    /// [`Incoming::failed`] with [`StatusCode::Mismatch`].
    Finish {
        /// The stream's number.
        stream: u64,
        /// The size of the part.
        size: u64,
        /// What the client says is the checksum of all of it.
        crc32c: u32,
    },
    /// Remove what there is of the part. Not reported.
    Remove {
        /// The stream's number.
        stream: u64,
    },
}

/// What is to be done: orders for the disk, and answers for the client, each in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// For the disk.
    pub orders: Vec<Order>,
    /// For the client; of no use, and to be dropped, where it is not connected.
    pub answers: Vec<Answer>,
}

#[cfg(test)]
mod tests;
