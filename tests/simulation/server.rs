//! The server's shell, in virtual time: what `src/server` does with threads and sockets, done with
//! events. It decides nothing but what a scheduler and a network would: when, and how much.

use std::sync::Arc;

use tcpkit::Loss;
use tcpkit::hub::{Commit, Draft, Hub, LinkId, Moment, NewKey, Proposal, Rules, Taken};
use tcpkit::message::{ErrorCode, Frame, SessionKey};

use crate::checks::notes::{Notes, Recorder};
use crate::network::{Came, Ending, NEVER, Time, Way};
use crate::schedule::{Plan, nanoseconds};
use crate::trace;
use crate::world::{Event, World};

/// How late the timer's thread may be.
pub(crate) const TIMER_LATE: Time = 50_000;
/// How long a thread takes to be woken.
const WAKING: Time = 100_000;
/// How long after its deadline a shutdown may take.
const EXIT_LATE: Time = 5_000_000;

pub(crate) struct Server {
    pub(crate) hub: Option<Hub>,
    pub(crate) epoch: u32,
    notes: Notes,
    /// Which connection is at which place.
    places: Vec<(LinkId, usize)>,
    pub(crate) work: Vec<LinkId>,
    tick_at: Time,
    pub(crate) frozen_until: Time,
    /// Its threads have last been held up until then.
    pub(crate) is_leaving: bool,
    down_for: Time,
    proposals: Vec<Proposal<'static>>,
    commits_at: Time,
}

/// A hub without sessions.
fn new_hub(plan: &Plan, notes: &Notes, epoch: u32) -> Hub {
    let mut keys = u64::from(epoch) << 32;
    let new_key: NewKey = Box::new(move || {
        keys += 1;
        Some(SessionKey((u128::from(keys) | 1 << 100).to_be_bytes()))
    });
    let commit = if plan.commits_later { Commit::Later } else { Commit::AtOnce };
    let handler = Arc::new(Recorder::new(notes.clone(), plan.has_turns));
    Hub::new(plan.rules.clone(), handler, commit, new_key)
}

impl Server {
    pub(crate) fn new(plan: &Plan, notes: Notes) -> Self {
        Self {
            hub: Some(new_hub(plan, &notes, 0)),
            epoch: 0,
            notes,
            places: Vec::new(),
            work: Vec::new(),
            tick_at: NEVER,
            frozen_until: 0,
            is_leaving: false,
            down_for: 0,
            proposals: Vec::new(),
            commits_at: NEVER,
        }
    }

    /// Whether everything is committed.
    pub(crate) fn is_settled(&self) -> bool {
        self.proposals.is_empty()
    }

    /// The connection of that name, if its socket is still there.
    pub(crate) fn wire(&self, id: LinkId) -> Option<usize> {
        self.places.get(id.index()).filter(|(link, _)| *link == id).map(|(_, wire)| *wire)
    }
}

impl World {
    /// Calls into the hub, then does what came out of it, but for the work.
    pub(crate) fn enter<R>(&mut self, call: impl FnOnce(&mut Hub, Moment) -> R) -> Option<R> {
        let at = self.moment();
        let hub = self.server.hub.as_mut()?;
        let result = call(hub, at);
        hub.take_work(&mut self.server.work);
        let (wake, alarm, reports) = (hub.take_wake(), hub.take_alarm(), hub.take_reports());
        let alarm_at = if alarm { hub.alarm_at() } else { None };
        let proposals = hub.take_proposals();
        self.take_notes();
        for proposal in &proposals {
            self.end_turn(&proposal.draft);
        }
        if !reports.is_empty() {
            self.take_reports(reports);
        }
        self.check_hub();
        self.check_game();
        if wake {
            self.wake_readers();
        }
        if let Some(alarm_at) = alarm_at {
            self.set_timer(self.time_of(alarm_at));
        }
        if !proposals.is_empty() {
            self.server.proposals.extend(proposals);
            if self.server.commits_at == NEVER {
                let delay = self.plan.unit / self.random.pick(&[1, 10, 1000]);
                self.server.commits_at = self.now + self.random.below(delay);
                self.push(self.server.commits_at, Event::Commit(self.server.epoch));
            }
        }
        if self.server.is_leaving && self.server.hub.as_ref().is_some_and(|hub| hub.links() == 0) {
            self.push(self.now, Event::Exit(self.server.epoch));
        }
        Some(result)
    }

    fn set_timer(&mut self, time: Time) {
        if time < self.server.tick_at {
            self.server.tick_at = time;
            let late = self.random.below(TIMER_LATE);
            self.push(time.saturating_add(late), Event::Tick(self.server.epoch));
        }
    }

    pub(crate) fn tick(&mut self, epoch: u32) {
        if epoch != self.server.epoch || self.now < self.server.tick_at {
            return;
        }
        self.server.tick_at = NEVER;
        let Some(alarm_at) = self.server.hub.as_ref().and_then(Hub::alarm_at) else { return };
        let alarm_at = self.time_of(alarm_at);
        if alarm_at <= self.now {
            let mut dead = Vec::new();
            self.enter(|hub, at| hub.tick(&mut dead, at));
            for id in dead {
                if let Some(wire) = self.server.wire(id) {
                    trace!(self, ("server"), "shuts wire {wire} down");
                    self.shut_both(wire);
                    self.soon(WAKING, Event::Dropped(wire));
                }
            }
        }
        if let Some(alarm_at) = self.server.hub.as_ref().and_then(Hub::alarm_at) {
            self.set_timer(self.time_of(alarm_at));
        }
    }

    /// Records are committed, as many as happen to be there.
    pub(crate) fn commit(&mut self, epoch: u32) {
        if epoch != self.server.epoch || self.server.hub.is_none() {
            return;
        }
        let count = self.server.proposals.len() as u64;
        let count = if self.random.chance(300) { self.random.between(1, count) } else { count };
        let mut group: Vec<_> = self.server.proposals.drain(..count as usize).collect();
        self.coverage.late_commits += 1;
        self.coverage.group_commits += u64::from(group.len() > 1);
        while !group.is_empty() {
            // What is behind a Joined is committed apart, so that the oracle can see the log as
            // the session found it.
            let joined = group.iter().position(is_joined);
            let rest = group.split_off(joined.map_or(group.len(), |index| index + 1));
            self.log_commits(&group);
            self.enter(|hub, at| hub.commit(group, at));
            self.oracle.forget_unwelcome();
            group = rest;
        }
        self.server.commits_at = NEVER;
        if !self.server.proposals.is_empty() {
            self.server.commits_at = self.now;
            self.soon(self.plan.unit / 100, Event::Commit(epoch));
        }
    }

    pub(crate) fn accept(&mut self, wire: usize) {
        if self.server.hub.is_none() || self.wires[wire].epoch != self.server.epoch {
            let now = self.now;
            self.wires[wire].server.is_closed = true;
            self.wires[wire].pipe(Way::Down).cut(0, Some((now, Ending::Reset)));
            self.expect(wire, Way::Down);
            return;
        }
        let id = self.enter(|hub, at| hub.connect(&wire.to_string(), at)).flatten();
        let Some(id) = id else { return self.turn_away(wire) };
        if self.server.places.len() <= id.index() {
            self.server.places.resize(id.index() + 1, (LinkId::default(), 0));
        }
        self.server.places[id.index()] = (id, wire);
        self.wires[wire].server.link = Some(id);
        self.wires[wire].server_heard = self.now;
        self.expect(wire, Way::Up);
    }

    fn turn_away(&mut self, wire: usize) {
        trace!(self, ("server"), "turns wire {wire} away");
        self.coverage.turned_away += 1;
        let (code, detail) = (ErrorCode::ServerFull, "too many connections".into());
        let error = Frame::Error { code, detail }.to_bytes();
        let arrival = self.arrival();
        let down = self.wires[wire].pipe(Way::Down);
        down.write(&error, arrival);
        down.finish(arrival);
        self.wires[wire].server.is_closed = true;
        self.expect(wire, Way::Down);
    }

    /// A client's reader is given what has come.
    pub(crate) fn server_reads(&mut self, wire: usize) {
        let side = &self.wires[wire].server;
        let Some(id) = side.link.filter(|_| !side.is_closed && side.taken != Taken::Blocked) else {
            return;
        };
        match self.read_up(wire) {
            Came::Nothing => {}
            Came::End(ending) => {
                let loss = if ending == Ending::Eof { Loss::Closed } else { Loss::Reset };
                return self.hang_up(wire, id, loss);
            }
            Came::Bytes(_) if self.wires[wire].server.taken == Taken::Over => {}
            Came::Bytes(count) => {
                self.wires[wire].server_heard = self.now;
                self.wires[wire].server.framer.filled(count);
                self.take(wire, id);
            }
        }
        self.write_on(wire);
        self.expect(wire, Way::Up);
    }

    fn read_up(&mut self, wire: usize) -> Came {
        let most = self.read_size();
        let now = self.now;
        self.wires[wire].read_up(most, now)
    }

    /// How much one read gives at the most.
    pub(crate) fn read_size(&mut self) -> usize {
        match self.plan.torn_reads {
            0 => usize::MAX,
            1 if self.random.chance(500) => usize::MAX,
            1 => self.random.between(1, 100) as usize,
            most => self.random.between(1, most as u64) as usize,
        }
    }

    fn take(&mut self, wire: usize, id: LinkId) {
        let fresh = tcpkit::frame::Framer::new(1);
        let mut framer = std::mem::replace(&mut self.wires[wire].server.framer, fresh);
        self.oracle.speaking = Some(wire);
        let taken = self.enter(|hub, at| hub.receive(id, &mut framer, at)).unwrap_or(Taken::Over);
        self.oracle.speaking = None;
        self.wires[wire].server.framer = framer;
        self.wires[wire].server.taken = taken;
        self.note_taken(wire, id, taken);
    }

    /// Readers that are blocked look again, each when its thread has been woken.
    fn wake_readers(&mut self) {
        for wire in 0..self.wires.len() {
            let side = &self.wires[wire].server;
            if side.taken == Taken::Blocked && !side.is_closed {
                self.soon(WAKING, Event::Look(wire));
            }
        }
    }

    pub(crate) fn look_again(&mut self, wire: usize) {
        let side = &self.wires[wire].server;
        let Some(id) = side.link.filter(|_| !side.is_closed && side.taken == Taken::Blocked) else {
            return;
        };
        if !self.server.hub.as_ref().is_some_and(|hub| hub.is_blocked(id)) {
            self.take(wire, id);
            self.wires[wire].server_heard = self.now;
            self.expect(wire, Way::Up);
        }
    }

    /// The reader of a connection that the timer has shut down finds it closed.
    pub(crate) fn dropped(&mut self, wire: usize) {
        let side = &self.wires[wire].server;
        if let Some(id) = side.link.filter(|_| !side.is_closed) {
            self.hang_up(wire, id, Loss::Closed);
        }
    }

    fn hang_up(&mut self, wire: usize, id: LinkId, loss: Loss) {
        trace!(self, ("server"), "wire {wire} is gone: {loss}");
        self.shut_both(wire);
        self.wires[wire].server.is_closed = true;
        if let Some(place) = self.server.places.get_mut(id.index()).filter(|(link, _)| *link == id)
        {
            place.0 = LinkId::default();
        }
        self.enter(|hub, at| hub.hung_up(id, loss, at));
    }

    /// Neither side of a connection goes on; whoever writes to it finds it broken.
    fn shut_both(&mut self, wire: usize) {
        let arrival = self.arrival();
        self.wires[wire].pipe(Way::Down).finish(arrival);
        self.wires[wire].server_heart.stop();
        self.expect(wire, Way::Down);
        self.break_writers(wire);
    }

    /// The server's process is asked to end: it says goodbye to all.
    pub(crate) fn shut_down(&mut self, down_for: Time) {
        let drain = self.plan.unit * self.random.below(4);
        let deadline = self.instant() + std::time::Duration::from_nanos(drain);
        trace!(self, ("server"), "shuts down");
        self.coverage.shutdowns += 1;
        self.server.is_leaving = true;
        self.server.down_for = down_for;
        for wire in &mut self.wires {
            wire.server_heart.stop();
        }
        self.enter(|hub, at| hub.shut_down(deadline, at));
        self.push(self.now + drain + EXIT_LATE, Event::Exit(self.server.epoch));
    }

    pub(crate) fn exit(&mut self, epoch: u32) {
        if epoch != self.server.epoch || !self.server.is_leaving {
            return;
        }
        if self.server.frozen_until > self.now {
            return self.push(self.server.frozen_until + EXIT_LATE, Event::Exit(epoch));
        }
        let left = self.server.hub.as_ref().map_or(0, Hub::links);
        assert_eq!(left, 0, "connections are left after a shutdown's deadline");
        self.end_server();
        self.soon(self.server.down_for, Event::Start);
    }

    /// The process is gone, and all that it knew.
    pub(crate) fn end_server(&mut self) {
        trace!(self, ("server"), "is gone");
        self.server.hub = None;
        self.server.is_leaving = false;
        self.server.proposals.clear();
        self.server.work.clear();
        self.server_order = None;
        self.oracle.end_epoch();
        for wire in &mut self.wires {
            wire.server.is_closed = true;
            wire.server.helper = None;
            wire.server.late = None;
            wire.server_heart.stop();
        }
    }

    pub(crate) fn start_server(&mut self) {
        if self.server.hub.is_some() {
            return;
        }
        let server = &mut self.server;
        server.epoch += 1;
        trace!(self, ("server"), "begins anew");
        let server = &mut self.server;
        let hub = new_hub(&self.plan, &server.notes, server.epoch);
        server.hub = Some(hub);
        server.places.clear();
        (server.tick_at, server.commits_at) = (NEVER, NEVER);
        self.oracle.begin_epoch();
    }
}

fn is_joined(record: &Proposal<'_>) -> bool {
    matches!(record.draft, Draft::Joined { .. })
}

/// How long a dead client may go unnoticed.
pub(crate) fn worst_case(rules: &Rules) -> Time {
    nanoseconds(rules.rhythm.worst_case())
}
