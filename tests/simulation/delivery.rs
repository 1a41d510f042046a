//! The server's writes: orders of the hub, carried out on connections that take what they have
//! room for. The threads of `src/server/delivery.rs` are events here; a thread may lose its
//! processor between the order and the write.

use tcpkit::hub::{LinkId, Order, Step, Who};

use crate::network::{Time, Way};
use crate::trace;
use crate::world::{Event, World};

/// After so many orders for one client the others on the list have their turn.
const IN_A_ROW: usize = 4;
/// How long a thread takes to begin, or to go on.
const BEGINNING: Time = 100_000;

impl World {
    /// Serves the clients on the list of work until it is empty.
    pub(crate) fn deliver(&mut self) {
        if self.server.work.is_empty() {
            return;
        }
        let mut index = 0;
        let mut order = self.server_order.take().unwrap_or_default();
        while let Some(id) = self.server.work.get(index).copied() {
            index += 1;
            let Some(wire) = self.server.wire(id) else { continue };
            if self.plan.handed_over > 0 && self.random.chance(self.plan.handed_over) {
                if self.enter(|hub, _| hub.hand_over(id)) == Some(true) {
                    self.coverage.handed_over += 1;
                    self.wires[wire].server_heart.stop();
                    self.begin_help(wire);
                }
                continue;
            }
            let step = self.enter(|hub, at| hub.next_write(id, &mut order, Who::Visitor, at));
            if self.plan.late_writes > 0
                && step == Some(Step::Write)
                && self.random.chance(self.plan.late_writes)
            {
                self.coverage.carried += 1;
                self.wires[wire].server_heart.stop();
                self.wires[wire].server.late = Some(std::mem::take(&mut order));
                self.soon(self.plan.unit / 50, Event::Carry(wire));
                continue;
            }
            self.serve(wire, id, step, &mut order);
        }
        self.server.work.clear();
        self.server_order = Some(order);
    }

    /// A thread that held an order goes on.
    pub(crate) fn carry(&mut self, wire: usize) {
        let side = &mut self.wires[wire].server;
        let (Some(id), Some(mut order)) = (side.link, side.late.take()) else { return };
        self.serve(wire, id, Some(Step::Write), &mut order);
    }

    fn serve(&mut self, wire: usize, id: LinkId, mut step: Option<Step>, order: &mut Order) {
        let mut in_a_row = 0;
        while step == Some(Step::Write) {
            let count = self.write_down(wire, order);
            in_a_row += 1;
            let lags = self.enter(|hub, at| hub.wrote(id, order, count, Who::Again, at));
            if lags == Some(true) {
                self.coverage.lags += 1;
                self.wires[wire].server_heart.stop();
                return self.begin_help(wire);
            }
            if in_a_row == IN_A_ROW {
                self.enter(|hub, _| hub.queue_again(id));
                return;
            }
            step = self.enter(|hub, at| hub.next_write(id, order, Who::Again, at));
        }
        if step == Some(Step::ShutDown) {
            self.shut_writing(wire);
        }
    }

    /// Starts a helper, if there is one to be had.
    fn begin_help(&mut self, wire: usize) {
        let Some(id) = self.wires[wire].server.link else { return };
        if self.plan.missing_helpers > 0 && self.random.chance(self.plan.missing_helpers) {
            trace!(self, ("server"), "has no helper for wire {wire}");
            self.coverage.helpers_missing += 1;
            self.enter(|hub, at| hub.no_helper(id, at));
            return;
        }
        self.wires[wire].server.awaits_helper = true;
        self.soon(BEGINNING, Event::Help(wire));
    }

    /// The helper's life: writes that wait for room, until there is nothing left to write.
    pub(crate) fn help(&mut self, wire: usize) {
        let side = &mut self.wires[wire].server;
        let Some(id) = side.link else { return };
        side.awaits_helper = false;
        let held = side.helper.take();
        let mut step = held.as_ref().map(|_| Step::Write);
        let mut order = held.unwrap_or_default();
        if step.is_none() {
            step = self.enter(|hub, at| hub.next_write(id, &mut order, Who::Helper, at));
        }
        while step == Some(Step::Write) {
            let is_closed = self.wires[wire].server.is_closed;
            if !is_closed && self.wires[wire].pipe(Way::Down).room() == 0 {
                self.wires[wire].server.helper = Some(order);
                return; // called again when the client has read something
            }
            let count = self.write_down(wire, &order);
            self.enter(|hub, at| hub.wrote(id, &mut order, count, Who::Helper, at));
            step = self.enter(|hub, at| hub.next_write(id, &mut order, Who::Helper, at));
        }
        if step == Some(Step::ShutDown) {
            self.shut_writing(wire);
        }
    }

    /// How much of an order the socket takes at once; `None` if it is broken.
    fn write_down(&mut self, wire: usize, order: &Order) -> Option<usize> {
        let (now, arrival) = (self.now, self.arrival());
        let link = &mut self.wires[wire];
        if link.server.is_closed || link.pipe(Way::Up).is_reset(now) {
            return None;
        }
        let mut count = 0;
        for piece in order.pieces() {
            let taken = link.pipe(Way::Down).write(piece, arrival);
            let pings = link.sniff_down(&piece[..taken], now);
            self.coverage.heartbeats_of_servers += pings;
            count += taken;
            if taken < piece.len() {
                break;
            }
        }
        self.burn(wire, Way::Down);
        self.expect(wire, Way::Down);
        Some(count)
    }

    fn shut_writing(&mut self, wire: usize) {
        let arrival = self.arrival();
        self.wires[wire].pipe(Way::Down).finish(arrival);
        self.expect(wire, Way::Down);
    }

    /// Writes that are under way find the connection broken.
    pub(crate) fn break_writers(&mut self, wire: usize) {
        let side = &mut self.wires[wire].server;
        let Some(id) = side.link else { return };
        let held = [(side.late.take(), Who::Again), (side.helper.take(), Who::Helper)];
        for (order, who) in held {
            let Some(mut order) = order else { continue };
            self.enter(|hub, at| hub.wrote(id, &mut order, None, who, at));
        }
    }
}
