//! Turns over real sockets: whatever one player does, the others play on.
//!
//! How the turn goes round is decided by rules that are tested beside them; here are the sockets.

mod common;

use std::net::Shutdown;
use std::time::Duration;

use common::game::Game;
use common::program::Program;
use common::raw::Raw;
use common::{SOON, Site, eventually, settings};
use tcpkit::message::{
    FLAG_RESUMED, Frame, Mode, Outcome, Reason, SessionKey, StatusCode, Token, VERSION,
};
use tcpkit::settings::{OnTimeout, Settings};
use tcpkit::{Connection, Event, Fate};

/// Long enough for a good player on a busy machine.
const DEADLINE: Duration = Duration::from_secs(1);

fn table(change: impl FnOnce(&mut Settings)) -> Site {
    Site::with(settings(|settings| {
        settings.server.mode = Mode::Turn;
        settings.session.grace = Duration::from_millis(50);
        change(settings);
    }))
}

fn move_in(turn: u64, id: u64, body: &[u8]) -> Vec<u8> {
    Frame::Move { id, turn, body }.to_bytes()
}

fn goodbye() -> Vec<u8> {
    let (reason, retry_after_ms, detail) = (Reason::Done, 0, "".into());
    Frame::Terminate { reason, retry_after_ms, detail }.to_bytes()
}

/// A player that moves when it is told to.
struct Seat {
    raw: Raw,
    /// The turn that it was given last, until the test asks.
    turn: Option<u64>,
}

impl Seat {
    fn join(site: &Site, name: &str) -> Self {
        Self { raw: Raw::join(site.addr(), name), turn: None }
    }

    /// Waits for a turn; its number.
    fn go(&mut self) -> u64 {
        loop {
            if let Some(turn) = self.turn.take() {
                return turn;
            }
            if let Frame::Go { turn, .. } = self.raw.next_own().frame() {
                self.turn = Some(turn);
            }
        }
    }

    /// Makes a move; its fate.
    fn play(&mut self, turn: u64, id: u64, body: &[u8]) -> StatusCode {
        self.raw.send(&move_in(turn, id, body));
        loop {
            match self.raw.next_own().frame() {
                Frame::Status { id: other, code, .. } => {
                    assert_eq!(other, id);
                    return code;
                }
                Frame::Go { turn, .. } => self.turn = Some(turn),
                _ => {}
            }
        }
    }
}

#[test]
fn a_move_that_is_not_due_changes_nothing() {
    let site = table(|_| {});
    let game = Game::start(&site);
    let mut mallory = Seat::join(&site, "mallory");
    let not_now = StatusCode::NotYourTurn;
    let turn = mallory.go();
    game.waits_for("mallory");
    assert_eq!(mallory.play(turn + 1, 1, b"the next one's turn"), not_now);
    assert_eq!(mallory.play(turn - 1, 2, b"an old one"), not_now);
    assert_eq!(mallory.play(0, 3, b"none"), not_now);
    assert_eq!(mallory.play(u64::MAX, 4, b"the last one"), not_now);
    assert_eq!(mallory.play(turn, 5, b"right"), StatusCode::Accepted);
    assert_eq!(mallory.play(turn, 6, b"twice"), not_now);
    assert_eq!(mallory.play(turn, 5, b"a repeat by its id"), StatusCode::Accepted);
    let next = mallory.go();
    assert!(next > turn, "{next} after {turn}");
    assert_eq!(mallory.play(next, 7, b"right again"), StatusCode::Accepted);
    mallory.raw.send(&goodbye());
    let mut heard = game.finish();
    heard.retain(|line| line.contains("moved"));
    assert_eq!(heard, ["mallory moved: right", "mallory moved: right again"]);
}

#[test]
fn any_text_is_a_move_up_to_the_largest() {
    let site = table(|_| {});
    let game = Game::start(&site);
    let mut mallory = Seat::join(&site, "mallory");
    let largest = (1 << 20) - 1024;
    for (id, body) in (1..).zip(["", "\u{1b}[2J:::\n", "日本語", &"x".repeat(largest)]) {
        let turn = mallory.go();
        assert_eq!(mallory.play(turn, id, body.as_bytes()), StatusCode::Accepted);
    }
    let turn = mallory.go();
    assert_eq!(mallory.play(turn, 5, &vec![b'x'; largest + 1]), StatusCode::TooLarge);
    assert_eq!(mallory.play(turn, 6, b"\xff"), StatusCode::NotUtf8);
    assert_eq!(mallory.play(turn, 7, b"the turn stayed"), StatusCode::Accepted);
    mallory.raw.send(&goodbye());
    let heard = game.finish();
    assert_eq!(heard[2], "mallory moved: \\u{1b}[2J:::\\n");
    assert_eq!(heard[4], format!("mallory moved: {}", "x".repeat(65)));
    assert_eq!(heard[5], "mallory moved: the turn stayed");
}

#[test]
fn a_holder_that_never_answers_is_passed_over_each_time() {
    let site = table(|settings| settings.turn.deadline = DEADLINE);
    let game = Game::start(&site);
    let mallory = Seat::join(&site, "mallory");
    for _ in 0..2 {
        game.waits_for("mallory");
        game.goes_on();
    }
    drop(mallory);
    assert_eq!(game.finish()[..2], ["mallory joined", "mallory lost: time out"]);
}

#[test]
fn one_that_never_answers_can_be_turned_out() {
    let site = table(|settings| {
        settings.turn.deadline = DEADLINE;
        (settings.turn.on_timeout, settings.turn.strikes) = (OnTimeout::TurnOut, 2);
    });
    let game = Game::start(&site);
    let mut mallory = Seat::join(&site, "mallory");
    let first = mallory.go();
    assert!(mallory.go() > first);
    assert_eq!(mallory.raw.terminated(), Reason::TurnedOut);
    let left = "mallory left: turned out by the server";
    assert_eq!(game.finish(), ["mallory joined", "mallory lost: time out", left]);
}

/// Ends its connection while it has the turn, and no deadline helps.
fn a_holder_goes(how: impl FnOnce(Seat, u64), ending: &str) {
    let site = table(|_| {});
    let game = Game::start(&site);
    let mut mallory = Seat::join(&site, "mallory");
    let turn = mallory.go();
    game.waits_for("mallory");
    how(mallory, turn);
    assert_eq!(game.finish(), ["mallory joined", "mallory lost: left", ending]);
}

#[test]
fn a_holder_that_closes_in_the_middle_of_the_frame_loses_its_turn() {
    let lost = "mallory left: connection lost";
    let half = |turn| move_in(turn, 1, b"half a move")[..15].to_vec();
    a_holder_goes(
        |mut mallory, turn| {
            mallory.raw.send(&half(turn));
            mallory.raw.socket.shutdown(Shutdown::Both).unwrap();
        },
        lost,
    );
    a_holder_goes(|mut mallory, turn| mallory.raw.send(&half(turn)), lost); // and drops the socket
}

#[test]
fn a_holder_that_breaks_the_protocol_or_says_goodbye_loses_its_turn() {
    a_holder_goes(
        |mut mallory, turn| mallory.raw.send(&move_in(turn, 3, b"a hole")),
        "mallory left: turned out by the server",
    );
    a_holder_goes(|mut mallory, _| mallory.raw.send(&goodbye()), "mallory left");
}

/// The next event that is one of turns.
fn next_of_turns(connection: &Connection) -> Event {
    loop {
        let event = connection.recv_timeout(SOON).unwrap().expect("the connection lives");
        if matches!(event, Event::Go { .. } | Event::Wait { .. } | Event::TurnEnded { .. }) {
            return event;
        }
    }
}

#[test]
fn all_leave_and_others_play_on() {
    let site = table(|_| {});
    let [alice, bob] = ["alice", "bob"].map(|name| site.join(name));
    assert_eq!(next_of_turns(&bob), Event::Wait { turn: 1, holder: Some("alice".into()) });
    alice.close().unwrap();
    let over = next_of_turns(&bob);
    let Event::TurnEnded { turn, outcome, next, .. } = over else { panic!("{over:?}") };
    assert_eq!((turn, outcome, next), (1, Outcome::Left, None), "one alone has no turn");

    let carol = site.join("carol");
    assert_eq!(next_of_turns(&bob), Event::Go { turn: 2, deadline: None });
    assert_eq!(next_of_turns(&carol), Event::Wait { turn: 2, holder: Some("bob".into()) });
    for last in [bob, carol] {
        last.close().unwrap();
    }

    let dave = site.join("dave");
    assert_eq!(next_of_turns(&dave), Event::Wait { turn: 0, holder: None });
    let _erin = site.join("erin");
    let Event::Go { turn, .. } = next_of_turns(&dave) else { panic!("no Go") };
    assert!(turn > 2, "the number only grows: {turn}");
    let receipt = dave.play(turn, "anyone?").unwrap();
    assert_eq!(dave.confirm_timeout(receipt, SOON).unwrap(), Fate::Accepted);
}

/// The key of a session, and the player in it.
fn join_with_key(site: &Site, name: &str, key: SessionKey) -> (SessionKey, String, Seat) {
    let mut raw = Raw::connect(site.addr());
    let (timezone, token) = ("", Token(""));
    let init = Frame::Init { version: VERSION, session: key, received: 0, name, timezone, token };
    raw.send(&init.to_bytes());
    let received = raw.next();
    let Frame::InitAck { session, flags, name, frame_max, .. } = received.frame() else {
        panic!("no InitAck but {received:?}");
    };
    assert_eq!(flags & FLAG_RESUMED != 0, key != SessionKey::NEW);
    raw.framer.set_frame_max(frame_max);
    (session, name.to_owned(), Seat { raw, turn: None })
}

#[test]
fn one_that_comes_back_as_another_while_its_seat_waits_has_turns_of_its_own() {
    let site = table(|settings| {
        settings.turn.deadline = DEADLINE;
        settings.session.grace = 100 * SOON;
    });
    let game = Game::start(&site);
    let (key, name, mut mallory) = join_with_key(&site, "mallory", SessionKey::NEW);
    mallory.go();
    drop(mallory);
    let (_, second_name, mut second) = join_with_key(&site, "mallory", SessionKey::NEW);
    assert_eq!((&*name, &*second_name), ("mallory", "mallory-2"));
    let turn = second.go();
    assert_eq!(second.play(turn, 1, b"of the second"), StatusCode::Accepted);
    game.waits_for("mallory-2"); // once more, and not for the one that is away
    let (_, name, mut mallory) = join_with_key(&site, "ignored", key);
    assert_eq!(name, "mallory");
    let turn = second.go();
    assert_eq!(second.play(turn, 2, b"again"), StatusCode::Accepted);
    let turn = mallory.go();
    assert_eq!(mallory.play(turn, 1, b"of the first"), StatusCode::Accepted);
    let heard = game.finish();
    let expected = [
        "mallory joined",
        "mallory-2 joined",
        "mallory lost: time out",
        "mallory-2 moved: of the second",
        "mallory-2 moved: again",
        "mallory moved: of the first",
    ];
    assert_eq!(heard[..6], expected);
}

#[test]
fn a_holder_that_resumes_has_its_turn_still() {
    let site = table(|settings| settings.session.grace = 100 * SOON);
    let game = Game::start(&site);
    let (key, _, mut mallory) = join_with_key(&site, "mallory", SessionKey::NEW);
    let turn = mallory.go();
    mallory.raw.send(&move_in(turn, 1, b"half a move")[..9]);
    drop(mallory);
    let (_, _, mut mallory) = join_with_key(&site, "mallory", key);
    assert_eq!(mallory.go(), turn);
    assert_eq!(mallory.play(turn, 1, b"a whole move"), StatusCode::Accepted);
    mallory.raw.send(&goodbye());
    assert_eq!(game.finish()[..2], ["mallory joined", "mallory moved: a whole move"]);
}

#[test]
fn turns_and_their_deadlines_are_handed_to_a_program() {
    let site = table(|settings| settings.turn.deadline = 100 * SOON);
    let players = ["alice", "bob"].map(|name| site.join(name));
    std::thread::scope(|scope| {
        for player in &players {
            scope.spawn(move || {
                let mut last = 0;
                for turn in player.turns().take(100) {
                    let turn = turn.unwrap();
                    assert!(turn.number() > last && turn.time_left().unwrap() > 90 * SOON);
                    last = turn.number();
                    turn.play("x").unwrap();
                }
                player.flush_timeout(SOON).unwrap();
            });
        }
    });
    let [alice, _bob] = players;
    alice.close().unwrap();
    assert_eq!(alice.turns().count(), 0, "an orderly end is the end of the turns");
}

/// How often the threads of a process have been given the processor.
#[cfg(target_os = "linux")]
fn switches(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten();
    let texts = threads.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    texts.map(|text| switches_in(&text)).sum()
}

#[cfg(target_os = "linux")]
fn switches_in(status: &str) -> u64 {
    let lines = status.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
    lines.map(|(_, count)| count.trim().parse::<u64>().expect("a number")).sum()
}

#[cfg(target_os = "linux")]
#[test]
fn a_game_in_which_nobody_moves_costs_nothing() {
    let _alone = table(|_| {}); // whose descriptors are counted
    let (server, address) = Program::serve("127.0.0.1", &["--mode", "turn"]);
    let _players = ["alice", "bob", "carol"].map(|name| Raw::join(address, name));
    server.stderr.told(&["joined", "name=carol"]);
    // What they have begun may take a while to come to rest.
    eventually(|| {
        let before = switches(server.id());
        assert!(before > 0, "they are told");
        std::thread::sleep(Duration::from_secs(1)); // which is what is measured
        match switches(server.id()) - before {
            0..=5 => Ok(()),
            count => Err(format!("{count} switches in a second")),
        }
    });
}
