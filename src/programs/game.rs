//! Whose turn it is, as a chat tells it to the one who types.
//!
//! Pure: events go in, a line for people comes out where there is news.

use std::time::Instant;

use crate::escape::escape;
use crate::event::{Event, Receipt};
use crate::message::StatusCode;

#[derive(Debug, Default)]
pub(super) struct Game {
    me: String,
    /// The turn that is to be played here.
    mine: Option<u64>,
    /// The last move made here: its turn, and the message.
    moved: Option<(u64, Receipt)>,
    /// The last message that the rules did not allow.
    disallowed: Option<Receipt>,
    /// Who has the turn, if it is another one, and the turn.
    other: Option<(u64, String)>,
}

impl Game {
    pub(super) fn new(me: &str) -> Self {
        Self { me: me.to_owned(), ..Self::default() }
    }

    /// There is another game, and in it this client may bear another name.
    pub(super) fn begin_anew(&mut self, me: &str) {
        *self = Self::new(me);
    }

    /// Takes note of an event at `now`. Gives a line if the turn is another's now, or one's own.
    pub(super) fn note(&mut self, event: &Event, now: Instant) -> Option<String> {
        match event {
            Event::Go { turn, deadline } => {
                (self.mine, self.other) = (Some(*turn), None);
                let left = deadline.map(|at| at.saturating_duration_since(now).as_secs_f64());
                let left = left.map(|left| format!(" ({left:.0} s)")).unwrap_or_default();
                Some(format!("it is your turn{left}: a line is your move"))
            }
            Event::Wait { turn, holder } => self.pass(*turn, holder.as_deref()),
            // A Go follows, and tells it.
            Event::TurnEnded { next, .. } if next.as_ref() == Some(&self.me) => None,
            Event::TurnEnded { turn, next, .. } => self.pass(turn + 1, next.as_deref()),
            Event::Refused { receipt, code, .. } if *code != StatusCode::NotYourTurn => {
                self.disallowed = Some(*receipt);
                self.take_back();
                None
            }
            _ => None,
        }
    }

    fn pass(&mut self, turn: u64, holder: Option<&str>) -> Option<String> {
        let other = holder.map(|name| (turn, name.to_owned()));
        let is_known = other.is_some() && self.other == other;
        (self.mine, self.other) = (None, other);
        (!is_known).then(|| self.whose())
    }

    /// Whose turn it is.
    pub(super) fn whose(&self) -> String {
        match (&self.other, self.moved) {
            (Some((_, name)), _) => format!("it is {}'s turn", escape(name)),
            (None, Some(_)) => "nobody has the turn now".into(),
            (None, None) => "nobody has the turn yet".into(),
        }
    }

    /// The turn that is to be played here, if there is one. It is not any more.
    pub(super) fn take(&mut self) -> Option<u64> {
        self.mine.take()
    }

    /// A move was made here, in the turn that was taken.
    pub(super) fn moved(&mut self, turn: u64, receipt: Receipt) {
        self.moved = Some((turn, receipt));
        self.take_back();
    }

    /// The turn stays where the rules of the game did not allow the move.
    fn take_back(&mut self) {
        if let Some((turn, receipt)) = self.moved
            && self.disallowed == Some(receipt)
        {
            self.mine = Some(turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Outcome;
    use std::time::{Duration, UNIX_EPOCH};

    fn wait(turn: u64, holder: Option<&str>) -> Event {
        Event::Wait { turn, holder: holder.map(str::to_owned) }
    }

    fn ended(turn: u64, next: Option<&str>) -> Event {
        let (next, outcome) = (next.map(str::to_owned), Outcome::Moved);
        let (seq, time, body) = (turn, UNIX_EPOCH, String::new());
        Event::TurnEnded { seq, time, turn, outcome, from: "bob".into(), next, body }
    }

    #[test]
    fn it_is_told_once_whose_turn_it_is() {
        let mut game = Game::new("alice");
        let now = Instant::now();
        let mut told = |event: &Event| game.note(event, now).unwrap_or_default();
        assert_eq!(told(&wait(0, None)), "nobody has the turn yet");
        assert_eq!(told(&wait(1, Some("b\u{1b}ob"))), "it is b\\u{1b}ob's turn");
        assert_eq!(told(&ended(1, Some("carol"))), "it is carol's turn");
        assert_eq!(told(&wait(2, Some("carol"))), "", "resumed, and nothing new");
        assert_eq!(told(&ended(2, Some("alice"))), "", "Go follows");
        let deadline = Some(now + Duration::from_secs(30));
        let line = "it is your turn (30 s): a line is your move";
        assert_eq!(told(&Event::Go { turn: 3, deadline }), line);
    }

    #[test]
    fn another_game_has_no_turn_yet_and_may_have_another_name() {
        let mut game = Game::new("alice");
        let now = Instant::now();
        game.note(&Event::Go { turn: 7, deadline: None }, now);
        game.begin_anew("alice-2");
        assert_eq!((game.take(), &*game.whose()), (None, "nobody has the turn yet"));
        assert_eq!(game.note(&ended(1, Some("alice-2")), now), None, "Go follows");
        assert_eq!(game.note(&ended(2, Some("alice")), now).as_deref(), Some("it is alice's turn"));
    }

    #[test]
    fn a_turn_is_ones_own_until_it_is_played_or_over() {
        let mut game = Game::new("alice");
        let now = Instant::now();
        let refused = |number, code| {
            let (receipt, detail) = (Receipt(number), String::new());
            Event::Refused { receipt, code, detail }
        };
        game.note(&Event::Go { turn: 1, deadline: None }, now);
        assert_eq!((game.take(), game.take()), (Some(1), None));
        game.moved(1, Receipt(1));
        game.note(&refused(1, StatusCode::Refused), now);
        assert_eq!(game.take(), Some(1), "the rules did not allow it");
        game.note(&refused(2, StatusCode::Refused), now);
        game.moved(1, Receipt(2));
        assert_eq!(game.take(), Some(1), "and said so before the sender went on");
        game.moved(1, Receipt(3));
        game.note(&refused(3, StatusCode::NotYourTurn), now);
        assert_eq!(game.take(), None);
        game.note(&Event::Go { turn: 3, deadline: None }, now);
        game.note(&ended(3, None), now);
        assert_eq!((game.take(), &*game.whose()), (None, "nobody has the turn now"));
    }
}
