//! What a message costs the rules alone, without sockets: `cargo bench --bench rules`. One sender,
//! one receiver, messages of 64 bytes in reads of 64 KiB, through framer, hub and log to the
//! bytes that would be written. Prints nanoseconds a message, beside a copy of the same bytes.

#![expect(clippy::cast_precision_loss, reason = "no bench runs for 2^52 messages")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tcpkit::Relay;
use tcpkit::frame::Framer;
use tcpkit::heartbeat::Rhythm;
use tcpkit::hub::{Commit, Hub, LinkId, Moment, Order, Rules, Step, Who};
use tcpkit::message::{Frame, SessionKey, Token, VERSION};
use tcpkit::settings::Settings;

const BATCH: usize = 840;
const ROUNDS: usize = 15;

fn main() {
    let quick = std::env::args().any(|word| word == "--quick");
    let batches = if quick { 20 } else { 2_000 };
    let mut bench = Bench::new();
    let (mut rules, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rules.push(bench.round(batches));
        copies.push(bench.copy(batches));
    }
    println!("rules  {}", range(&mut rules));
    println!("copy   {}", range(&mut copies));
}

fn range(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    let (low, high) = (times[0], times[times.len() - 1]);
    format!("{:.1} ns a message  [{low:.1} to {high:.1}]", times[times.len() / 2])
}

struct Bench {
    hub: Hub,
    sender: LinkId,
    framer: Framer,
    id: u64,
    order: Order,
}

impl Bench {
    fn new() -> Self {
        let second = Duration::from_secs(1);
        let rhythm = Rhythm { data_threshold: 3600 * second, ..Rhythm::default() };
        let rules = Rules { rhythm, ..Rules::from(&Settings::default()) };
        let mut keys = 0;
        let new_key = Box::new(move || {
            keys += 1;
            Some(SessionKey([keys; 16]))
        });
        let hub = Hub::new(rules, Arc::new(Relay), Commit::AtOnce, new_key);
        let framer = Framer::new(4096);
        let sender = LinkId::default();
        let mut bench = Self { hub, sender, framer, id: 0, order: Order::default() };
        bench.join();
        (bench.sender, bench.framer) = bench.join();
        bench
    }

    fn join(&mut self) -> (LinkId, Framer) {
        let id = self.hub.connect("bench", moment()).expect("room");
        let mut framer = Framer::new(4096);
        let (session, token) = (SessionKey::NEW, Token::default());
        let (version, name, timezone) = (VERSION, "bench", "");
        let init = Frame::Init { version, session, received: 0, name, timezone, token };
        framer.extend(&init.to_bytes());
        self.hub.receive(id, &mut framer, moment());
        self.deliver();
        (id, framer)
    }

    fn batch(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..BATCH {
            self.id += 1;
            Frame::Text { id: self.id, body: &[b'x'; 64] }.encode(&mut bytes);
        }
        bytes
    }

    fn round(&mut self, batches: usize) -> f64 {
        let mut spent = Duration::ZERO;
        for _ in 0..batches {
            let bytes = self.batch();
            let start = Instant::now();
            self.framer.extend(&bytes);
            self.hub.receive(self.sender, &mut self.framer, moment());
            self.deliver();
            spent += start.elapsed();
        }
        spent.as_secs_f64() * 1e9 / (batches * BATCH) as f64
    }

    fn copy(&mut self, batches: usize) -> f64 {
        let bytes = self.batch();
        self.id -= BATCH as u64;
        let mut copy = Vec::with_capacity(bytes.len());
        let start = Instant::now();
        for _ in 0..batches {
            copy.clear();
            copy.extend_from_slice(black_box(&bytes));
            black_box(&copy);
        }
        start.elapsed().as_secs_f64() * 1e9 / (batches * BATCH) as f64
    }

    fn deliver(&mut self) {
        let mut work = Vec::new();
        self.hub.take_work(&mut work);
        for id in work {
            let mut who = Who::Visitor;
            while self.hub.next_write(id, &mut self.order, who, moment()) == Step::Write {
                let count = self.order.pieces().map(|piece| black_box(piece).len()).sum();
                who = Who::Again;
                self.hub.wrote(id, &mut self.order, Some(count), who, moment());
            }
        }
    }
}

fn moment() -> Moment {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment { now: Instant::now(), time_ms: since_1970.as_millis() as u64 }
}
