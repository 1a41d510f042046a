//! Streams (`PROTOCOL.md` section 8): what clients send of them becomes work for the disk, and what
//! the disk reports becomes answers to them.
//!
//! ```text
//!   client --- frames ---> take_stream --- Jobs ---> take_jobs ---> the disk (a shell's threads)
//!   client <-- answers --- stored, finished, failed, counted, measured <--------'
//! ```
//!
//! What is taken and answered is decided by [`Incoming`]; here it meets the session, the handler,
//! the quotas and the log. The disk works behind the connection and outlives it: what was taken of
//! a session that is away gets stored, and a file whose end has come is completed also when its
//! session has ended meanwhile.
//!
//! Memory: what is taken and not stored is bounded by the credit that is given. That is
//! [`WINDOW`] for each stream while few are under way, less for those that come when there are
//! many ([`SHARED`]), and there are never more than [`STREAMS_MAX`]. In the worst order that comes
//! to 217 MiB for all clients together: 32 streams of 1 MiB, then 480 whose windows shrink to
//! 64 KiB (89 MiB), then 1,536 of 64 KiB (96 MiB).

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::draft::{Draft, Proposal};
use super::link::LinkId;
use super::room::{Refusal, Room, Upload};
use super::{Core, Hub, Moment};
use crate::log::{Audience, SessionId};
use crate::message::{Frame, Mode, StatusCode, Violation};
use crate::report::Report;
use crate::settings::UploadSettings;
use crate::transfer::{Answer, DATA_MAX, Facts, Incoming, Limits, Order, Step, WINDOW, cost};

/// How many streams may be under way at once, of all clients together.
pub(super) const STREAMS_MAX: usize = 2048;
/// The windows of streams are shares of so many bytes, and never below [`DATA_MAX`].
const SHARED: u64 = 32 << 20;
/// What a file that is stored needs in the log: headers, its client, its path.
pub(super) const UPLOADED_MAX: usize = 640;
/// How often the folders are counted at the most.
const COUNT_PAUSE: Duration = Duration::from_secs(60);
/// So many characters of what a client says are reported.
const REPORTED: usize = 100;

/// What a server takes, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRules {
    /// What each session is allowed.
    pub limits: Limits,
    /// How much a client's folder may hold, in bytes.
    pub client: u64,
    /// How much the whole folder may hold, in bytes.
    pub total: u64,
}

impl From<&UploadSettings> for UploadRules {
    fn from(settings: &UploadSettings) -> Self {
        let UploadSettings { client, total, .. } = *settings;
        Self { limits: Limits::from(settings), client, total }
    }
}

/// Names one upload; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId {
    /// Whose it is.
    pub session: SessionId,
    /// Its number in that session.
    pub stream: u64,
}

/// Something for the disk to do. Those of one upload are done in order; when one fails, those that
/// follow are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Count what the whole folder holds, and that of this client: [`Hub::counted`] and
    /// [`Hub::measured`].
    Count {
        /// Whose folder.
        session: SessionId,
        /// The name of the client.
        client: Arc<str>,
    },
    /// For one upload.
    Upload {
        /// Which.
        upload: UploadId,
        /// The name of the client.
        client: Arc<str>,
        /// What.
        deed: Deed,
    },
    /// A session has ended: nothing of it follows.
    Leave {
        /// The name of the client.
        client: Arc<str>,
    },
}

/// What is to be done for one upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Make a file for the part. If it is the session's first one, [`Hub::measured`] first.
    Create {
        /// What the client wants it to be called; checked.
        name: String,
    },
    /// Append these: [`Hub::stored`].
    Append {
        /// The bytes, at most [`DATA_MAX`].
        bytes: Vec<u8>,
    },
    /// Compare size and checksum, then give the file its name: [`Hub::finished`].
    Finish {
        /// In bytes.
        size: u64,
        /// Of all of it.
        crc32c: u32,
    },
    /// Remove what there is of it, and what is queued. Not reported.
    Remove,
}

/// The streams of one session that had one.
#[derive(Debug)]
pub(super) struct Streams {
    incoming: Incoming,
    client: Arc<str>,
    /// How much its folder holds beside what is under way.
    on_disk: u64,
    /// That is known; the disk has it measured before it stores the first file.
    is_measured: bool,
    /// What [`Uploads`] counts of it: streams under way, and their bytes.
    charged: (usize, u64),
    /// When it is looked at next.
    alarm: Option<Instant>,
}

impl Streams {
    fn new(rules: &UploadRules, client: &str) -> Self {
        let (incoming, client) = (Incoming::new(rules.limits.clone()), client.into());
        Self { incoming, client, on_disk: 0, is_measured: false, charged: (0, 0), alarm: None }
    }

    fn create(upload: UploadId, client: &Arc<str>, name: &str) -> Job {
        let deed = Deed::Create { name: name.to_owned() };
        Job::Upload { upload, client: Arc::clone(client), deed }
    }
}

/// The streams of all sessions.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    jobs: Vec<Job>,
    /// How much the folder holds beside what is under way, as it was last counted and since.
    on_disk: u64,
    /// It was counted; nothing is stored before.
    is_counted: bool,
    /// How many are under way, those without a session included, and how many bytes those have,
    /// or will have.
    charged: (usize, u64),
    /// Those whose session has ended, and that the disk completes: their bytes.
    orphans: HashMap<UploadId, u64>,
    alarms: BinaryHeap<Reverse<(Instant, SessionId)>>,
    /// What was stored since the folder's counting began.
    since_count: u64,
    /// Before when it is not counted again.
    counts_after: Option<Instant>,
}

impl Uploads {
    /// When [`Hub::tick`] is due for them.
    pub(super) fn due(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((time, _))| *time)
    }

    fn window(&self) -> u64 {
        (SHARED / self.charged.0.max(1) as u64).clamp(DATA_MAX as u64, WINDOW)
    }

    fn add_stored(&mut self, size: u64) {
        self.on_disk = self.on_disk.saturating_add(cost(size));
        self.since_count = self.since_count.saturating_add(cost(size));
    }

    /// Counts `now` for what was `before`.
    fn charge(&mut self, before: &mut (usize, u64), now: (usize, u64)) {
        self.charged.0 = self.charged.0 - before.0 + now.0;
        self.charged.1 = self.charged.1.saturating_sub(before.1).saturating_add(now.1);
        *before = now;
    }
}

impl Hub {
    /// The disk's work, oldest first. Whoever takes it puts it in line before the hub is entered
    /// again, since the order counts.
    pub fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.core.uploads.jobs)
    }

    /// A frame of a stream came.
    pub(super) fn take_stream(
        &mut self,
        session: SessionId,
        frame: &Frame<'_>,
        at: Moment,
    ) -> Result<(), Violation> {
        let core = &mut self.core;
        let room = core.room_for(session);
        let (step, bytes) = match *frame {
            Frame::StreamOpen { stream, size, name, media_type } => {
                return self.open_stream(session, stream, Facts { size, name, media_type }, at);
            }
            Frame::StreamData { stream, offset, bytes } => {
                let data = |incoming: &mut Incoming| {
                    incoming.data(stream, offset, bytes.len(), room, at.now)
                };
                (core.tell_streams(session, data), bytes)
            }
            Frame::StreamEnd { stream, size, crc32c } => {
                let end = |incoming: &mut Incoming| incoming.end(stream, size, crc32c);
                (core.tell_streams(session, end), &[][..])
            }
            Frame::StreamCancel { stream, .. } => {
                let cancel = |incoming: &mut Incoming| Ok(incoming.cancel(stream));
                (core.tell_streams(session, cancel), &[][..])
            }
            _ => return Ok(()),
        };
        core.carry_out(session, step?, bytes, at);
        Ok(())
    }

    fn open_stream(
        &mut self,
        session: SessionId,
        stream: u64,
        facts: Facts<'_>,
        at: Moment,
    ) -> Result<(), Violation> {
        let core = &mut self.core;
        let room = core.room_for(session);
        let is_known = core.streams(session).is_some_and(|streams| streams.incoming.knows(stream));
        let open = |incoming: &mut Incoming| incoming.open(stream, facts, room, at.now);
        let mut step = core.tell_streams(session, open)?;
        let is_new = matches!(step.orders[..], [Order::Create { .. }]);
        let is_full = core.uploads.charged.0 >= STREAMS_MAX;
        let verdict = match is_new {
            true if is_full => Err(too_many()),
            true => self.ask_about(session, facts, at),
            false => Ok(()),
        };
        let core = &mut self.core;
        if let Err(Refusal { code, detail }) = verdict {
            let refuse = |incoming: &mut Incoming| Ok(incoming.failed(stream, code, detail));
            step = core.tell_streams(session, refuse)?;
            step.orders.clear();
        } else if is_new && let Some(streams) = core.streams(session) {
            let job = Streams::create(UploadId { session, stream }, &streams.client, facts.name);
            core.uploads.jobs.push(job);
        }
        if is_known {
            core.answer(session, &step.answers);
            core.settle(session);
        } else {
            core.carry_out(session, step, &[], at);
        }
        Ok(())
    }

    /// What the handler says to a stream that could be taken.
    fn ask_about(
        &mut self,
        session: SessionId,
        facts: Facts<'_>,
        at: Moment,
    ) -> Result<(), Refusal> {
        let Facts { size, name, media_type } = facts;
        let core = &mut self.core;
        let mut room = Room { core, session, id: 0, open: 0, time_ms: at.time_ms };
        let upload = Upload { name, size, media_type };
        self.handler.upload(&mut room, upload).map_err(Refusal::tidied)
    }

    /// The disk has `count` more bytes of an upload.
    pub fn stored(&mut self, upload: UploadId, count: u64, at: Moment) {
        let UploadId { session, stream } = upload;
        let stored = |incoming: &mut Incoming| Ok(incoming.stored(stream, count, at.now));
        if let Ok(step) = self.core.tell_streams(session, stored) {
            self.core.carry_out(session, step, &[], at);
        }
    }

    /// The disk has stored the whole of an upload of `client`, under `path` below the folder.
    pub fn finished(
        &mut self,
        upload: UploadId,
        client: &str,
        (path, size): (String, u64),
        at: Moment,
    ) {
        let UploadId { session, stream } = upload;
        let core = &mut self.core;
        core.uploads.add_stored(size);
        if let Some(streams) = core.streams_mut(session) {
            streams.on_disk = streams.on_disk.saturating_add(cost(size));
        }
        if core.mode != Mode::Echo {
            let (from, name) = (Cow::Borrowed(client), Cow::Borrowed(&*path));
            let draft = Draft::Uploaded { size, from, name };
            let (audience, time_ms) = (Audience::Others, at.time_ms);
            core.propose(Proposal { session, id: 0, audience, time_ms, draft });
        }
        let (name, told) = (client.to_owned(), path.clone());
        core.reports.push(Report::Stored { name, path: told, size });
        core.forget_orphan(upload);
        let done = |incoming: &mut Incoming| Ok(incoming.done(stream, path));
        if let Ok(step) = core.tell_streams(session, done) {
            core.carry_out(session, step, &[], at);
        }
        core.spread();
    }

    /// The disk could not do what it should for an upload of `client`, or the content is not what
    /// the client sent; what there was of it is removed.
    pub fn failed(
        &mut self,
        upload: UploadId,
        client: &str,
        (code, words): (StatusCode, String),
        at: Moment,
    ) {
        let UploadId { session, stream } = upload;
        let core = &mut self.core;
        if core.forget_orphan(upload) {
            let (name, detail) = (client.to_owned(), words.clone());
            core.reports.push(Report::UploadRefused { name, stream, code, detail });
        }
        let failed = |incoming: &mut Incoming| Ok(incoming.failed(stream, code, words));
        if let Ok(mut step) = core.tell_streams(session, failed) {
            step.orders.clear();
            core.carry_out(session, step, &[], at);
        }
    }

    /// The whole folder holds so many bytes in files, as [`cost`] counts them, parts excluded.
    /// The first time, before anything is stored.
    pub fn counted(&mut self, bytes: u64, at: Moment) {
        let uploads = &mut self.core.uploads;
        // What came meanwhile may have been seen or not: to count it twice is on the safe side.
        uploads.on_disk = bytes.saturating_add(uploads.since_count);
        if std::mem::replace(&mut uploads.is_counted, true) {
            return;
        }
        let sessions: Vec<_> = (self.core.sessions.iter())
            .filter(|(_, session)| session.streams.is_some())
            .map(|(key, _)| key)
            .collect();
        for session in sessions {
            self.core.keep_quotas(session, at);
        }
    }

    /// The same for the folder of a session's client; the first time, before anything of that
    /// session is stored.
    pub fn measured(&mut self, session: SessionId, bytes: u64, at: Moment) {
        let Some(streams) = self.core.streams_mut(session) else { return };
        streams.on_disk = bytes;
        if !std::mem::replace(&mut streams.is_measured, true) {
            self.core.keep_quotas(session, at);
        }
    }

    /// The server ends: what is not whole by now is removed. The sessions have no connection.
    pub fn close_streams(&mut self) {
        let sessions: Vec<_> = self.core.sessions.iter().map(|(key, _)| key).collect();
        for session in sessions {
            let streams = self.core.sessions.get_mut(session).and_then(|it| it.streams.take());
            self.core.close_streams_of(session, streams);
        }
    }
}

impl Core {
    fn streams(&self, session: SessionId) -> Option<&Streams> {
        self.sessions.get(session)?.streams.as_deref()
    }

    fn streams_mut(&mut self, session: SessionId) -> Option<&mut Streams> {
        self.sessions.get_mut(session)?.streams.as_deref_mut()
    }

    /// Tells the streams of a session what happened. They are made when the first is opened.
    fn tell_streams(
        &mut self,
        session: SessionId,
        what: impl FnOnce(&mut Incoming) -> Result<Step, Violation>,
    ) -> Result<Step, Violation> {
        let window = self.uploads.window();
        let Some(session) = self.sessions.get_mut(session) else { return Ok(Step::default()) };
        let rules = &self.rules.uploads;
        let make = || Box::new(Streams::new(rules, &session.name));
        let streams = session.streams.get_or_insert_with(make);
        streams.incoming.set_window(window);
        what(&mut streams.incoming)
    }

    /// Passes orders on to the disk, and answers on to the client. `bytes` are what was taken.
    fn carry_out(&mut self, session: SessionId, step: Step, bytes: &[u8], at: Moment) {
        let Some(streams) = self.streams(session) else { return };
        let client = Arc::clone(&streams.client);
        for order in step.orders {
            let (stream, deed) = match order {
                Order::Create { .. } => continue, // needs the name: see open_stream
                Order::Append { stream, .. } => (stream, Deed::Append { bytes: bytes.to_vec() }),
                Order::Finish { stream, size, crc32c } => (stream, Deed::Finish { size, crc32c }),
                Order::Remove { stream } => (stream, Deed::Remove),
            };
            let (upload, client) = (UploadId { session, stream }, Arc::clone(&client));
            self.uploads.jobs.push(Job::Upload { upload, client, deed });
        }
        for answer in &step.answers {
            if let Answer::Status { stream, code, detail } = answer
                && !matches!(code, StatusCode::Accepted | StatusCode::OffsetMismatch)
            {
                if *code == StatusCode::QuotaExceeded {
                    self.count_again(session, at.now);
                }
                let (name, stream, code) = (client.to_string(), *stream, *code);
                let detail = detail.chars().take(REPORTED).collect();
                self.reports.push(Report::UploadRefused { name, stream, code, detail });
            }
        }
        self.answer(session, &step.answers);
        self.settle(session);
        self.arm_streams(session, at.now);
    }

    /// Sends answers to the client, if it is there; else it asks again when it is back.
    fn answer(&mut self, session: SessionId, answers: &[Answer]) {
        let link = self.sessions.get(session).map_or(LinkId::default(), |session| session.link);
        for answer in answers {
            self.owe(link, &answer.frame());
        }
    }

    /// Counts anew what a session has under way.
    fn settle(&mut self, session: SessionId) {
        let streams = self.sessions.get_mut(session).and_then(|it| it.streams.as_deref_mut());
        if let Some(streams) = streams {
            let now = (streams.incoming.count(), streams.incoming.reserved());
            self.uploads.charge(&mut streams.charged, now);
        }
    }

    /// What the quotas leave for a session beside all that is stored or under way.
    fn room_for(&self, session: SessionId) -> u64 {
        let (rules, uploads) = (&self.rules.uploads, &self.uploads);
        let left = |quota: u64, on_disk, under_way| {
            quota.saturating_sub(on_disk).saturating_sub(under_way)
        };
        let own = self.streams(session).map_or((0, 0), |it| (it.on_disk, it.charged.1));
        let own = left(rules.client, own.0, own.1);
        own.min(left(rules.total, uploads.on_disk, uploads.charged.1))
    }

    /// Gives up what goes beyond the quotas, the newest first, once it is known how much lies on
    /// the disk, and before any of it is stored there.
    fn keep_quotas(&mut self, session: SessionId, at: Moment) {
        let streams = self.streams(session).map(|streams| &streams.incoming);
        let mut numbers: Vec<_> =
            streams.into_iter().flat_map(Incoming::under_way).map(|it| it.stream).collect();
        while let Some(newest) = numbers.pop()
            && self.is_over_quota(session)
        {
            let (code, words) = (StatusCode::QuotaExceeded, "there is no room left".to_owned());
            let fail = |incoming: &mut Incoming| Ok(incoming.failed(newest, code, words));
            if let Ok(step) = self.tell_streams(session, fail) {
                self.carry_out(session, step, &[], at);
            }
        }
    }

    fn is_over_quota(&self, session: SessionId) -> bool {
        let (rules, all) = (&self.rules.uploads, &self.uploads);
        let own = self.streams(session).map_or(0, |it| it.on_disk.saturating_add(it.charged.1));
        own > rules.client || all.on_disk.saturating_add(all.charged.1) > rules.total
    }

    /// A quota spoke against a stream: has the folders counted again, since their owner may have
    /// moved files away. The next stream is judged by that.
    fn count_again(&mut self, session: SessionId, now: Instant) {
        let client = self.streams(session).map(|streams| Arc::clone(&streams.client));
        let uploads = &mut self.uploads;
        if let Some(client) = client
            && uploads.counts_after.is_none_or(|time| time <= now)
        {
            uploads.counts_after = Some(now + COUNT_PAUSE);
            uploads.since_count = 0;
            uploads.jobs.push(Job::Count { session, client });
        }
    }

    /// Sees to it that streams that stand still are given up in time.
    ///
    /// Any later due time is behind the one that the alarm is set to, since it begins later; so
    /// nothing is looked up while there is one.
    fn arm_streams(&mut self, session: SessionId, now: Instant) {
        let before = [self.away.first().map(|(until, _)| *until), self.uploads.due()];
        let streams = self.sessions.get_mut(session).and_then(|it| it.streams.as_deref_mut());
        let Some(streams) = streams.filter(|streams| streams.alarm.is_none()) else { return };
        if let Some(due) = streams.incoming.due() {
            let due = due.max(now);
            streams.alarm = Some(due);
            self.uploads.alarms.push(Reverse((due, session)));
            self.alarms.note(due, before.into_iter().flatten().min());
        }
    }

    /// Gives up streams that stand still for too long.
    pub(super) fn tick_streams(&mut self, at: Moment) {
        while let Some(Reverse((due, session))) = self.uploads.alarms.peek().copied()
            && due <= at.now
        {
            self.uploads.alarms.pop();
            let Some(streams) = self.streams_mut(session) else { continue };
            streams.alarm = None;
            let tick = |incoming: &mut Incoming| Ok(incoming.tick(at.now));
            if let Ok(step) = self.tell_streams(session, tick) {
                self.carry_out(session, step, &[], at);
            }
        }
    }

    /// The session is away: nothing grows idle.
    pub(super) fn streams_lost(&mut self, session: SessionId) {
        if let Some(streams) = self.streams_mut(session) {
            streams.incoming.lost();
        }
    }

    /// The session has a new connection.
    pub(super) fn streams_resumed(&mut self, session: SessionId, now: Instant) {
        if let Some(streams) = self.streams_mut(session) {
            streams.incoming.resumed(now);
            self.arm_streams(session, now);
        }
    }

    /// A session has ended: what is not whole is removed, the rest left to the disk.
    pub(super) fn close_streams_of(&mut self, session: SessionId, it: Option<Box<Streams>>) {
        let Some(mut streams) = it else { return };
        self.uploads.charge(&mut streams.charged, (0, 0));
        for left in streams.incoming.under_way().filter(|left| left.is_ending) {
            let upload = UploadId { session, stream: left.stream };
            self.uploads.orphans.insert(upload, left.reserved);
            self.uploads.charge(&mut (0, 0), (1, left.reserved));
        }
        for order in streams.incoming.close().orders {
            if let Order::Remove { stream } = order {
                let (upload, deed) = (UploadId { session, stream }, Deed::Remove);
                let client = Arc::clone(&streams.client);
                self.uploads.jobs.push(Job::Upload { upload, client, deed });
            }
        }
        self.uploads.jobs.push(Job::Leave { client: streams.client });
    }

    /// True if the session of that upload had ended.
    fn forget_orphan(&mut self, upload: UploadId) -> bool {
        let bytes = self.uploads.orphans.remove(&upload);
        if let Some(bytes) = bytes {
            self.uploads.charge(&mut (1, bytes), (0, 0));
        }
        bytes.is_some()
    }
}

fn too_many() -> Refusal {
    let detail = format!("the server takes {STREAMS_MAX} at once, of all clients");
    Refusal { code: StatusCode::TooMany, detail }
}
