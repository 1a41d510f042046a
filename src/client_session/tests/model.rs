//! Any number of cuts, at any place: no message is doubled, swapped, or told a fate it has not.

use std::collections::VecDeque;

use super::loss::{events, open_at};
use super::*;
use crate::message::FLAG_RESUMED;

/// As much of a server as a sender's messages meet. The log outlives its sessions.
#[derive(Default)]
struct Server {
    sessions: u8,
    seen: u64,
    refused: Vec<u64>,
    log: Vec<u64>,
}

impl Server {
    fn answer(&mut self, knows_it: bool) -> Frame<'static> {
        if !knows_it {
            let (sessions, log) = (self.sessions + 1, std::mem::take(&mut self.log));
            *self = Self { sessions, log, ..Self::default() };
        }
        Frame::InitAck {
            version: VERSION,
            mode: Mode::Relay,
            flags: if knows_it { FLAG_RESUMED } else { 0 },
            session: SessionKey([self.sessions + 7; 16]),
            seen: self.seen,
            head: 0,
            missed: 0,
            frame_max: 1 << 20,
            grace_ms: 0,
            name: "alice",
        }
    }

    fn take(&mut self, id: u64, body: u64) {
        assert!(id <= self.seen + 1, "a hole before {id}, seen is {}", self.seen);
        if id == self.seen + 1 {
            self.seen = id;
            if body.is_multiple_of(5) { self.refused.push(id) } else { self.log.push(body) }
        }
    }

    /// Tells every refusal, new or not, then the status 0 for what it has seen.
    fn tell(&self, session: &mut ClientSession) {
        let detail = || Cow::Borrowed("");
        for id in &self.refused {
            let refusal = Frame::Status { id: *id, code: StatusCode::Refused, detail: detail() };
            give(session, &refusal);
        }
        if self.seen > 0 {
            let (id, code) = (self.seen, StatusCode::Accepted);
            give(session, &Frame::Status { id, code, detail: detail() });
        }
    }
}

/// What is outgoing goes on the wire: ids, and bodies, which are numbers.
fn put_on_wire(session: &mut ClientSession, wire: &mut VecDeque<(u64, u64)>) {
    let mut framer = Framer::new(u32::MAX);
    framer.extend(&std::mem::take(&mut session.outgoing));
    while let Some(raw) = framer.next_frame().expect("legal") {
        if let Frame::Text { id, body } = decode(&raw).expect("legal") {
            let body = std::str::from_utf8(body).expect("digits").parse().expect("a number");
            wire.push_back((id, body));
        }
    }
}

fn run(seed: u64) {
    let mut number = seed;
    let mut below = |limit: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (number >> 33) % limit
    };
    let (mut session, mut server) = (open_at(Instant::now()), Server::default());
    let (mut wire, mut sent) = (VecDeque::new(), 0);
    for _ in 0..300 {
        match below(12) {
            0..=3 => {
                sent += 1;
                let receipt = session.send_text(&sent.to_string()).expect("alive");
                assert_eq!(receipt.number(), sent);
            }
            4..=6 => {
                if let Some((id, body)) = wire.pop_front() {
                    server.take(id, body);
                }
            }
            7 if session.is_open() => server.tell(&mut session),
            8 if !session.is_away() => {
                session.lost(None, Instant::now());
                wire.clear();
            }
            _ if session.is_away() => session.reconnect(),
            _ if session.is_in_handshake() => give(&mut session, &server.answer(below(4) > 0)),
            _ => {}
        }
        put_on_wire(&mut session, &mut wire);
    }
    session.reconnect(); // the faults are over
    if session.is_in_handshake() {
        give(&mut session, &server.answer(true));
        put_on_wire(&mut session, &mut wire);
    }
    wire.drain(..).for_each(|(id, body)| server.take(id, body));
    server.tell(&mut session);
    check(&mut session, &server.log, sent, seed);
}

/// Every message has its fate, and the log agrees.
fn check(session: &mut ClientSession, log: &[u64], sent: u64, seed: u64) {
    assert!(session.is_open(), "seed {seed}: {:?}", session.ended());
    assert!(log.is_sorted_by(|one, next| one < next), "seed {seed}: {log:?}");
    assert_eq!((session.unsettled(Receipt(sent)), session.kept_bytes()), (0, 0), "seed {seed}");
    let told = |event| match event {
        Event::SessionLost { unconfirmed, .. } => unconfirmed,
        _ => 0,
    };
    let mut unknown: u64 = events(session).into_iter().map(told).sum();
    for number in 1..=sent {
        let fate = session.fate(Receipt(number)).expect("settled");
        let agrees = match fate {
            Fate::Accepted => log.contains(&number),
            Fate::Refused { .. } => number.is_multiple_of(5),
            Fate::Unknown => unknown > 0,
        };
        assert!(agrees, "seed {seed}: message {number} is {fate:?}");
        unknown -= u64::from(fate == Fate::Unknown);
    }
    assert_eq!(unknown, 0, "seed {seed}: more were told to be unknown than are");
}

#[test]
fn fates_are_true_whatever_is_cut() {
    (0..500).for_each(run);
}
