//! Each rule by itself. Outputs are written in short: see [`Game`].

use std::time::{Duration, Instant};

use crate::settings::OnTimeout;
use crate::turns::{Output, Table, Turn, TurnRules};

/// A game with a clock. Each input gives back what it caused, in short: `go 1 A`, with ` 5s` where
/// time is left; `wait B: 1 A`, `wait B: nobody`; `1 A moved, B`, `1 A time out, nobody`; `out A`.
/// Seats are 1 for A, 2 for B.
struct Game {
    turns: Table,
    now: Instant,
    played: bool,
}

fn name(seat: u64) -> char {
    char::from(b'@' + seat as u8)
}

fn short(output: &Output) -> String {
    let of_turn = |turn: Turn| format!("{} {}", turn.number, name(turn.holder));
    match *output {
        Output::Ended { turn, outcome, next } => {
            let next = next.map_or("nobody".into(), |next| name(next).to_string());
            format!("{} {outcome}, {next}", of_turn(turn))
        }
        Output::TurnOut { seat } => format!("out {}", name(seat)),
        Output::Go { turn, left: None } => format!("go {}", of_turn(turn)),
        Output::Go { turn, left: Some(left) } => format!("go {} {left:?}", of_turn(turn)),
        Output::Wait { seat, current } => {
            format!("wait {}: {}", name(seat), current.map_or("nobody".into(), of_turn))
        }
    }
}

impl Game {
    fn new(deadline: u64, min_players: usize) -> Self {
        let deadline = Duration::from_secs(deadline);
        let rules = TurnRules { deadline, on_timeout: OnTimeout::Skip, strikes: 3, min_players };
        Self::with(rules)
    }

    fn with(rules: TurnRules) -> Self {
        Self { turns: Table::new(rules), now: Instant::now(), played: false }
    }

    /// A game in which `A` to `last` sit; A has turn 1.
    fn of(last: char, deadline: u64, min_players: usize) -> Self {
        let mut game = Self::new(deadline, min_players);
        ('A'..=last).for_each(|seat| drop(game.sit(seat)));
        assert_eq!(game.turns.current(), Some(Turn { number: 1, holder: 1 }));
        game
    }

    fn call(&mut self, input: impl FnOnce(&mut Table, Instant, &mut Vec<Output>)) -> Vec<String> {
        let mut out = Vec::new();
        input(&mut self.turns, self.now, &mut out);
        out.iter().map(short).collect()
    }

    fn sit(&mut self, seat: char) -> Vec<String> {
        self.call(|turns, now, out| turns.sit_down(number(seat), now, out))
    }

    fn away(&mut self, seat: char) -> Vec<String> {
        self.call(|turns, now, out| turns.away(number(seat), now, out))
    }

    fn back(&mut self, seat: char) -> Vec<String> {
        self.call(|turns, now, out| turns.back(number(seat), now, out))
    }

    fn leave(&mut self, seat: char) -> Vec<String> {
        self.call(|turns, now, out| turns.leave(number(seat), now, out))
    }

    /// A move; whether it was accepted is in `played`.
    fn play(&mut self, seat: char, turn: u64) -> Vec<String> {
        let mut played = false;
        let caused = self.call(|turns, now, out| played = turns.play(number(seat), turn, now, out));
        self.played = played;
        caused
    }

    fn after(&mut self, seconds: u64) -> Vec<String> {
        self.now += Duration::from_secs(seconds);
        self.call(Table::tick)
    }

    /// Lets holders move, and says who had the turns.
    fn rounds(&mut self, moves: usize) -> String {
        (0..moves)
            .map(|_| {
                let Turn { number, holder } = self.turns.current().expect("somebody's turn");
                self.play(name(holder), number);
                assert!(self.played);
                name(holder)
            })
            .collect()
    }
}

fn number(seat: char) -> u64 {
    u64::from(seat as u32 - u32::from(b'@'))
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_game_of_two_as_in_seed_002() {
    let mut game = Game::new(0, 2);
    assert_eq!(game.sit('A'), ["wait A: nobody"]);
    assert_eq!(game.turns.current(), None);
    assert_eq!(game.sit('B'), ["go 1 A", "wait B: 1 A"]);
    assert_eq!(game.play('A', 1), ["1 A moved, B", "go 2 B", "wait A: 2 B"]);
    assert_eq!(game.play('B', 2), ["2 B moved, A", "go 3 A", "wait B: 3 A"]);
    assert_eq!(game.turns.due(), None, "no limit");
}

#[test]
fn a_move_by_another_or_with_another_number_changes_nothing() {
    let mut game = Game::of('C', 0, 2);
    for (seat, turn) in [('B', 1), ('A', 2), ('A', 0), ('B', 2), ('Z', 1)] {
        assert_eq!((game.play(seat, turn), game.played), (vec![], false), "{seat} {turn}");
    }
    assert_eq!(game.rounds(1), "A");
    assert_eq!((game.play('A', 1), game.played), (vec![], false), "twice");
    assert_eq!(game.rounds(4), "BCAB");
}

#[test]
fn alone_it_gets_each_turn() {
    let mut game = Game::new(0, 1);
    assert_eq!(game.sit('A'), ["go 1 A"]);
    assert_eq!(game.play('A', 1), ["1 A moved, A", "go 2 A"]);
    assert_eq!(game.sit('B'), ["wait B: 2 A"]);
    assert_eq!(game.rounds(4), "ABAB");
}

#[test]
fn a_newcomer_sits_at_the_end() {
    let mut game = Game::of('B', 0, 2);
    assert_eq!(game.rounds(1), "A");
    assert_eq!(game.sit('C'), ["wait C: 2 B"], "while the last one has the turn");
    assert_eq!(game.rounds(4), "BCAB");
    assert_eq!(game.sit('D'), ["wait D: 6 C"]);
    assert_eq!(game.rounds(4), "CDAB");
    assert_eq!((game.leave('D'), game.sit('E')), (vec![], vec!["wait E: 10 C".into()]));
    assert_eq!(game.rounds(4), "CEAB");
}

#[test]
fn leaving_skips_nobody() {
    let mut game = Game::of('E', 0, 2);
    assert_eq!(game.rounds(2), "AB");
    assert_eq!(game.leave('C'), ["3 C left, D", "go 4 D"], "the holder");
    assert_eq!(game.leave('B'), NOTHING, "the one before the holder");
    assert_eq!(game.leave('E'), NOTHING, "the next one");
    assert_eq!(game.leave('C'), NOTHING, "twice");
    assert_eq!(game.rounds(3), "DAD");
}

#[test]
fn one_that_leaves_and_comes_again_sits_at_the_end() {
    let mut game = Game::of('C', 0, 2);
    assert_eq!(game.leave('A'), ["1 A left, B", "go 2 B"]);
    assert_eq!(game.sit('A'), ["wait A: 2 B"]);
    assert_eq!(game.rounds(4), "BCAB");
    assert_eq!(game.sit('B'), NOTHING, "it sits already");
    assert_eq!(game.rounds(3), "CAB");

    // Also where the turn waits for it.
    let mut game = Game::of('C', 0, 3);
    game.rounds(1);
    assert_eq!(game.leave('B'), ["2 B left, nobody"]);
    assert_eq!(game.sit('B'), ["go 3 C", "wait A: 3 C", "wait B: 3 C"]);
    assert_eq!(game.rounds(4), "CBAC");
}

#[test]
fn one_that_is_away_is_passed_over_and_keeps_its_place() {
    let mut game = Game::of('D', 0, 2);
    assert_eq!((game.away('B'), game.away('C')), (vec![], vec![]));
    assert_eq!(game.rounds(3), "ADA");
    assert_eq!(game.back('C'), ["wait C: 4 D"]);
    assert_eq!(game.rounds(3), "DAC");
    assert_eq!(game.back('B'), ["wait B: 7 D"]);
    assert_eq!(game.rounds(5), "DABCD");
    assert_eq!(game.back('C'), ["wait C: 12 A"], "taken over from its connection");
    assert_eq!((game.away('Z'), game.back('Z')), (vec![], vec![]));
}

#[test]
fn a_holder_that_is_away_keeps_its_turn_and_gets_go_again() {
    let mut game = Game::of('B', 10, 2);
    assert_eq!(game.away('A'), NOTHING);
    assert_eq!((game.play('A', 1), game.played), (vec![], false), "it cannot be heard");
    assert_eq!(game.after(4), NOTHING);
    assert_eq!(game.back('A'), ["go 1 A 6s"]);
    assert_eq!(game.back('A'), ["go 1 A 6s"], "taken over from its connection");
    assert_eq!(game.rounds(2), "AB");
}

#[test]
fn a_holder_that_is_away_loses_its_turn_at_the_deadline() {
    let mut game = Game::of('C', 10, 2);
    assert_eq!(game.away('A'), NOTHING);
    assert_eq!(game.after(10), ["1 A time out, B", "go 2 B 10s"]);
    assert_eq!(game.back('A'), ["wait A: 2 B"]);
    assert_eq!(game.rounds(3), "BCA");
    assert_eq!(game.away('B'), NOTHING);
    assert_eq!(game.leave('B'), ["5 B left, C", "go 6 C 10s"], "its grace is over before");
}

#[test]
fn without_a_deadline_one_that_is_away_keeps_its_turn_until_it_leaves() {
    let mut game = Game::of('B', 0, 2);
    assert_eq!(game.away('A'), NOTHING);
    assert_eq!(game.after(1_000_000), NOTHING);
    assert_eq!(game.sit('C'), ["wait C: 1 A"]);
    assert_eq!(game.leave('A'), ["1 A left, B", "go 2 B"]);
}

#[test]
fn a_turn_has_its_time_and_no_more() {
    let mut game = Game::of('B', 10, 2);
    assert_eq!(game.turns.due(), Some(game.now + Duration::from_secs(10)));
    assert_eq!(game.after(9), NOTHING);
    assert_eq!(game.play('A', 1), ["1 A moved, B", "go 2 B 10s", "wait A: 2 B"]);
    assert_eq!(game.after(9), NOTHING);
    assert_eq!(game.after(1), ["2 B time out, A", "go 3 A 10s"]);
    // A late move is late also when the timer is later still.
    game.now += Duration::from_secs(10);
    assert_eq!(game.play('A', 3), ["3 A time out, B", "go 4 B 10s"]);
    assert!(!game.played);
    game.now += Duration::from_secs(17);
    let caused = game.sit('C');
    assert_eq!(caused, ["4 B time out, A", "go 5 A 10s", "wait C: 5 A"], "a whole turn for A");
    game.now += Duration::from_secs(10);
    assert_eq!(game.leave('A'), ["5 A time out, B", "go 6 B 10s"]);
    game.now += Duration::from_secs(10);
    assert_eq!(game.back('B'), ["6 B time out, C", "go 7 C 10s", "wait B: 7 C"]);
    game.now += Duration::from_secs(10);
    assert_eq!(game.away('B'), ["7 C time out, nobody"], "B has gone before");
}

#[test]
fn a_deadline_beyond_the_clock_is_none() {
    let rules = TurnRules { deadline: Duration::MAX, min_players: 0, ..TurnRules::default() };
    let mut game = Game::with(rules);
    assert_eq!(game.sit('A'), ["go 1 A"]);
    assert_eq!(game.turns.due(), None);
}

#[test]
fn too_few_is_a_pause_and_the_game_goes_on_where_it_was() {
    let mut game = Game::of('D', 0, 3);
    assert_eq!((game.away('C'), game.away('D')), (vec![], vec![]));
    assert_eq!(game.turns.current(), Some(Turn { number: 1, holder: 1 }), "a turn that runs");
    assert_eq!(game.play('A', 1), ["1 A moved, nobody", "wait A: nobody"]);
    assert_eq!((game.play('B', 2), game.played), (vec![], false));
    assert_eq!(game.away('A'), NOTHING);
    assert_eq!(game.back('A'), ["wait A: nobody"]);
    assert_eq!(game.back('D'), ["go 2 B", "wait A: 2 B", "wait D: 2 B"], "not A again");
    assert_eq!(game.leave('B'), ["2 B left, nobody"]);
    assert_eq!(
        game.sit('E'),
        ["go 3 D", "wait A: 3 D", "wait E: 3 D"],
        "after B, which is gone; C is away"
    );
    assert_eq!(game.rounds(4), "DEAD");
}

#[test]
fn when_all_have_gone_the_next_ones_go_on() {
    let mut game = Game::of('B', 0, 2);
    assert_eq!(game.leave('B'), NOTHING);
    assert_eq!(game.leave('A'), ["1 A left, nobody"]);
    assert_eq!(game.sit('C'), ["wait C: nobody"]);
    assert_eq!(game.sit('D'), ["go 2 C", "wait D: 2 C"], "the numbers grow");

    let mut game = Game::of('A', 10, 1);
    assert_eq!(game.away('A'), NOTHING);
    assert_eq!(game.after(10), ["1 A time out, nobody"]);
    assert_eq!(game.after(10), NOTHING);
    assert_eq!(game.back('A'), ["go 2 A 10s"]);
}

#[test]
fn one_that_sleeps_too_often_in_a_row_is_turned_out() {
    let deadline = Duration::from_secs(10);
    let on_timeout = OnTimeout::TurnOut;
    let rules = TurnRules { deadline, on_timeout, strikes: 2, min_players: 2 };
    let mut game = Game::with(rules);
    ('A'..='C').for_each(|seat| drop(game.sit(seat)));
    assert_eq!(game.after(10), ["1 A time out, B", "go 2 B 10s"]);
    assert_eq!(game.rounds(3), "BCA");
    game.rounds(2);
    assert_eq!(game.after(10), ["7 A time out, B", "go 8 B 10s"], "its move was in between");
    game.rounds(2);
    assert_eq!(game.after(10), ["10 A time out, B", "out A", "go 11 B 10s"]);
    assert_eq!(game.leave('A'), NOTHING, "it is gone already");
    assert_eq!(game.rounds(3), "BCB");
    // The one that would be next is the one that is turned out: nobody.
    game.after(10);
    game.rounds(1);
    assert_eq!(game.after(10), ["16 C time out, nobody", "out C"]);

    let mut alone = Game::with(TurnRules { strikes: 0, min_players: 1, ..rules });
    assert_eq!(alone.sit('A'), ["go 1 A 10s"]);
    assert_eq!(alone.after(10), ["1 A time out, nobody", "out A"]);
}

#[test]
fn skipping_turns_nobody_out() {
    let mut game = Game::of('B', 10, 2);
    for _ in 0..10 {
        assert_eq!(game.after(10).len(), 2, "ended, and go");
    }
}

/// With 2, 100 and 1,000 seats, and with 1,000 more that are away: one seat is looked at to find
/// the next one, and the frames are two.
#[test]
fn a_hand_over_costs_the_same_however_many_sit() {
    for (there, away) in [(2, 0), (100, 0), (1000, 0), (2, 1000), (1000, 1000)] {
        let mut turns = Table::new(TurnRules::default());
        let now = Instant::now();
        let mut out = Vec::new();
        for seat in 0..there + away {
            turns.sit_down(seat, now, &mut out);
        }
        // The holder stays, and the last ones.
        (1..=away).for_each(|seat| turns.away(seat, now, &mut out));
        turns.line.steps.set(0);
        let hand_overs = 2 * there;
        for _ in 0..hand_overs {
            let Turn { number, holder } = turns.current().expect("somebody's turn");
            out.clear();
            assert!(turns.play(holder, number, now, &mut out));
            assert_eq!(out.len(), 3, "the record, Go, Wait");
        }
        let steps = turns.line.steps.get();
        assert_eq!(steps as u64, hand_overs, "{there} there, {away} away");
    }
}
