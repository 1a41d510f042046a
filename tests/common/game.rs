//! Two good players who play while something else happens to their server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tcpkit::message::StatusCode;
use tcpkit::{Connection, Event, Fate};

use super::{SOON, Site, eventually};

/// How long a player waits before it looks whether the game is over.
const LOOK: Duration = Duration::from_millis(20);

/// What the players tell the test.
#[derive(Debug, Default)]
struct Told {
    is_over: AtomicBool,
    /// Who has the turn, as Alice knows it.
    holder: Mutex<String>,
}

struct Player {
    connection: Connection,
    other: &'static str,
    /// The turn that runs, or comes next; 0: not told yet.
    turn: u64,
    last_seq: u64,
    heard: Vec<String>,
    told: Arc<Told>,
    moved: Sender<()>,
}

impl Player {
    /// Plays until the test has seen enough. Every turn must be seen once, in order: as one's own,
    /// or by its end.
    fn play(mut self) -> Vec<String> {
        while !self.told.is_over.load(Ordering::Relaxed) {
            match self.connection.recv_timeout(LOOK) {
                Err(tcpkit::Error::Timeout(..)) => {}
                event => self.take(event.unwrap().expect("the connection lives")),
            }
        }
        self.connection.close().unwrap();
        self.heard
    }

    fn take(&mut self, event: Event) {
        if let Some(seq) = event.seq() {
            assert!(seq > self.last_seq, "record {seq} after {}", self.last_seq);
            self.last_seq = seq;
        }
        match event {
            Event::Go { turn, .. } => {
                self.runs(turn);
                self.holds(Some("me"));
                self.make_move(turn);
            }
            Event::Wait { turn, holder } => {
                self.runs(turn);
                self.holds(holder.as_deref());
            }
            Event::TurnEnded { turn, ref from, ref next, .. } => {
                self.runs(turn);
                self.turn = turn + 1;
                self.holds(next.as_deref());
                if from != self.other {
                    self.hear(&event.to_string().replace(&format!(" turn {turn}:"), ":"));
                }
            }
            Event::Present { .. } => {}
            Event::Joined { name, .. } if name == self.other => {}
            event => self.hear(&event.to_string()),
        }
    }

    /// It is the turn of that number; 0: nobody's, before the game and behind it.
    fn runs(&mut self, turn: u64) {
        let is_due = self.turn == turn || self.turn == 0 || turn == 0;
        assert!(is_due, "turn {turn}, not {}", self.turn);
        self.turn = turn;
    }

    fn make_move(&mut self, turn: u64) {
        let receipt = self.connection.play(turn, &format!("move {turn}")).unwrap();
        match self.connection.confirm_timeout(receipt, SOON).unwrap() {
            Fate::Accepted => {
                self.turn += 1;
                let _ = self.moved.send(());
            }
            // On a machine that is this busy the time may be over: the turn's end will be told.
            Fate::Refused { code: StatusCode::NotYourTurn, .. } => {}
            fate => panic!("{fate:?}"),
        }
    }

    fn holds(&self, holder: Option<&str>) {
        if self.other == "bob" {
            let holder = holder.unwrap_or_default().to_owned();
            *self.told.holder.lock().unwrap_or_else(PoisonError::into_inner) = holder;
        }
    }

    fn hear(&mut self, line: &str) {
        self.heard.push(line.chars().take(80).collect());
    }
}

/// Two good players, alice and bob, each on a thread of its own, who move when it is their turn.
pub(crate) struct Game {
    threads: Vec<JoinHandle<Vec<String>>>,
    moves: [Receiver<()>; 2],
    told: Arc<Told>,
}

impl Game {
    /// Returns once they are at it.
    pub(crate) fn start(site: &Site) -> Self {
        let told = Arc::new(Told::default());
        let mut threads = Vec::new();
        let moves = [("alice", "bob"), ("bob", "alice")].map(|(name, other)| {
            let (moved, moves) = mpsc::channel();
            let (connection, told) = (site.join(name), Arc::clone(&told));
            let heard = Vec::new();
            let player = Player { connection, other, turn: 0, last_seq: 0, heard, told, moved };
            threads.push(thread::spawn(move || player.play()));
            moves
        });
        let game = Self { threads, moves, told };
        game.goes_on();
        game
    }

    /// Waits until both have moved twice from now on.
    pub(crate) fn goes_on(&self) {
        for moves in &self.moves {
            while moves.try_recv().is_ok() {}
            for _ in 0..2 {
                moves.recv_timeout(3 * SOON).expect("the game goes on");
            }
        }
    }

    /// Waits until Alice knows that `name` has the turn.
    pub(crate) fn waits_for(&self, name: &str) {
        eventually(|| {
            let holder = self.told.holder.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if holder == name { Ok(()) } else { Err(format!("{holder} has the turn, not {name}")) }
        });
    }

    /// After some more moves: what both heard beside each other's moves, in order, without what
    /// they heard more than once in a row.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.goes_on();
        self.told.is_over.store(true, Ordering::Relaxed);
        let mut heard = Vec::new();
        for thread in self.threads.drain(..) {
            let mut own = thread.join().expect("the game went well");
            own.retain(|line| !line.starts_with("alice") && !line.starts_with("bob"));
            own.dedup();
            heard.push(own);
        }
        assert_eq!(heard[0], heard[1]);
        heard.remove(0)
    }
}

impl Drop for Game {
    /// After a failure: leaves nothing behind that the next test would count.
    fn drop(&mut self) {
        self.told.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
