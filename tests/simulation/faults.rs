//! What happens to the network and to the programs, and when it stops.

use crate::network::{Ending, Time, Way};
use crate::schedule::{FAULTS, Fault, nanoseconds};
use crate::server::worst_case;
use crate::trace;
use crate::world::{Dialling, Event, World};

/// Faults concern the connections that were made last.
const RECENT: usize = 10;

impl World {
    pub(crate) fn fault(&mut self) {
        if self.is_calm {
            return;
        }
        let weights = self.plan.fault_weights;
        if let Some(index) = self.random.weighted(&weights) {
            self.break_something(FAULTS[index]);
        }
        self.soon(2 * self.plan.fault_every, Event::Fault);
    }

    fn break_something(&mut self, fault: Fault) {
        trace!(self, ("fault"), "{fault:?}");
        let unit = self.plan.unit;
        match fault {
            Fault::Cut => {
                if let Some(wire) = self.some_wire() {
                    self.cut(wire);
                }
            }
            Fault::Silence => {
                if let Some(wire) = self.some_wire() {
                    self.coverage.silences += 1;
                    let which = self.random.below(3);
                    for (index, way) in [Way::Up, Way::Down].into_iter().enumerate() {
                        if which != index as u64 {
                            self.cut_way(wire, way, None);
                        }
                    }
                }
            }
            Fault::Stall => {
                if let Some(wire) = self.some_wire() {
                    self.coverage.stalls += 1;
                    let until = self.now + self.stall_time();
                    let way = self.random.pick(&[Way::Up, Way::Down, Way::Down]);
                    let pipe = self.wires[wire].pipe(way);
                    pipe.stalled_until = pipe.stalled_until.max(until);
                }
            }
            Fault::Freeze => {
                if let Some(client) = self.some_client() {
                    self.coverage.freezes += 1;
                    let until = self.now + self.stall_time().min(10 * unit);
                    let until = until.max(self.clients[client].frozen_until);
                    self.clients[client].frozen_until = until;
                    if let Some(wire) = self.clients[client].wire {
                        self.wires[wire].client_heart.stop();
                        self.wires[wire].client_heard = until;
                    }
                }
            }
            Fault::FreezeServer => {
                self.coverage.server_freezes += 1;
                let until = self.now + self.random.below(5 * unit);
                let until = until.max(self.server.frozen_until);
                self.server.frozen_until = until;
                for wire in &mut self.wires {
                    wire.server_heart.stop();
                    wire.server_heard = until;
                }
            }
            Fault::Vanish => self.vanish(),
            Fault::Shutdown | Fault::Crash if self.server.is_leaving => {}
            Fault::Shutdown if self.server.hub.is_some() => {
                let down_for = self.random.below(5 * unit);
                self.shut_down(down_for);
            }
            Fault::Crash if self.server.hub.is_some() => self.crash(),
            Fault::Shutdown | Fault::Crash => {}
            Fault::Unreachable => self.dial_badly(Dialling::Fails),
            Fault::Unanswered => self.dial_badly(Dialling::Hangs),
            Fault::Join => {
                self.coverage.newcomers += 1;
                self.add_client(unit);
            }
        }
    }

    fn dial_badly(&mut self, how: Dialling) {
        self.dialling = how;
        self.dialling_until = self.now + self.random.below(10 * self.plan.unit);
    }

    /// Often about as long as a limit of the server.
    fn stall_time(&mut self) -> Time {
        let (stall, patience) = (self.plan.rules.stall, self.plan.rules.patience);
        let limit = self.random.pick(&[stall, patience, self.plan.rules.grace]);
        let limit = nanoseconds(limit).min(20 * self.plan.unit);
        match self.random.below(4) {
            0 => self.random.below(self.plan.unit),
            1 => self.random.below(20 * self.plan.unit),
            2 => limit + self.random.below(1_000_000_000.min(2 * self.plan.unit)),
            _ => 10_000 * self.plan.unit, // for ever, as long as there are faults
        }
    }

    fn some_wire(&mut self) -> Option<usize> {
        let first = self.wires.len().saturating_sub(RECENT);
        let is_used = |index: &usize| {
            let wire = &self.wires[*index];
            wire.client_is_open || !wire.server.is_closed
        };
        let used: Vec<_> = (first..self.wires.len()).filter(is_used).collect();
        (!used.is_empty()).then(|| self.random.pick(&used))
    }

    fn some_client(&mut self) -> Option<usize> {
        let living: Vec<_> =
            (0..self.clients.len()).filter(|client| self.clients[*client].is_living()).collect();
        (!living.is_empty()).then(|| self.random.pick(&living))
    }

    /// Cuts a connection at any byte; what each side gets to know of it is another matter.
    pub(crate) fn cut(&mut self, wire: usize) {
        self.coverage.cuts += 1;
        for way in [Way::Up, Way::Down] {
            let ending = self.random.pick(&[
                Some(Ending::Eof),
                Some(Ending::Reset),
                Some(Ending::Reset),
                None,
            ]);
            self.cut_way(wire, way, ending);
        }
    }

    fn cut_way(&mut self, wire: usize, way: Way, ending: Option<Ending>) {
        let time = self.arrival();
        let under_way = self.wires[wire].pipe(way).bytes_under_way() as u64;
        let kept = self.random.between(0, under_way);
        self.coverage.cuts_with_losses += u64::from(kept < under_way);
        trace!(
            self,
            ("network"),
            "cuts wire {wire} {way:?}: {kept} of {under_way} arrive, {ending:?}"
        );
        self.wires[wire].pipe(way).cut(kept as usize, ending.map(|ending| (time, ending)));
        self.expect(wire, way);
    }

    /// A fuse may have burnt when something was written.
    pub(crate) fn burn(&mut self, wire: usize, way: Way) {
        let pipe = self.wires[wire].pipe(way);
        if !std::mem::take(&mut pipe.fuse_has_burnt) {
            return;
        }
        pipe.fuse = None;
        self.coverage.fuses += 1;
        let kept = pipe.bytes_under_way();
        let time = self.arrival();
        let ending = self.random.pick(&[Some(Ending::Eof), Some(Ending::Reset), None]);
        trace!(self, ("network"), "wire {wire} breaks {way:?}: {ending:?}");
        self.wires[wire].pipe(way).cut(kept, ending.map(|ending| (time, ending)));
        self.expect(wire, way);
        let ending = self.random.pick(&[Some(Ending::Eof), Some(Ending::Reset), None]);
        self.cut_way(wire, way.back(), ending);
    }

    fn vanish(&mut self) {
        let Some(client) = self.some_client() else { return };
        self.coverage.vanished += 1;
        trace!(self, ("client {client}"), "vanishes");
        self.clients[client].session = None;
        if let Some(wire) = self.clients[client].wire.take() {
            self.wires[wire].client_is_open = false;
            self.cut_way(wire, Way::Up, None);
            self.cut_way(wire, Way::Down, None);
        }
    }

    fn crash(&mut self) {
        self.coverage.crashes += 1;
        let is_silent = self.random.chance(300);
        self.end_server();
        for wire in 0..self.wires.len() {
            if self.wires[wire].client_is_open {
                let ending = self.random.pick(&[Ending::Eof, Ending::Reset]);
                self.cut_way(wire, Way::Down, (!is_silent).then_some(ending));
                self.cut_way(wire, Way::Up, None);
            }
        }
        self.soon(5 * self.plan.unit, Event::Start);
    }

    /// No more faults: what is broken stays broken, and all else works.
    pub(crate) fn calm(&mut self) {
        trace!(self, ("world"), "the faults stop");
        self.is_calm = true;
        self.dialling_until = 0;
        for wire in 0..self.wires.len() {
            for way in [Way::Up, Way::Down] {
                let pipe = self.wires[wire].pipe(way);
                (pipe.stalled_until, pipe.fuse) = (0, None);
                self.expect(wire, way);
            }
        }
        if self.server.hub.is_none() {
            self.start_server();
        }
        self.urge_players();
        // Those for whom there is no room could only try again and again.
        let living: Vec<_> =
            (0..self.clients.len()).filter(|client| self.clients[*client].is_living()).collect();
        for client in living.into_iter().skip(self.plan.rules.clients) {
            self.close(client);
        }
    }

    /// How long after the faults all must be well.
    pub(crate) fn recovery_time(&self) -> Time {
        let plan = &self.plan;
        let dead = worst_case(&plan.rules) + nanoseconds(plan.client_rhythm.worst_case());
        let limits = plan.connect_limit
            + plan.handshake_limit
            + nanoseconds(plan.rules.handshake_time)
            + nanoseconds(plan.rules.stall)
            + nanoseconds(plan.rules.patience);
        let grace = nanoseconds(plan.rules.grace).min(50 * plan.unit);
        let drain = 1_000_000_000 + 5_000_000_000; // for last words, and for an Ack
        let turns = if plan.has_turns { 2 * grace + 60 * plan.unit } else { 0 };
        2 * (dead + limits + nanoseconds(plan.policy.most) + drain) + grace + turns + 40 * plan.unit
    }
}
