//! Turns, as the one who sits at the table sees them (`PROTOCOL.md` section 9).
//!
//! A Go that waits to be taken may be overtaken: the turn passes to the next one meanwhile, or the
//! connection is lost and the Go comes again behind a move that is kept and will be sent again.
//! What is known of the own turn is kept here, so that no turn is handed out in vain, or twice.

use std::time::{Duration, Instant};

use super::ClientSession;
use crate::error::Error;
use crate::event::{Event, Fate, Receipt};
use crate::message::Frame;

/// What is known of the own turn.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// The turn that this client has, as far as it knows.
    has: Option<u64>,
    /// The last move: its turn, and the message.
    moved: Option<(u64, Receipt)>,
}

impl Seat {
    /// The session is another one, and will be told anew: its turns may begin at 1 again.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// A turn is over. Turns end in order.
    pub(super) fn turn_ended(&mut self, turn: u64) {
        self.has.take_if(|own| *own <= turn);
    }
}

impl ClientSession {
    /// Makes a move in the turn of that number. As [`send_text`](Self::send_text): it is numbered,
    /// kept and sent again as any message; but if its session is lost before it has left, it is
    /// refused.
    pub fn send_move(&mut self, turn: u64, text: &str) -> Result<Receipt, Error> {
        let id = self.next_id(text.len())?;
        let receipt = self.send(&Frame::Move { id, turn, body: text.as_bytes() });
        self.seat.moved = Some((turn, receipt));
        Ok(receipt)
    }

    /// Whether a turn is this client's, a move can be made, and none is under way.
    pub(super) fn is_to_be_played(&self, turn: u64) -> bool {
        let moved = self.seat.moved.filter(|(moved, _)| *moved == turn);
        let is_free = moved.is_none_or(|(_, receipt)| {
            matches!(self.fate(receipt), Some(Fate::Refused { .. } | Fate::Unknown))
        });
        self.is_alive() && self.seat.has == Some(turn) && is_free
    }

    pub(super) fn take_go(&mut self, turn: u64, deadline_ms: u32, now: Instant) {
        self.seat.has = Some(turn);
        if self.inbox.keep.records {
            let limit = Duration::from_millis(deadline_ms.into());
            let deadline = now.checked_add(limit).filter(|_| deadline_ms > 0);
            self.keep_event(Event::Go { turn, deadline });
        }
    }

    pub(super) fn take_wait(&mut self, turn: u64, name: &str) {
        self.seat.has = None;
        if self.inbox.keep.records {
            self.keep_event(Event::Wait { turn, holder: holder(name) });
        }
    }
}

/// On the wire an empty name stands for nobody.
pub(super) fn holder(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}
