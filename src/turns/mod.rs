//! Whose turn it is, and who is next (`PROTOCOL.md` section 9).
//!
//! Pure: who sits down, goes away, comes back, leaves and moves goes in, with the time; what has to
//! happen comes out as [`Output`]s, in their order. It knows seats by a number only. Names, records
//! and frames, and the end of a session that is turned out, are left to the caller.
//!
//! ```text
//!          enough are there: Go             Ended, enough are there: Go to the next
//!  Nobody ----------------------> Running --------------------------------+
//!    ^                            |  |  ^                                 |
//!    +---- Ended, next: none -----+  |  +---------------------------------+
//!                                    +-- the holder is away: still Running; back: Go again
//! ```
//!
//! The order is that of arrival, round and round. It hangs on the place of the last holder, which
//! is known also when that one is away or gone: so whoever comes or goes in between, nobody is
//! skipped or comes twice, and a game that had to stop goes on where it was.

mod line;

use std::time::{Duration, Instant};

use crate::message::Outcome;
use crate::settings::{OnTimeout, Settings, TurnSettings};
use line::{Line, Place};

/// What a seat is known by: the number of its session.
pub type Seat = u64;

/// The section `turn` of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnRules {
    /// The time for one turn; 0: no limit.
    pub deadline: Duration,
    /// What happens to a holder that lets it pass.
    pub on_timeout: OnTimeout,
    /// With [`OnTimeout::TurnOut`]: after so many in a row. 0 counts as 1.
    pub strikes: u32,
    /// A turn begins only while so many are there and not away. 0 counts as 1.
    pub min_players: usize,
}

impl From<&TurnSettings> for TurnRules {
    fn from(settings: &TurnSettings) -> Self {
        let TurnSettings { deadline, on_timeout, strikes, min_players } = *settings;
        Self { deadline, on_timeout, strikes, min_players }
    }
}

/// The defaults of the settings.
impl Default for TurnRules {
    fn default() -> Self {
        Self::from(&Settings::default().turn)
    }
}

/// A turn that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its number: 1 for the first, and 1 more for each that follows.
    pub number: u64,
    /// Who has it.
    pub holder: Seat,
}

/// What has to happen. Go and Wait go only to seats that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A turn is over: the record for all, those who let it pass included.
    Ended {
        /// Its number, and who had it. When that one left or is turned out, its seat is gone.
        turn: Turn,
        /// Moved, time out or left.
        outcome: Outcome,
        /// Who gets the next turn (its [`Go`](Self::Go) follows); none: nobody for now.
        next: Option<Seat>,
    },
    /// A seat let too many turns pass: its session is to be ended. The seat is gone already.
    TurnOut {
        /// Whose.
        seat: Seat,
    },
    /// A seat is told that it has the turn, also again after it came back.
    Go {
        /// Who is told, and the turn's number.
        turn: Turn,
        /// The time that is left for it, never 0; none: there is no limit. In whole milliseconds,
        /// round up: there 0 says that there is no limit.
        left: Option<Duration>,
    },
    /// A seat is told whose turn it is.
    Wait {
        /// Who is told.
        seat: Seat,
        /// The turn that another one has; none: nobody has one now, be it before the first turn or
        /// while too few are there, told as turn 0 and an empty holder. A number without a holder
        /// is never told.
        current: Option<Turn>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Running {
    turn: Turn,
    /// When its time is over.
    due: Option<Instant>,
}

/// The seats, and whose turn it is. See the [module](self).
///
/// Each input appends to `out` what it causes. A turn whose time is over ends at the next input,
/// whatever that is, before the input itself counts: so it does not matter whether the timer or a
/// late move is faster. Only who goes has gone before, and does not become the next holder. Inputs
/// that name a seat which is not known change nothing but that.
#[derive(Debug)]
pub struct Table {
    rules: TurnRules,
    line: Line,
    running: Option<Running>,
    /// The last turn that was given, and its holder's place.
    last: Turn,
    last_place: Place,
}

impl Table {
    /// A game without seats.
    pub fn new(rules: TurnRules) -> Self {
        let last = Turn { number: 0, holder: 0 };
        Self { rules, line: Line::default(), running: None, last, last_place: 0 }
    }

    /// The turn that runs, as of the last input.
    pub fn current(&self) -> Option<Turn> {
        self.running.map(|running| running.turn)
    }

    /// When [`tick`](Self::tick) has something to do, if nothing else comes.
    pub fn due(&self) -> Option<Instant> {
        self.running.and_then(|running| running.due)
    }

    /// A session begins: it sits at the end of the order.
    pub fn sit_down(&mut self, seat: Seat, now: Instant, out: &mut Vec<Output>) {
        self.tick(now, out);
        if !self.line.knows(seat) {
            self.line.add(seat);
            self.welcome(seat, now, out);
        }
    }

    /// A session lives on without its connection. It is passed over, but a turn that it has is
    /// still its own.
    pub fn away(&mut self, seat: Seat, now: Instant, out: &mut Vec<Output>) {
        self.line.unlink(seat);
        self.tick(now, out);
    }

    /// A session was resumed, after it was away or by taking over from its connection: it has its
    /// old place, and is told whose turn it is.
    pub fn back(&mut self, seat: Seat, now: Instant, out: &mut Vec<Output>) {
        self.tick(now, out);
        if !self.line.knows(seat) {
            return;
        }
        self.line.link(seat);
        match self.running {
            Some(Running { turn, due }) if turn.holder == seat => {
                let left = due.map(|due| due.saturating_duration_since(now));
                out.push(Output::Go { turn, left });
            }
            _ => self.welcome(seat, now, out),
        }
    }

    /// A session ends, there or away.
    pub fn leave(&mut self, seat: Seat, now: Instant, out: &mut Vec<Output>) {
        self.line.remove(seat);
        self.tick(now, out);
        if self.current().is_some_and(|turn| turn.holder == seat) {
            let next = self.end(Outcome::Left, out);
            self.give(next, now, out);
        }
    }

    /// A seat moves. True if it is its turn, of that number, and in time: then the turn is over.
    /// Else the move is to be refused, and it changed nothing.
    #[must_use]
    pub fn play(&mut self, seat: Seat, number: u64, now: Instant, out: &mut Vec<Output>) -> bool {
        self.tick(now, out);
        let claimed = Turn { number, holder: seat };
        if self.current() != Some(claimed) || self.line.place(seat).is_none() {
            return false;
        }
        self.line.forgive(seat);
        let next = self.end(Outcome::Moved, out);
        self.give(next, now, out);
        self.tell_unless_holder(seat, out);
        true
    }

    /// Ends the turn whose time is over, if it is.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(Running { turn: Turn { holder, .. }, due: Some(due) }) = self.running else {
            return;
        };
        if now < due {
            return;
        }
        let strikes = self.line.strike(holder);
        let turned_out =
            self.rules.on_timeout == OnTimeout::TurnOut && strikes >= self.rules.strikes.max(1);
        if turned_out {
            self.line.remove(holder);
        }
        let next = self.end(Outcome::TimeOut, out);
        if turned_out {
            out.push(Output::TurnOut { seat: holder });
        }
        self.give(next, now, out);
    }

    /// One who sat down or came back is told whose turn it is. It may be the one that was missing:
    /// then no record says that a turn begins, and all are told.
    fn welcome(&mut self, seat: Seat, now: Instant, out: &mut Vec<Output>) {
        if self.running.is_none() {
            self.give(self.next(), now, out);
            if self.running.is_some() {
                for seat in self.line.all_there() {
                    self.tell_unless_holder(seat, out);
                }
                return;
            }
        }
        self.tell_unless_holder(seat, out);
    }

    fn tell_unless_holder(&self, seat: Seat, out: &mut Vec<Output>) {
        let current = self.current();
        if current.is_none_or(|turn| turn.holder != seat) {
            out.push(Output::Wait { seat, current });
        }
    }

    /// Who comes after the last holder; nobody while too few are there.
    fn next(&self) -> Option<Seat> {
        if self.line.there() < self.rules.min_players {
            return None;
        }
        self.line.after(self.last.holder, self.last_place)
    }

    /// Ends the turn that runs; who is next.
    fn end(&mut self, outcome: Outcome, out: &mut Vec<Output>) -> Option<Seat> {
        let turn = self.running.take()?.turn;
        let next = self.next();
        out.push(Output::Ended { turn, outcome, next });
        next
    }

    fn give(&mut self, next: Option<Seat>, now: Instant, out: &mut Vec<Output>) {
        let Some((holder, place)) = next.and_then(|seat| Some((seat, self.line.place(seat)?)))
        else {
            return;
        };
        let turn = Turn { number: self.last.number + 1, holder };
        let left = Some(self.rules.deadline).filter(|deadline| !deadline.is_zero());
        // A deadline beyond the reach of the clock is none.
        let due = left.and_then(|left| now.checked_add(left));
        (self.last, self.last_place) = (turn, place);
        self.running = Some(Running { turn, due });
        out.push(Output::Go { turn, left: due.and(left) });
    }
}

#[cfg(test)]
mod tests;
