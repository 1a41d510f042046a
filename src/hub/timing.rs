//! What is due by the time: handshakes, frames, goodbyes and patience that are over.
//!
//! Each connection has at most one alarm that counts, the earliest that it was given; others are
//! passed over when they come up. When an alarm comes up, all of the connection's deadlines are
//! looked at, and it is set anew: so a deadline that moves away costs nothing until then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::link::{Blocked, Link, LinkId, Stage};
use super::{Core, Hub, Moment};
use crate::heartbeat::{Beat, Heartbeat};
use crate::message::{ErrorCode, Frame, Violation};
use crate::turns::Table;

/// The alarms of all connections.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    /// The first of them has become earlier.
    pub(super) changed: bool,
}

impl Alarms {
    pub(super) fn first(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((time, _))| *time)
    }

    /// Something that is not in here is due at `time`; the first such thing so far was `other`.
    pub(super) fn note(&mut self, time: Instant, other: Option<Instant>) {
        let first = [self.first(), other].into_iter().flatten().min();
        self.changed |= first.is_none_or(|first| time < first);
    }

    fn add(&mut self, time: Instant, id: LinkId) {
        self.changed |= self.first().is_none_or(|first| time < first);
        self.heap.push(Reverse((time, id.0)));
    }

    fn take_due(&mut self, now: Instant) -> Option<(Instant, LinkId)> {
        if self.first()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((time, id))| (time, LinkId(id)))
    }
}

impl Core {
    /// Sees to it that a connection is looked at no later than `time`.
    pub(super) fn arm(&mut self, id: LinkId, time: Instant) {
        if let Some(link) = self.links.get_mut(id.0)
            && link.alarm.is_none_or(|alarm| time < alarm)
        {
            link.alarm = Some(time);
            self.alarms.add(time, id);
        }
    }

    /// The stage that a connection is in ends by itself at `deadline`.
    pub(super) fn set_deadline(&mut self, id: LinkId, deadline: Instant) {
        if let Some(link) = self.links.get_mut(id.0) {
            link.deadline = Some(deadline);
            self.arm(id, deadline);
        }
    }
}

impl Hub {
    /// Does what is due: puts out those whose time is over. Pushes to `dead` the connections that
    /// the shell is to shut down both ways at once.
    pub fn tick(&mut self, dead: &mut Vec<LinkId>, at: Moment) {
        while let Some((time, id)) = self.core.alarms.take_due(at.now) {
            let Some(link) = self.core.links.get_mut(id.0) else { continue };
            if link.alarm != Some(time) {
                continue;
            }
            link.alarm = None;
            self.judge(id, dead, at);
            if let Some(next) = self.core.next_deadline(id, at.now) {
                self.core.arm(id, next);
            }
        }
        self.end_those_away(at);
        self.core.tick_streams(at);
        self.turn(at, None, Table::tick);
        self.core.spread();
    }

    /// Judges one connection by the time.
    fn judge(&mut self, id: LinkId, dead: &mut Vec<LinkId>, at: Moment) {
        let due = |deadline: Instant| deadline <= at.now;
        let Some(link) = self.core.links.get(id.0) else { return };
        let (stage, frame_since, blocked) = (link.stage, link.frame_since, link.blocked);
        let stage_is_over = link.deadline.is_some_and(due);
        let idle_ends = self.core.idle_ends(link);
        let stall = link.blocked_since + self.core.rules.stall;
        if self.core.cut_off.is_some_and(due) || (stage_is_over && stage != Stage::Greeting) {
            self.core.end_service(id);
            self.core.unblock(id);
            self.core.relieve(id, at.now);
            dead.push(id);
        } else if stage_is_over {
            let violation = Violation::new(ErrorCode::HandshakeTimedOut, "no Init in time");
            self.refuse(id, violation, at);
        } else if frame_since.is_some_and(|since| due(since + self.core.rules.frame_time)) {
            let words = "a frame that has begun was not whole in time";
            self.refuse(id, Violation::new(ErrorCode::Malformed, words), at);
        } else if blocked == Some(Blocked::Owed) && due(stall)
            || self.core.patience_ends(id, at.now).is_some_and(due)
        {
            self.let_go(id, at);
        } else if stage == Stage::Open && blocked.is_none() {
            if idle_ends.is_some_and(due) {
                self.let_idle_go(id, at);
            } else {
                self.beat(id, at);
            }
        }
    }
}

impl Hub {
    /// Asks a silent client for a sign of life, or gives it up.
    fn beat(&mut self, id: LinkId, at: Moment) {
        let link = self.core.links.get_mut(id.0);
        match link.and_then(|link| link.heartbeat.as_mut()).map(|beat| beat.poll(at.now)) {
            Some(Beat::Ping(nonce)) => self.core.owe(id, &Frame::Ping { nonce }),
            Some(Beat::Dead) => self.give_up_dead(id, at),
            Some(Beat::Wait(_)) | None => {}
        }
    }
}

impl Core {
    /// A client said something; if it was data, its silence begins anew.
    #[inline]
    pub(super) fn note_data(&mut self, id: LinkId, data: bool, now: Instant) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        let excused = link.blocked.is_none() && std::mem::take(&mut link.excused);
        if data || excused {
            link.last_data = now;
        }
        if (data || excused)
            && let Some(heartbeat) = &mut link.heartbeat
        {
            heartbeat.data_seen(now);
            self.watch(id, now);
        }
    }

    /// When a client has said nothing but heartbeats for too long.
    fn idle_ends(&self, link: &Link) -> Option<Instant> {
        let idle_time = self.rules.idle_time;
        (!idle_time.is_zero() && link.stage == Stage::Open).then(|| link.last_data + idle_time)
    }

    /// A client answered a Ping.
    pub(super) fn note_pong(&mut self, id: LinkId, nonce: u64, now: Instant) {
        if let Some(link) = self.links.get_mut(id.0)
            && let Some(heartbeat) = &mut link.heartbeat
        {
            heartbeat.pong_seen(nonce);
            self.watch(id, now);
        }
    }

    /// Sees to it that the heartbeat is looked at in time.
    pub(super) fn watch(&mut self, id: LinkId, now: Instant) {
        let link = self.links.get(id.0).filter(|link| link.blocked.is_none());
        let due = link.and_then(|link| link.heartbeat.as_ref()).map(|beat| beat.due().max(now));
        if let Some(due) = due {
            self.arm(id, due);
        }
    }

    /// When a connection is to be looked at again.
    fn next_deadline(&mut self, id: LinkId, now: Instant) -> Option<Instant> {
        let patience = self.patience_ends(id, now);
        let (stall, frame_time, cut_off) = (self.rules.stall, self.rules.frame_time, self.cut_off);
        let link = self.links.get(id.0).filter(|link| !link.given_up)?;
        let owed = link.blocked == Some(Blocked::Owed);
        let watched = link.stage == Stage::Open && link.blocked.is_none();
        let deadlines = [
            link.deadline,
            cut_off,
            link.frame_since.map(|since| since + frame_time),
            owed.then(|| link.blocked_since + stall),
            patience,
            link.heartbeat.as_ref().filter(|_| watched).map(Heartbeat::due),
            self.idle_ends(link).filter(|_| watched),
        ];
        deadlines.into_iter().flatten().min()
    }
}
