//! What clients get to hear: one write at a time, of all that is there (`PROTOCOL.md` section 5).
//!
//! An [`Order`] is one write to one client: what was torn, what it is owed, its share of the log
//! from its cursor on, a notice that belongs behind those records, its farewell. The shell carries
//! it out without any lock and says how much the socket took. The thread that appended records
//! serves those who keep up; who does not take a whole order *lags*, and gets a helper of its own
//! until it has caught up.

use std::ops::Range;

use super::ending::ACK_TIME;
use super::link::{Link, LinkId, Service, Stage};
use super::{DRAIN_TIME, Hub, Moment, OWED_MAX};
use crate::frame::frame_size;

/// So many bytes of records go into one order, about; so that Status and Pong need not wait long.
const ORDER_BYTES: u64 = 256 * 1024;
/// The same for a client that lags: each of them holds its own copy.
const HELPER_BYTES: u64 = 32 * 1024;
/// So many ranges of records go into one order: the system's limit for one vectored write is 1,024.
const ORDER_RANGES: usize = 56;

/// So much memory a client keeps for what it is owed; more only while it is owed more.
const OWED_KEPT: usize = 256;

/// Who asks for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A thread that found the client on its list of work.
    Visitor,
    /// The same thread, after a write.
    Again,
    /// The client's own helper.
    Helper,
}

/// What there is to do for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing (any more).
    Nothing,
    /// Write the order's pieces, and say with [`Hub::wrote`] how many bytes went.
    Write,
    /// Shut down the writing half: all was said.
    ShutDown,
}

/// One write. Its memory is used again from order to order, and its copy of the log also from
/// client to client: those who keep up all want the same bytes.
#[derive(Debug, Default)]
pub struct Order {
    owed: Vec<u8>,
    notice: Vec<u8>,
    farewell: Vec<u8>,
    /// The first `torn` bytes of the first range finish a record.
    torn: bool,
    ranges: Vec<Range<u64>>,
    until: u64,
    window: Window,
}

/// A copy of a stretch of the log.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn cover(&mut self, log: &crate::log::Log, range: Range<u64>) {
        let room = self.end() - self.start < 2 * ORDER_BYTES;
        if range.start < self.start || range.start > self.end() || (range.end > self.end() && !room)
        {
            self.start = range.start;
            self.bytes.clear();
        }
        if range.end > self.end() {
            log.copy(self.end()..range.end, &mut self.bytes);
        }
    }

    fn slice(&self, range: &Range<u64>) -> &[u8] {
        &self.bytes[(range.start - self.start) as usize..(range.end - self.start) as usize]
    }
}

impl Order {
    /// The bytes to write, in order; at most 61 pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (torn, rest) = self.ranges.split_at(usize::from(self.torn));
        let torn = torn.iter().map(|range| self.window.slice(range));
        let records = rest.iter().map(|range| self.window.slice(range));
        let owed = std::iter::once(&*self.owed);
        torn.chain(owed)
            .chain(records)
            .chain([&*self.notice, &*self.farewell])
            .filter(|piece| !piece.is_empty())
    }

    /// Gives memory back that only a burst needed.
    pub fn shrink(&mut self) {
        if self.window.bytes.capacity() > 2 * HELPER_BYTES as usize {
            self.window = Window::default();
        }
    }

    fn clear(&mut self) {
        self.owed.clear();
        self.notice.clear();
        self.farewell.clear();
        self.ranges.clear();
        self.torn = false;
    }

    fn is_empty(&self) -> bool {
        let parts = [&self.owed, &self.notice, &self.farewell];
        self.ranges.is_empty() && parts.iter().all(|part| part.is_empty())
    }
}

impl Hub {
    /// What is next for a client. With [`Step::Write`] the order is filled in, and nobody else is
    /// given one for this client until [`wrote`](Self::wrote) was called.
    pub fn next_write(&mut self, id: LinkId, order: &mut Order, who: Who, at: Moment) -> Step {
        order.clear();
        let log = &self.core.ledger.log;
        let Some(link) = self.core.links.get_mut(id.0) else { return Step::Nothing };
        let expected = match who {
            Who::Visitor => Service::Queued,
            Who::Again => Service::Writing,
            Who::Helper => Service::Helped,
        };
        if link.service != expected {
            return Step::Nothing;
        }
        if who == Who::Visitor {
            link.took_at = at.now;
            link.service = Service::Writing;
        }
        order.owed.extend_from_slice(&link.owed);
        link.owed.clear();
        link.owed.shrink_to(OWED_KEPT);
        if link.takes_records() {
            let most = if who == Who::Helper { HELPER_BYTES } else { ORDER_BYTES };
            link.order_records(log, order, most);
        }
        if order.is_empty() {
            return self.rest(id, at);
        }
        if let (Some(first), Some(last)) = (order.ranges.first(), order.ranges.last()) {
            order.window.cover(log, first.start..last.end);
        }
        link.in_flight = true;
        link.owed_in_flight = order.owed.len();
        Step::Write
    }

    /// There is nothing to send to a client: it is idle, or its dialogue is over.
    fn rest(&mut self, id: LinkId, at: Moment) -> Step {
        let Some(link) = self.core.links.get_mut(id.0) else { return Step::Nothing };
        link.service = Service::Idle;
        let asked = link.stage == Stage::Asked && link.farewell.is_empty();
        let over = match link.stage {
            Stage::Refused => true,
            Stage::Leaving => link.last_position.is_some() && link.farewell.is_empty(),
            _ => false,
        };
        let step = if over {
            link.stage = Stage::Draining;
            self.core.set_deadline(id, at.now + DRAIN_TIME);
            Step::ShutDown
        } else {
            Step::Nothing
        };
        if asked {
            self.core.set_deadline(id, at.now + ACK_TIME);
        }
        self.core.relieve(id, at.now);
        step
    }

    /// The socket took `count` bytes of the order; `None`: it broke. True if the client lags and
    /// needs a helper from now on; otherwise [`next_write`](Self::next_write) tells what is next.
    pub fn wrote(
        &mut self,
        id: LinkId,
        order: &mut Order,
        count: Option<usize>,
        who: Who,
        at: Moment,
    ) -> bool {
        let Some(link) = self.core.links.get_mut(id.0) else { return false };
        link.in_flight = false;
        link.owed_in_flight = 0;
        let Some(count) = count else {
            link.service = Service::Broken;
            self.core.relieve(id, at.now);
            self.core.unblock_owed(id);
            return false;
        };
        if count > 0 {
            link.took_at = at.now;
        }
        let whole = link.settle(order, count);
        if link.owed.is_empty() {
            link.allowance = 0; // what was owed from the start has left
        }
        let lags = !whole && who != Who::Helper;
        if lags {
            link.service = Service::Helped;
        }
        let owed = link.owed.len();
        self.core.relieve(id, at.now);
        if owed <= OWED_MAX {
            self.core.unblock_owed(id);
        }
        lags
    }

    /// A thread that is not through with a client leaves it for later: it is on the list again.
    pub fn queue_again(&mut self, id: LinkId) {
        if let Some(link) = self.core.links.get_mut(id.0)
            && link.service == Service::Writing
        {
            link.service = Service::Queued;
            self.core.work.push(id);
        }
    }

    /// A thread leaves a client that is on its list to a helper; true if there is one to be had.
    pub fn hand_over(&mut self, id: LinkId) -> bool {
        let link = self.core.links.get_mut(id.0);
        let Some(link) = link.filter(|link| link.service == Service::Queued) else { return false };
        link.service = Service::Helped;
        true
    }

    /// No helper could be had for a client that lags: it is let go.
    pub fn no_helper(&mut self, id: LinkId, at: Moment) {
        self.let_go(id, at);
        if let Some(link) = self.core.links.get_mut(id.0) {
            link.service = Service::Broken; // its time for a goodbye ends by itself
        }
    }
}

impl Link {
    fn order_records(&mut self, log: &crate::log::Log, order: &mut Order, most: u64) {
        if self.is_torn() {
            // Alone: what comes next may lie far off, and one order is one stretch of the log.
            order.torn = true;
            order.ranges.push(self.cursor..self.torn_until);
            order.until = self.torn_until;
            return;
        }
        let from = self.cursor;
        let limit = self.limit(log.head());
        let bounds = (most, ORDER_RANGES);
        order.until =
            log.ranges_for(self.session, from, limit.max(from), bounds, &mut order.ranges);
        if order.ranges.is_empty() {
            self.cursor = order.until;
            self.torn_until = order.until;
        }
        if order.until >= self.notice_at {
            std::mem::swap(&mut order.notice, &mut self.notice);
        }
        if self.last_position.is_some_and(|last| order.until >= last) {
            std::mem::swap(&mut order.farewell, &mut self.farewell);
        }
    }

    /// Takes note of what the socket took of an order. True if it took all.
    fn settle(&mut self, order: &mut Order, count: usize) -> bool {
        let mut left = count;
        let torn = usize::from(order.torn);
        for index in 0..=order.ranges.len() {
            // What is owed stands between the rest of a torn record and the other records.
            if index == torn {
                if left < order.owed.len() {
                    self.put_back(order, left);
                    return false;
                }
                left -= order.owed.len();
                order.owed.clear();
            }
            let Some(range) = order.ranges.get(index).cloned() else { break };
            let size = (range.end - range.start) as usize;
            if left < size {
                self.tear(order, &range, left, index < torn);
                return false;
            }
            left -= size;
            self.cursor = range.end;
        }
        if !order.ranges.is_empty() {
            self.cursor = order.until;
            self.torn_until = order.until;
        }
        order.notice.append(&mut order.farewell);
        let rest = order.notice.split_off(left.min(order.notice.len()));
        let is_whole = rest.is_empty();
        self.owed.splice(..0, rest);
        is_whole
    }

    /// Only `count` bytes of a range of records went.
    fn tear(&mut self, order: &mut Order, range: &Range<u64>, count: usize, was_torn: bool) {
        self.put_back(order, 0);
        let bytes = order.window.slice(range);
        let boundary = if was_torn { bytes.len() } else { boundary_in(bytes, count) };
        self.cursor = range.start + count as u64;
        self.torn_until = range.start + boundary as u64;
        if !self.takes_records() {
            // It was let go meanwhile: the rest of the record goes first, then the goodbye.
            self.owed.splice(..0, bytes[count..boundary].iter().copied());
        }
    }

    /// What an order held and did not get rid of is owed again, before what came since.
    fn put_back(&mut self, order: &mut Order, sent: usize) {
        order.owed.drain(..sent);
        order.owed.append(&mut self.owed);
        std::mem::swap(&mut order.owed, &mut self.owed);
        if self.notice.is_empty() {
            std::mem::swap(&mut order.notice, &mut self.notice); // else there is newer news
        }
        self.farewell.splice(..0, order.farewell.drain(..));
    }
}

/// The first boundary between frames at or behind `count`, in bytes that begin at one.
fn boundary_in(bytes: &[u8], count: usize) -> usize {
    let mut at = 0;
    while at < count {
        at += frame_size(&bytes[at..]);
    }
    at
}
