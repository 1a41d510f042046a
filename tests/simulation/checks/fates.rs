//! Fates: what senders are told of their messages is true, and stays.

use std::collections::VecDeque;

use tcpkit::client_session::ClientSession;
use tcpkit::event::{Event, Fate, Receipt};
use tcpkit::frame::RawFrame;
use tcpkit::message::{StatusCode, kind};
use tcpkit::{End, Loss};

use super::heart::FIRST_HEARTBEAT;
use crate::schedule::nanoseconds;
use crate::trace;
use crate::world::World;

/// A Ping as a frame: its size, and what it begins with.
const PING: usize = 13;
const PING_HEADER: [u8; 5] = [0, 0, 0, 9, kind::PING];

/// A fate as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Accepted,
    Refused(StatusCode),
    Unknown,
}

/// How a connection was restored.
#[derive(Debug, PartialEq, Eq)]
enum Restored {
    Resumed { missed: u64 },
    SessionLost { unconfirmed: u64, up_to: u64 },
}

impl Restored {
    fn told(event: &Event) -> Option<Self> {
        match *event {
            Event::Resumed { missed } => Some(Self::Resumed { missed }),
            Event::SessionLost { unconfirmed, up_to } => {
                Some(Self::SessionLost { unconfirmed, up_to: up_to.number() })
            }
            _ => None,
        }
    }
}

/// One message, and what the server made of it.
#[derive(Debug)]
pub(crate) struct Message {
    receipt: Receipt,
    pub(crate) size: usize,
    is_logged: bool,
    refused: Option<StatusCode>,
    told: Option<Told>,
    /// A move in this turn.
    pub(crate) turn: Option<u64>,
}

impl Message {
    fn new(receipt: Receipt, size: usize, turn: Option<u64>) -> Self {
        Self { turn, receipt, size, is_logged: false, refused: None, told: None }
    }
}

/// What is known of a client's session and its messages.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    /// By receipt, from 1 on.
    pub(crate) messages: Vec<Message>,
    /// The receipts without a fate.
    pub(crate) unsettled: Vec<u64>,
    /// The last receipt that may have left.
    pub(crate) left: u64,
    pub(crate) session: Option<usize>,
    /// The last record that was for this client and is done with: delivered, or missed.
    pub(crate) cursor: u64,
    /// The last record that was delivered.
    pub(crate) last: u64,
    pub(crate) has_closed: bool,
    pub(crate) is_dialling: bool,
    /// The nonces of Pings of the user, and those that were answered.
    pub(crate) pings: Vec<u64>,
    pongs: Vec<u64>,
    answers: u64,
    has_ended: bool,
    /// What the machine must tell next about its connection.
    expected: VecDeque<Restored>,
}

impl Fates {
    fn message(&mut self, receipt: u64) -> &mut Message {
        self.messages.get_mut(receipt as usize - 1).expect("a message that was sent")
    }

    fn ask(&mut self, receipt: u64, session: &ClientSession) -> Option<Fate> {
        session.fate(self.message(receipt).receipt)
    }

    /// A message was sent, at once if `is_open`.
    pub(crate) fn send(&mut self, given: Receipt, size: usize, turn: Option<u64>, is_open: bool) {
        self.messages.push(Message::new(given, size, turn));
        let receipt = self.messages.len() as u64;
        self.unsettled.push(receipt);
        if is_open {
            self.left = receipt;
        }
    }

    /// The turn for which a message is a move.
    pub(crate) fn turn_of(&self, receipt: u64) -> Option<u64> {
        self.messages.get(receipt as usize - 1)?.turn
    }

    /// It has its place in the log.
    pub(crate) fn log(&mut self, receipt: u64) {
        let message = self.message(receipt);
        assert!(!message.is_logged, "message {receipt} is logged twice");
        assert_eq!(message.refused, None, "message {receipt} was refused, and is logged");
        message.is_logged = true;
    }

    pub(crate) fn refuse(&mut self, receipt: u64, code: StatusCode) {
        let message = self.message(receipt);
        assert!(!message.is_logged, "message {receipt} was logged, and is refused");
        assert_eq!(message.refused, None, "message {receipt} is refused twice");
        message.refused = Some(code);
    }

    /// How the machine says that it stands with a message; a fate that was told must stay.
    fn tell(&mut self, receipt: u64, session: &ClientSession, lost: bool) -> Option<Told> {
        let told = self.ask(receipt, session).map(|fate| match fate {
            Fate::Accepted => Told::Accepted,
            Fate::Refused { code, .. } => Told::Refused(code),
            Fate::Unknown => Told::Unknown,
        });
        let message = self.message(receipt);
        if message.told.is_some() {
            assert_eq!(message.told, told, "the fate of message {receipt} has changed");
            return told;
        }
        message.told = told;
        match told {
            Some(Told::Accepted) => {
                assert!(message.is_logged, "message {receipt} is not in the log: not accepted");
            }
            Some(Told::Refused(code)) => {
                assert_eq!(message.refused, Some(code), "message {receipt} was not so refused");
            }
            Some(Told::Unknown) => {
                assert!(lost, "message {receipt} is unknown in a session that lives");
            }
            None => {}
        }
        told
    }
}

impl World {
    /// What the machine tells its user.
    pub(crate) fn take_events(&mut self, client: usize, session: &mut ClientSession) {
        while let Some(event) = session.next_event() {
            self.take_turn_event(client, &event, session);
            match &event {
                Event::Reconnecting { .. } => self.note_reconnecting(client, &event),
                Event::Resumed { .. } | Event::SessionLost { .. } => {
                    trace!(self, ("client {client}"), "{event}");
                    let expected = self.clients[client].fates.expected.pop_front();
                    assert_eq!(expected, Restored::told(&event), "what it says of its session");
                }
                Event::Present { .. } | Event::Accepted { .. } | Event::Refused { .. } => {}
                _ => self.note_record(client, &event),
            }
        }
        let has_ended = session.ended().is_some();
        let fates = &mut self.clients[client].fates;
        if has_ended && !fates.has_ended {
            fates.has_ended = true;
            self.note_end(client, session);
        } else if fates.answers != session.answers() {
            fates.answers = session.answers();
            self.check_fates(client, session);
        }
    }

    fn note_reconnecting(&mut self, client: usize, event: &Event) {
        let Event::Reconnecting { attempt, next_in, loss } = event else { return };
        trace!(self, ("client {client}"), "{event}");
        let policy = self.plan.policy;
        let doubled = nanoseconds(policy.first) << (attempt - 1).min(30);
        let longest = doubled.min(nanoseconds(policy.most));
        assert!(nanoseconds(*next_in) <= longest, "attempt {attempt} comes in {next_in:?}");
        assert!(policy.attempts == 0 || *attempt <= policy.attempts, "attempt {attempt}");
        let fates = &mut self.clients[client].fates;
        (fates.is_dialling, fates.expected) = (false, VecDeque::new());
        if *loss == Loss::Silent {
            self.note_dead_server(client);
        }
    }

    fn note_dead_server(&mut self, client: usize) {
        self.coverage.dead_servers += 1;
        if let Some(wire) = self.clients[client].wire {
            let now = self.now;
            self.wires[wire].client_heart.give_up(now);
        }
    }

    fn note_end(&mut self, client: usize, session: &ClientSession) {
        let end = session.ended().expect("it has ended");
        trace!(self, ("client {client}"), "has ended: {end:?}");
        match end {
            End::Violation(violation) => panic!("client {client} complains: {violation}"),
            End::Refused { code, detail } if !code.may_reconnect() => {
                panic!("client {client} is refused: {code} ({detail})")
            }
            End::Silent => self.note_dead_server(client),
            _ => {}
        }
        let it = &self.clients[client];
        let has_given_up = it.returns && it.fates.session.is_some() && !it.fates.has_closed;
        self.coverage.given_up += u64::from(has_given_up);
        for receipt in 1..=self.clients[client].fates.messages.len() as u64 {
            self.clients[client].fates.tell(receipt, session, true);
        }
    }

    /// A frame has come, and is about to be taken.
    pub(crate) fn note_frame(&mut self, client: usize, raw: &RawFrame<'_>) {
        self.note_turn_frame(client, raw);
        if raw.kind == kind::PONG
            && let Some(nonce) = raw.payload.first_chunk()
        {
            self.clients[client].fates.pongs.push(u64::from_be_bytes(*nonce));
        }
    }

    /// The machine was asked for a beat; what is outgoing had so many bytes before.
    pub(crate) fn note_beat(&mut self, client: usize, session: &ClientSession, before: usize) {
        let Some(ping) = session.outgoing.last_chunk::<PING>() else { return };
        let nonce = u64::from_be_bytes(*ping.last_chunk().expect("eight bytes"));
        let is_ping = ping.starts_with(&PING_HEADER) && nonce >= FIRST_HEARTBEAT;
        if let Some(wire) = self.clients[client].wire
            && session.outgoing.len() == before + PING
            && is_ping
        {
            self.coverage.heartbeats_of_clients += 1;
            let now = self.now;
            self.wires[wire].client_heart.ping(nonce, now);
        }
    }

    /// An InitAck was taken: the session goes on, or is a new one.
    pub(crate) fn note_open(&mut self, client: usize, wire: usize, session: &ClientSession) {
        let now = self.now;
        let (given, resumption) = (self.wires[wire].session, self.wires[wire].resumption);
        self.wires[wire].client_heart.start(now);
        let given = given.expect("an InitAck comes from a session");
        let fates = &mut self.clients[client].fates;
        fates.pongs.clear();
        fates.pings.clear();
        let sent = fates.messages.len() as u64;
        if let Some(resumption) = resumption {
            assert_eq!(fates.session, Some(given), "another session is resumed");
            let begins = self.oracle.sessions[given].begins;
            let from = self.clients[client].fates.last.max(begins);
            let missed = self.count_for(given, from, resumption.oldest);
            assert_eq!(missed, resumption.missed, "records missed behind {from}");
            let fates = &mut self.clients[client].fates;
            fates.cursor = fates.cursor.max(resumption.oldest - 1);
            fates.expected.push_back(Restored::Resumed { missed });
            fates.left = sent;
            self.begin_seat(client, false);
            return;
        }
        if let Some(old) = fates.session.replace(given) {
            assert!(self.oracle.sessions[old].has_ended, "a session that lives was not resumed");
            self.coverage.sessions_lost += 1;
            let unconfirmed = self.note_lost_session(client, given, session);
            self.coverage.unknown_fates += unconfirmed;
            let up_to = self.clients[client].fates.left;
            let lost = Restored::SessionLost { unconfirmed, up_to };
            self.clients[client].fates.expected.push_back(lost);
        }
        let it = &mut self.oracle.sessions[given];
        let fates = &mut self.clients[client].fates;
        (fates.cursor, fates.last) = (it.begins, 0);
        (it.base, it.last_logged) = (fates.left, fates.left);
        fates.left = sent;
        self.begin_seat(client, true);
    }

    /// What left and has no fate gets none any more; what never left is still open, but for moves
    /// of the game that was lost.
    fn note_lost_session(&mut self, client: usize, new: usize, session: &ClientSession) -> u64 {
        let fates = &mut self.clients[client].fates;
        let mut unconfirmed = 0;
        for receipt in 1..=fates.messages.len() as u64 {
            let was_open = fates.message(receipt).told.is_none();
            let has_left = receipt <= fates.left;
            let is_skipped = !has_left && fates.message(receipt).turn.is_some();
            if is_skipped {
                fates.refuse(receipt, StatusCode::NotYourTurn);
                self.oracle.sessions[new].skipped.push(receipt);
            }
            let told = fates.tell(receipt, session, has_left);
            let is_told = has_left || is_skipped;
            assert!(told.is_some() == is_told || !was_open, "message {receipt}: {told:?}");
            unconfirmed += u64::from(was_open && told == Some(Told::Unknown));
        }
        let left = fates.left;
        let skipped = &self.oracle.sessions[new].skipped;
        fates.unsettled.retain(|receipt| *receipt > left && !skipped.contains(receipt));
        unconfirmed
    }

    fn check_fates(&mut self, client: usize, session: &ClientSession) {
        let fates = &mut self.clients[client].fates;
        let mut unsettled = std::mem::take(&mut fates.unsettled);
        let coverage = &mut self.coverage;
        unsettled.retain(|receipt| {
            match fates.tell(*receipt, session, false) {
                Some(Told::Accepted) => coverage.accepted += 1,
                Some(Told::Refused(_)) => coverage.refused += 1,
                Some(Told::Unknown) | None => {}
            }
            fates.message(*receipt).told.is_none()
        });
        fates.unsettled = unsettled;
        let pongs = &fates.pongs;
        fates.pings.retain(|nonce| {
            let has_pong = session.has_pong(*nonce);
            assert!(!matches!(has_pong, Ok(true)) || pongs.contains(nonce), "no Pong has come");
            matches!(has_pong, Ok(false))
        });
    }

    /// Every fate once more, at the end.
    pub(crate) fn check_all_fates(&mut self, client: usize, session: &ClientSession) {
        let fates = &mut self.clients[client].fates;
        for receipt in 1..=fates.messages.len() as u64 {
            fates.tell(receipt, session, false);
        }
    }
}
