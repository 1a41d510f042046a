//! The world of one schedule: virtual time, the queue of what happens when, and who is in it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use tcpkit::hub::{Moment, Order};

use crate::checks::Oracle;
use crate::client::Client;
use crate::coverage::Coverage;
use crate::network::{NEVER, Time, Way};
use crate::random::Random;
use crate::schedule::Plan;
use crate::server::Server;
use crate::trace::Tape;
use crate::wire::Wire;

/// Something that is to happen. Clients and wires are named by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// There may be something to read.
    Readable(usize, Way),
    /// The server takes a connection in.
    Accept(usize),
    /// A client's helper goes on.
    Help(usize),
    /// A write that was ordered is carried out.
    Carry(usize),
    /// A reader that was blocked looks again.
    Look(usize),
    /// The server's reader finds its connection shut down.
    Dropped(usize),
    Tick(u32),
    Commit(u32),
    /// The server's process comes to its end, and begins anew.
    Exit(u32),
    Start,
    /// A client dials; its how many-eth call this is.
    Dial(usize, u32),
    /// An attempt to connect succeeds or fails.
    Reached(usize, u32, bool),
    /// The time for a handshake, or a goodbye, is over.
    Overdue(usize, usize),
    Beat(usize),
    Act(usize),
    /// A client makes a move in the turn that it has, if that is still this one.
    Play(usize, u64),
    Fault,
    /// The faults stop.
    Calm,
    Inspect,
}

/// A network that answers is not at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialling {
    Works,
    Fails,
    Hangs,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) now: Time,
    base: Instant,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    count: u64,
    pub(crate) wires: Vec<Wire>,
    pub(crate) server: Server,
    /// The order of the server's threads, whose memory is used again.
    pub(crate) server_order: Option<Order>,
    pub(crate) clients: Vec<Client>,
    pub(crate) oracle: Oracle,
    pub(crate) dialling: Dialling,
    pub(crate) dialling_until: Time,
    pub(crate) is_calm: bool,
    pub(crate) coverage: Coverage,
    pub(crate) tape: Tape,
}

/// More events than any schedule has: it does not come to rest.
const EVENTS_MAX: u64 = 3_000_000;

impl World {
    pub(crate) fn new(seed: u64, tape: Tape) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let oracle = Oracle::default();
        Self {
            server: Server::new(&plan, oracle.notes.clone()),
            plan,
            random,
            now: 0,
            base: Instant::now(),
            queue: BinaryHeap::new(),
            count: 0,
            wires: Vec::new(),
            server_order: None,
            clients: Vec::new(),
            oracle,
            dialling: Dialling::Works,
            dialling_until: 0,
            is_calm: false,
            coverage: Coverage::default(),
            tape,
        }
    }

    /// A point in time as the machines see it.
    pub(crate) fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { now: self.instant(), time_ms: self.now / 1_000_000 }
    }

    /// The time of a point in time; what lies before the beginning is the beginning.
    pub(crate) fn time_of(&self, instant: Instant) -> Time {
        instant.saturating_duration_since(self.base).as_nanos() as u64
    }

    pub(crate) fn push(&mut self, time: Time, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((time.max(self.now), self.count, event)));
    }

    pub(crate) fn soon(&mut self, most: Time, event: Event) {
        let time = self.now + self.random.below(most + 1);
        self.push(time, event);
    }

    pub(crate) fn say(&self, who: std::fmt::Arguments<'_>, what: std::fmt::Arguments<'_>) {
        self.tape.note(self.now, who, what);
    }

    /// A delay of the network.
    pub(crate) fn arrival(&mut self) -> Time {
        self.now + 1 + self.random.below(self.plan.delay)
    }

    /// Sees to it that the reader of a pipe looks when there is something for it.
    pub(crate) fn expect(&mut self, wire: usize, way: Way) {
        let pipe = self.wires[wire].pipe(way);
        if let Some(time) = pipe.next_arrival()
            && time < NEVER
        {
            let time = time.max(self.now);
            if time < pipe.look_at {
                pipe.look_at = time;
                self.push(time, Event::Readable(wire, way));
            }
        }
    }

    /// Runs the schedule to its end.
    pub(crate) fn run(mut self) -> Coverage {
        for _ in 0..self.plan.clients {
            let first = self.plan.unit;
            self.add_client(first);
        }
        let (calm_at, fault_every) = (self.plan.calm_at, self.plan.fault_every);
        self.soon(fault_every, Event::Fault);
        self.push(calm_at, Event::Calm);
        self.push(self.plan.unit, Event::Inspect);
        while let Some(Reverse((time, _, event))) = self.queue.pop() {
            self.now = time;
            assert!(self.count < EVENTS_MAX, "the schedule does not come to rest: {event:?}");
            if self.postpone(event) {
                continue;
            }
            self.happen(event);
            if event == Event::Inspect && self.inspect() {
                break;
            }
        }
        self.coverage
    }

    /// Those who are frozen do nothing until they thaw.
    fn postpone(&mut self, event: Event) -> bool {
        let until = match event {
            Event::Readable(_, Way::Up)
            | Event::Accept(_)
            | Event::Help(_)
            | Event::Carry(_)
            | Event::Look(_)
            | Event::Dropped(_)
            | Event::Tick(_)
            | Event::Commit(_) => self.server.frozen_until,
            Event::Readable(wire, Way::Down) => self.clients[self.wires[wire].client].frozen_until,
            Event::Dial(client, _)
            | Event::Reached(client, ..)
            | Event::Overdue(client, _)
            | Event::Beat(client)
            | Event::Act(client)
            | Event::Play(client, _) => self.clients[client].frozen_until,
            _ => 0,
        };
        if until <= self.now {
            return false;
        }
        self.push(until, event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Readable(wire, way) => {
                self.wires[wire].pipe(way).look_at = NEVER;
                match way {
                    Way::Up => self.server_reads(wire),
                    Way::Down => self.client_reads(wire),
                }
            }
            Event::Accept(wire) => self.accept(wire),
            Event::Help(wire) => self.help(wire),
            Event::Carry(wire) => self.carry(wire),
            Event::Look(wire) => self.look_again(wire),
            Event::Dropped(wire) => self.dropped(wire),
            Event::Tick(epoch) => self.tick(epoch),
            Event::Commit(epoch) => self.commit(epoch),
            Event::Exit(epoch) => self.exit(epoch),
            Event::Start => self.start_server(),
            Event::Dial(client, serial) => self.dial(client, serial),
            Event::Reached(client, serial, is_up) => self.reached(client, serial, is_up),
            Event::Overdue(client, wire) => self.overdue(client, wire),
            Event::Beat(client) => self.beat(client),
            Event::Act(client) => self.act(client),
            Event::Play(client, turn) => self.play_late(client, turn),
            Event::Fault => self.fault(),
            Event::Calm => self.calm(),
            Event::Inspect => {}
        }
        self.deliver();
    }
}
