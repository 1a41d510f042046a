//! What a server has to tell its operator. Plain values; the `server` program makes log lines of
//! them, an embedding program what it likes.

use std::fmt;
use std::time::Duration;

use crate::end::Loss;
use crate::escape::escape;
use crate::message::{Outcome, Reason, StatusCode, Violation};
use crate::settings::Level;

/// Something that happened to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // `peer` is the address, `name` the client's name
pub enum Report {
    /// A session began.
    Joined { peer: String, name: String, timezone: String },
    /// A connection was lost, how is told by `loss`; its session is kept for `grace`.
    Away { peer: String, name: String, loss: Loss, grace: Duration },
    /// A session goes on over a new connection; `missed` records for it are gone from the log.
    Resumed { peer: String, name: String, missed: u64 },
    /// A session ended.
    Left { peer: String, name: String, reason: Reason },
    /// A client was answered with Error: it broke the protocol or was not let in.
    Refused { peer: String, name: Option<String>, violation: Violation },
    /// A message was refused; the connection stays.
    MessageRefused { name: String, id: u64, code: StatusCode },
    /// A file of the client `name` was stored, under `path` below `uploads.folder`.
    Stored { name: String, path: String, size: u64 },
    /// A file was refused, or could not be stored; the connection stays.
    UploadRefused { name: String, stream: u64, code: StatusCode, detail: String },
    /// A turn of the client `name` ended; `text` is the beginning of the move.
    TurnEnded { turn: u64, outcome: Outcome, name: String, next: String, text: String },
    /// The handler panicked on a call for this client.
    HandlerPanicked { name: String },
    /// So many reports came faster than they could be told, and are lost.
    Dropped { count: u64 },
    /// A connection could not be taken, or served; the words say why.
    Trouble { what: &'static str, error: String },
}

impl Report {
    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Report::HandlerPanicked { .. } | Report::Trouble { .. } => Level::Error,
            Report::Dropped { .. }
            | Report::Refused { .. }
            | Report::UploadRefused { code: StatusCode::NotStored, .. }
            | Report::Away { loss: Loss::Terminated(Reason::TooSlow), .. }
            | Report::Left { reason: Reason::TooSlow, .. } => Level::Warn,
            Report::Joined { .. }
            | Report::Away { .. }
            | Report::Resumed { .. }
            | Report::Stored { .. }
            | Report::TurnEnded { .. }
            | Report::Left { .. } => Level::Info,
            Report::MessageRefused { .. } | Report::UploadRefused { .. } => Level::Debug,
        }
    }
}

/// One word for what happened, then `key=value` pairs, escaped.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Joined { peer, name, timezone } => {
                write!(f, "joined name={} peer={}", Value(name), Value(peer))?;
                if timezone.is_empty() {
                    return Ok(());
                }
                write!(f, " timezone={}", Value(timezone))
            }
            Report::Away { peer, name, loss, grace } => {
                let (reason, grace) = (loss.to_string(), grace.as_secs_f64());
                write!(f, "away name={} peer={}", Value(name), Value(peer))?;
                write!(f, " reason={}", Value(&reason))?;
                // A server that is shutting down does not wait for anybody.
                let is_kept = *loss != Loss::Terminated(Reason::ShuttingDown);
                if is_kept { write!(f, " grace={grace}s") } else { Ok(()) }
            }
            Report::Resumed { peer, name, missed } => {
                write!(f, "resumed name={} peer={} missed={missed}", Value(name), Value(peer))
            }
            Report::Left { peer, name, reason } => {
                let reason = reason.to_string();
                write!(
                    f,
                    "left name={} peer={} reason={}",
                    Value(name),
                    Value(peer),
                    Value(&reason)
                )
            }
            Report::Refused { peer, name, violation } => {
                write!(f, "refused peer={} code={}", Value(peer), violation.code.number())?;
                if let Some(name) = name {
                    write!(f, " name={}", Value(name))?;
                }
                write!(f, " reason={}", Value(&violation.to_string()))
            }
            Report::MessageRefused { name, id, code } => {
                let reason = code.to_string();
                write!(f, "message-refused name={} id={id} reason={}", Value(name), Value(&reason))
            }
            Report::Stored { name, path, size } => {
                write!(f, "stored name={} path={} size={size}", Value(name), Value(path))
            }
            Report::UploadRefused { name, stream, code, detail } => {
                let reason = code.to_string();
                write!(f, "upload-refused name={} stream={stream}", Value(name))?;
                write!(f, " reason={} detail={}", Value(&reason), Value(detail))
            }
            Report::TurnEnded { turn, outcome, name, next, text } => {
                let word = if *outcome == Outcome::Moved { "moved" } else { "turn-ended" };
                write!(f, "{word} turn={turn} name={} next={}", Value(name), Value(next))?;
                match outcome {
                    Outcome::Moved => write!(f, " text={}", Value(text)),
                    outcome => write!(f, " reason={}", Value(&outcome.to_string())),
                }
            }
            Report::HandlerPanicked { name } => write!(f, "handler-panicked name={}", Value(name)),
            Report::Dropped { count } => write!(f, "reports-dropped count={count}"),
            Report::Trouble { what, error } => {
                write!(f, "trouble what={} error={}", Value(what), Value(error))
            }
        }
    }
}

/// A value of a log line: as it is if it is plain, else quoted and escaped.
struct Value<'a>(&'a str);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = escape(self.0).to_string();
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"=\\".contains(&byte);
        if !shown.is_empty() && shown.bytes().all(plain) {
            return f.write_str(&shown);
        }
        write!(f, "\"{}\"", shown.replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_cannot_forge_a_line_or_a_pair() {
        let report = Report::Left {
            peer: "127.0.0.1:1".into(),
            name: "a\" level=error x=\"\n".into(),
            reason: Reason::Lost,
        };
        assert_eq!(
            report.to_string(),
            "left name=\"a\\\" level=error x=\\\"\\n\" peer=127.0.0.1:1 reason=\"connection lost\""
        );
    }
}
