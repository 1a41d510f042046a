//! What can go wrong with a connection, one layer at a time.
//!
//! `Display` speaks of this layer only, in lower case; [`source`](std::error::Error::source) holds
//! the cause. An orderly end is no error: [`recv`](crate::Connection::recv) returns `None` then.

use std::time::Duration;
use std::{fmt, io};

use crate::escape::escape;
use crate::message::{ErrorCode, Reason, StatusCode, Violation};

/// Why a call on a [`Connection`](crate::Connection) or a [`Server`](crate::Server) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No connection came about.
    Connect {
        /// The address as it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The port could not be opened.
    Bind {
        /// The address as it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The settings of a server or client do not fit together; the words say how.
    Settings(String),
    /// The connection broke: an error of the system, a reset included.
    Io(io::Error),
    /// The peer gave no sign of life: several heartbeats were not answered.
    Silent,
    /// The peer closed the connection without saying goodbye.
    Lost,
    /// Something did not happen in time; the connection is still good, except after
    /// [`Waiting::Handshake`].
    Timeout(Waiting, Duration),
    /// The server ended the dialogue with Error.
    Refused {
        /// Its code.
        code: ErrorCode,
        /// Its words, not escaped.
        detail: String,
    },
    /// The server ended the dialogue with Terminate. [`recv`](crate::Connection::recv) gives this
    /// only for a reason that is no orderly end.
    Ended {
        /// Its reason.
        reason: Reason,
        /// Its words, not escaped.
        detail: String,
    },
    /// The peer broke the protocol.
    Violation(Violation),
    /// The connection was closed by this side before.
    Closed,
    /// The message is larger than the server takes.
    TooLarge {
        /// The size of the body in bytes.
        size: usize,
        /// The largest body in bytes.
        limit: usize,
    },
    /// A name or token has more bytes than its field can hold.
    FieldTooLong(&'static str),
    /// Received events fill the memory set aside for them while nobody takes them: call
    /// [`recv`](crate::Connection::recv), or make the connection
    /// [`send_only`](crate::Builder::send_only).
    InboxFull,
    /// So many bytes of messages wait for their confirmation that no more are taken; see
    /// `client.queue`.
    QueueFull,
    /// The connection is being restored, and what was asked for needs one now.
    Reconnecting,
    /// This many messages have an unknown fate: the connection or the session ended before the
    /// server told.
    Unconfirmed(u64),
    /// A file or other content cannot be read, or changed its size while it was sent.
    Content {
        /// The path as it was given, or the content's name.
        name: String,
        /// What the system said, or what is wrong.
        source: io::Error,
    },
    /// A file or other content was not stored by the server.
    NotStored {
        /// Why.
        code: StatusCode,
        /// The server's words, not escaped.
        detail: String,
    },
    /// The connection or the session ended before the server told whether content was stored.
    UploadUnknown,
}

/// What a [`Timeout`](Error::Timeout) was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// The server's answer to Init.
    Handshake,
    /// The next event.
    Event,
    /// The fate of a message or of a file.
    Confirmation,
    /// The answer to a Ping.
    Pong,
    /// The answer to a Terminate.
    Goodbye,
    /// Any frame, at the far end of a connection in memory.
    Frame,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Waiting::Handshake => "handshake",
            Waiting::Event => "event",
            Waiting::Confirmation => "confirmation",
            Waiting::Pong => "answer to a ping",
            Waiting::Goodbye => "answer to a goodbye",
            Waiting::Frame => "frame",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Connect { address, .. } => write!(f, "cannot connect to {}", escape(address)),
            Error::Bind { address, .. } => write!(f, "cannot listen on {}", escape(address)),
            Error::Settings(problem) => write!(f, "unusable settings: {}", escape(problem)),
            Error::Io(_) => f.write_str("the connection broke"),
            Error::Silent => f.write_str("the peer gives no sign of life"),
            Error::Lost => f.write_str("the peer closed the connection without a goodbye"),
            Error::Timeout(waiting, limit) => write!(f, "no {waiting} within {limit:?}"),
            Error::Refused { code, detail } if detail.is_empty() => {
                write!(f, "the server refused: {code}")
            }
            Error::Refused { code, detail } => {
                write!(f, "the server refused: {code} ({})", escape(detail))
            }
            Error::Ended { reason, detail } if detail.is_empty() => {
                write!(f, "the server ended the dialogue: {reason}")
            }
            Error::Ended { reason, detail } => {
                write!(f, "the server ended the dialogue: {reason} ({})", escape(detail))
            }
            Error::Violation(_) => f.write_str("the peer broke the protocol"),
            Error::Closed => f.write_str("the connection is closed"),
            Error::TooLarge { size, limit } => {
                write!(f, "a message of {size} bytes, the server takes {limit}")
            }
            Error::FieldTooLong(field) => write!(f, "the {field} is too long"),
            Error::InboxFull => f.write_str("too many received events wait to be taken"),
            Error::QueueFull => f.write_str("too many messages wait for their confirmation"),
            Error::Reconnecting => f.write_str("the connection is down and being restored"),
            Error::Unconfirmed(1) => f.write_str("the fate of 1 message is unknown"),
            Error::Content { name, .. } => write!(f, "cannot read {}", escape(name)),
            Error::NotStored { code, detail } if detail.is_empty() => {
                write!(f, "not stored: {code}")
            }
            Error::NotStored { code, detail } => {
                write!(f, "not stored: {code} ({})", escape(detail))
            }
            Error::UploadUnknown => f.write_str("whether it was stored is unknown"),
            Error::Unconfirmed(count) => write!(f, "the fate of {count} messages is unknown"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Connect { source, .. }
            | Error::Bind { source, .. }
            | Error::Content { source, .. }
            | Error::Io(source) => Some(source),
            Error::Violation(violation) => Some(violation),
            _ => None,
        }
    }
}
