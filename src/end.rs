//! How a connection ended, and how one was lost: the two enums that errors, logs, programs and
//! tests go by.
//!
//! Pure values. A *loss* is the end of a TCP connection that its session may survive; an *end* is
//! for good. What a call returns because of an end is told by [`End::is_orderly`].

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::error::Error;
use crate::message::{ErrorCode, Reason, Violation};

/// How a [`Connection`](crate::Connection) ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum End {
    /// This side closed it.
    Closed {
        /// Whether the server said goodbye too, so that it has read all that was sent.
        answered: bool,
    },
    /// The server ended it with Terminate.
    Terminated {
        /// Its reason.
        reason: Reason,
        /// How long the server asks to wait before one connects again.
        retry_after: Duration,
        /// Its words, not escaped.
        detail: String,
    },
    /// The server ended it with Error.
    Refused {
        /// Its code.
        code: ErrorCode,
        /// Its words, not escaped.
        detail: String,
    },
    /// The server broke the protocol, and was told so.
    Violation(Violation),
    /// The server gave no sign of life, and several heartbeats were not answered.
    Silent,
    /// The server closed the connection without saying goodbye.
    Lost,
    /// The system reported an error, a reset included.
    Io(Arc<io::Error>),
}

impl End {
    /// Whether this is no failure: closed by this side, or by a server that was done or is
    /// shutting down.
    pub fn is_orderly(&self) -> bool {
        match self {
            End::Closed { .. } => true,
            End::Terminated { reason, .. } => {
                matches!(reason, Reason::Done | Reason::ShuttingDown)
            }
            _ => false,
        }
    }

    /// The error for a call that needs a connection that lives.
    pub(crate) fn to_error(&self) -> Error {
        match self {
            End::Closed { .. } => Error::Closed,
            End::Terminated { reason, detail, .. } => {
                Error::Ended { reason: *reason, detail: detail.clone() }
            }
            End::Refused { code, detail } => Error::Refused { code: *code, detail: detail.clone() },
            End::Violation(violation) => Error::Violation(violation.clone()),
            End::Silent => Error::Silent,
            End::Lost => Error::Lost,
            End::Io(cause) => Error::Io(io::Error::new(cause.kind(), Arc::clone(cause))),
        }
    }
}

/// How a connection was lost, without the end of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The peer closed it without a goodbye: the end of the file.
    Closed,
    /// The peer, or something in between, reset it.
    Reset,
    /// The peer gave no sign of life, and several heartbeats were not answered.
    Silent,
    /// It was ended with Terminate, for a reason that lets the client come back.
    Terminated(Reason),
    /// The server answered with an Error that lets the client come back.
    Refused(ErrorCode),
    /// The server did not answer the handshake in time.
    NoAnswer,
    /// No new connection came about.
    Unreachable(io::ErrorKind),
    /// The system reported another error.
    Broken(io::ErrorKind),
}

impl From<&io::Error> for Loss {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            // What a write, too, is told of a reset.
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Loss::Reset,
            kind => Loss::Broken(kind),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Closed => f.write_str("closed without a goodbye"),
            Loss::Reset => f.write_str("connection reset"),
            Loss::Silent => f.write_str("no heartbeat"),
            Loss::Terminated(reason) => reason.fmt(f),
            Loss::Refused(code) => code.fmt(f),
            Loss::NoAnswer => f.write_str("no answer"),
            Loss::Unreachable(kind) | Loss::Broken(kind) => kind.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_goodbyes_are_orderly() {
        let terminated =
            |reason| End::Terminated { reason, retry_after: Duration::ZERO, detail: String::new() };
        assert!(End::Closed { answered: false }.is_orderly());
        assert!(terminated(Reason::Done).is_orderly());
        assert!(terminated(Reason::ShuttingDown).is_orderly());
        assert!(!terminated(Reason::TooSlow).is_orderly());
        assert!(!terminated(Reason::Unknown(99)).is_orderly());
        assert!(!End::Lost.is_orderly());
    }

    #[test]
    fn an_error_of_the_system_keeps_its_kind_and_words_for_each_caller() {
        let cause = io::Error::new(io::ErrorKind::ConnectionReset, "reset by the other side");
        let end = End::Io(Arc::new(cause));
        for _ in 0..2 {
            let Error::Io(error) = end.to_error() else { panic!("another error") };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(error.to_string(), "reset by the other side");
        }
    }
}
