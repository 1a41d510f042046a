//! `client play`: a player that counts, as two of them do in a game of the classic GO and WAIT.
//!
//! Each move is `{name}:{number}`. Left alone, the numbers of all players together count on from 1
//! without a gap: each begins with the number of its seat, which is how many are there when it has
//! come, and goes on by as many turns as passed since its last one, which is the number of seats.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::OnTermination;
use super::output::{Failure, NETWORK, NOT_DELIVERED, chain, print, tell};
use super::send::{reason, refusal};
use super::session::Session;
use crate::error::Error;
use crate::escape::escape;
use crate::event::{Event, Fate};
use crate::message::{Mode, StatusCode};

/// What to play, and for how long.
#[derive(Debug)]
pub(super) struct Options {
    /// The first number; by default that of the seat.
    pub(super) start: Option<u64>,
    /// What is added from move to move; by default the number of seats.
    pub(super) step: Option<u64>,
    /// The least time from one own move to the next.
    pub(super) every: Duration,
    pub(super) count: Option<u64>,
}

/// Plays until it has made its moves, the dialogue ends, or a signal comes.
pub(super) fn run(
    session: &Arc<Session>,
    options: &Options,
    on_termination: OnTermination,
) -> Result<(), Failure> {
    session.on_interrupt(on_termination, || {})?;
    if session.connection.mode() != Mode::Turn {
        let advice = "Start one with: cargo run --bin server -- --mode turn";
        let text = format!("{} takes no turns.\n{advice}", escape(&session.address));
        return Err(Failure::new(NETWORK, text));
    }
    let mut player = Player { session, options, numbers: Numbers::new(options), moved: None };
    let mut moves = 0;
    while options.count.is_none_or(|count| moves < count) {
        match player.next_move()? {
            Some(true) => moves += 1,
            Some(false) => {}
            None => break,
        }
    }
    match options.count {
        Some(count) if moves < count => {
            let ending = session.ending();
            let text = format!("{ending}; {moves} of {count} moves were accepted");
            Err(Failure::new(NOT_DELIVERED, text))
        }
        None if !session.is_interrupted() => {
            tell(&session.ending());
            Ok(())
        }
        _ => Ok(()),
    }
}

struct Player<'a> {
    session: &'a Session,
    options: &'a Options,
    numbers: Numbers,
    /// When the last move was made.
    moved: Option<Instant>,
}

impl Player<'_> {
    /// Waits for the next turn and plays it; whether the move was accepted, or `None` at the end.
    fn next_move(&mut self) -> Result<Option<bool>, Failure> {
        let Some((turn, number)) = self.wait_for_turn()? else { return Ok(None) };
        let connection = &self.session.connection;
        let name = connection.name();
        let text = format!("{name}:{number}");
        self.moved = Some(Instant::now());
        match connection.play(turn, &text).and_then(|receipt| connection.confirm(receipt)) {
            Ok(Fate::Accepted) => {
                self.numbers.moved(turn, number);
                print(&format!("{} sent: {number}\n", escape(&name)))?;
                Ok(Some(true))
            }
            Ok(Fate::Refused { code: StatusCode::NotYourTurn, detail }) => {
                let why = refusal(StatusCode::NotYourTurn, &detail);
                tell(&format!("{} came too late: {why}", escape(&text)));
                Ok(Some(false))
            }
            // The session was lost with it; there may be another one.
            Ok(fate @ Fate::Unknown) => {
                tell(&format!("{} may be lost: {}", escape(&text), reason(&fate)));
                Ok(Some(false))
            }
            // The turn stays: it passes on when this player goes.
            Ok(fate) => {
                let text = format!("{} is not accepted: {}", escape(&text), reason(&fate));
                Err(Failure::new(NOT_DELIVERED, text))
            }
            Err(Error::Closed) => Ok(None),
            Err(error) => Err(Failure::new(NOT_DELIVERED, chain(&error))),
        }
    }

    /// Waits for a turn of one's own, and for the time to play it. Gives the turn and the number to
    /// play, or `None` at the end.
    fn wait_for_turn(&mut self) -> Result<Option<(u64, u64)>, Failure> {
        let connection = &self.session.connection;
        let mut own: Option<(u64, Instant)> = None;
        loop {
            let now = Instant::now();
            let event = match own {
                Some((turn, at)) if at <= now => {
                    return Ok(Some((turn, self.numbers.next(turn))));
                }
                Some((_, at)) => connection.recv_timeout(at - now),
                None => connection.recv(),
            };
            match event {
                Ok(Some(Event::Go { turn, deadline })) => own = Some((turn, self.due(deadline))),
                Ok(Some(Event::Wait { .. } | Event::TurnEnded { .. })) => own = None,
                Ok(Some(Event::Present { total, .. })) => self.sit_down(total),
                Ok(Some(event)) => {
                    if matches!(event, Event::SessionLost { .. }) {
                        own = None; // a turn of another game
                    }
                    self.session.tell_of_connection(&event);
                }
                Err(Error::Timeout(..)) => {}
                Ok(None) => return Ok(None),
                Err(error) => return Err(Failure::network(&error, &self.session.address)),
            }
        }
    }

    /// When to play a turn that has just come: at the pace that was asked for, but well before the
    /// turn passes on.
    fn due(&self, deadline: Option<Instant>) -> Instant {
        let now = Instant::now();
        let at = self.moved.and_then(|moved| moved.checked_add(self.options.every));
        let at = at.unwrap_or(now);
        let latest = deadline.map(|at| now + at.saturating_duration_since(now) / 2);
        latest.map_or(at, |latest| at.min(latest))
    }

    /// Told who is there, also after the connection was restored.
    fn sit_down(&mut self, total: u32) {
        if self.numbers.sit_down(total.into()) {
            let Session { connection, address, .. } = self.session;
            let (address, name) = (escape(address), connection.name());
            tell(&format!("connected to {address} as {}, seat {total}", escape(&name)));
        }
    }
}

/// Which number comes next. Pure.
#[derive(Debug)]
struct Numbers {
    start: Option<u64>,
    step: Option<u64>,
    seat: Option<u64>,
    /// The last turn that was played, and its number.
    last: Option<(u64, u64)>,
}

impl Numbers {
    fn new(options: &Options) -> Self {
        Self { start: options.start, step: options.step, seat: None, last: None }
    }

    /// The seat is the last of so many; whether that is news.
    fn sit_down(&mut self, total: u64) -> bool {
        let is_new = self.seat.is_none();
        self.seat.get_or_insert(total);
        is_new
    }

    fn next(&self, turn: u64) -> u64 {
        let Some((last_turn, last)) = self.last else {
            return self.start.or(self.seat).unwrap_or(1);
        };
        // A server that was started anew counts its turns anew.
        let passed = turn.checked_sub(last_turn).unwrap_or(turn);
        last.saturating_add(self.step.unwrap_or(passed))
    }

    fn moved(&mut self, turn: u64, number: u64) {
        self.last = Some((turn, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(start: Option<u64>, step: Option<u64>) -> Numbers {
        Numbers { start, step, seat: None, last: None }
    }

    /// The numbers that are played in these turns, after sitting down as the third.
    fn played(mut numbers: Numbers, turns: &[u64]) -> Vec<u64> {
        assert!(numbers.sit_down(3));
        assert!(!numbers.sit_down(9), "told again, after a lost connection");
        let play = |turn: &u64| {
            let number = numbers.next(*turn);
            numbers.moved(*turn, number);
            number
        };
        turns.iter().map(play).collect()
    }

    #[test]
    fn by_default_all_players_together_count_without_a_gap() {
        assert_eq!(played(numbers(None, None), &[3, 6, 9]), [3, 6, 9]);
        assert_eq!(played(numbers(None, None), &[3, 6, 10]), [3, 6, 10], "a fourth one came");
        assert_eq!(played(numbers(None, None), &[12, 15, 2]), [3, 6, 8], "a server started anew");
    }

    #[test]
    fn start_and_step_are_obeyed() {
        assert_eq!(played(numbers(Some(0), Some(5)), &[3, 6, 10]), [0, 5, 10]);
        assert_eq!(played(numbers(Some(7), None), &[3, 5]), [7, 9]);
        assert_eq!(played(numbers(None, Some(2)), &[3, 6]), [3, 5]);
        let highest = numbers(Some(u64::MAX), None);
        assert_eq!(played(highest, &[1, 2]), [u64::MAX; 2]);
    }
}
