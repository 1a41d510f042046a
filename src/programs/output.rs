//! What the programs write, and how they end: stdout, stderr, and the exit codes.
//!
//! `println!` panics when the reader of a pipe goes away; here it ends the program quietly with 0,
//! as in `client watch | head -1`.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::arguments::UsageError;
use crate::error::Error;
use crate::escape::escape;
use crate::message::ErrorCode;
use crate::settings::ConfigError;

/// Exit code: there is no connection, or it broke, or this machine failed.
pub(super) const NETWORK: u8 = 1;
/// Exit code: the command line or the configuration is wrong.
pub(super) const USAGE: u8 = 2;
/// Exit code: connected, and not all was delivered.
pub(super) const NOT_DELIVERED: u8 = 3;
/// Exit code: the time was over before all had come.
pub(super) const TIMED_OUT: u8 = 4;
/// Exit code: ended by a second signal, as a shell has it for SIGINT.
pub(super) const KILLED: u8 = 130;

/// Why a program ends early.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    code: u8,
    /// For stderr, safe to show; empty: nothing is to be told.
    text: String,
}

impl Failure {
    pub(super) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// A command line or a configuration that is wrong; `problem` is safe to show.
    pub(super) fn usage(problem: impl Into<String>) -> Self {
        Self::new(USAGE, problem)
    }

    /// What went wrong on stdout; a reader that went away is no failure.
    fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::new(0, ""),
            _ => Self::new(NETWORK, format!("cannot write to stdout: {}", plain(error))),
        }
    }

    /// The end of a connection, or none at all, to `address`.
    pub(super) fn network(error: &Error, address: &str) -> Self {
        let advice = match error {
            Error::Connect { source, .. } if source.kind() == ErrorKind::ConnectionRefused => {
                if address.ends_with(":5001") {
                    "Is the server running? Start it with: cargo run --bin server"
                } else {
                    "Is a server running there? The address is set with --server ADDR."
                }
            }
            Error::Connect { .. } => {
                "Is the address right, and can the server be reached from here?"
            }
            Error::Violation(_) | Error::Timeout(..) => "Is it a tcpkit server that listens there?",
            Error::Refused { code: ErrorCode::NotAuthorised, .. } => {
                "The file that holds the server's token is set with: --token-file FILE"
            }
            Error::Refused { code: ErrorCode::NameRefused, .. } => "Choose another: --name NAME",
            Error::Refused { code: ErrorCode::ServerFull, .. } => "Try again later.",
            Error::Lost | Error::Io(_) => "Start again when the server is back.",
            _ => "",
        };
        let place = match error {
            Error::Connect { .. } => String::new(),
            _ => format!("{}: ", escape(address)),
        };
        let text = format!("{place}{}.\n{advice}", chain(error));
        Self::new(NETWORK, text.trim_end())
    }

    /// Tells stderr, and gives the exit code.
    pub(super) fn report(&self, program: &str) -> ExitCode {
        if !self.text.is_empty() {
            tell(&format!("{program}: {}", self.text));
        }
        ExitCode::from(self.code)
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<io::Error> for Failure {
    /// Where the system gives no thread, no pipe, or no input.
    fn from(error: io::Error) -> Self {
        Self::new(NETWORK, format!("the system refuses: {}", plain(&error)))
    }
}

/// An error with its causes on one line: `cannot connect to here:1: connection refused`.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &match error.downcast_ref::<io::Error>() {
            Some(error) => plain(error),
            None => escape(&error.to_string()).to_string(),
        };
        cause = error.source();
    }
    text
}

/// The system's words in the style of ours: no capital, no full stop, no number.
pub(super) fn plain(error: &io::Error) -> String {
    let words = error.to_string();
    let words = words.split_once(" (os error").map_or(&*words, |(words, _)| words);
    let (first, rest) = words.split_at(words.chars().next().map_or(0, char::len_utf8));
    escape(&(first.to_lowercase() + rest)).to_string()
}

/// Writes to stdout at once. It may block while the reader of a pipe does not read.
///
/// # Errors
/// When stdout is closed, a full disk, and the like.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::stdout(&error))
}

/// Writes a line to stderr. Where that fails there is nobody left to tell.
pub(super) fn tell(line: &str) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Violation;
    use std::time::Duration;

    #[test]
    fn a_failure_says_what_and_why_and_what_next() {
        let source = io::Error::from_raw_os_error(111);
        let refused = Error::Connect { address: "here:1".into(), source };
        let (code, detail) = (ErrorCode::NotAuthorised, "a\u{1b}b".to_owned());
        let silent = Error::Timeout(crate::error::Waiting::Handshake, Duration::from_secs(10));
        let violation = Violation::new(ErrorCode::TooLarge, "a frame of 9 bytes");
        for (error, text) in [
            (
                refused,
                "cannot connect to here:1: connection refused.\n\
                 Is the server running? Start it with: cargo run --bin server",
            ),
            (
                Error::Refused { code, detail },
                "here:5001: the server refused: not authorised (a\\u{1b}b).\n\
                 The file that holds the server's token is set with: --token-file FILE",
            ),
            (
                silent,
                "here:5001: no handshake within 10s.\n\
                 Is it a tcpkit server that listens there?",
            ),
            (
                Error::Violation(violation),
                "here:5001: the peer broke the protocol: frame too large: a frame of 9 bytes.\n\
                 Is it a tcpkit server that listens there?",
            ),
            (
                Error::Lost,
                "here:5001: the peer closed the connection without a goodbye.\n\
                 Start again when the server is back.",
            ),
        ] {
            assert_eq!(Failure::network(&error, "here:5001"), Failure::new(NETWORK, text));
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let quiet = Failure::stdout(&io::Error::from(ErrorKind::BrokenPipe));
        assert_eq!(quiet, Failure::new(0, ""));
        assert_eq!(Failure::stdout(&io::Error::from_raw_os_error(28)).code, NETWORK);
    }
}
