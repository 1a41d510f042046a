//! Random inputs. After each, all that comes out is held against a model that is written the dull
//! way, and, without the model, against what must be true of any sequence of outputs.

use std::time::{Duration, Instant};

use crate::message::Outcome;
use crate::settings::OnTimeout;
use crate::turns::{Output, Seat, Table, Turn, TurnRules};

/// A small generator of numbers, by seed, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[derive(Debug, Clone, Copy)]
enum Input {
    Sit(Seat),
    Away(Seat),
    Back(Seat),
    Leave(Seat),
    Play(Seat, u64),
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    There,
    Away,
    Gone,
}

/// All seats that ever sat, in order of arrival; nobody is ever taken out, and the seat of a number
/// is at that index. Who is next is found by walking.
struct Model {
    rules: TurnRules,
    seats: Vec<(Life, u32)>,
    /// The last turn, whether it runs, and when it began.
    last: Option<(usize, bool, Instant)>,
    number: u64,
}

impl Model {
    fn life(&self, seat: Seat) -> Life {
        self.seats.get(seat as usize).map_or(Life::Gone, |(life, _)| *life)
    }

    fn set(&mut self, seat: Seat, life: Life) {
        if self.life(seat) != Life::Gone {
            self.seats[seat as usize].0 = life;
        }
    }

    fn there(&self) -> usize {
        self.seats.iter().filter(|(life, _)| *life == Life::There).count()
    }

    fn turn(&self) -> Option<Turn> {
        let (holder, _, _) = self.last.filter(|(_, runs, _)| *runs)?;
        Some(Turn { number: self.number, holder: holder as Seat })
    }

    fn due(&self) -> Option<Instant> {
        let (_, _, began) = self.last.filter(|(_, runs, _)| *runs)?;
        (self.rules.deadline > Duration::ZERO).then(|| began + self.rules.deadline)
    }

    fn next(&self) -> Option<usize> {
        let from = self.last.map_or(0, |(last, _, _)| last + 1);
        let mut walk = (from..self.seats.len()).chain(0..from);
        let enough = self.there() >= self.rules.min_players;
        walk.find(|index| enough && self.seats[*index].0 == Life::There)
    }

    fn give(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(next) = self.next() {
            self.number += 1;
            self.last = Some((next, true, now));
            let turn = Turn { number: self.number, holder: next as Seat };
            out.push(Output::Go { turn, left: self.due().map(|due| due - now) });
        }
    }

    fn end(&mut self, outcome: Outcome, out: &mut Vec<Output>) {
        let turn = self.turn().expect("a turn that runs");
        self.last = self.last.map(|(seat, _, began)| (seat, false, began));
        let next = self.next().map(|seat| seat as Seat);
        out.push(Output::Ended { turn, outcome, next });
    }

    fn time_out(&mut self, now: Instant, out: &mut Vec<Output>) {
        let seat = self.turn().expect("a turn that runs").holder;
        let (life, strikes) = &mut self.seats[seat as usize];
        *strikes += 1;
        let is_last = *strikes == self.rules.strikes
            && *life != Life::Gone
            && self.rules.on_timeout == OnTimeout::TurnOut;
        if is_last {
            self.set(seat, Life::Gone);
        }
        self.end(Outcome::TimeOut, out);
        if is_last {
            out.push(Output::TurnOut { seat });
        }
        self.give(now, out);
    }

    fn apply(&mut self, input: Input, now: Instant) -> (bool, Vec<Output>) {
        let mut out = Vec::new();
        match input {
            Input::Away(seat) => self.set(seat, Life::Away),
            Input::Leave(seat) => self.set(seat, Life::Gone),
            _ => {}
        }
        if self.due().is_some_and(|due| due <= now) {
            self.time_out(now, &mut out);
        }
        let turn = self.turn();
        let holder = turn.map(|turn| turn.holder);
        match input {
            Input::Sit(_) => self.seats.push((Life::There, 0)),
            Input::Back(seat) => self.set(seat, Life::There),
            _ => {}
        }
        let mut played = false;
        match input {
            Input::Leave(seat) if holder == Some(seat) => {
                self.end(Outcome::Left, &mut out);
                self.give(now, &mut out);
            }
            Input::Play(seat, number) if turn == Some(Turn { number, holder: seat }) => {
                played = self.life(seat) == Life::There;
                if played {
                    self.seats[seat as usize].1 = 0;
                    self.end(Outcome::Moved, &mut out);
                    self.give(now, &mut out);
                    self.wait(seat, &mut out);
                }
            }
            Input::Back(seat) if holder == Some(seat) => {
                let left = self.due().map(|due| due - now);
                out.extend(turn.map(|turn| Output::Go { turn, left }));
            }
            Input::Sit(seat) | Input::Back(seat) if self.life(seat) == Life::There => {
                if holder.is_none() {
                    self.give(now, &mut out);
                }
                if holder.is_none() && self.turn().is_some() {
                    (0..self.seats.len() as Seat).for_each(|seat| self.wait(seat, &mut out));
                } else {
                    self.wait(seat, &mut out);
                }
            }
            _ => {}
        }
        (played, out)
    }

    fn wait(&self, seat: Seat, out: &mut Vec<Output>) {
        let current = self.turn();
        let there = self.life(seat) == Life::There;
        if there && current.map(|turn| turn.holder) != Some(seat) {
            out.push(Output::Wait { seat, current });
        }
    }
}

/// What must be true of the outputs, whoever made them.
struct Witness {
    rules: TurnRules,
    /// Each turn, and the step at which it began.
    begun: Vec<(Seat, usize)>,
    running: Option<(Turn, Instant)>,
    /// For each seat, since which step it is there; none: it is not.
    there: Vec<Option<usize>>,
    /// For each seat, whose turn it believes that it is.
    belief: Vec<Option<Turn>>,
}

impl Witness {
    fn see(&mut self, step: usize, input: Input, now: Instant, out: &[Output]) {
        match input {
            Input::Sit(_) => {
                self.there.push(Some(step));
                self.belief.push(None);
            }
            Input::Back(seat) => {
                self.there[seat as usize].get_or_insert(step);
            }
            Input::Away(seat) | Input::Leave(seat) => self.there[seat as usize] = None,
            Input::Play(..) | Input::Tick => {}
        }
        let mut promised = None;
        for output in out {
            match *output {
                Output::Ended { turn, outcome, next } => {
                    let (running, began) = self.running.take().expect("it ran");
                    assert_eq!((turn, promised), (running, None));
                    let in_time = now < began + self.rules.deadline;
                    let in_time = in_time || self.rules.deadline.is_zero();
                    match outcome {
                        Outcome::TimeOut => assert!(!in_time, "its time was not over"),
                        Outcome::Left => {
                            assert!(matches!(input, Input::Leave(seat) if seat == turn.holder));
                        }
                        _ => assert!(in_time && matches!(input, Input::Play(..))),
                    }
                    promised = next;
                    let number = turn.number + 1;
                    self.belief.fill(next.map(|holder| Turn { number, holder }));
                }
                Output::TurnOut { seat } => self.there[seat as usize] = None,
                Output::Go { turn, left } => {
                    self.belief[turn.holder as usize] = Some(turn);
                    let again = self.running.is_some_and(|(running, _)| running == turn);
                    assert!(self.running.is_none() || again, "two holders");
                    assert!(
                        self.there[turn.holder as usize].is_some() && left != Some(Duration::ZERO)
                    );
                    if !again {
                        assert!(promised.is_none_or(|seat| seat == turn.holder));
                        assert_eq!(turn.number, self.begun.len() as u64 + 1, "numbers grow");
                        self.fair(turn.holder);
                        self.begun.push((turn.holder, step));
                        self.running = Some((turn, now));
                        promised = None;
                    }
                }
                Output::Wait { seat, current } => {
                    assert!(self.there[seat as usize].is_some());
                    assert_eq!(current, self.running.map(|(turn, _)| turn));
                    self.belief[seat as usize] = current;
                }
            }
        }
        assert_eq!(promised, None, "who was named next got no Go");
        for (seat, belief) in self.belief.iter().enumerate() {
            let knows = *belief == self.running.map(|(turn, _)| turn);
            assert!(knows || self.there[seat].is_none(), "{seat} does not know whose turn it is");
        }
        let there = self.there.iter().flatten().count();
        assert!(self.running.is_some() || there < self.rules.min_players, "nobody's turn");
        let overdue =
            |(_, began)| !self.rules.deadline.is_zero() && began + self.rules.deadline <= now;
        assert!(!self.running.is_some_and(overdue), "a turn that does not pass on");
    }

    /// Before a new turn of `seat`: since its last one, whoever was there all the time had exactly
    /// one turn, if `seat` was.
    fn fair(&self, seat: Seat) {
        let Some(last) = self.begun.iter().rposition(|(other, _)| *other == seat) else { return };
        let (since, between) = (self.begun[last].1, &self.begun[last + 1..]);
        let stayed = |seat: Seat| self.there[seat as usize].is_some_and(|step| step <= since);
        if !stayed(seat) {
            return;
        }
        for other in (0..self.there.len() as Seat).filter(|other| *other != seat && stayed(*other))
        {
            let turns = between.iter().filter(|(holder, _)| *holder == other).count();
            assert_eq!(turns, 1, "turns of {other} between two of {seat}");
        }
    }
}

const DEADLINE_MS: u64 = 1000;

/// Names the seed when a check of its run fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

struct Run {
    random: Random,
    turns: Table,
    model: Model,
    witness: Witness,
    now: Instant,
    step: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let rules = TurnRules {
            deadline: Duration::from_millis(DEADLINE_MS * random.below(3).min(1)),
            on_timeout: [OnTimeout::Skip, OnTimeout::TurnOut][random.below(2) as usize],
            strikes: 1 + random.below(3) as u32,
            min_players: 1 + random.below(3) as usize,
        };
        let model = Model { rules, seats: Vec::new(), last: None, number: 0 };
        let witness = Witness {
            rules,
            begun: Vec::new(),
            running: None,
            there: Vec::new(),
            belief: Vec::new(),
        };
        let (turns, now) = (Table::new(rules), Instant::now());
        Self { random, turns, model, witness, now, step: 0 }
    }

    fn input(&mut self) -> Input {
        let sat = self.model.seats.len() as u64;
        let living = |seat: &Seat| self.model.life(*seat) != Life::Gone;
        let living: Vec<Seat> = (0..sat).filter(living).collect();
        if living.is_empty() {
            return Input::Sit(sat);
        }
        let holder = self.model.turn().map(|turn| turn.holder);
        // Things happen to the holder more often than to others.
        let any = living[self.random.below(living.len() as u64) as usize];
        let seat = holder.filter(|_| self.random.below(3) == 0).unwrap_or(any);
        match self.random.below(20) {
            0 if living.len() < 8 => Input::Sit(sat),
            1 => Input::Leave(seat),
            2..=4 => Input::Away(seat),
            5..=8 => Input::Back(seat),
            9 => Input::Play(seat, self.model.number + 1 - self.random.below(3).min(1)),
            10..=16 => Input::Play(holder.unwrap_or(seat), self.model.number),
            _ => Input::Tick,
        }
    }

    fn put(&mut self, input: Input) {
        let expected = self.model.apply(input, self.now);
        let (turns, now) = (&mut self.turns, self.now);
        let (mut played, mut out) = (false, Vec::new());
        match input {
            Input::Sit(seat) => turns.sit_down(seat, now, &mut out),
            Input::Away(seat) => turns.away(seat, now, &mut out),
            Input::Back(seat) => turns.back(seat, now, &mut out),
            Input::Leave(seat) => turns.leave(seat, now, &mut out),
            Input::Play(seat, number) => played = turns.play(seat, number, now, &mut out),
            Input::Tick => turns.tick(now, &mut out),
        }
        self.step += 1;
        assert_eq!((played, &out), (expected.0, &expected.1), "step {}: {input:?}", self.step);
        assert_eq!((turns.current(), turns.due()), (self.model.turn(), self.model.due()));
        self.witness.see(self.step, input, now, &out);
    }

    /// Nothing comes any more but the time: everyone who is there gets a turn within one round.
    fn calm_down(&mut self) {
        let there = self.model.there();
        let first = self.witness.begun.len();
        if there < self.model.rules.min_players || self.model.rules.on_timeout != OnTimeout::Skip {
            return;
        }
        for _ in 0..=there {
            let Some(due) = self.turns.due() else { return };
            assert!(due <= self.now + Duration::from_millis(DEADLINE_MS));
            self.now = due;
            self.put(Input::Tick);
        }
        for seat in (0..self.model.seats.len()).map(|seat| seat as Seat) {
            let had = self.witness.begun[first..].iter().any(|(holder, _)| *holder == seat);
            assert_eq!(had, self.model.life(seat) == Life::There, "{seat} in the last round");
        }
    }
}

#[test]
fn whatever_happens_the_turn_is_one_fair_and_passes_on() {
    for seed in 0..2_000 {
        let _named = Seed(seed);
        let mut run = Run::new(seed);
        for _ in 0..300 {
            let input = run.input();
            run.put(input);
            if run.random.below(3) == 0 {
                run.now += Duration::from_millis(run.random.below(DEADLINE_MS * 6 / 5));
            }
        }
        run.calm_down();
    }
}
