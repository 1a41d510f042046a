//! A client in this process that sends numbers, and holds what it hears of others to their order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tcpkit::heartbeat::Rhythm;
use tcpkit::{Connection, Error, Event, Fate, Loss, Receipt, ReconnectPolicy};

use crate::common::SOON;

/// A dead peer is noticed within 0.4 s.
pub(crate) const RHYTHM: Rhythm = Rhythm {
    data_threshold: Duration::from_millis(200),
    interval: Duration::from_millis(100),
    threshold: Duration::from_millis(100),
    additional_tries: 1,
};

/// A client that sends numbers, from 1 on, and hears those of others.
pub(crate) struct Member {
    pub(crate) connection: Connection,
    receipts: Vec<Receipt>,
    /// The last number of each other one.
    heard: BTreeMap<String, u64>,
    last_seq: u64,
    /// How the connection was lost, and each attempt to restore it.
    pub(crate) losses: Vec<Loss>,
    /// For each time that the session went on: how many records were missed.
    pub(crate) resumed: Vec<u64>,
    /// For each time that the session was lost: how many messages were unconfirmed.
    pub(crate) sessions_lost: Vec<u64>,
}

impl Member {
    pub(crate) fn join(address: SocketAddr, name: &str) -> Self {
        let policy = ReconnectPolicy {
            first: Duration::from_millis(20),
            most: Duration::from_millis(100),
            attempts: 0,
            give_up_after: Duration::ZERO,
        };
        let builder = Connection::builder().name(name).heartbeat(RHYTHM).reconnect(policy);
        let builder = builder.handshake_timeout(Duration::from_millis(200));
        let connection = builder.connect(&address.to_string()).expect("a connection");
        Self {
            connection,
            receipts: Vec::new(),
            heard: BTreeMap::new(),
            last_seq: 0,
            losses: Vec::new(),
            resumed: Vec::new(),
            sessions_lost: Vec::new(),
        }
    }

    /// Sends the next `count` numbers.
    pub(crate) fn send(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.receipts.len() + 1;
            self.receipts.push(self.connection.send(&number.to_string()).expect("it is kept"));
        }
    }

    /// The next `count` numbers of another one will not come.
    pub(crate) fn skip(&mut self, from: &str, count: u64) {
        *self.heard.entry(from.to_owned()).or_default() += count;
    }

    /// The last number that was heard from another one.
    pub(crate) fn heard(&self, from: &str) -> u64 {
        self.heard.get(from).copied().unwrap_or_default()
    }

    /// Takes what comes until `is_enough`.
    pub(crate) fn hear_until(&mut self, limit: Duration, is_enough: impl Fn(&Self) -> bool) {
        let until = Instant::now() + limit;
        while !is_enough(self) {
            let left = until.saturating_duration_since(Instant::now());
            match self.connection.recv_timeout(left) {
                Ok(event) => self.take(event.expect("the connection lives")),
                Err(Error::Timeout(..)) => panic!(
                    "{} waits; heard {:?}, losses {:?}, resumed {:?}, lost {:?}",
                    self.connection.name(),
                    self.heard,
                    self.losses,
                    self.resumed,
                    self.sessions_lost
                ),
                Err(error) => panic!("{}: {error}", self.connection.name()),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Text { from, body, seq, .. } => {
                assert!(seq > self.last_seq, "record {seq} after {}", self.last_seq);
                self.last_seq = seq;
                let last = self.heard.entry(from).or_default();
                *last += 1;
                assert_eq!(body, last.to_string());
            }
            Event::Reconnecting { loss, .. } => self.losses.push(loss),
            Event::Resumed { missed } => self.resumed.push(missed),
            Event::SessionLost { unconfirmed, .. } => {
                self.sessions_lost.push(unconfirmed);
                self.last_seq = 0; // of another log
            }
            Event::Joined { .. } | Event::Left { .. } | Event::Present { .. } => {}
            other => panic!("{other}"),
        }
    }

    /// What became of each message.
    pub(crate) fn fates(&self) -> Vec<Fate> {
        let fate = |receipt: &Receipt| self.connection.confirm_timeout(*receipt, SOON);
        self.receipts.iter().map(|receipt| fate(receipt).expect("its fate")).collect()
    }
}
