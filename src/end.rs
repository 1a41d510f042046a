//! How a connection ended: the one enum that errors, programs and tests go by.
//!
//! Pure values. What a call returns because of it is told by [`End::is_orderly`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

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
