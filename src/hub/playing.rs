//! Turns (`PROTOCOL.md` section 9): what their rules ask for becomes records and frames.
//!
//! Who is next, and when, is decided by [`crate::turns`]. Here a turn that ends becomes a record
//! for all, and Go and Wait are put where they belong: behind every record up to the one that
//! caused them, and before any later one. A client that does not keep up is told the latest only.

use std::borrow::Cow;
use std::time::Instant;

use super::draft::{Draft, Proposal};
use super::link::LinkId;
use super::room::{Message, Refusal, Room};
use super::{Core, Hub, Moment};
use crate::log::{Audience, SERVER, SessionId};
use crate::message::{Frame, Outcome, Reason, StatusCode};
use crate::report::Report;
use crate::settings::Level;
use crate::turns::{Output, Table, Turn};

/// So many characters of a move are reported.
const REPORTED: usize = 100;

/// The table, and what it asked for.
#[derive(Debug)]
pub(super) struct Game {
    table: Table,
    /// Memory for outputs, used again from turn to turn.
    outputs: Vec<Output>,
}

impl Game {
    pub(super) fn new(table: Table) -> Self {
        Self { table, outputs: Vec::new() }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.table.due()
    }

    fn has_turn(&self, turn: Turn) -> bool {
        self.table.current() == Some(turn)
    }
}

/// A move that is being made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move<'a> {
    pub(super) session: SessionId,
    pub(super) id: u64,
    pub(super) turn: u64,
    pub(super) text: &'a str,
}

impl Hub {
    /// The turn that runs: its number, and the name of who has it. None outside mode 2.
    pub fn holder(&self) -> Option<(u64, &str)> {
        let turn = self.core.game.as_ref()?.table.current()?;
        Some((turn.number, &self.core.sessions.get(turn.holder)?.name))
    }

    /// Takes a move from a client; how many records of it wait for their commit, or why it is
    /// refused. The handler is asked only about one that has its turn.
    #[inline(never)] // inlined it makes every text cost half as much again (`--bench rules`)
    pub(super) fn take_move(&mut self, asked: Move<'_>, at: Moment) -> Result<u32, Refusal> {
        let Move { session, id, turn, text } = asked;
        self.turn(at, None, Table::tick);
        let turn = Turn { number: turn, holder: session };
        if !self.core.game.as_ref().is_some_and(|game| game.has_turn(turn)) {
            return Err(not_your_turn());
        }
        let core = &mut self.core;
        let mut room = Room { core, session, id, open: 0, time_ms: at.time_ms };
        self.handler.message(&mut room, Message::Move { turn: turn.number, text })?;
        let open = room.open;
        let before = self.core.ledger.proposed;
        self.turn(at, Some(asked), |table, now, out| {
            let _is_theirs = table.play(session, turn.number, now, out);
        });
        Ok(open + (self.core.ledger.proposed - before) as u32)
    }

    /// Tells the table what happened, and carries out what it asks for. Nothing outside mode 2.
    pub(super) fn turn(
        &mut self,
        at: Moment,
        played: Option<Move<'_>>,
        change: impl FnOnce(&mut Table, Instant, &mut Vec<Output>),
    ) {
        let alarm = self.alarm_at();
        let Some(game) = &mut self.core.game else { return };
        let mut outputs = std::mem::take(&mut game.outputs);
        change(&mut game.table, at.now, &mut outputs);
        if let Some(due) = game.due() {
            self.core.alarms.note(due, alarm);
        }
        for output in outputs.drain(..) {
            match output {
                Output::Ended { turn, outcome, next } => {
                    self.core.end_turn(turn, (outcome, next), played, at);
                }
                Output::TurnOut { seat } => self.turn_out(seat, at),
                Output::Go { turn: Turn { number, holder }, left } => {
                    // Rounded up, since 0 would say that there is no limit.
                    let left = left.map_or(0, |left| left.as_nanos().div_ceil(1_000_000));
                    let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
                    self.core.notify(holder, &Frame::Go { turn: number, deadline_ms });
                }
                Output::Wait { seat, current } => self.core.tell_whose_turn(seat, current),
            }
        }
        if let Some(game) = &mut self.core.game {
            game.outputs = outputs;
        }
    }

    /// A player let too many turns pass: its session ends.
    fn turn_out(&mut self, session: SessionId, at: Moment) {
        let link = self.core.sessions.get(session).map(|session| session.link).unwrap_or_default();
        let (reason, detail) = (Reason::TurnedOut, Cow::Borrowed("too many turns passed"));
        let frame = Frame::Terminate { reason, retry_after_ms: 0, detail };
        self.put_out(link, reason, Some(&frame.to_bytes()), at);
        self.end_session(session, reason, at);
    }
}

impl Core {
    fn name_of(&self, session: SessionId) -> String {
        self.sessions.get(session).map_or_else(String::new, |session| session.name.clone())
    }

    /// Logs the end of a turn: for all others if it was moved, else for all.
    fn end_turn(
        &mut self,
        turn: Turn,
        (outcome, next): (Outcome, Option<SessionId>),
        played: Option<Move<'_>>,
        at: Moment,
    ) {
        let played = played.filter(|_| outcome == Outcome::Moved);
        let (session, id) = played.map_or((SERVER, 0), |played| (played.session, played.id));
        let text = played.map_or("", |played| played.text);
        let (from, next) = (self.name_of(turn.holder), next.map(|next| self.name_of(next)));
        let next = next.unwrap_or_default();
        let draft = Draft::TurnEnded {
            turn: turn.number,
            outcome,
            from: Cow::Borrowed(&from),
            next: Cow::Borrowed(&next),
            body: Cow::Borrowed(text),
        };
        let (audience, time_ms) = (Audience::Others, at.time_ms);
        self.propose(Proposal { session, id, audience, time_ms, draft });
        if self.rules.report_level >= Level::Info {
            let text = text.chars().take(REPORTED).collect();
            let turn = turn.number;
            self.reports.push(Report::TurnEnded { turn, outcome, name: from, next, text });
        }
    }

    fn tell_whose_turn(&mut self, seat: SessionId, current: Option<Turn>) {
        let turn = current.map_or(0, |turn| turn.number);
        let holder = current.map_or_else(String::new, |turn| self.name_of(turn.holder));
        self.notify(seat, &Frame::Wait { turn, holder: &holder });
    }

    /// Sends a frame that belongs behind all records that there are by now, those that wait for
    /// their commit included.
    fn notify(&mut self, session: SessionId, frame: &Frame<'_>) {
        if self.ledger.is_settled() {
            self.put_notice(session, frame.to_bytes());
        } else {
            self.notices.push_back((self.ledger.proposed, session, frame.to_bytes()));
        }
    }

    /// Records were committed: what waited for that is sent.
    pub(super) fn release_notices(&mut self) {
        let committed = self.ledger.committed;
        while self.notices.front().is_some_and(|(ticket, ..)| *ticket <= committed) {
            if let Some((_, session, notice)) = self.notices.pop_front() {
                self.put_notice(session, notice);
            }
        }
    }

    fn put_notice(&mut self, session: SessionId, notice: Vec<u8>) {
        let link = self.sessions.get(session).map_or(LinkId::default(), |session| session.link);
        let head = self.ledger.log.head();
        if let Some(link) = self.links.get_mut(link.0) {
            link.notice = notice;
            link.notice_at = head;
        }
        self.mark(link);
    }
}

/// What a move that is not taken gets, in every mode.
pub(super) fn not_your_turn() -> Refusal {
    Refusal { code: StatusCode::NotYourTurn, detail: String::new() }
}
