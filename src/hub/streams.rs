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
//! session has ended meanwhile. What all streams together may cost is decided by `uploads`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use super::draft::{Draft, Proposal};
use super::link::LinkId;
use super::room::{Refusal, Room, Upload};
use super::uploads::STREAMS_MAX;
use super::{Core, Hub, Moment};
use crate::log::{Audience, SessionId};
use crate::message::{Frame, Mode, StatusCode, Violation};
use crate::report::Report;
use crate::settings::UploadSettings;
use crate::transfer::{Answer, Facts, Incoming, Limits, Order, Step, cost};

/// What a file that is stored needs in the log: headers, its client, its path.
pub(super) const UPLOADED_MAX: usize = 640;
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
        /// The bytes, at most 64 KiB.
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
    pub(super) incoming: Incoming,
    pub(super) client: Arc<str>,
    /// How much its folder holds beside what is under way.
    pub(super) on_disk: u64,
    /// That is known; the disk has it measured before it stores the first file.
    pub(super) is_measured: bool,
    /// What [`Uploads`] counts of it: streams under way, and their bytes.
    pub(super) charged: (usize, u64),
    /// When it is looked at next.
    pub(super) alarm: Option<Instant>,
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
    pub(super) fn streams(&self, session: SessionId) -> Option<&Streams> {
        self.sessions.get(session)?.streams.as_deref()
    }

    pub(super) fn streams_mut(&mut self, session: SessionId) -> Option<&mut Streams> {
        self.sessions.get_mut(session)?.streams.as_deref_mut()
    }

    /// Tells the streams of a session what happened. They are made when the first is opened.
    pub(super) fn tell_streams(
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
    pub(super) fn carry_out(&mut self, session: SessionId, step: Step, bytes: &[u8], at: Moment) {
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
}

fn too_many() -> Refusal {
    let detail = format!("the server takes {STREAMS_MAX} at once, of all clients");
    Refusal { code: StatusCode::TooMany, detail }
}
