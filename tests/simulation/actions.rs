//! What the users of the clients do.

use tcpkit::client_session::ClientSession;
use tcpkit::message::{Frame, kind};

use crate::body::{self, Tag};
use crate::checks::heart::FIRST_HEARTBEAT;
use crate::schedule::{ACTIONS, Action};
use crate::trace;
use crate::world::{Event, World};

/// The largest bodies, so that a schedule stays short.
const LARGE: u64 = 6_000;
/// What the body of a message must leave free of a frame.
const MARGIN: u32 = 1024;
/// After so many messages of a client there are no more rushes.
const ENOUGH: usize = 2_000;
/// The bytes of a frame of Text before its body: length, kind, id.
const TEXT_HEADER: usize = 4 + 1 + 8;

impl World {
    pub(crate) fn act_now(&mut self, client: usize) {
        let weights = self.plan.action_weights;
        let Some(index) = self.random.weighted(&weights) else { return };
        match ACTIONS[index] {
            Action::Close => self.close(client),
            Action::Ping => self.converse(client, |world, session| {
                if let Ok(nonce) = session.ping() {
                    world.coverage.pings += 1;
                    world.clients[client].fates.pings.push(nonce);
                }
            }),
            Action::StrayPong => self.converse(client, |world, session| {
                if session.is_open() {
                    world.coverage.stray_pongs += 1;
                    let nonce = FIRST_HEARTBEAT + world.random.below(4);
                    let nonce = world.random.pick(&[nonce, 1, 7]);
                    Frame::Pong { nonce }.encode(&mut session.outgoing);
                }
            }),
            Action::Repeat => self.converse(client, |world, session| {
                world.repeat(client, session);
            }),
            Action::Move => self.converse(client, |world, session| {
                world.move_at_random(client, session);
            }),
            Action::Burst => {
                let count = self.random.between(2, 40);
                self.send_several(client, Action::Text, count);
            }
            Action::ManyRefused if self.clients[client].fates.messages.len() > ENOUGH => {}
            Action::ManyRefused => {
                let count = self.random.pick(&[600, 1100, 1100]);
                let what = self.random.pick(&[Action::Shout, Action::NotUtf8]);
                self.send_several(client, what, count);
            }
            one => self.send_several(client, one, 1),
        }
    }

    fn send_several(&mut self, client: usize, what: Action, count: u64) {
        self.converse(client, |world, session| {
            for _ in 0..count {
                world.send(client, session, what);
            }
        });
    }

    pub(crate) fn close(&mut self, client: usize) {
        trace!(self, ("client {client}"), "says goodbye");
        self.coverage.closes += 1;
        self.clients[client].fates.has_closed = true;
        self.converse(client, |world, session| {
            session.terminate();
            if !session.is_closing() {
                session.lost(None, world.instant()); // a handshake that was not done
            }
        });
        if let Some(wire) = self.clients[client].wire {
            self.push(self.now + 5_000_000_000, Event::Overdue(client, wire));
        }
    }

    fn send(&mut self, client: usize, session: &mut ClientSession, what: Action) {
        let is_many = what == Action::Shout || what == Action::NotUtf8;
        if !is_many && session.kept_bytes() + session.outgoing.len() > self.plan.queue {
            return;
        }
        let body_max = u64::from(self.plan.rules.frame_max - MARGIN);
        let most = if self.random.chance(20) { body_max.min(LARGE) } else { self.plan.size };
        let size = self.random.between(body::LEAST as u64 + 1, most.min(body_max)) as usize;
        let size = if is_many { body::LEAST + 1 } else { size };
        let receipt = self.clients[client].fates.messages.len() as u64 + 1;
        let text = body::make(Tag { client, receipt }, size, what == Action::Shout);
        let (before, is_open) = (session.outgoing.len(), session.is_open());
        let sent = match what {
            Action::Direct => {
                let to = self.recipient();
                session.send_direct(&to, &text)
            }
            Action::Bytes => session.send_bytes(text.as_bytes()),
            _ => session.send_text(&text),
        };
        let Ok(given) = sent else { return };
        assert_eq!(given.number(), receipt, "receipts have no holes");
        if is_open {
            disguise(&mut session.outgoing, before, what, self.plan.rules.frame_max);
        }
        trace!(self, ("client {client}"), "sends {receipt}: {what:?} of {size} bytes");
        self.clients[client].fates.send(given, size, None, is_open);
    }

    /// Sends a message of this session again.
    fn repeat(&mut self, client: usize, session: &mut ClientSession) {
        let fates = &self.clients[client].fates;
        let base = fates.session.map_or(0, |session| self.oracle.sessions[session].base);
        if !session.is_open() || fates.left <= base {
            return;
        }
        let receipt = self.random.between(base + 1, fates.left);
        let id = fates.session.map(|session| self.oracle.sessions[session].id(receipt));
        let Some(id) = id.flatten() else { return };
        self.coverage.repeats += 1;
        trace!(self, ("client {client}"), "repeats {receipt}");
        let body = body::make(Tag { client, receipt }, body::LEAST + 1, false);
        let frame = Frame::Text { id, body: body.as_bytes() };
        frame.encode(&mut session.outgoing);
    }

    /// Somebody who is there, was there, or never was.
    fn recipient(&mut self) -> String {
        let count = self.oracle.sessions.len() as u64;
        if count == 0 || self.random.chance(200) {
            return "nobody".to_owned();
        }
        let first = count.saturating_sub(6);
        let session = self.random.between(first, count - 1) as usize;
        self.oracle.sessions[session].name.to_uppercase()
    }
}

/// Makes of the frame at `at` what this machine would never send.
fn disguise(outgoing: &mut Vec<u8>, at: usize, what: Action, frame_max: u32) {
    match what {
        Action::NotUtf8 => {
            if let Some(last) = outgoing.last_mut() {
                *last = 0xFF;
            }
        }
        Action::TooLarge => {
            debug_assert_eq!(outgoing[at + 4], kind::TEXT);
            let size = TEXT_HEADER + (frame_max - MARGIN) as usize + 1;
            let length = (size - 4) as u32;
            outgoing[at..at + 4].copy_from_slice(&length.to_be_bytes());
            outgoing.resize(at + size, b'x');
        }
        _ => {}
    }
}
