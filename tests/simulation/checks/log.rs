//! The log: what is in it, who is entitled to it, and that each gets exactly that, in order.

use std::collections::VecDeque;

use tcpkit::codec::decode;
use tcpkit::event::Event;
use tcpkit::frame::{RawFrame, frame_size};
use tcpkit::hub::{Draft, Proposal};
use tcpkit::log::SessionId;
use tcpkit::message::{Frame, Outcome, Reason, kind};

use super::notes::{Kind, Note};
use super::sessions::Session;
use crate::body::{self, Tag};
use crate::network::Way;
use crate::trace;
use crate::world::World;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Text(Tag),
    Bytes(Tag),
    Direct(Tag),
    Joined,
    Left(Reason),
    TurnEnded(u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// The session that it comes from.
    pub(crate) origin: usize,
    /// The only session that gets it; none: all others do. A session that never came to be is none
    /// of the known ones.
    pub(crate) only: Option<usize>,
    pub(crate) what: What,
}

/// A message that was taken and is not committed: from which session, to which one, or which name.
#[derive(Debug)]
pub(crate) struct Proposed {
    pub(crate) tag: Tag,
    kind: Kind,
    origin: usize,
    to: Option<Result<usize, String>>,
}

/// What a server may owe a client outside the log.
const OWED_MAX: usize = 64 * 1024;
/// The bytes of a frame before its kind.
const LENGTH: usize = 4;
/// Stands for a session that the oracle has never met.
pub(crate) const NOBODY: usize = usize::MAX;

impl Record {
    fn is_for(&self, session: usize) -> bool {
        self.only.map_or(self.origin != session, |only| only == session)
    }
}

fn what_of(kind: Kind, tag: Tag, only: Option<usize>) -> What {
    match (kind, only) {
        (Kind::Bytes, _) => What::Bytes(tag),
        (_, None) => What::Text(tag),
        (_, Some(_)) => What::Direct(tag),
    }
}

impl World {
    /// Takes in what the server's program has seen.
    pub(crate) fn take_notes(&mut self) {
        let notes = std::mem::take(&mut *self.oracle.notes.lock().expect("one thread"));
        let mut notes = VecDeque::from(notes);
        self.oracle.before_call = (self.oracle.log().len() as u64, false);
        if self.plan.has_turns && !self.plan.commits_later {
            self.take_log(&mut notes);
        }
        for note in notes {
            self.take_note(note);
        }
    }

    /// Reads what is new in the log: the records of turns that ended stand among others there.
    fn take_log(&mut self, notes: &mut VecDeque<Note>) {
        let Some(hub) = &self.server.hub else { return };
        let (log, mut bytes, from) = (hub.log(), Vec::new(), self.oracle.game().position);
        if log.head() == from {
            return;
        }
        assert!(from >= log.oldest(), "what is new in the log is given up already");
        log.copy(from..log.head(), &mut bytes);
        self.oracle.game().position = log.head();
        let mut rest = &*bytes;
        while let Some((frame, behind)) = rest.split_at_checked(frame_size(rest))
            && let Some((kind, payload)) = frame.get(LENGTH..).and_then(<[u8]>::split_first)
        {
            rest = behind;
            let raw = RawFrame { kind: *kind, payload };
            let known = self.oracle.log().len();
            if let Ok(Frame::TurnEnded { turn, outcome, from, next, body, .. }) = decode(&raw) {
                let is_move = |note: &Note| {
                    matches!(note, Note::Message { kind: Kind::Move, is_taken: true, .. })
                };
                let mut is_here = outcome != Outcome::Moved;
                while !is_here && let Some(note) = notes.pop_front() {
                    is_here = is_move(&note);
                    self.take_note(note);
                }
                assert!(is_here, "a move is logged that the program has not seen");
                let (from, next, body) = (from.into(), next.into(), body.into());
                self.end_turn(&Draft::TurnEnded { turn, outcome, from, next, body });
            } else {
                // A session is told to the program only when it sits; that may have ended another.
                let is_new = |note: &Note| matches!(note, Note::Joined { .. });
                if raw.kind == kind::JOINED
                    && let Some(index) = notes.iter().position(is_new)
                    && let Some(note) = notes.remove(index)
                {
                    self.take_note(note);
                }
                while self.oracle.log().len() == known
                    && let Some(note) = notes.pop_front()
                {
                    self.take_note(note);
                }
            }
        }
    }

    fn take_note(&mut self, note: Note) {
        match note {
            Note::Joined { name, members } => self.note_joined(name, members),
            Note::Left { name, reason, members } => {
                let Some(session) = self.session_of(&name) else { return };
                self.oracle.sessions[session].has_ended = true;
                self.oracle.before_call.1 = true;
                if !self.plan.commits_later && members <= self.plan.rules.announce {
                    let what = What::Left(reason);
                    self.oracle.log().push(Record { origin: session, only: None, what });
                }
            }
            Note::Message { from, to, kind, tag, is_taken } => {
                self.note_message(&from, to, kind, tag, is_taken);
            }
        }
    }

    fn note_joined(&mut self, name: String, members: usize) {
        let known = self.session_of(&name);
        let is_new = |session: &usize| self.oracle.sessions[*session].client.is_none();
        assert!(known.is_none_or(|known| is_new(&known)), "two sessions are called {name}");
        let session = known.unwrap_or_else(|| self.add_session(name));
        if !self.plan.commits_later && members <= self.plan.rules.announce {
            let what = What::Joined;
            self.oracle.log().push(Record { origin: session, only: None, what });
            self.oracle.before_call.1 = true;
        }
        // What is logged behind that, as it sits down, is for it already.
        let (known, has_more) = self.oracle.before_call;
        let head = if has_more { self.oracle.log().len() as u64 } else { known };
        self.oracle.sessions[session].welcomed_at = head;
    }

    fn add_session(&mut self, name: String) -> usize {
        let epoch = self.oracle.epoch();
        self.oracle.sessions.push(Session::new(name, epoch));
        self.oracle.sessions.len() - 1
    }

    /// The session that bears a name now.
    pub(crate) fn session_of(&self, name: &str) -> Option<usize> {
        let bears =
            |session: &Session| !session.has_ended && session.name.eq_ignore_ascii_case(name);
        self.oracle.sessions.iter().rposition(bears)
    }

    fn note_message(&mut self, from: &str, to: Option<String>, kind: Kind, tag: Tag, ok: bool) {
        let origin = self.session_of(from).expect("only members speak");
        let session = &self.oracle.sessions[origin];
        assert_eq!(session.wire, self.oracle.speaking, "taken from an old connection: {tag:?}");
        assert_eq!(session.client, Some(tag.client), "taken from somebody else");
        let recipient = to.as_ref().map(|name| self.session_of(name));
        if let Some(recipient) = recipient {
            let has_one = recipient.is_some_and(|recipient| recipient != origin);
            let is_sure = !self.plan.commits_later;
            assert!(!is_sure || has_one == ok, "{tag:?} to {to:?}: {recipient:?}, but {ok}");
            let is_absent = |session: usize| self.oracle.sessions[session].away_since.is_some();
            let absent = ok && recipient.is_some_and(is_absent);
            self.coverage.directs_to_absent += u64::from(absent);
        }
        if !ok {
            return;
        }
        trace!(self, ("server"), "takes {}.{} from {from}", tag.client, tag.receipt);
        if self.plan.commits_later {
            // One that is about to be welcome is only known by its name yet.
            let to = to.map(|name| recipient.flatten().ok_or(name));
            self.oracle.proposed.push(Proposed { tag, kind, origin, to });
            return;
        }
        if kind == Kind::Move {
            return; // the record of its turn comes next
        }
        let only = recipient.map(|to| to.unwrap_or(NOBODY));
        self.log_message(tag, what_of(kind, tag, only), origin, only);
    }

    pub(crate) fn log_message(&mut self, tag: Tag, what: What, origin: usize, only: Option<usize>) {
        self.oracle.log().push(Record { origin, only, what });
        let fates = &mut self.clients[tag.client].fates;
        fates.log(tag.receipt);
        let last = &mut self.oracle.sessions[origin].last_logged;
        assert!(tag.receipt > *last, "{tag:?} is logged behind {last}");
        *last = tag.receipt;
    }

    /// The shell commits records.
    pub(crate) fn log_commits(&mut self, group: &[Proposal<'static>]) {
        for record in group {
            match &record.draft {
                Draft::Joined { name } => {
                    // Of two that bear a name, the one that is told later was lost before.
                    let is_late = self.session_of(name).is_some();
                    let session = self.add_session(name.to_string());
                    let it = &mut self.oracle.sessions[session];
                    (it.id, it.has_ended) = (Some(record.session), is_late);
                    let what = What::Joined;
                    self.oracle.log().push(Record { origin: session, only: None, what });
                }
                Draft::Left { name, reason } => {
                    let session = self.session_that_left(record.session, name);
                    if let Some(session) = self.oracle.sessions.get_mut(session) {
                        (session.has_ended, session.left_is_logged) = (true, true);
                    }
                    let what = What::Left(*reason);
                    self.oracle.log().push(Record { origin: session, only: None, what });
                }
                Draft::Text { body, .. } | Draft::Direct { body, .. } => {
                    self.log_commit(body.as_bytes());
                }
                Draft::Bytes { body, .. } => self.log_commit(body),
                Draft::TurnEnded { turn, .. } => self.commit_turn(*turn),
                Draft::Uploaded { .. } => {} // nobody sends files here
            }
        }
    }

    /// The session of that id; one whose Joined was not told is known by its name.
    fn session_that_left(&self, id: SessionId, name: &str) -> usize {
        let sessions = &self.oracle.sessions;
        let epoch = self.oracle.logs.len() - 1;
        let has_id = |session: &Session| session.id == Some(id) && session.epoch == epoch;
        let by_id = sessions.iter().rposition(has_id);
        let is_it = |session: &Session| {
            let is_over = session.has_ended && session.epoch == epoch;
            is_over && session.id.is_none() && session.name == name
        };
        by_id.or_else(|| sessions.iter().rposition(is_it)).unwrap_or(NOBODY)
    }

    fn log_commit(&mut self, body: &[u8]) {
        let (tag, _) = body::read(body).expect("a whole body");
        let Proposed { kind, origin, to, .. } = self.oracle.forget_proposed(tag);
        let find = |name: String| self.session_of(&name).unwrap_or(NOBODY);
        let only = to.map(|to| to.unwrap_or_else(find));
        self.log_message(tag, what_of(kind, tag, only), origin, only);
    }

    /// Up to where a new session is past the log: behind it lie the latest records for it.
    pub(crate) fn beginning(&mut self, session: usize, oldest: u64) -> u64 {
        let history = self.plan.rules.history;
        let is_exact = self.plan.has_turns && !self.plan.commits_later;
        let welcomed_at = self.oracle.sessions[session].welcomed_at;
        let log = self.oracle.log();
        let head = if is_exact { welcomed_at } else { log.len() as u64 };
        let (mut seq, mut begins, mut found) = (head, head, 0);
        while seq >= oldest && seq > 0 && found < history {
            if log[seq as usize - 1].is_for(session) {
                (begins, found) = (seq - 1, found + 1);
            }
            seq -= 1;
        }
        self.coverage.histories += u64::from(found > 0);
        begins
    }

    /// How many records behind `from` and before `until` are for a session.
    pub(crate) fn count_for(&self, session: usize, from: u64, until: u64) -> u64 {
        let log = &self.oracle.logs[self.oracle.sessions[session].epoch];
        let until = until.min(log.len() as u64 + 1);
        let (from, until) = (from as usize, until as usize - 1);
        if from >= until {
            return 0;
        }
        log[from..until].iter().filter(|record| record.is_for(session)).count() as u64
    }

    /// A client hands a record to its user: it must be the next one that is for it.
    pub(crate) fn note_record(&mut self, client: usize, event: &Event) {
        let Some(seq) = event.seq() else { return };
        let session = self.clients[client].fates.session.expect("records come in a session");
        let cursor = self.clients[client].fates.cursor;
        let log = &self.oracle.logs[self.oracle.sessions[session].epoch];
        let record = log.get(seq as usize - 1).copied();
        let record = record.unwrap_or_else(|| panic!("record {seq} is not in the log: {event:?}"));
        assert!(record.is_for(session), "record {seq} is not for client {client}: {record:?}");
        assert!(seq > cursor, "record {seq} comes again, or was told to be missed");
        let skipped = self.count_for(session, cursor, seq);
        assert_eq!(
            skipped, 0,
            "{skipped} records before {seq}, behind {cursor}, are skipped by client {client}"
        );
        self.check_content(&record, event);
        self.check_ended(session, event);
        let fates = &mut self.clients[client].fates;
        (fates.cursor, fates.last) = (seq, seq);
        self.coverage.delivered += 1;
        trace!(self, ("client {client}"), "gets {seq}: {:?}", record.what);
    }

    fn check_content(&self, record: &Record, event: &Event) {
        let from_log = self.oracle.sessions.get(record.origin).map(|session| &session.name);
        let (name, what) = match event {
            Event::Text { from, body, .. } => (from, self.tag(body.as_bytes()).map(What::Text)),
            Event::Bytes { from, body, .. } => (from, self.tag(body).map(What::Bytes)),
            Event::Direct { from, body, .. } => (from, self.tag(body.as_bytes()).map(What::Direct)),
            Event::Joined { name, .. } => (name, Some(What::Joined)),
            Event::Left { name, reason, .. } => (name, Some(What::Left(*reason))),
            Event::TurnEnded { turn, from, .. } => (from, Some(What::TurnEnded(*turn))),
            other => panic!("no record: {other:?}"),
        };
        let seq = event.seq();
        assert_eq!(what, Some(record.what), "record {seq:?} is something else in the log");
        assert!(from_log.is_none_or(|from| from == name), "record {seq:?} is from {from_log:?}");
    }

    /// The tag of a body that is whole and right to the last byte.
    pub(crate) fn tag(&self, body: &[u8]) -> Option<Tag> {
        let (tag, _) = body::read(body)?;
        let message = self.clients.get(tag.client)?.fates.messages.get(tag.receipt as usize - 1)?;
        (message.size == body.len()).then_some(tag)
    }

    /// The reader of a connection has taken what had come.
    pub(crate) fn note_taken(
        &mut self,
        wire: usize,
        id: tcpkit::hub::LinkId,
        taken: tcpkit::hub::Taken,
    ) {
        use tcpkit::hub::Taken;
        match taken {
            Taken::All => {}
            Taken::Blocked => {
                let debt = self.server.hub.as_ref().map_or(0, |hub| hub.debt(id));
                let by_debt = debt > OWED_MAX;
                self.coverage.blocked_by_debt += u64::from(by_debt);
                self.coverage.blocked_by_log += u64::from(!by_debt);
                self.wires[wire].server_heart.stop();
                self.expect(wire, Way::Up);
            }
            Taken::Over => self.wires[wire].server_heart.stop(),
        }
    }
}
