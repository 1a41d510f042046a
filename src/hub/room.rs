//! What a handler deals with, and what it can do: messages, members, refusals, and the room with
//! everyone in it, seen from one member.

use std::borrow::Cow;

use super::draft::{Draft, Proposal};
use super::{Core, SessionId};
use crate::log::Audience;
use crate::message::{StatusCode, kind};
use crate::name::fold;

/// The words of a refusal are cut after this many bytes.
const DETAIL_MAX: usize = 256;

/// A message as a handler sees it: numbered, checked for size, and for UTF-8 where it is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// Text for all.
    Text(&'a str),
    /// Bytes for all.
    Bytes(&'a [u8]),
    /// Text for one.
    Direct {
        /// The name of the one.
        to: &'a str,
        /// What it says.
        text: &'a str,
    },
    /// A move of the member whose turn it is, in mode [`Turn`](crate::message::Mode::Turn) only.
    /// Accepting it passes the turn on, and tells all others.
    Move {
        /// The turn's number.
        turn: u64,
        /// The move.
        text: &'a str,
    },
}

impl<'a> Message<'a> {
    /// The kind under which it is relayed, and its body. A move is not: its turn's record tells it.
    #[inline]
    fn relayed(self) -> (u8, &'a [u8]) {
        match self {
            Message::Text(text) | Message::Move { text, .. } => {
                (kind::RELAYED_TEXT, text.as_bytes())
            }
            Message::Bytes(bytes) => (kind::RELAYED_BYTES, bytes),
            Message::Direct { text, .. } => (kind::RELAYED_DIRECT, text.as_bytes()),
        }
    }
}

/// A file that a member wants to send, as a handler sees it before the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upload<'a> {
    /// What it shall be called: one component of a path, harmless on every common system.
    pub name: &'a str,
    /// In bytes; `None` while that is unknown.
    pub size: Option<u64>,
    /// What kind of content the member says it is, as in `image/jpeg`; not checked.
    pub media_type: &'a str,
}

/// Who a handler is dealing with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name that others see.
    pub name: &'a str,
    /// The time zone that it told, an IANA name or `UTC+hh:mm`; empty if it told none.
    pub timezone: &'a str,
}

/// A message or a file is refused: its sender gets a status with this code and these words, nobody
/// else notices, and the connection stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code; not [`StatusCode::Accepted`].
    pub code: StatusCode,
    /// Words for people; cut after 256 bytes.
    pub detail: String,
}

impl Refusal {
    /// A refusal by the program ([`StatusCode::Refused`]).
    pub fn new(detail: impl Into<String>) -> Self {
        Self { code: StatusCode::Refused, detail: detail.into() }
    }

    /// With a code that refuses, and words that are not too long.
    pub(super) fn tidied(mut self) -> Self {
        if matches!(self.code, StatusCode::Accepted | StatusCode::OffsetMismatch) {
            self.code = StatusCode::Refused;
        }
        while self.detail.len() > DETAIL_MAX || !self.detail.is_char_boundary(self.detail.len()) {
            self.detail.pop();
        }
        self
    }
}

/// Access to the members of a server, for the time of one call of a [`Handler`](crate::Handler).
///
/// What it sends has its place in the log and is delivered after the call, to each in that order.
#[derive(Debug)]
pub struct Room<'a> {
    pub(super) core: &'a mut Core,
    pub(super) session: SessionId,
    /// The message that is being handled; 0 if it is none.
    pub(super) id: u64,
    /// How many records of this message wait for their commit.
    pub(super) open: u32,
    pub(super) time_ms: u64,
}

impl Room<'_> {
    /// Whose message, coming or going this is.
    pub fn member(&self) -> Member<'_> {
        match self.core.sessions.get(self.session) {
            Some(session) => Member { name: &session.name, timezone: &session.timezone },
            None => Member { name: "", timezone: "" },
        }
    }

    /// How many members there are, this one included.
    pub fn members(&self) -> usize {
        self.core.sessions.len()
    }

    /// Passes a message of this member on: to all others, or to the one that it is for. A move
    /// needs no passing on, and is only accepted.
    ///
    /// # Errors
    /// [`StatusCode::NoSuchRecipient`] for a direct message to a name that nobody bears, or to
    /// oneself.
    #[inline]
    pub fn relay(&mut self, message: Message<'_>) -> Result<(), Refusal> {
        let audience = match message {
            Message::Direct { to, .. } => Audience::Only(self.recipient(to)?),
            Message::Move { .. } => return Ok(()),
            _ => Audience::Others,
        };
        self.propose(audience, None, message);
        Ok(())
    }

    fn recipient(&self, name: &str) -> Result<SessionId, Refusal> {
        let bearer = self.core.names.get(&fold(name)).copied();
        bearer.filter(|bearer| *bearer != self.session).ok_or_else(no_such_recipient)
    }

    /// Sends a message of this member back to it.
    ///
    /// # Errors
    /// [`StatusCode::NoSuchRecipient`] for a direct message, which is for somebody else.
    pub fn echo(&mut self, message: Message<'_>) -> Result<(), Refusal> {
        if matches!(message, Message::Direct { .. }) {
            return Err(no_such_recipient());
        }
        self.propose(Audience::Only(self.session), None, message);
        Ok(())
    }

    /// Sends a text of the server's own to this member, as if from a client called `from`.
    ///
    /// # Errors
    /// [`StatusCode::TooLarge`] if name and text do not fit into a frame.
    pub fn reply(&mut self, from: &str, text: &str) -> Result<(), Refusal> {
        self.say(Audience::Only(self.session), from, text)
    }

    /// Sends a text of the server's own to all members but this one, as if from `from`.
    ///
    /// # Errors
    /// [`StatusCode::TooLarge`] if name and text do not fit into a frame.
    pub fn tell_others(&mut self, from: &str, text: &str) -> Result<(), Refusal> {
        self.say(Audience::Others, from, text)
    }

    fn say(&mut self, audience: Audience, from: &str, text: &str) -> Result<(), Refusal> {
        if text.len() + from.len() > self.core.body_max() {
            let detail = "the server's own message does not fit into a frame".to_owned();
            return Err(Refusal { code: StatusCode::TooLarge, detail });
        }
        self.propose(audience, Some(from), Message::Text(text));
        Ok(())
    }

    #[inline]
    fn propose(&mut self, audience: Audience, from: Option<&str>, message: Message<'_>) {
        let Core { sessions, ledger, .. } = &mut *self.core;
        let Some(session) = sessions.get(self.session) else { return };
        let from = from.unwrap_or(&session.name);
        let (session, id, time_ms) = (self.session, self.id, self.time_ms);
        if ledger.append_at_once((session, audience), time_ms, from, message.relayed()) {
            self.core.announce(session, audience);
            return;
        }
        let draft = draft(from, message);
        ledger.propose(Proposal { session, id, audience, time_ms, draft });
        self.open += 1;
    }
}

fn draft<'a>(from: &'a str, message: Message<'a>) -> Draft<'a> {
    let from = Cow::Borrowed(from);
    match message {
        Message::Text(text) | Message::Move { text, .. } => {
            Draft::Text { from, body: Cow::Borrowed(text) }
        }
        Message::Bytes(bytes) => Draft::Bytes { from, body: Cow::Borrowed(bytes) },
        Message::Direct { text, .. } => Draft::Direct { from, body: Cow::Borrowed(text) },
    }
}

fn no_such_recipient() -> Refusal {
    Refusal { code: StatusCode::NoSuchRecipient, detail: String::new() }
}
