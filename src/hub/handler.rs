//! What a server does with its clients' messages: the [`Handler`] that a program brings, and the
//! three that come with the crate, [`Relay`], [`Turns`] and [`Echo`].
//!
//! Pure: a handler decides, the server does the rest. It is called with the server's state locked,
//! one call at a time, so it needs no locks of its own for what only handlers touch; it must not
//! block, since every client would wait. Work that takes long belongs on a thread of its own.

use super::room::{Message, Refusal, Room, Upload};
use crate::message::{Mode, Reason};

/// What a server does with the messages that it takes.
///
/// A panic in a handler puts out the client whose call it was, with Error 11; the server goes on.
///
/// ```
/// use tcpkit::{Handler, Message, Refusal, Room};
///
/// /// Relays everything but shouting.
/// struct Quiet;
///
/// impl Handler for Quiet {
///     fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
///         match message {
///             Message::Text(text) if text.ends_with('!') => Err(Refusal::new("no shouting")),
///             other => room.relay(other),
///         }
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// The mode that clients are told in the handshake.
    fn mode(&self) -> Mode {
        Mode::Program(255)
    }

    /// A session has begun.
    fn joined(&self, room: &mut Room<'_>) {
        let _ = room;
    }

    /// A message has come. `Ok` accepts it, whether it was passed on or not.
    fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal>;

    /// A file shall be sent, which names, limits and quotas allow. `Ok` takes it; it is stored
    /// below `uploads.folder`, which [`Report::Stored`](crate::report::Report::Stored) tells.
    fn upload(&self, room: &mut Room<'_>, upload: Upload<'_>) -> Result<(), Refusal> {
        let _ = (room, upload);
        Ok(())
    }

    /// A session has ended.
    fn left(&self, room: &mut Room<'_>, reason: Reason) {
        let _ = (room, reason);
    }
}

/// Passes each message on to all others, or to the one that it is for: the chat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Relay;

impl Handler for Relay {
    fn mode(&self) -> Mode {
        Mode::Relay
    }

    #[inline]
    fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
        room.relay(message)
    }
}

/// Takes turns: as [`Relay`], and each member in order of arrival has the turn, to make a move that
/// all others are told. Of the one whose turn it is, any move is accepted; a handler of your own
/// with [`Mode::Turn`] may refuse some, and the turn stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turns;

impl Handler for Turns {
    fn mode(&self) -> Mode {
        Mode::Turn
    }

    fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
        room.relay(message)
    }
}

/// Sends each message back to its sender.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl Handler for Echo {
    fn mode(&self) -> Mode {
        Mode::Echo
    }

    fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
        room.echo(message)
    }
}
