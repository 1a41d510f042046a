//! What the streams of all sessions cost together: memory, quotas, and time.
//!
//! Memory: what is taken and not stored is bounded by the credit that is given. That is
//! [`WINDOW`] for each stream while few are under way, less for those that come when there are
//! many ([`SHARED`]), and there are never more than [`STREAMS_MAX`]. In the worst order that comes
//! to 220 MiB for all clients together: 32 streams of 1 MiB, then 480 whose windows shrink to
//! 64 KiB (89 MiB), then 1,536 of 64 KiB (96 MiB).
//!
//! Quotas count what lies on the disk and what is under way. The disk is looked at before the first
//! file is stored, of a session and at all, and again when a quota speaks against a stream: the
//! owner may have moved files away.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::streams::{Job, UploadId};
use super::{Core, Hub, Moment};
use crate::log::SessionId;
use crate::message::StatusCode;
use crate::transfer::{DATA_MAX, Incoming, WINDOW, cost};

/// How many streams may be under way at once, of all clients together.
pub(super) const STREAMS_MAX: usize = 2048;
/// The windows of streams are shares of so many bytes, and never below [`DATA_MAX`].
const SHARED: u64 = 32 << 20;
/// How often the folders are counted at the most.
const COUNT_PAUSE: Duration = Duration::from_secs(60);

/// The streams of all sessions.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    pub(super) jobs: Vec<Job>,
    /// How much the folder holds beside what is under way, as it was last counted and since.
    on_disk: u64,
    /// It was counted; nothing is stored before.
    is_counted: bool,
    /// How many are under way, those without a session included, and how many bytes those have,
    /// or will have.
    pub(super) charged: (usize, u64),
    /// Those whose session has ended, and that the disk completes: their bytes.
    pub(super) orphans: HashMap<UploadId, u64>,
    alarms: BinaryHeap<Reverse<(Instant, SessionId)>>,
    /// What was stored since the folder's counting began.
    since_count: u64,
    /// It is being counted again.
    is_counting: bool,
    /// Before when it is not counted again.
    counts_after: Option<Instant>,
}

impl Uploads {
    /// When [`Hub::tick`] is due for them.
    pub(super) fn due(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((time, _))| *time)
    }

    /// How many streams are under way, and their bytes.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, u64) {
        self.charged
    }

    pub(super) fn window(&self) -> u64 {
        (SHARED / self.charged.0.max(1) as u64).clamp(DATA_MAX as u64, WINDOW)
    }

    pub(super) fn add_stored(&mut self, size: u64) {
        self.on_disk = self.on_disk.saturating_add(cost(size));
        self.since_count = self.since_count.saturating_add(cost(size));
    }

    /// Counts `now` for what was `before`.
    pub(super) fn charge(&mut self, before: &mut (usize, u64), now: (usize, u64)) {
        self.charged.0 = self.charged.0 - before.0 + now.0;
        self.charged.1 = self.charged.1.saturating_sub(before.1).saturating_add(now.1);
        *before = now;
    }
}

impl Hub {
    /// The whole folder holds so many bytes in files, as [`cost`] counts them, parts excluded.
    /// The first time, before anything is stored.
    pub fn counted(&mut self, bytes: u64, at: Moment) {
        let uploads = &mut self.core.uploads;
        // What came meanwhile may have been seen or not: to count it twice is on the safe side.
        uploads.on_disk = bytes.saturating_add(uploads.since_count);
        if std::mem::take(&mut uploads.is_counting) {
            uploads.counts_after = Some(at.now + COUNT_PAUSE);
        }
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
}

impl Core {
    /// Counts anew what a session has under way.
    pub(super) fn settle(&mut self, session: SessionId) {
        let streams = self.sessions.get_mut(session).and_then(|it| it.streams.as_deref_mut());
        if let Some(streams) = streams {
            let now = (streams.incoming.count(), streams.incoming.reserved());
            self.uploads.charge(&mut streams.charged, now);
        }
    }

    /// What the quotas leave for a session beside all that is stored or under way.
    pub(super) fn room_for(&self, session: SessionId) -> u64 {
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
    pub(super) fn count_again(&mut self, session: SessionId, now: Instant) {
        let client = self.streams(session).map(|streams| Arc::clone(&streams.client));
        let uploads = &mut self.uploads;
        if let Some(client) = client
            && !uploads.is_counting
            && uploads.counts_after.is_none_or(|time| time <= now)
        {
            uploads.is_counting = true;
            uploads.since_count = 0;
            uploads.jobs.push(Job::Count { session, client });
        }
    }

    /// Sees to it that streams that stand still are given up in time.
    ///
    /// Any later due time is behind the one that the alarm is set to, since it begins later; so
    /// nothing is looked up while there is one.
    pub(super) fn arm_streams(&mut self, session: SessionId, now: Instant) {
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

    /// True if the session of that upload had ended.
    pub(super) fn forget_orphan(&mut self, upload: UploadId) -> bool {
        let bytes = self.uploads.orphans.remove(&upload);
        if let Some(bytes) = bytes {
            self.uploads.charge(&mut (1, bytes), (0, 0));
        }
        bytes.is_some()
    }
}
