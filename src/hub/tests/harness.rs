//! A hub without sockets: each client has room for so many bytes, and time is a number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::decode;
use crate::end::Loss;
use crate::frame::Framer;
use crate::heartbeat::Rhythm;
use crate::hub::{Commit, Handler, Hub, LinkId, Moment, Order, Relay, Rules, Step, Taken, Who};
use crate::log::SessionId;
use crate::message::{Frame, SessionKey, Token, VERSION};
use crate::report::Report;
use crate::settings::Settings;

pub(super) fn rules() -> Rules {
    Rules {
        clients: 100,
        handshaking: 100,
        // So long that only the tests about it meet a heartbeat.
        rhythm: Rhythm { data_threshold: Duration::from_secs(100_000), ..Rhythm::default() },
        // Who is lost is gone: only the tests about coming back have it otherwise.
        grace: Duration::ZERO,
        ..Rules::from(&Settings::default())
    }
}

/// What the hub does not know of a connection: its buffers.
pub(super) struct Wire {
    framer: Framer,
    /// How many bytes its socket still takes.
    pub(super) room: usize,
    /// Every byte that it was sent.
    pub(super) sent: Vec<u8>,
    pub(super) shut: bool,
    pub(super) dead: bool,
    lags: bool,
    pub(super) taken: Taken,
}

pub(super) struct Bench {
    pub(super) hub: Hub,
    pub(super) wires: BTreeMap<u64, Wire>,
    pub(super) reports: Vec<Report>,
    /// How often a client was given a helper.
    pub(super) helpers: usize,
    /// For the tests that speak of a session, not of its connection.
    pub(super) first_session: SessionId,
    /// How many clients were on the list of work, each time that somebody was.
    pub(super) visits: usize,
    start: Instant,
    elapsed: Duration,
    work: Vec<LinkId>,
}

impl Bench {
    pub(super) fn new(rules: Rules) -> Self {
        Self::with(rules, Relay, Commit::AtOnce)
    }

    pub(super) fn with(rules: Rules, handler: impl Handler, commit: Commit) -> Self {
        let mut keys = 0_u128;
        let new_key = Box::new(move || {
            keys = keys.wrapping_add(u128::from_ne_bytes([1; 16]));
            Some(SessionKey(keys.to_ne_bytes()))
        });
        Self {
            hub: Hub::new(rules, Arc::new(handler), commit, new_key),
            wires: BTreeMap::new(),
            reports: Vec::new(),
            helpers: 0,
            first_session: 0,
            visits: 0,
            start: Instant::now(),
            elapsed: Duration::ZERO,
            work: Vec::new(),
        }
    }

    pub(super) fn at(&self) -> Moment {
        Moment { now: self.start + self.elapsed, time_ms: self.elapsed.as_millis() as u64 }
    }

    pub(super) fn connect(&mut self) -> LinkId {
        let at = self.at();
        let id = self.hub.connect("127.0.0.1:1", at).expect("room for a connection");
        let wire = Wire {
            framer: Framer::new(4096),
            room: usize::MAX,
            sent: Vec::new(),
            shut: false,
            dead: false,
            lags: false,
            taken: Taken::All,
        };
        self.wires.insert(id.0, wire);
        id
    }

    /// A client past its handshake; what it was sent so far is forgotten.
    pub(super) fn join(&mut self, name: &str) -> LinkId {
        let id = self.connect();
        self.say(id, &init(name));
        let welcome = self.heard(id);
        assert!(matches!(welcome.first().map(|bytes| bytes[4]), Some(2)), "no InitAck");
        id
    }

    pub(super) fn wire(&mut self, id: LinkId) -> &mut Wire {
        self.wires.get_mut(&id.0).expect("a client of this bench")
    }

    pub(super) fn say(&mut self, id: LinkId, frame: &Frame<'_>) -> Taken {
        self.say_bytes(id, &frame.to_bytes())
    }

    pub(super) fn say_bytes(&mut self, id: LinkId, bytes: &[u8]) -> Taken {
        self.wire(id).framer.extend(bytes);
        self.receive(id);
        self.deliver();
        self.wire(id).taken
    }

    /// Lets the hub take what a client has said, as its reader does.
    fn receive(&mut self, id: LinkId) {
        let at = self.at();
        let wire = self.wires.get_mut(&id.0).expect("a client of this bench");
        wire.taken = self.hub.receive(id, &mut wire.framer, at);
    }

    /// Carries out orders until nobody has any that its socket takes.
    pub(super) fn deliver(&mut self) {
        loop {
            self.hub.take_work(&mut self.work);
            self.reports.append(&mut self.hub.take_reports());
            if self.hub.take_wake() {
                let blocked = |wire: &Wire| wire.taken == Taken::Blocked;
                let ids: Vec<_> = self
                    .wires
                    .iter()
                    .filter(|(_, wire)| blocked(wire))
                    .map(|(id, _)| *id)
                    .collect();
                for id in ids {
                    self.receive(LinkId(id));
                }
                continue;
            }
            let helped: Vec<_> = (self.wires.iter())
                .filter(|(_, wire)| wire.lags && wire.room > 0)
                .map(|(id, _)| LinkId(*id))
                .collect();
            let mut went_on = false;
            self.visits += self.work.len();
            for id in std::mem::take(&mut self.work) {
                self.serve(id, Who::Visitor);
                went_on = true;
            }
            for id in helped {
                went_on |= self.serve(id, Who::Helper);
            }
            if !went_on {
                return;
            }
        }
    }

    fn serve(&mut self, id: LinkId, who: Who) -> bool {
        let at = self.at();
        let mut order = Order::default();
        let Some(wire) = self.wires.get_mut(&id.0) else { return false };
        let mut step = self.hub.next_write(id, &mut order, who, at);
        let again = if who == Who::Visitor { Who::Again } else { who };
        let mut wrote = false;
        while step == Step::Write {
            let bytes: Vec<u8> = order.pieces().flatten().copied().collect();
            let count = bytes.len().min(wire.room);
            wire.sent.extend_from_slice(&bytes[..count]);
            wire.room -= count;
            wrote |= count > 0;
            let lags = self.hub.wrote(id, &mut order, Some(count), again, at);
            wire.lags |= lags;
            self.helpers += usize::from(lags);
            if lags || (who == Who::Helper && wire.room == 0) {
                return wrote;
            }
            step = self.hub.next_write(id, &mut order, again, at);
        }
        wire.lags = false;
        wire.shut |= step == Step::ShutDown;
        wrote
    }

    /// Lets time pass, in steps that meet every alarm.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.elapsed + time;
        while self.elapsed < end {
            let alarm = self.hub.alarm_at().map(|alarm| alarm.duration_since(self.start));
            self.elapsed = alarm.map_or(end, |alarm| alarm.clamp(self.elapsed, end));
            let mut dead = Vec::new();
            let at = self.at();
            self.hub.tick(&mut dead, at);
            for id in dead {
                self.wire(id).dead = true;
            }
            self.deliver();
            if alarm.is_none_or(|alarm| alarm >= end) {
                self.elapsed = end;
            } else {
                self.elapsed += Duration::from_millis(1);
            }
        }
    }

    /// Lets time pass without an alarm, as a timer that is late.
    pub(super) fn sleep(&mut self, time: Duration) {
        self.elapsed += time;
    }

    pub(super) fn hang_up(&mut self, id: LinkId) {
        let at = self.at();
        self.hub.hung_up(id, Loss::Closed, at);
        self.deliver();
        self.wires.remove(&id.0);
    }

    /// The whole frames that a client was sent since it was last asked.
    pub(super) fn heard(&mut self, id: LinkId) -> Vec<Vec<u8>> {
        let bytes = std::mem::take(&mut self.wire(id).sent);
        split(&bytes)
    }
}

/// Cuts a stream into frames; it must not end in the middle of one.
pub(super) fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (frame, behind) = rest.split_at(crate::frame::frame_size(rest));
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

/// One frame as a debug line, without times: short to compare with.
pub(super) fn show(frame: &[u8]) -> String {
    let raw = crate::frame::RawFrame { kind: frame[4], payload: &frame[5..] };
    match decode(&raw).expect("a legal frame") {
        Frame::RelayedText { from, body, .. } => format!("{from}: {body}"),
        Frame::RelayedBytes { from, body, .. } => format!("{from}: {} bytes", body.len()),
        Frame::RelayedDirect { from, body, .. } => format!("{from} to you: {body}"),
        Frame::Joined { name, .. } => format!("{name} joined"),
        Frame::Left { name, reason, .. } => format!("{name} left: {reason}"),
        Frame::Status { id, code, .. } => format!("status {id} {}", code.number()),
        Frame::Error { code, .. } => format!("error {}", code.number()),
        Frame::Terminate { reason, .. } => format!("terminate {}", reason.number()),
        Frame::Pong { nonce } => format!("pong {nonce}"),
        Frame::Ping { .. } => "ping".to_owned(),
        Frame::Present { total, names } => format!("{total} here: {}", names.join(" ")),
        Frame::Go { turn, deadline_ms } => format!("go {turn} {deadline_ms}"),
        Frame::Wait { turn, holder } => format!("wait {turn} {holder}"),
        Frame::TurnEnded { turn, outcome, from, next, body, .. } => {
            let moved = if next.is_empty() { String::new() } else { format!("{next}: {body}") };
            format!("{turn} {from} {outcome}, {moved}")
        }
        Frame::InitAck { head, name, .. } => format!("welcome {name}, head {head}"),
        other => format!("{other:?}"),
    }
}

impl Bench {
    pub(super) fn heard_lines(&mut self, id: LinkId) -> Vec<String> {
        self.heard(id).iter().map(|frame| show(frame)).collect()
    }
}

pub(super) fn init(name: &str) -> Frame<'_> {
    let (session, token) = (SessionKey::NEW, Token(""));
    Frame::Init { version: VERSION, session, received: 0, name, timezone: "UTC", token }
}

pub(super) fn text(id: u64, body: &str) -> Frame<'_> {
    Frame::Text { id, body: body.as_bytes() }
}
