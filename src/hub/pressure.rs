//! What happens when the log is full: senders wait for readers that lag, and no reader makes them
//! wait for longer than `relay.patience` in a minute (`PROTOCOL.md` section 5).
//!
//! While senders wait there is a *line* in the log: readers whose cursor is before it hold the
//! room that the senders need. When the last of them has crossed it, the senders go on; what a
//! reader took to cross it is charged to its account. An account is opened anew after a minute,
//! and when the reader has taken a whole log since: in a room that moves at the machine's limit
//! all wait for all, and nobody is to be let go for that.

use std::time::{Duration, Instant};

use super::link::{Account, Blocked, Link, LinkId};
use super::{Core, Hub, Moment};

/// The span of time that `relay.patience` is counted over.
const ACCOUNT_TIME: Duration = Duration::from_secs(60);

/// Who waits for room in the log, and for whom.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// Every reader's cursor was at or behind this position when it was last looked up.
    pub(super) floor: u64,
    /// Since when senders wait; `None` while none does.
    since: Option<Instant>,
    /// Readers before this position hold them up.
    line: u64,
    /// How many such readers there are.
    holders: usize,
}

impl Core {
    /// Whether the log has room for one more record of `size` bytes; it gives up its oldest ones
    /// for that, as far as all readers have them.
    #[inline]
    pub(super) fn has_room(&mut self, size: usize) -> bool {
        self.ledger.has_room(size, self.pressure.floor) || self.has_room_after_all(size)
    }

    #[cold]
    fn has_room_after_all(&mut self, size: usize) -> bool {
        self.spread(); // so that idle means that nothing is left to send
        let head = self.ledger.log.head();
        let mut floor = head;
        for (_, link) in self.links.iter_mut() {
            if link.holds_log() {
                floor = floor.min(link.cursor);
            } else if link.takes_records() {
                link.cursor = head; // nothing was left for it
                link.torn_until = head;
            }
        }
        self.pressure.floor = floor;
        self.ledger.has_room(size, floor)
    }

    /// Stops taking from a client until something gives way.
    pub(super) fn block(&mut self, id: LinkId, why: Blocked, at: Moment) {
        let deadline = at.now + self.rules.stall;
        let Some(link) = self.links.get_mut(id.0) else { return };
        link.blocked = Some(why);
        link.blocked_since = at.now;
        link.excused = true;
        if why == Blocked::Owed {
            self.arm(id, deadline);
        }
    }

    /// Stops taking from a client until the log has room for `size` bytes.
    pub(super) fn block_for_room(&mut self, id: LinkId, size: usize, at: Moment) {
        self.block(id, Blocked::LogFull, at);
        let first = self.pressure.since.is_none();
        if first {
            self.pressure.since = Some(at.now);
            self.pressure.line = 0;
        }
        let line = self.ledger.line_for(size);
        if first || line > self.pressure.line {
            self.pressure.line = line;
            self.count_holders(at);
        }
    }

    fn count_holders(&mut self, at: Moment) {
        let (line, whole) = (self.pressure.line, self.ledger.log.max_bytes());
        let mut deadlines = Vec::new();
        for (key, link) in self.links.iter_mut() {
            link.holds = link.holds_log() && link.cursor < line;
            if link.holds {
                link.account.renew(link.cursor, whole, at.now);
                let left = self.rules.patience.saturating_sub(link.account.waited);
                let left = left.min(self.rules.stall);
                deadlines.push((LinkId(key), at.now + left));
            }
        }
        self.pressure.holders = deadlines.len();
        for (id, deadline) in deadlines {
            self.arm(id, deadline);
        }
    }

    /// A reader's cursor moved, or it no longer counts: senders may have room now.
    pub(super) fn relieve(&mut self, id: LinkId, now: Instant) {
        let (line, whole) = (self.pressure.line, self.ledger.log.max_bytes());
        let Some(link) = self.links.get_mut(id.0) else { return };
        if !link.holds || (link.holds_log() && link.cursor < line) {
            return;
        }
        link.holds = false;
        link.account.renew(link.cursor, whole, now);
        link.account.waited += self.pressure.since.map_or(Duration::ZERO, |since| now - since);
        self.pressure.holders = self.pressure.holders.saturating_sub(1);
        if self.pressure.holders == 0 {
            self.unblock_all();
        }
    }

    /// Whoever waits for room in the log looks again.
    pub(super) fn unblock_all(&mut self) {
        if self.pressure.since.take().is_none() {
            return;
        }
        for (_, link) in self.links.iter_mut() {
            link.holds = false;
            if link.blocked == Some(Blocked::LogFull) {
                link.blocked = None;
            }
        }
        self.pressure.holders = 0;
        self.wake = true;
    }

    /// A client is not waited for any more, nor does it wait.
    pub(super) fn unblock(&mut self, id: LinkId) {
        let blocked = self.links.get_mut(id.0).and_then(|link| link.blocked.take());
        self.wake |= blocked.is_some();
        let waits = |link: &Link| link.blocked == Some(Blocked::LogFull);
        if blocked == Some(Blocked::LogFull) && !self.links.iter().any(|(_, link)| waits(link)) {
            self.unblock_all();
        }
    }

    /// A client took some of what it is owed: what it says may be taken again.
    pub(super) fn unblock_owed(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id.0)
            && link.blocked == Some(Blocked::Owed)
        {
            link.blocked = None;
            self.wake = true;
        }
    }
}

impl Account {
    fn renew(&mut self, cursor: u64, whole_log: u64, now: Instant) {
        if now - self.since > ACCOUNT_TIME || cursor.saturating_sub(self.start) >= whole_log {
            *self = Self { since: now, start: cursor, waited: Duration::ZERO };
        }
    }
}

impl Hub {
    /// Makes room in the log whoever may hold it.
    pub(super) fn make_room_by_force(&mut self, size: usize, at: Moment) {
        if self.core.has_room(size) {
            return;
        }
        let line = self.core.ledger.line_for(size);
        let holders: Vec<_> = (self.core.links.iter())
            .filter(|(_, link)| link.holds_log() && link.cursor < line)
            .map(|(key, _)| LinkId(key))
            .collect();
        for id in holders {
            self.let_go(id, at);
        }
        self.core.has_room(size);
    }

    /// Whether nothing may be taken from a client for now; see [`Taken::Blocked`].
    ///
    /// [`Taken::Blocked`]: super::Taken::Blocked
    pub fn is_blocked(&self, id: LinkId) -> bool {
        self.core.links.get(id.0).is_some_and(|link| link.blocked.is_some())
    }
}

impl Core {
    /// When a reader that holds up senders has to have moved.
    pub(super) fn patience_ends(&mut self, id: LinkId, now: Instant) -> Option<Instant> {
        let since = self.pressure.since?;
        let whole = self.ledger.log.max_bytes();
        let link = self.links.get_mut(id.0).filter(|link| link.holds)?;
        link.account.renew(link.cursor, whole, now);
        let patience = since + self.rules.patience.saturating_sub(link.account.waited);
        Some(patience.min(link.took_at.max(since) + self.rules.stall))
    }
}
