//! Two good clients that chat while something else happens to their server.

use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tcpkit::{Connection, Error, Event, Fate};

use super::{PACE, SOON, Site};

/// One of the two who chat, and what it heard beside the other's numbers.
struct Talker {
    connection: Connection,
    other: &'static str,
    numbers: u64,
    last_seq: u64,
    heard: Vec<String>,
}

impl Talker {
    fn new(site: &Site, name: &str, other: &'static str) -> Self {
        let connection = site.join(name);
        Self { connection, other, numbers: 0, last_seq: 0, heard: Vec::new() }
    }

    /// Takes one event. False if none came.
    fn hear(&mut self, limit: Duration) -> bool {
        let event = match self.connection.recv_timeout(limit) {
            Err(Error::Timeout(..)) => return false,
            event => event.unwrap().expect("the connection lives"),
        };
        if let Some(seq) = event.seq() {
            assert!(seq > self.last_seq, "record {seq} after {}", self.last_seq);
            self.last_seq = seq;
        }
        match event {
            Event::Present { .. } => {}
            Event::Text { from, body, .. } if from == self.other => {
                self.numbers += 1;
                assert_eq!(body, self.numbers.to_string(), "from {from}");
            }
            event => self.heard.push(event.to_string().chars().take(80).collect()),
        }
        true
    }

    fn hear_until(&mut self, is_enough: impl Fn(&Self) -> bool) {
        while !is_enough(self) {
            assert!(self.hear(SOON), "{} is cut off, having heard {:?}", self.other, self.heard);
        }
    }

    /// Says the next number to the other, which gets it, and is told that it was accepted.
    fn say_to(&self, other: &mut Talker) {
        let number = other.numbers + 1;
        let receipt = self.connection.send(&number.to_string()).unwrap();
        other.hear_until(|other| other.numbers == number);
        let fate = self.connection.confirm_timeout(receipt, SOON).unwrap();
        assert_eq!((receipt.number(), fate), (number, Fate::Accepted));
    }
}

/// Two good clients, alice and bob, that say numbers to each other all the time, on a thread of
/// their own. They notice when one is lost, doubled, late or not confirmed.
pub(crate) struct Chat {
    thread: Option<JoinHandle<[Vec<String>; 2]>>,
    rounds: Receiver<()>,
    /// Told how much the two are to hear before they part; dropped, they part at once.
    end: Option<Sender<usize>>,
}

impl Chat {
    /// Returns once they are at it.
    pub(crate) fn start(site: &Site) -> Self {
        let mut alice = Talker::new(site, "alice", "bob");
        let mut bob = Talker::new(site, "bob", "alice");
        alice.hear_until(|alice| alice.heard == ["bob joined"]);
        alice.heard.clear();
        let (round_is_over, rounds) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut is_last = false;
            loop {
                alice.say_to(&mut bob);
                bob.say_to(&mut alice);
                alice.hear(PACE);
                let _ = round_is_over.send(());
                if is_last {
                    break;
                }
                match ends.try_recv() {
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => break, // the test has failed
                    Ok(count) => {
                        alice.hear_until(|alice| alice.heard.len() >= count);
                        bob.hear_until(|bob| bob.heard.len() >= count);
                        is_last = true; // in one more round, too much would show
                    }
                }
            }
            for connection in [&alice.connection, &bob.connection] {
                connection.close().unwrap();
            }
            [alice.heard, bob.heard]
        });
        let chat = Self { thread: Some(thread), rounds, end: Some(end) };
        chat.goes_on();
        chat
    }

    /// Waits until a round has begun and ended.
    pub(crate) fn goes_on(&self) {
        while self.rounds.try_recv().is_ok() {}
        for _ in 0..2 {
            self.rounds.recv_timeout(3 * SOON).expect("the chat goes on");
        }
    }

    /// After one more round: what they heard beside each other, and who came and went.
    pub(crate) fn finish(mut self, heard: &[&str]) {
        let (end, thread) = (self.end.take().expect("once"), self.thread.take().expect("once"));
        end.send(heard.len()).expect("the chat goes on");
        let both = thread.join().expect("the chat went well");
        for (name, heard_by) in ["alice", "bob"].into_iter().zip(both) {
            assert_eq!(heard_by, heard, "heard by {name}");
        }
    }
}

impl Drop for Chat {
    /// After a failure: leaves nothing behind that the next test would count.
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
