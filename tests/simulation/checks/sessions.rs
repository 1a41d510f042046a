//! Sessions: who has one, over which connection, and that none ends before its time, or after.

use tcpkit::Loss;
use tcpkit::hub::Rules;
use tcpkit::log::SessionId;
use tcpkit::message::{ErrorCode, Reason, StatusCode};
use tcpkit::report::Report;
use tcpkit::settings::OnTimeout;

use super::heart::SLACK;
use super::turns::{Game, Holder};
use crate::network::Time;
use crate::schedule::nanoseconds;
use crate::trace;
use crate::wire::Resumption;
use crate::world::World;

/// So many refusals may wait for their Pong before a session cannot be resumed any more.
const REFUSALS_MAX: u64 = 1024;

/// What a notice takes in the log, with its run.
const NOTICE_COST: u64 = 200;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) name: String,
    /// As the hub calls it, where a commit has told.
    pub(crate) id: Option<SessionId>,
    /// Which server's.
    pub(crate) epoch: usize,
    pub(crate) client: Option<usize>,
    pub(crate) wire: Option<usize>,
    pub(crate) away_since: Option<Time>,
    /// Since when it is there without a break.
    pub(crate) there_since: Time,
    /// Only records behind this one are for it.
    pub(crate) begins: u64,
    /// The last record when it was welcomed.
    pub(crate) welcomed_at: u64,
    /// The messages of its client up to this receipt are not its own.
    pub(crate) base: u64,
    /// Nor are these, which its client refused itself, in ascending order.
    pub(crate) skipped: Vec<u64>,
    pub(crate) last_logged: u64,
    pub(crate) refused: u64,
    pub(crate) has_ended: bool,
    /// Its end was looked at.
    pub(crate) is_judged: bool,
    pub(crate) left_is_logged: bool,
    /// How many turns in a row it let pass.
    pub(crate) strikes: u32,
}

impl Session {
    pub(crate) fn new(name: String, epoch: usize) -> Self {
        Self {
            name,
            id: None,
            epoch,
            client: None,
            wire: None,
            away_since: None,
            there_since: 0,
            begins: 0,
            welcomed_at: 0,
            base: 0,
            skipped: Vec::new(),
            last_logged: 0,
            refused: 0,
            has_ended: false,
            is_judged: false,
            left_is_logged: false,
            strikes: 0,
        }
    }

    /// The receipt of the message with that id.
    fn receipt(&self, id: u64) -> u64 {
        let mut receipt = self.base + id;
        for skipped in &self.skipped {
            receipt += u64::from(*skipped <= receipt);
        }
        receipt
    }

    /// The id of the message with that receipt, if it has one.
    pub(crate) fn id(&self, receipt: u64) -> Option<u64> {
        let before = self.skipped.partition_point(|skipped| *skipped < receipt) as u64;
        (!self.skipped.contains(&receipt)).then(|| receipt - self.base - before)
    }

    /// Whether it let too many turns pass.
    pub(crate) fn is_to_be_turned_out(&self, rules: &Rules) -> bool {
        let turns = rules.turns;
        turns.on_timeout == OnTimeout::TurnOut && self.strikes >= turns.strikes.max(1)
    }

    /// Whether it lives and has a connection.
    pub(crate) fn is_there(&self) -> bool {
        self.client.is_some() && !self.has_ended && self.away_since.is_none()
    }
}

impl World {
    /// Takes in what the server reports to its operator.
    pub(crate) fn take_reports(&mut self, reports: Vec<Report>) {
        for report in reports {
            trace!(self, ("server"), "{report}");
            match report {
                Report::Joined { peer, name, .. } => self.note_new(wire_of(&peer), &name),
                Report::Resumed { peer, name, missed } => {
                    self.note_resumed(wire_of(&peer), &name, missed);
                }
                Report::Away { peer, name, loss, .. } => {
                    self.note_away(wire_of(&peer), &name, loss);
                }
                Report::Left { peer, name, reason } => {
                    self.note_left(peer.parse().ok(), &name, reason);
                }
                Report::MessageRefused { name, id, code } => self.note_refused(&name, id, code),
                Report::Refused { violation, .. } => {
                    self.note_violation(violation.code, &violation);
                }
                Report::TurnEnded { turn, outcome, .. } => self.check_report(turn, outcome),
                other => panic!("the server reports {other}"),
            }
        }
    }

    fn note_violation(&mut self, code: ErrorCode, violation: &tcpkit::message::Violation) {
        let is_fair = matches!(code, ErrorCode::ServerFull | ErrorCode::HandshakeTimedOut);
        assert!(is_fair, "the server complains: {violation}");
        self.coverage.turned_down_while_full += u64::from(code == ErrorCode::ServerFull);
    }

    fn oldest(&self) -> u64 {
        let log = self.server.hub.as_ref().expect("it reports").log();
        log.last_seq() + 1 - log.records()
    }

    fn note_new(&mut self, wire: usize, name: &str) {
        self.coverage.sessions += 1;
        let session = self.session_of(name).expect("the program has seen it");
        let oldest = self.oldest();
        let begins = self.beginning(session, oldest);
        let client = self.wires[wire].client;
        let it = &mut self.oracle.sessions[session];
        (it.client, it.wire, it.begins) = (Some(client), Some(wire), begins);
        it.there_since = self.now;
        it.last_logged = self.clients[client].fates.left;
        it.base = it.last_logged;
        self.wires[wire].session = Some(session);
        self.wires[wire].server_heart.start(self.now);
        self.wires[wire].server_heard = self.now;
    }

    fn note_resumed(&mut self, wire: usize, name: &str, missed: u64) {
        self.coverage.resumes += 1;
        let session = self.session_of(name).expect("a session that lives");
        let oldest = self.oldest();
        let (now, late) = (self.now, self.server_late());
        let grace = nanoseconds(self.plan.rules.grace);
        let was_away = self.oracle.sessions[session].away_since.is_some();
        self.note_holder(session, if was_away { Holder::Back } else { Holder::TakenOver });
        let it = &mut self.oracle.sessions[session];
        assert_eq!(it.client, Some(self.wires[wire].client), "it goes on with somebody else");
        match it.away_since.take() {
            Some(since) => {
                it.there_since = now;
                assert!(now <= since + grace + late, "resumed behind its grace");
            }
            None => self.coverage.takeovers += 1,
        }
        if let Some(old) = it.wire.replace(wire) {
            self.wires[old].server_heart.stop();
        }
        let head = self.oracle.log().len() as u64;
        self.coverage.gaps += u64::from(missed > 0);
        self.coverage.missed_records += missed;
        self.wires[wire].session = Some(session);
        self.wires[wire].resumption = Some(Resumption { oldest, missed, head });
        self.wires[wire].server_heart.start(self.now);
        self.wires[wire].server_heard = self.now;
    }

    fn note_loss(&mut self, wire: usize, loss: Loss) {
        match loss {
            Loss::Silent => {
                self.coverage.dead_clients += 1;
                let now = self.now;
                self.wires[wire].server_heart.give_up(now);
            }
            Loss::Terminated(Reason::TooSlow) => {
                self.coverage.let_go += 1;
                self.coverage.let_go_torn += u64::from(self.wires[wire].is_in_mid_frame());
            }
            Loss::Terminated(Reason::Idle) => self.coverage.idle += 1,
            _ => {}
        }
        self.wires[wire].server_heart.stop();
    }

    fn note_away(&mut self, wire: usize, name: &str, loss: Loss) {
        self.note_loss(wire, loss);
        let is_it = |session: &Session| session.name == name && session.wire == Some(wire);
        let session = self.oracle.sessions.iter().rposition(is_it).expect("it had a session");
        let it = &mut self.oracle.sessions[session];
        assert!(it.away_since.is_none(), "away twice");
        (it.away_since, it.wire) = (Some(self.now), None);
        self.note_holder(session, Holder::Away);
    }

    /// A session has ended: was it time?
    fn note_left(&mut self, wire: Option<usize>, name: &str, reason: Reason) {
        let is_it =
            |session: &Session| session.name == name && session.has_ended && !session.is_judged;
        let Some(index) = self.oracle.sessions.iter().rposition(is_it) else {
            assert!(self.plan.commits_later, "{name} was never here");
            return; // lost before it was welcome
        };
        self.oracle.sessions[index].is_judged = true;
        let session = &self.oracle.sessions[index];
        let Some(client) = session.client else { return };
        if reason == Reason::Done {
            assert!(self.clients[client].fates.has_closed, "{name} never said goodbye");
            return;
        }
        let (now, grace) = (self.now, nanoseconds(self.plan.rules.grace));
        // One may also be given up, or leave, just when it lets one turn too many pass.
        if session.is_to_be_turned_out(&self.plan.rules) && reason == Reason::TurnedOut {
            self.coverage.turn_outs += 1;
            if let Some(wire) = wire {
                self.wires[wire].server_heart.stop();
            }
            return;
        }
        match session.away_since {
            Some(since) if now >= since + grace => {
                self.coverage.graces_over += 1;
                assert!(now <= since + grace + self.server_late(), "a grace has ended late");
            }
            Some(_) if session.refused > REFUSALS_MAX => self.coverage.barriers += 1,
            Some(_) => {
                self.coverage.crowded_out += 1;
                let is_away = |session: &&Session| {
                    session.away_since.is_some() && (!session.has_ended || !session.is_judged)
                };
                let away = 1 + self.oracle.sessions.iter().filter(is_away).count();
                assert!(away > self.plan.rules.away, "ended early: {away} are away");
            }
            None if grace == 0 => {
                if let Some(wire) = wire {
                    let loss = match reason {
                        // Unless it is what the client has just said itself.
                        Reason::NoHeartbeat if self.oracle.speaking.is_none() => Loss::Silent,
                        reason => Loss::Terminated(reason),
                    };
                    self.note_loss(wire, loss);
                }
            }
            None => {
                assert!(
                    session.refused > REFUSALS_MAX,
                    "{name} was here, and is put out: {reason}"
                );
                self.coverage.barriers += 1;
            }
        }
    }

    /// How late the server's timer may be, now that it may have been frozen.
    pub(crate) fn server_late(&self) -> Time {
        if self.now <= self.server.frozen_until + SLACK { self.plan.unit * 1_000 } else { SLACK }
    }

    fn note_refused(&mut self, name: &str, id: u64, code: StatusCode) {
        let is_it = |session: &Session| session.name == name && session.client.is_some();
        let session = self.oracle.sessions.iter().rposition(is_it).expect("only members speak");
        let it = &mut self.oracle.sessions[session];
        it.refused += 1;
        let (client, receipt) = (it.client.expect("known"), it.receipt(id));
        assert_eq!(it.wire, self.oracle.speaking, "taken from an old connection");
        match code {
            StatusCode::NotUtf8 => self.coverage.not_utf8 += 1,
            StatusCode::TooLarge => self.coverage.too_large += 1,
            StatusCode::NotYourTurn => self.check_not_your_turn(session, client, receipt),
            StatusCode::NoSuchRecipient => self.coverage.no_recipient += 1,
            _ => {}
        }
        self.clients[client].fates.refuse(receipt, code);
    }

    /// What must be true of the hub after every call.
    pub(crate) fn check_hub(&mut self) {
        let hub = self.server.hub.as_ref().expect("just called");
        let (log, rules) = (hub.log(), &self.plan.rules);
        let known = self.oracle.logs.last().map_or(0, Vec::len) as u64;
        assert_eq!(log.last_seq(), known, "the log is not what was accepted");
        // A Left gets its place whether there is room or not: each session has but one.
        let turns = self.oracle.games.last().map_or(0, Game::notices);
        let notices = self.oracle.sessions.len() as u64 + turns;
        let most = log.max_bytes() + notices * NOTICE_COST;
        assert!(log.bytes() <= most, "the log holds {} bytes", log.bytes());
        let most = rules.log_records + notices;
        assert!(log.records() <= most, "the log holds {} records", log.records());
        let away = hub.sessions() - hub.connected();
        assert!(hub.connected() <= rules.clients, "{} clients are connected", hub.connected());
        assert!(away <= rules.away, "{away} sessions are away");
    }
}

fn wire_of(peer: &str) -> usize {
    peer.parse().expect("connections are called by their number")
}
