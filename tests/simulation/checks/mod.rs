//! What must be true: the oracle. It learns what the server has taken from the server's own
//! program, and holds everything that anybody is told against that. One concern a file: `log` what
//! is delivered, `sessions` how long they last, `fates` what senders are told, `heart` the
//! heartbeats, `turns` whose turn it is, `rest` that all comes to rest once the faults stop.

pub(crate) mod fates;
pub(crate) mod heart;
pub(crate) mod log;
pub(crate) mod notes;
pub(crate) mod rest;
pub(crate) mod sessions;
pub(crate) mod turns;

use log::{Proposed, Record};
use notes::Notes;
use sessions::Session;
use turns::Game;

use crate::body::Tag;

#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) notes: Notes,
    /// The server's log, and those of servers before it: record `seq` is at `seq - 1`.
    pub(crate) logs: Vec<Vec<Record>>,
    /// How many records there were before the server was called, and whether a session came or
    /// went since, so that there may be more.
    pub(crate) before_call: (u64, bool),
    /// The turns of each server.
    pub(crate) games: Vec<Game>,
    /// All that ever were.
    pub(crate) sessions: Vec<Session>,
    pub(crate) proposed: Vec<Proposed>,
    /// The connection that the server is listening to.
    pub(crate) speaking: Option<usize>,
}

impl Oracle {
    pub(crate) fn log(&mut self) -> &mut Vec<Record> {
        if self.logs.is_empty() {
            self.logs.push(Vec::new());
        }
        self.logs.last_mut().expect("there is one")
    }

    /// The server is gone, and its sessions with it.
    pub(crate) fn end_epoch(&mut self) {
        self.proposed.clear();
        for session in &mut self.sessions {
            session.has_ended = true;
            session.is_judged = true;
        }
    }

    /// Whoever is not welcomed when its Joined is committed was lost before.
    pub(crate) fn forget_unwelcome(&mut self) {
        for session in self.sessions.iter_mut().filter(|session| session.client.is_none()) {
            session.has_ended = true;
        }
    }

    pub(crate) fn begin_epoch(&mut self) {
        self.log();
        self.logs.push(Vec::new());
    }

    pub(crate) fn game(&mut self) -> &mut Game {
        let epoch = self.epoch();
        self.games.resize_with(self.games.len().max(epoch + 1), Game::default);
        &mut self.games[epoch]
    }

    /// A message that was taken is committed.
    pub(crate) fn forget_proposed(&mut self, tag: Tag) -> Proposed {
        let index = self.proposed.iter().position(|proposed| proposed.tag == tag);
        self.proposed.remove(index.expect("only what was taken is committed"))
    }

    pub(crate) fn epoch(&mut self) -> usize {
        self.log();
        self.logs.len() - 1
    }
}
