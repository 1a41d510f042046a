//! Turns: one holder at a time, each turn passes on, and everyone knows whose it is (`PROTOCOL.md`
//! section 9).
//!
//! A game is followed through the records of turns that end, in the order in which they were
//! proposed; after every call the server is asked who has the turn. What clients are told is held
//! against that, frame by frame.

use std::collections::HashSet;

use tcpkit::codec::decode;
use tcpkit::event::Event;
use tcpkit::frame::RawFrame;
use tcpkit::hub::Draft;
use tcpkit::message::{Frame, Outcome};

use super::log::{NOBODY, Record, What};
use super::sessions::Session;
use crate::body::{self, Tag};
use crate::network::{Time, Way};
use crate::schedule::nanoseconds;
use crate::trace;
use crate::world::World;

/// A turn that was given.
#[derive(Debug)]
struct Given {
    holder: usize,
    at: Time,
    /// The last record that its holder must know before it is told; none: not committed yet.
    cause: Option<u64>,
}

/// How a turn ended.
#[derive(Debug)]
struct Ended {
    outcome: Outcome,
    next: Option<usize>,
    /// The move.
    tag: Option<Tag>,
}

/// The turns of one server, by number, from 1 on.
#[derive(Debug, Default)]
pub(crate) struct Game {
    turns: Vec<Given>,
    ended: Vec<Ended>,
    /// Up to here the log was read.
    pub(crate) position: u64,
    /// The turn that ran after the last call.
    settled: Option<u64>,
    /// How many turns were found to be fair.
    fair: usize,
    /// Whose session has to be over after this call.
    leaving: Vec<usize>,
    /// How many turns that ended were reported.
    reported: usize,
}

impl Game {
    /// The turn that runs, and who has it.
    fn current(&self) -> Option<(u64, usize)> {
        let last = self.turns.last().filter(|_| self.turns.len() > self.ended.len());
        last.map(|given| (self.turns.len() as u64, given.holder))
    }

    /// How many records there may be that nobody was asked for room for.
    pub(crate) fn notices(&self) -> u64 {
        self.ended.len() as u64
    }

    fn given(&self, turn: u64) -> &Given {
        let given = turn.checked_sub(1).and_then(|index| self.turns.get(index as usize));
        given.unwrap_or_else(|| panic!("a client is told of turn {turn}, which nobody was given"))
    }
}

/// What a client knows of the turns.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    /// The turn that its machine has handed out last, until it is over.
    pub(crate) go: Option<u64>,
    /// The last record that has come.
    seen: u64,
    /// Whose turn it is, as it was told last over this connection; (0, "") if it is nobody's.
    told: Option<(u64, String)>,
    /// The last Go over this connection, and ever.
    has_go: Option<u64>,
    last_go: u64,
}

impl World {
    fn bearer(&self, name: &str) -> usize {
        let epoch = self.oracle.logs.len().saturating_sub(1);
        let bears = |it: &Session| it.epoch == epoch && it.client.is_some() && it.name == name;
        let living = self.session_of(name);
        let known = living.or_else(|| self.oracle.sessions.iter().rposition(bears));
        known.expect("a turn is for somebody who is there")
    }

    fn there(&self) -> usize {
        self.oracle.sessions.iter().filter(|session| session.is_there()).count()
    }

    fn give(&mut self, holder: usize, cause: Option<u64>) {
        let it = &self.oracle.sessions[holder];
        assert!(it.away_since.is_none(), "{} gets a turn, and is away", it.name);
        let at = self.now;
        self.oracle.game().turns.push(Given { holder, at, cause });
        self.coverage.turns += 1;
    }

    fn give_out_of_nothing(&mut self, holder: usize) {
        let resumes = !self.oracle.game().turns.is_empty();
        self.coverage.games_resumed += u64::from(resumes);
        let cause = self.oracle.log().len() as u64;
        self.give(holder, Some(cause));
    }

    /// The record of a turn that ends is proposed, and with that the next one is given.
    pub(crate) fn end_turn(&mut self, record: &Draft<'_>) {
        let Draft::TurnEnded { turn, outcome, from, next, body } = record else { return };
        let (turn, outcome) = (*turn, *outcome);
        trace!(self, ("server"), "turn {turn} of {from} ends: {outcome}; next: {next}");
        if self.oracle.game().current().is_none() {
            let holder = self.bearer(from);
            self.give_out_of_nothing(holder); // in this very call
        }
        let (number, holder) = self.oracle.game().current().expect("just given");
        assert_eq!(number, turn, "turns are not numbered one by one");
        assert_eq!(self.oracle.sessions[holder].name, *from, "turn {turn} was another one's");
        let mut tag = None;
        match outcome {
            Outcome::Moved => tag = Some(self.take_move(turn, holder, body)),
            Outcome::TimeOut => self.take_time_out(turn, holder),
            _ => {
                let is_away = self.oracle.sessions[holder].away_since.is_some();
                self.coverage.holders_whose_grace_ended += u64::from(is_away);
                self.oracle.game().leaving.push(holder);
            }
        }
        let next = (!next.is_empty()).then(|| self.bearer(next));
        self.oracle.game().ended.push(Ended { outcome, next, tag });
        let is_logged = !self.plan.commits_later;
        if is_logged {
            self.log_turn(turn, tag.map(|tag| (tag, holder)));
        }
        let cause = is_logged.then_some(self.oracle.log().len() as u64);
        match next {
            Some(next) => self.give(next, cause),
            None => self.coverage.games_paused += 1,
        }
        if next.is_some() && is_logged {
            let there = self.there();
            assert!(there >= self.plan.rules.turns.min_players, "a turn for {there} players");
        }
    }

    fn take_move(&mut self, turn: u64, holder: usize, body: &str) -> Tag {
        let (tag, _) = body::read(body.as_bytes()).expect("a whole move");
        let message = &self.clients[tag.client].fates.messages[tag.receipt as usize - 1];
        assert_eq!(message.turn, Some(turn), "the move was not made for this turn");
        assert_eq!(message.size, body.len(), "the move is not what was sent");
        let it = &mut self.oracle.sessions[holder];
        assert_eq!(it.client, Some(tag.client), "the move is not the holder's");
        it.strikes = 0;
        self.coverage.moves_accepted += 1;
        tag
    }

    fn take_time_out(&mut self, turn: u64, holder: usize) {
        self.coverage.time_outs += 1;
        let rules = self.plan.rules.turns;
        let due = self.oracle.game().given(turn).at + nanoseconds(rules.deadline);
        assert!(!rules.deadline.is_zero() && self.now >= due, "turn {turn} ends before its time");
        let it = &mut self.oracle.sessions[holder];
        it.strikes += 1;
        if it.is_to_be_turned_out(&self.plan.rules) {
            self.oracle.game().leaving.push(holder);
        }
    }

    /// The record of a turn that ended has its place in the log.
    fn log_turn(&mut self, turn: u64, moved: Option<(Tag, usize)>) {
        let what = What::TurnEnded(turn);
        match moved {
            Some((tag, holder)) => self.log_message(tag, what, holder, None),
            None => self.oracle.log().push(Record { origin: NOBODY, only: None, what }),
        }
    }

    /// The same, where that comes with a commit.
    pub(crate) fn commit_turn(&mut self, turn: u64) {
        let game = self.oracle.game();
        let tag = game.ended[turn as usize - 1].tag;
        let holder = game.given(turn).holder;
        if let Some(tag) = tag {
            self.oracle.forget_proposed(tag);
        }
        self.log_turn(turn, tag.map(|tag| (tag, holder)));
        let cause = self.oracle.log().len() as u64;
        if let Some(next) = self.oracle.game().turns.get_mut(turn as usize) {
            next.cause.get_or_insert(cause);
        }
    }

    /// The server tells its operator of a turn that ended.
    pub(crate) fn check_report(&mut self, turn: u64, outcome: Outcome) {
        let game = self.oracle.game();
        game.reported += 1;
        let known = game.ended.get(game.reported - 1).map(|ended| ended.outcome);
        assert_eq!((turn, Some(outcome)), (game.reported as u64, known), "what is reported");
    }

    /// A session has lost its connection, has a new one after that, or beside its old one.
    pub(crate) fn note_holder(&mut self, session: usize, what: Holder) {
        if self.oracle.game().current().is_none_or(|(_, holder)| holder != session) {
            return;
        }
        let coverage = &mut self.coverage;
        match what {
            Holder::Away => coverage.holders_away += 1,
            Holder::Back => coverage.holders_back += 1,
            Holder::TakenOver => coverage.holders_taken_over += 1,
        }
    }

    /// A move was refused since it is not its sender's turn.
    pub(crate) fn check_not_your_turn(&mut self, session: usize, client: usize, receipt: u64) {
        self.coverage.moves_refused += 1;
        let turn = self.clients[client].fates.messages[receipt as usize - 1].turn;
        let turn = turn.expect("only moves are refused so");
        let game = self.oracle.game();
        let is_theirs = game.current() == Some((turn, session)) && game.settled == Some(turn);
        assert!(!is_theirs, "the holder's move in turn {turn} is refused");
    }

    /// What must be true of the turns after every call: as the oracle knows them, so does the
    /// server.
    pub(crate) fn check_game(&mut self) {
        if !self.plan.has_turns {
            return;
        }
        let mut current = self.oracle.game().current();
        let hub = self.server.hub.as_ref().expect("just called");
        if current.is_none() || hub.holder().is_none() {
            let (there, least) = (self.there(), self.plan.rules.turns.min_players.max(1));
            if let Some((_, name)) = hub.holder() {
                assert!(there >= least, "a game begins with {there} players");
                let holder = self.bearer(name);
                self.give_out_of_nothing(holder);
                current = self.oracle.game().current();
            } else {
                assert!(there < least, "{there} are there, and nobody has the turn");
            }
        }
        let hub = self.server.hub.as_ref().expect("just called");
        let name = |session: usize| &*self.oracle.sessions[session].name;
        let known = current.map(|(turn, session)| (turn, name(session)));
        assert_eq!(hub.holder(), known, "who has the turn: the server, and its records");
        if let Some((turn, session)) = current {
            assert!(!self.oracle.sessions[session].has_ended, "turn {turn} of one who is gone");
        }
        for session in std::mem::take(&mut self.oracle.game().leaving) {
            assert!(self.oracle.sessions[session].has_ended, "a turn is over as if one had left");
        }
        self.oracle.game().settled = current.map(|(turn, _)| turn);
        self.check_fairness();
    }

    /// Between two turns of anyone, each who was there all the time had one.
    fn check_fairness(&mut self) {
        let epoch = self.oracle.epoch();
        let game = &self.oracle.games[epoch];
        for index in game.fair..game.turns.len() {
            let (mut between, mut before) = (HashSet::new(), index);
            while let Some(earlier) = before.checked_sub(1) {
                before = earlier;
                if game.turns[earlier].holder == game.turns[index].holder {
                    break;
                }
                between.insert(game.turns[earlier].holder);
            }
            if game.turns[before].holder != game.turns[index].holder || before == index {
                continue; // its first turn
            }
            let (since, holder) = (game.turns[before].at, game.turns[index].holder);
            for (other, session) in self.oracle.sessions.iter().enumerate() {
                let was_there = session.is_there() && session.there_since < since;
                let is_fair = !was_there || other == holder || between.contains(&other);
                assert!(is_fair, "{} is passed over in turn {}", session.name, index + 1);
            }
            self.coverage.rounds_of_all += u64::from(between.len() > 1);
        }
        let count = game.turns.len();
        self.oracle.game().fair = count;
    }

    /// A frame has come, and is about to be taken.
    pub(crate) fn note_turn_frame(&mut self, client: usize, raw: &RawFrame<'_>) {
        let Some(session) = self.clients[client].fates.session.filter(|_| self.plan.has_turns)
        else {
            return;
        };
        let Ok(frame) = decode(raw) else { return };
        match frame {
            Frame::Go { turn, deadline_ms } => self.note_go(client, session, turn, deadline_ms),
            Frame::Wait { turn, holder } => self.note_wait(client, session, turn, holder),
            Frame::TurnEnded { seq, turn, next, .. } => {
                let seat = &mut self.clients[client].seat;
                seat.seen = seq;
                seat.told =
                    Some(if next.is_empty() { nobody() } else { (turn + 1, next.to_owned()) });
            }
            Frame::RelayedText { seq, .. }
            | Frame::RelayedBytes { seq, .. }
            | Frame::RelayedDirect { seq, .. }
            | Frame::Joined { seq, .. }
            | Frame::Left { seq, .. } => self.clients[client].seat.seen = seq,
            _ => {}
        }
    }

    fn game_of(&self, session: usize) -> &Game {
        &self.oracle.games[self.oracle.sessions[session].epoch]
    }

    fn note_go(&mut self, client: usize, session: usize, turn: u64, deadline_ms: u32) {
        let given = self.game_of(session).given(turn);
        assert_eq!(given.holder, session, "client {client} is given turn {turn} of another one");
        let deadline = self.plan.rules.turns.deadline;
        assert_eq!(deadline_ms == 0, deadline.is_zero(), "whether there is a deadline");
        assert!(u128::from(deadline_ms) <= deadline.as_nanos().div_ceil(1_000_000));
        self.check_cause(client, session, given.cause);
        let name = self.oracle.sessions[session].name.clone();
        trace!(self, ("client {client}"), "is told to go: turn {turn}");
        let seat = &mut self.clients[client].seat;
        self.coverage.gos_again += u64::from(seat.last_go == turn);
        (seat.has_go, seat.last_go, seat.told) = (Some(turn), turn, Some((turn, name)));
    }

    fn note_wait(&mut self, client: usize, session: usize, turn: u64, holder: &str) {
        trace!(self, ("client {client}"), "is told to wait: turn {turn} of {holder}");
        self.coverage.waits += 1;
        if turn > 0 {
            let given = self.game_of(session).given(turn);
            let name = &self.oracle.sessions[given.holder].name;
            assert_eq!(name, holder, "client {client} is told a wrong holder of turn {turn}");
            assert_ne!(given.holder, session, "client {client} is told to wait for itself");
            self.check_cause(client, session, given.cause);
        }
        self.clients[client].seat.told = Some((turn, holder.to_owned()));
    }

    /// Every record up to the one that caused a Go or a Wait has come before.
    fn check_cause(&self, client: usize, session: usize, cause: Option<u64>) {
        let cause = cause.expect("a turn is told before its record is committed");
        let it = &self.clients[client];
        let resumed = it.wire.and_then(|wire| self.wires[wire].resumption);
        let cause = cause.max(resumed.map_or(0, |resumption| resumption.head));
        let seen = it.seat.seen.max(it.fates.cursor);
        let left = self.count_for(session, seen, cause + 1);
        assert_eq!(left, 0, "client {client} hears of a turn before the records up to {cause}");
    }

    /// The client has a connection with a session, which goes on or is new.
    pub(crate) fn begin_seat(&mut self, client: usize, is_new: bool) {
        let seat = &mut self.clients[client].seat;
        (seat.told, seat.has_go) = (None, None);
        if is_new {
            (seat.seen, seat.last_go) = (0, 0);
        }
    }

    /// The content of the record of a turn that ended, as a client hands it to its user.
    pub(crate) fn check_ended(&self, session: usize, event: &Event) {
        let Event::TurnEnded { turn, outcome, from, next, body, .. } = event else { return };
        let game = self.game_of(session);
        let ended = &game.ended[*turn as usize - 1];
        let name = |session: usize| self.oracle.sessions[session].name.clone();
        assert_eq!(*from, name(game.given(*turn).holder), "who had turn {turn}");
        assert_eq!((*outcome, next), (ended.outcome, &ended.next.map(name)), "turn {turn}");
        assert_eq!(self.tag(body.as_bytes()), ended.tag, "the move of turn {turn}");
    }

    /// A turn with a deadline is over by then.
    pub(crate) fn check_deadline(&mut self) {
        let (now, late) = (self.now, self.server_late());
        let deadline = nanoseconds(self.plan.rules.turns.deadline);
        let game = self.oracle.game();
        if let Some((turn, _)) = game.current().filter(|_| deadline > 0) {
            let due = game.given(turn).at + deadline;
            assert!(now <= due + late, "turn {turn} was to end at {due}, it is {now}");
        }
    }

    /// Whether everything that the server has for a client has arrived there.
    pub(crate) fn is_quiet(&mut self, client: usize) -> bool {
        let Some(hub) = self.server.hub.as_ref().filter(|_| !self.server.is_leaving) else {
            return false;
        };
        let it = &self.clients[client];
        let (Some(machine), Some(wire)) = (&it.session, it.wire) else { return false };
        let Some(session) = it.fates.session.filter(|_| machine.is_open()) else { return false };
        let is_current = self.oracle.sessions[session].wire == Some(wire);
        let owned = self.count_for(session, it.fates.cursor, u64::MAX);
        let side = &self.wires[wire].server;
        let is_written = side.late.is_none() && side.helper.is_none() && !side.awaits_helper;
        let has_read = it.framer.peek().is_empty();
        let is_settled = self.server.is_settled() && side.link.is_some_and(|id| hub.debt(id) == 0);
        let is_idle = is_current && owned == 0 && is_written && has_read && is_settled;
        is_idle && !side.is_closed && self.wires[wire].pipe(Way::Down).is_drained()
    }

    /// A client that has everything knows whose turn it is.
    pub(crate) fn check_knowledge(&mut self) {
        for client in 0..self.clients.len() {
            if !self.is_quiet(client) {
                continue;
            }
            self.coverage.knowledge_checked += 1;
            let hub = self.server.hub.as_ref().expect("it is quiet");
            let current = hub.holder().map(|(turn, name)| (turn, name.to_owned()));
            let current = current.unwrap_or_else(nobody);
            let it = &self.clients[client];
            assert_eq!(
                it.seat.told.as_ref(),
                Some(&current),
                "what client {client} knows of the turn"
            );
            let session = it.fates.session.expect("it is open");
            let own = self.game_of(session).current().filter(|(_, holder)| *holder == session);
            if let Some((turn, _)) = own {
                assert_eq!(it.seat.has_go, Some(turn), "client {client} was not told to go");
            }
        }
    }

    /// Who of those that are there had no turn since the faults stopped.
    pub(crate) fn without_turn(&self) -> Option<usize> {
        let game = self.oracle.games.last()?;
        let since_calm = game.turns.iter().rev().take_while(|given| given.at >= self.plan.calm_at);
        let players: HashSet<_> = since_calm.map(|given| given.holder).collect();
        let there = self.there();
        let is_waiting = |client: &usize| {
            let it = &self.clients[*client];
            it.is_living() && it.fates.session.is_none_or(|session| !players.contains(&session))
        };
        let plays = there >= self.plan.rules.turns.min_players;
        (0..self.clients.len()).filter(|_| plays).find(is_waiting)
    }
}

fn nobody() -> (u64, String) {
    (0, String::new())
}

/// What happens to a session that has the turn.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holder {
    Away,
    Back,
    TakenOver,
}
