//! What goes into the log: a draft of a record, without the `seq` that only a commit gives, and
//! the proposal that carries it there.

use std::borrow::Cow;

use crate::codec::put_relayed;
use crate::log::{Audience, SessionId};
use crate::message::{Frame, Outcome, Reason, kind};

/// A record that has no `seq` yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Draft<'a> {
    /// A text for all others, or back to its sender in mode 0.
    Text {
        /// Who sent it.
        from: Cow<'a, str>,
        /// What it says.
        body: Cow<'a, str>,
    },
    /// The same, of bytes.
    Bytes {
        /// Who sent it.
        from: Cow<'a, str>,
        /// What it holds.
        body: Cow<'a, [u8]>,
    },
    /// A text for one.
    Direct {
        /// Who sent it.
        from: Cow<'a, str>,
        /// What it says.
        body: Cow<'a, str>,
    },
    /// A session began.
    Joined {
        /// Whose.
        name: Cow<'a, str>,
    },
    /// A session ended.
    Left {
        /// Why.
        reason: Reason,
        /// Whose.
        name: Cow<'a, str>,
    },
    /// A file was stored.
    Uploaded {
        /// In bytes.
        size: u64,
        /// Who sent it.
        from: Cow<'a, str>,
        /// Its path below the upload folder.
        name: Cow<'a, str>,
    },
    /// A turn ended.
    TurnEnded {
        /// Its number.
        turn: u64,
        /// How.
        outcome: Outcome,
        /// Who had it.
        from: Cow<'a, str>,
        /// Who has the next one; empty: nobody.
        next: Cow<'a, str>,
        /// The move; empty if there was none.
        body: Cow<'a, str>,
    },
}

/// The largest header of a record: frame, `seq`, `time_ms`, and a reason or the length of a name.
pub(super) const RECORD_HEADER: usize = 5 + 8 + 8 + 2;

/// What the record of a turn has beside that: its number, its outcome, and a second name's length.
const TURN_HEADER: usize = 8 + 1 + 2;

impl Draft<'_> {
    /// How many bytes the record takes at the most.
    pub fn size(&self) -> usize {
        RECORD_HEADER
            + match self {
                Draft::Text { from, body } | Draft::Direct { from, body } => {
                    from.len() + body.len()
                }
                Draft::Bytes { from, body } => from.len() + body.len(),
                Draft::Joined { name } | Draft::Left { name, .. } => name.len(),
                Draft::Uploaded { from, name, .. } => 8 + from.len() + name.len(),
                Draft::TurnEnded { from, next, body, .. } => {
                    TURN_HEADER + from.len() + next.len() + body.len()
                }
            }
    }

    /// Writes the record's frame.
    #[inline]
    pub fn encode(&self, seq: u64, time_ms: u64, out: &mut Vec<u8>) {
        match self {
            Draft::Text { from, body } => {
                put_relayed(out, kind::RELAYED_TEXT, (seq, time_ms), from, body.as_bytes());
            }
            Draft::Bytes { from, body } => {
                put_relayed(out, kind::RELAYED_BYTES, (seq, time_ms), from, body);
            }
            Draft::Direct { from, body } => {
                put_relayed(out, kind::RELAYED_DIRECT, (seq, time_ms), from, body.as_bytes());
            }
            Draft::Joined { name } => Frame::Joined { seq, time_ms, name }.encode(out),
            Draft::Left { reason, name } => {
                Frame::Left { seq, time_ms, reason: *reason, name }.encode(out);
            }
            Draft::Uploaded { size, from, name } => {
                Frame::Uploaded { seq, time_ms, size: *size, from, name }.encode(out);
            }
            Draft::TurnEnded { turn, outcome, from, next, body } => {
                let (turn, outcome) = (*turn, *outcome);
                Frame::TurnEnded { seq, time_ms, turn, outcome, from, next, body }.encode(out);
            }
        }
    }

    /// The same draft, borrowing nothing.
    pub fn into_owned(self) -> Draft<'static> {
        fn text(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        match self {
            Draft::Text { from, body } => Draft::Text { from: text(from), body: text(body) },
            Draft::Bytes { from, body } => {
                Draft::Bytes { from: text(from), body: Cow::Owned(body.into_owned()) }
            }
            Draft::Direct { from, body } => Draft::Direct { from: text(from), body: text(body) },
            Draft::Joined { name } => Draft::Joined { name: text(name) },
            Draft::Left { reason, name } => Draft::Left { reason, name: text(name) },
            Draft::Uploaded { size, from, name } => {
                Draft::Uploaded { size, from: text(from), name: text(name) }
            }
            Draft::TurnEnded { turn, outcome, from, next, body } => {
                let (from, next, body) = (text(from), text(next), text(body));
                Draft::TurnEnded { turn, outcome, from, next, body }
            }
        }
    }
}

/// A record on its way into the log. Once committed it has a `seq`, is delivered, and is
/// confirmed to its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// The session that it comes from; 0 where no session of this server proposed it.
    pub session: SessionId,
    /// The id of the message that it comes from; 0 for a notice.
    pub id: u64,
    /// Who will get it.
    pub audience: Audience,
    /// The server's clock when it was proposed, in milliseconds since 1970.
    pub time_ms: u64,
    /// What it says.
    pub draft: Draft<'a>,
}
