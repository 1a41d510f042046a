//! A client's shell, in virtual time: what `src/connection` does with threads and sockets, done
//! with events. It decides nothing but what its user and the network would.

use std::io;

use tcpkit::client_session::{ClientSession, Keep, Options};
use tcpkit::frame::{Framer, HANDSHAKE_FRAME_MAX};
use tcpkit::message::Token;

use crate::checks::fates::Fates;
use crate::checks::heart::Heart;
use crate::checks::turns::Seat;
use crate::network::{Came, Ending, NEVER, Time, Way};
use crate::trace;
use crate::wire::Wire;
use crate::world::{Dialling, Event, World};

/// Names are few, so that they are taken and free again, and known to others.
const NAMES: [&str; 5] = ["ann", "Bob", "cleo", "dora", ""];
/// More clients than letters for their messages are not made.
pub(crate) const CLIENTS_MAX: usize = 20;

pub(crate) struct Client {
    /// None once it has vanished.
    pub(crate) session: Option<Box<ClientSession>>,
    pub(crate) framer: Framer,
    /// The connection of now.
    pub(crate) wire: Option<usize>,
    dials: u32,
    pub(crate) frozen_until: Time,
    beat_at: Time,
    acts_until: Time,
    /// Whether it has a policy to come back.
    pub(crate) returns: bool,
    pub(crate) fates: Fates,
    pub(crate) seat: Seat,
}

impl Client {
    /// Whether its user is still there.
    pub(crate) fn is_living(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.ended().is_none())
    }
}

impl World {
    /// A new client, which dials soon.
    pub(crate) fn add_client(&mut self, soon: Time) {
        if self.clients.len() == CLIENTS_MAX {
            return;
        }
        let returns = !self.random.chance(self.plan.without_policy);
        let options = Options {
            name: self.random.pick(&NAMES),
            timezone: "UTC",
            token: Token(""),
            keep: Keep { records: true, refusals: true, acceptances: self.random.chance(500) },
            reconnect: returns.then_some(self.plan.policy),
            seed: self.random.next(),
        };
        let mut session = ClientSession::new(&options).expect("short fields");
        session.watch(self.plan.client_rhythm, self.instant());
        let client = self.clients.len();
        self.clients.push(Client {
            session: Some(Box::new(session)),
            framer: Framer::new(HANDSHAKE_FRAME_MAX),
            wire: None,
            dials: 0,
            frozen_until: 0,
            beat_at: NEVER,
            acts_until: self.plan.calm_at,
            returns,
            fates: Fates::default(),
            seat: Seat::default(),
        });
        self.soon(soon, Event::Dial(client, 0));
        self.soon(soon + self.plan.action_every, Event::Act(client));
    }

    /// Calls into the machine, then does what came out of it.
    pub(crate) fn converse(
        &mut self,
        client: usize,
        call: impl FnOnce(&mut Self, &mut ClientSession),
    ) {
        let Some(mut session) = self.clients[client].session.take() else { return };
        call(self, &mut session);
        self.follow_up(client, &mut session);
        self.clients[client].session = Some(session);
    }

    fn follow_up(&mut self, client: usize, session: &mut ClientSession) {
        self.beat_now(client, session);
        self.take_events(client, session);
        if let Some(wire) = self.clients[client].wire {
            self.write_up(wire, session);
            if session.is_away() || session.ended().is_some() {
                self.close_client(client, wire, session);
            }
        }
        if let Some(retry_at) = session.retry_at() {
            let dials = self.clients[client].dials;
            if !self.clients[client].fates.is_dialling {
                self.clients[client].fates.is_dialling = true;
                let time = self.time_of(retry_at);
                self.push(time, Event::Dial(client, dials));
            }
        }
    }

    /// Asks the heartbeat what it wants, and sees to it that it is asked again in time.
    fn beat_now(&mut self, client: usize, session: &mut ClientSession) {
        if !session.is_open() {
            return;
        }
        let before = session.outgoing.len();
        let due = session.beat(self.instant());
        self.note_beat(client, session, before);
        if let Some(due) = due {
            let due = self.time_of(due);
            if due < self.clients[client].beat_at {
                self.clients[client].beat_at = due;
                self.push(due, Event::Beat(client));
            }
        }
    }

    pub(crate) fn beat(&mut self, client: usize) {
        self.clients[client].beat_at = NEVER;
        self.converse(client, |_, _| {});
    }

    pub(crate) fn client_reads(&mut self, wire: usize) {
        let client = self.wires[wire].client;
        if self.clients[client].wire != Some(wire) || self.clients[client].session.is_none() {
            return self.drain(wire);
        }
        let (most, now) = (self.read_size(), self.now);
        let framer = &mut self.clients[client].framer;
        match self.wires[wire].read_down(framer, most, now) {
            Came::Nothing => {}
            Came::End(ending) => {
                trace!(self, ("client {client}"), "reads the end of wire {wire}: {ending:?}");
                let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
                let cause = (ending == Ending::Reset).then(reset);
                self.converse(client, |world, session| session.lost(cause, world.instant()));
                return;
            }
            Came::Bytes(_) => {
                self.wires[wire].client_heard = now;
                self.converse(client, |world, session| world.feed(client, wire, session));
                self.make_room(wire);
            }
        }
        self.expect(wire, Way::Down);
    }

    /// Gives every whole frame to the machine.
    fn feed(&mut self, client: usize, wire: usize, session: &mut ClientSession) {
        let mut framer = std::mem::replace(&mut self.clients[client].framer, Framer::new(1));
        let now = self.instant();
        while session.ended().is_none() {
            framer.set_frame_max(session.frame_max());
            match framer.next_frame() {
                Ok(Some(raw)) => {
                    let was_open = session.is_open();
                    self.note_frame(client, &raw);
                    session.receive(&raw, now);
                    if session.is_open() && !was_open {
                        self.note_open(client, wire, session);
                    }
                }
                Ok(None) => break,
                Err(violation) => session.violated(violation),
            }
        }
        session.heard(framer.peek(), now);
        self.clients[client].framer = framer;
    }

    /// A socket that nobody uses any more.
    fn drain(&mut self, wire: usize) {
        let now = self.now;
        let mut dropped = [0; 4096];
        while let Came::Bytes(_) = self.wires[wire].pipe(Way::Down).read(&mut dropped, now) {}
        self.make_room(wire);
    }

    /// The client has read something: whoever waits for room writes on.
    fn make_room(&mut self, wire: usize) {
        if self.wires[wire].server.helper.is_some() {
            self.push(self.now, Event::Help(wire));
        }
    }

    /// Writes what is outgoing, as far as there is room.
    pub(crate) fn write_up(&mut self, wire: usize, session: &mut ClientSession) {
        if session.outgoing.is_empty() || !self.wires[wire].client_is_open {
            return;
        }
        let arrival = self.arrival();
        let count = self.wires[wire].pipe(Way::Up).write(&session.outgoing, arrival);
        session.outgoing.drain(..count);
        self.burn(wire, Way::Up);
        self.expect(wire, Way::Up);
    }

    /// The server has read something: a client that waits for room writes on.
    pub(crate) fn write_on(&mut self, wire: usize) {
        let client = self.wires[wire].client;
        let it = &self.clients[client];
        let has_more = it.session.as_ref().is_some_and(|session| !session.outgoing.is_empty());
        let is_here = it.wire == Some(wire) && it.frozen_until <= self.now;
        if has_more && is_here && self.wires[wire].pipe(Way::Up).is_writable() {
            self.converse(client, |_, _| {});
        }
    }

    /// The client lets go of its connection; its last words are under way.
    fn close_client(&mut self, client: usize, wire: usize, session: &mut ClientSession) {
        trace!(self, ("client {client}"), "closes wire {wire}");
        session.outgoing.clear();
        self.clients[client].wire = None;
        self.clients[client].beat_at = NEVER;
        self.wires[wire].client_is_open = false;
        self.wires[wire].client_heart.stop();
        let arrival = self.arrival();
        self.wires[wire].pipe(Way::Up).finish(arrival);
        self.expect(wire, Way::Up);
        self.drain(wire);
        self.expect(wire, Way::Down);
    }

    /// The user, or the machine, wants a connection.
    pub(crate) fn dial(&mut self, client: usize, serial: u32) {
        let dialling = if self.dialling_until > self.now { self.dialling } else { Dialling::Works };
        let it = &mut self.clients[client];
        if it.dials != serial || it.session.is_none() {
            return;
        }
        it.dials += 1;
        let serial = it.dials;
        trace!(self, ("client {client}"), "dials ({dialling:?})");
        if dialling == Dialling::Hangs {
            self.coverage.hung_dials += 1;
            let limit = self.now + self.plan.connect_limit;
            return self.push(limit, Event::Reached(client, serial, false));
        }
        let is_up = dialling == Dialling::Works && self.server.hub.is_some();
        self.coverage.failed_dials += u64::from(!is_up);
        let arrival = self.arrival();
        self.push(arrival, Event::Reached(client, serial, is_up));
    }

    /// An attempt has succeeded or failed.
    pub(crate) fn reached(&mut self, client: usize, serial: u32, is_up: bool) {
        let it = &mut self.clients[client];
        if it.dials != serial || it.session.as_ref().is_none_or(|session| session.ended().is_some())
        {
            return;
        }
        it.fates.is_dialling = false;
        if !is_up || self.server.hub.is_none() || self.server.is_leaving {
            return self.converse(client, |world, session| {
                let error = io::Error::from(io::ErrorKind::ConnectionRefused);
                if session.is_away() {
                    session.unreachable(error, world.instant());
                } else {
                    session.lost(Some(error), world.instant()); // the very first attempt
                }
            });
        }
        let wire = self.add_wire(client);
        trace!(self, ("client {client}"), "is connected by wire {wire}");
        self.converse(client, |world, session| {
            world.clients[client].wire = Some(wire);
            world.clients[client].framer = Framer::new(HANDSHAKE_FRAME_MAX);
            session.reconnect();
        });
        self.push(self.now + self.plan.handshake_limit, Event::Overdue(client, wire));
    }

    fn add_wire(&mut self, client: usize) -> usize {
        let hearts = (Heart::new(self.plan.rules.rhythm), Heart::new(self.plan.client_rhythm));
        let mut wire = Wire::new(client, self.server.epoch, self.plan.capacity, hearts);
        wire.spare = usize::from(self.plan.is_modest);
        (wire.client_heard, wire.server_heard) = (self.now, self.now);
        if !self.is_calm && self.random.chance(self.plan.fuses) {
            let way = self.random.pick(&[Way::Up, Way::Down]);
            let most = self.random.pick(&[10, 80, 200, 1_000]);
            wire.pipe(way).fuse = Some(self.random.below(most) as usize);
        }
        self.wires.push(wire);
        let wire = self.wires.len() - 1;
        self.soon(100_000, Event::Accept(wire));
        wire
    }

    /// A handshake or a goodbye has taken too long.
    pub(crate) fn overdue(&mut self, client: usize, wire: usize) {
        if self.clients[client].wire != Some(wire) {
            return;
        }
        self.converse(client, |world, session| {
            let now = world.instant();
            if session.is_in_handshake() {
                session.unanswered(now);
            } else if session.is_closing() {
                session.lost(None, now);
            }
        });
    }

    /// The user does something, and will again.
    pub(crate) fn act(&mut self, client: usize) {
        if self.now >= self.clients[client].acts_until || !self.clients[client].is_living() {
            return;
        }
        self.act_now(client);
        self.soon(2 * self.plan.action_every, Event::Act(client));
    }
}
