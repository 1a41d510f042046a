//! What the server's program sees: a relay that takes notes. They are how the oracle learns what
//! is in the log, and in which order.

use std::sync::{Arc, Mutex};

use tcpkit::message::{Mode, Reason};
use tcpkit::{Handler, Message, Refusal, Relay, Room, Turns};

use crate::body::{self, Tag};

/// The words of a refusal.
pub(crate) const WORDS: &str = "no shouting in here, whatever the matter is, however long it is, \
    and whoever it may be, since those who shout are not heard, and never were";

#[derive(Debug)]
pub(crate) enum Note {
    Joined { name: String, members: usize },
    Left { name: String, reason: Reason, members: usize },
    Message { from: String, to: Option<String>, kind: Kind, tag: Tag, is_taken: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bytes,
    Move,
}

pub(crate) type Notes = Arc<Mutex<Vec<Note>>>;

pub(crate) struct Recorder {
    notes: Notes,
    has_turns: bool,
}

impl Recorder {
    pub(crate) fn new(notes: Notes, has_turns: bool) -> Self {
        Self { notes, has_turns }
    }

    fn note(&self, note: Note) {
        self.notes.lock().expect("one thread").push(note);
    }
}

impl Handler for Recorder {
    fn mode(&self) -> Mode {
        if self.has_turns { Turns.mode() } else { Relay.mode() }
    }

    fn joined(&self, room: &mut Room<'_>) {
        let (name, members) = (room.member().name.to_owned(), room.members());
        self.note(Note::Joined { name, members });
    }

    fn message(&self, room: &mut Room<'_>, message: Message<'_>) -> Result<(), Refusal> {
        let (bytes, to, kind) = match message {
            Message::Text(text) => (text.as_bytes(), None, Kind::Text),
            Message::Bytes(bytes) => (bytes, None, Kind::Bytes),
            Message::Direct { to, text } => (text.as_bytes(), Some(to.to_owned()), Kind::Text),
            Message::Move { text, .. } => (text.as_bytes(), None, Kind::Move),
            _ => panic!("a message of a kind that nobody sends"),
        };
        let (tag, is_refused) = body::read(bytes).expect("a whole body");
        if is_refused {
            return Err(Refusal::new(WORDS));
        }
        let result = if self.has_turns {
            Turns.message(room, message)
        } else {
            Relay.message(room, message)
        };
        let (from, is_taken) = (room.member().name.to_owned(), result.is_ok());
        self.note(Note::Message { from, to, kind, tag, is_taken });
        result
    }

    fn left(&self, room: &mut Room<'_>, reason: Reason) {
        let (name, members) = (room.member().name.to_owned(), room.members());
        self.note(Note::Left { name, reason, members });
    }
}
