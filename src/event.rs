//! What a connection tells its user: events, and the fate of what was sent.
//!
//! Pure values. `Display` gives each event as one line for people, escaped.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use crate::end::Loss;
use crate::escape::escape;
use crate::message::{Outcome, Reason, StatusCode};
use crate::units::round_size;

/// Something that came from the server.
///
/// `seq` is the record's place in the server's log: it grows from record to record, and skips
/// those that were not meant for this client. `time` is the server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // fields that recur are explained above
pub enum Event {
    /// A text message, relayed from another client (or echoed).
    Text { seq: u64, time: SystemTime, from: String, body: String },
    /// A message of bytes, relayed from another client (or echoed).
    Bytes { seq: u64, time: SystemTime, from: String, body: Vec<u8> },
    /// A text message to this client alone.
    Direct { seq: u64, time: SystemTime, from: String, body: String },
    /// Another client came.
    Joined { seq: u64, time: SystemTime, name: String },
    /// Another client went.
    Left { seq: u64, time: SystemTime, name: String, reason: Reason },
    /// Another client sent a file, and the server has stored it: `name` is its path below the
    /// server's upload folder, `size` in bytes.
    Uploaded { seq: u64, time: SystemTime, from: String, name: String, size: u64 },
    /// Who is there: the names that fit into 64 KiB, this client's own included, and how many
    /// there are in all. Comes right after the handshake.
    Present { total: u32, names: Vec<String> },
    /// The turn of that number is this client's: [`Connection::play`](crate::Connection::play)
    /// makes its move. `deadline` is when it passes to the next one, as this client knows it: later
    /// than the server does by what the message took to come; none: there is no limit. It is
    /// handed out as long as the turn is known to be this client's, and no move of it is under way;
    /// so it may come twice for one turn, after a connection was lost.
    Go { turn: u64, deadline: Option<Instant> },
    /// The turn of that number is another client's, the `holder`; none: it is nobody's, and `turn`
    /// is 0. Comes at the beginning, after a move of this client, and after a lost connection.
    Wait { turn: u64, holder: Option<String> },
    /// A turn ended: `from` had it, and `next` has the one that follows (none: nobody, for now).
    /// With the outcome [`Moved`](Outcome::Moved), `body` is the move; the mover itself is told by
    /// the fate of its message instead.
    TurnEnded {
        seq: u64,
        time: SystemTime,
        turn: u64,
        outcome: Outcome,
        from: String,
        next: Option<String>,
        body: String,
    },
    /// All messages up to `receipt` that were not refused are accepted, but for those up to
    /// `up_to` of a [`SessionLost`](Self::SessionLost) that came before. Comes only when asked for
    /// with [`Builder::delivery_events`](crate::Builder::delivery_events).
    Accepted { receipt: Receipt },
    /// One message was refused.
    Refused { receipt: Receipt, code: StatusCode, detail: String },
    /// The connection is gone for the reason `loss`, or an attempt to restore it failed; the
    /// attempt of that number, from 1 on, begins in `next_in`.
    Reconnecting { attempt: u32, next_in: Duration, loss: Loss },
    /// The session goes on over a new connection. `missed` records that were for this client are
    /// gone from the server's log.
    Resumed { missed: u64 },
    /// There is a new connection, and the server did not know the session any more: this client is
    /// a newcomer, and of `unconfirmed` messages nobody will learn whether they were accepted: of
    /// those up to `up_to` (number 0: there are none) all that were neither accepted nor refused.
    /// Those that never left are sent now, but for moves, whose game is lost as well, and for what
    /// is too large for the server that came back: those are [refused](Self::Refused) with
    /// `NotYourTurn` and `TooLarge`. What happened meanwhile is missed.
    SessionLost { unconfirmed: u64, up_to: Receipt },
}

impl Event {
    /// The record's number in the log, for events that are records of it.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Event::Text { seq, .. }
            | Event::Bytes { seq, .. }
            | Event::Direct { seq, .. }
            | Event::Joined { seq, .. }
            | Event::Left { seq, .. }
            | Event::Uploaded { seq, .. }
            | Event::TurnEnded { seq, .. } => Some(*seq),
            _ => None,
        }
    }

    /// About how many bytes of memory the event holds.
    pub(crate) fn size(&self) -> usize {
        let held = match self {
            Event::Text { from, body, .. } | Event::Direct { from, body, .. } => {
                from.len() + body.len()
            }
            Event::Bytes { from, body, .. } => from.len() + body.len(),
            Event::Joined { name, .. } | Event::Left { name, .. } => name.len(),
            Event::Uploaded { from, name, .. } => from.len() + name.len(),
            Event::Present { names, .. } => names.iter().map(|name| name.len() + 24).sum(),
            Event::Refused { detail, .. } => detail.len(),
            Event::Wait { holder, .. } => holder.as_ref().map_or(0, String::len),
            Event::TurnEnded { from, next, body, .. } => {
                from.len() + next.as_ref().map_or(0, String::len) + body.len()
            }
            _ => 0,
        };
        held + size_of::<Event>()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Text { from, body, .. } => write!(f, "{}: {}", escape(from), escape(body)),
            Event::Bytes { from, body, .. } => {
                write!(f, "{} sent {} bytes", escape(from), body.len())
            }
            Event::Direct { from, body, .. } => {
                write!(f, "{} (to you): {}", escape(from), escape(body))
            }
            Event::Joined { name, .. } => write!(f, "{} joined", escape(name)),
            Event::Left { name, reason: Reason::Done, .. } => write!(f, "{} left", escape(name)),
            Event::Left { name, reason, .. } => write!(f, "{} left: {reason}", escape(name)),
            Event::Uploaded { from, name, size, .. } => {
                // The path begins with the folder of the client, which was told already.
                let file = name.rsplit_once('/').map_or(&**name, |(_, file)| file);
                let size = round_size(*size);
                write!(f, "{} sent {}, {size}", escape(from), escape(file))
            }
            Event::Present { total, names } => {
                write!(f, "{total} here: ")?;
                for (index, name) in names.iter().enumerate() {
                    write!(f, "{}{}", if index > 0 { ", " } else { "" }, escape(name))?;
                }
                if names.len() < *total as usize { f.write_str(", ...") } else { Ok(()) }
            }
            Event::Go { turn, .. } => write!(f, "turn {turn} is yours"),
            Event::Wait { turn, holder: Some(holder) } => {
                write!(f, "turn {turn} is {}'s", escape(holder))
            }
            Event::Wait { holder: None, .. } => f.write_str("nobody has the turn yet"),
            Event::TurnEnded { outcome: Outcome::Moved, from, body, .. } => {
                write!(f, "{} moved: {}", escape(from), escape(body))
            }
            Event::TurnEnded { turn, outcome, from, .. } => {
                write!(f, "{} lost turn {turn}: {outcome}", escape(from))
            }
            Event::Accepted { receipt } => write!(f, "accepted up to message {receipt}"),
            Event::Refused { receipt, code, detail } if detail.is_empty() => {
                write!(f, "message {receipt} was refused: {code}")
            }
            Event::Refused { receipt, code, detail } => {
                write!(f, "message {receipt} was refused: {code} ({})", escape(detail))
            }
            Event::Reconnecting { attempt, next_in, loss } => {
                let seconds = next_in.as_secs_f32();
                write!(f, "connection lost ({loss}); attempt {attempt} in {seconds:.1} s")
            }
            Event::Resumed { missed: 0 } => f.write_str("reconnected; nothing was missed"),
            Event::Resumed { missed } => {
                let records = if *missed == 1 { "message" } else { "messages" };
                write!(f, "reconnected; {missed} {records} missed")
            }
            Event::SessionLost { unconfirmed, .. } => {
                f.write_str("reconnected as a newcomer: the server has forgotten this session")?;
                match unconfirmed {
                    0 => Ok(()),
                    1 => f.write_str("; what became of 1 message is unknown"),
                    count => write!(f, "; what became of {count} messages is unknown"),
                }
            }
        }
    }
}

/// Stands for one message that was sent: its number, from 1 on, within the connection, over all its
/// sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub(crate) u64);

impl Receipt {
    /// The message's number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It has its place in the server's log, and everyone entitled to it will get it.
    Accepted,
    /// It was refused and reached nobody.
    Refused {
        /// Why.
        code: StatusCode,
        /// The server's words, not escaped.
        detail: String,
    },
    /// The connection or the session ended before the server told, or it told too long ago to be
    /// remembered (see [`Connection::confirm`](crate::Connection::confirm)).
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_outage_tells_what_it_cost() {
        for (missed, words) in
            [(0, "nothing was missed"), (1, "1 message missed"), (3, "3 messages missed")]
        {
            assert_eq!(Event::Resumed { missed }.to_string(), format!("reconnected; {words}"));
        }
        for (unconfirmed, words) in [
            (0, ""),
            (1, "; what became of 1 message is unknown"),
            (3, "; what became of 3 messages is unknown"),
        ] {
            let line = "reconnected as a newcomer: the server has forgotten this session";
            let up_to = Receipt(9);
            let told = Event::SessionLost { unconfirmed, up_to }.to_string();
            assert_eq!(told, format!("{line}{words}"));
        }
    }
}
