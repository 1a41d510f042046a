//! The server as a pure machine: who is connected, what each may say and gets to hear.
//!
//! No socket, thread, lock or clock: time comes in as a [`Moment`], bytes as a framer that the
//! shell has filled, and what should happen comes back as values. The shell ([`crate::server`])
//! keeps the hub in one lock and never holds it across a socket operation. After every call into
//! the hub, and before it lets go of the lock, the shell takes what came out:
//!
//! - [`take_work`](Hub::take_work): connections that have something to send; each is served with
//!   [`next_write`](Hub::next_write) and [`wrote`](Hub::wrote) until there is nothing left,
//! - [`take_wake`](Hub::take_wake): readers that were blocked may go on,
//! - [`take_jobs`](Hub::take_jobs): what the disk has to do for files that clients send,
//! - [`take_alarm`](Hub::take_alarm): the timer has to look again, see [`tick`](Hub::tick),
//! - [`take_reports`](Hub::take_reports): what the operator may want to know.
//!
//! One idea a file: `admit` the handshake, `dialogue` what clients say, `deliver` what they
//! get to hear, `pressure` what happens when some do not listen, `timing` what is
//! due, `ending` how it ends, `away` how it goes on after all, `playing` whose turn it is,
//! `streams` what becomes of files, `uploads` what those cost together.

mod admit;
mod away;
mod deliver;
mod dialogue;
mod draft;
mod ending;
mod handler;
mod ledger;
mod link;
mod playing;
mod pressure;
mod room;
mod session;
mod slots;
mod streams;
mod timing;
mod uploads;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use deliver::{Order, Step, Who};
pub use draft::{Draft, Proposal};
pub use handler::{Echo, Handler, Relay, Turns};
pub use ledger::Commit;
pub use link::LinkId;
pub use room::{Member, Message, Refusal, Room, Upload};
pub use streams::{Deed, Job, UploadId, UploadRules};

use crate::heartbeat::Rhythm;
use crate::log::{Audience, Log, SessionId};
use crate::message::{Frame, Mode, SessionKey, StatusCode};
use crate::report::Report;
use crate::settings::{Level, Settings};
use crate::turns::{Table, TurnRules};
use ledger::Ledger;
use link::{Link, Service, Stage};
use playing::Game;
use pressure::Pressure;
use session::Session;
use slots::Slots;

use timing::Alarms;
use uploads::Uploads;

/// What a server owes one client outside the log may grow to this before it takes nothing more
/// from that client (`PROTOCOL.md` section 4).
const OWED_MAX: usize = 64 * 1024;
/// For how long a closing side reads and drops what still comes (section 1).
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The limits and rules of a server. Sizes in bytes.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each is the setting of its name, explained in config.ini
pub struct Rules {
    pub clients: usize,
    pub handshaking: usize,
    pub handshake_time: Duration,
    pub frame_max: u32,
    pub frame_time: Duration,
    pub idle_time: Duration,
    pub grace: Duration,
    pub away: usize,
    pub history: u64,
    pub announce: usize,
    pub log_bytes: u64,
    pub log_records: u64,
    pub patience: Duration,
    pub stall: Duration,
    pub rhythm: Rhythm,
    pub turns: TurnRules,
    pub uploads: UploadRules,
    /// Reports that matter less are not made where they would cost something for each message.
    pub report_level: Level,
    /// The access token that clients must show; empty: none.
    pub token: Secret,
}

/// A text that nobody is to see: its `Debug` shows only whether there is one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(set)" })
    }
}

impl Rules {
    /// For how long a session is kept, as InitAck tells it.
    fn grace_ms(&self) -> u32 {
        u32::try_from(self.grace.as_millis()).unwrap_or(u32::MAX)
    }
}

/// Without a token.
impl From<&Settings> for Rules {
    fn from(settings: &Settings) -> Self {
        let Settings { relay, limits, session, heartbeat, turn, uploads, log, .. } = settings;
        Self {
            clients: limits.clients,
            handshaking: limits.handshaking,
            handshake_time: limits.handshake_time,
            frame_max: limits.frame,
            frame_time: limits.frame_time,
            idle_time: limits.idle_time,
            grace: session.grace,
            away: session.away,
            history: relay.history as u64,
            announce: relay.announce,
            log_bytes: relay.log,
            log_records: relay.records as u64,
            patience: relay.patience,
            stall: relay.stall,
            rhythm: Rhythm::from(heartbeat),
            turns: TurnRules::from(turn),
            uploads: UploadRules::from(uploads),
            report_level: log.level,
            token: Secret::default(),
        }
    }
}

/// A point in time, on both clocks: one that only grows, for deadlines, and the server's
/// milliseconds since 1970, for people.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For deadlines.
    pub now: Instant,
    /// For the records.
    pub time_ms: u64,
}

/// What the reader of a connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Everything whole was taken: read more.
    All,
    /// Something must wait: nothing is read until [`Hub::is_blocked`] says no; then again.
    Blocked,
    /// The dialogue is over: what comes is read and dropped until the peer closes.
    Over,
}

/// Gives the key of a new session: unguessable bytes, or none if there is no randomness to be had.
pub type NewKey = Box<dyn FnMut() -> Option<SessionKey> + Send>;

/// See the [module](self).
pub struct Hub {
    handler: Arc<dyn Handler>,
    core: Core,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("core", &self.core).finish_non_exhaustive()
    }
}

/// All but the handler, so that a handler can be given access to it.
struct Core {
    rules: Rules,
    mode: Mode,
    ledger: Ledger,
    links: Slots<Link>,
    /// How many connections there have been.
    connections: u64,
    sessions: Slots<Session>,
    /// Folded name to session.
    names: HashMap<String, SessionId>,
    keys: HashMap<SessionKey, SessionId>,
    /// The sessions without a connection, by when they end.
    away: BTreeSet<(Instant, SessionId)>,
    /// Whose turn it is, in mode 2.
    game: Option<Game>,
    /// Frames for sessions that wait until so many proposed records are committed.
    notices: VecDeque<(u64, SessionId, Vec<u8>)>,
    /// Where the next session's key comes from.
    new_key: NewKey,
    guests: u64,
    /// Records for all were appended; `Some` of their origin if it was one session alone.
    news: Option<SessionId>,
    work: Vec<LinkId>,
    reports: Vec<Report>,
    uploads: Uploads,
    pressure: Pressure,
    wake: bool,
    /// Something was owed since that was last looked at.
    owes_more: bool,
    alarms: Alarms,
    /// When a shutdown cuts off whoever is still here; no more clients are taken then.
    cut_off: Option<Instant>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("links", &self.links.len())
            .field("sessions", &self.sessions.len())
            .field("head", &self.ledger.log.last_seq())
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub without clients.
    pub fn new(rules: Rules, handler: Arc<dyn Handler>, commit: Commit, new_key: NewKey) -> Self {
        let log = Log::new(rules.log_bytes, rules.log_records);
        let core = Core {
            mode: handler.mode(),
            ledger: Ledger::new(log, commit),
            links: Slots::new(),
            connections: 0,
            sessions: Slots::new(),
            names: HashMap::new(),
            keys: HashMap::new(),
            away: BTreeSet::new(),
            game: (handler.mode() == Mode::Turn).then(|| Game::new(Table::new(rules.turns))),
            notices: VecDeque::new(),
            new_key,
            guests: 0,
            news: None,
            work: Vec::new(),
            reports: Vec::new(),
            uploads: Uploads::default(),
            pressure: Pressure::default(),
            wake: false,
            owes_more: false,
            alarms: Alarms::default(),
            cut_off: None,
            rules,
        };
        Self { handler, core }
    }

    /// Moves the connections that have something to send, and no one to send it, to `work`.
    pub fn take_work(&mut self, work: &mut Vec<LinkId>) {
        work.append(&mut self.core.work);
    }

    /// Whether blocked readers are to look again, all of them.
    pub fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.core.wake)
    }

    /// Whether [`alarm_at`](Self::alarm_at) has become earlier.
    pub fn take_alarm(&mut self) -> bool {
        std::mem::take(&mut self.core.alarms.changed)
    }

    /// When [`tick`](Self::tick) is due at the latest.
    pub fn alarm_at(&self) -> Option<Instant> {
        let away = self.core.away.first().map(|(until, _)| *until);
        let turn = self.core.game.as_ref().and_then(Game::due);
        [self.core.alarms.first(), away, turn, self.core.uploads.due()].into_iter().flatten().min()
    }

    /// What happened that an operator may want to know, oldest first.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.core.reports)
    }

    /// How many sessions there are, those away included.
    pub fn sessions(&self) -> usize {
        self.core.sessions.len()
    }

    /// How many sessions have a connection.
    pub fn connected(&self) -> usize {
        self.core.connected()
    }

    /// How many connections there are, in whatever stage.
    pub fn links(&self) -> usize {
        self.core.links.len()
    }

    /// The log, to look at.
    pub fn log(&self) -> &Log {
        &self.core.ledger.log
    }

    /// How many bytes a client is owed outside the log, beside what is owed from the start of a
    /// connection; what is being written to it included.
    pub fn debt(&self, id: LinkId) -> usize {
        self.core.links.get(id.0).map_or(0, Link::debt)
    }

    /// The records that wait to be committed ([`Commit::Later`]), oldest first.
    pub fn take_proposals(&mut self) -> Vec<Proposal<'static>> {
        self.core.ledger.take_proposals()
    }

    /// Takes in records that were committed, in the order of the commits: proposals of this hub,
    /// and records that nobody here proposed (with session 0). A commit cannot be refused: a
    /// reader that still holds the place that it needs is let go.
    pub fn commit(&mut self, records: impl IntoIterator<Item = Proposal<'static>>, at: Moment) {
        for record in records {
            self.make_room_by_force(record.draft.size(), at);
            self.core.ledger.release(&record);
            self.core.ledger.append(&record);
            self.core.announce(record.session, record.audience);
            self.core.release_notices();
            self.after_commit(&record, at);
        }
        self.core.unblock_all();
        self.core.spread();
    }

    fn after_commit(&mut self, record: &Proposal<'_>, at: Moment) {
        let Some(session) = self.core.sessions.get_mut(record.session) else { return };
        let link = session.link;
        if record.id > 0 {
            session.committed(record.id);
            self.core.flush_status(record.session, link);
            self.leave_if_settled(link, at);
        } else if self.core.links.get(link.0).is_some_and(|link| link.stage == Stage::Joining) {
            self.welcome(link, at);
        }
    }
}

impl Core {
    /// Proposes a record; true if it is in the log with that.
    #[inline]
    fn propose(&mut self, proposal: Proposal<'_>) -> bool {
        let (session, audience) = (proposal.session, proposal.audience);
        let committed = self.ledger.propose(proposal);
        if committed {
            self.announce(session, audience);
        }
        committed
    }

    /// Takes note of who has something new to read.
    #[inline]
    fn announce(&mut self, origin: SessionId, audience: Audience) {
        match audience {
            Audience::Others => match self.news {
                None => self.news = Some(origin),
                Some(other) if other != origin => self.news = Some(0),
                Some(_) => {}
            },
            Audience::Only(session) => {
                if let Some(session) = self.sessions.get(session) {
                    self.mark(session.link);
                }
            }
        }
    }

    /// Puts everyone for whom there is news on the list of work, once per batch of records.
    fn spread(&mut self) {
        let Some(origin) = self.news.take() else { return };
        for (key, link) in self.links.iter_mut() {
            if link.service == Service::Idle
                && (origin == 0 || link.session != origin)
                && link.takes_records()
            {
                link.service = Service::Queued;
                self.work.push(LinkId(key));
            }
        }
    }

    /// Puts one connection on the list of work, unless somebody is at work on it.
    fn mark(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id.0)
            && link.service == Service::Idle
        {
            link.service = Service::Queued;
            self.work.push(id);
        }
    }

    /// Appends a frame to what a client is owed outside the log, and has it sent.
    fn owe(&mut self, id: LinkId, frame: &Frame<'_>) {
        if let Some(link) = self.links.get_mut(id.0) {
            frame.encode(&mut link.owed);
            self.owes_more = true;
            self.mark(id);
        }
    }

    /// Tells a client up to where its messages are accepted, if there is news of that.
    fn flush_status(&mut self, session: SessionId, id: LinkId) {
        let Some(session) = self.sessions.get_mut(session) else { return };
        if session.link == id && std::mem::take(&mut session.confirm) {
            let (id_accepted, code) = (session.accepted(), StatusCode::Accepted);
            let detail = Cow::Borrowed("");
            self.owe(id, &Frame::Status { id: id_accepted, code, detail });
        }
    }
}

#[cfg(test)]
mod tests;
