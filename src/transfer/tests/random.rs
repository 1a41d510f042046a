//! Both sides over a line that is cut at any moment, with a slow disk: whatever happens, each
//! stream is stored once and whole, or not at all, and both sides know which.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::crc32c::Crc32c;
use crate::transfer::{Ending, Next, Outgoing};

const WINDOW: u64 = 80_000; // more than one StreamData: a smaller one would be raised to that
const AT_ONCE: usize = 3;
const STREAMS: u64 = 12;
/// How much of content that cannot be read twice the client keeps.
const KEEP: u64 = 100_000;

enum Up {
    Open(u64),
    Data { stream: u64, offset: u64, bytes: Vec<u8> },
    End { stream: u64, size: u64, crc32c: u32 },
    Cancel(u64),
}

struct Content {
    size: u64,
    /// It can be read anywhere, and its size is announced.
    is_file: bool,
    available: u64,
    checksum: Crc32c,
    fate: Option<Ending>,
}

struct World {
    seed: u64,
    random: u64,
    /// Streams are cancelled, and the disk fails.
    is_harsh: bool,
    now: Instant,
    server: Incoming,
    client: Outgoing,
    contents: BTreeMap<u64, Content>,
    is_connected: bool,
    up: VecDeque<Up>,
    down: VecDeque<Answer>,
    disk: VecDeque<(Order, Vec<u8>)>,
    parts: BTreeMap<u64, Vec<u8>>,
    files: BTreeMap<u64, Vec<u8>>,
}

fn byte(stream: u64, offset: u64) -> u8 {
    (stream * 31 + offset + offset / 251) as u8
}

fn bytes(stream: u64, offset: u64, count: u64) -> Vec<u8> {
    (offset..offset + count).map(|offset| byte(stream, offset)).collect()
}

impl World {
    fn new(seed: u64, is_harsh: bool) -> Self {
        let idle_time = Duration::from_secs(60);
        let limits = Limits { file: 1 << 20, streams: AT_ONCE, window: WINDOW, idle_time };
        Self {
            seed,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1,
            is_harsh,
            now: Instant::now(),
            server: Incoming::new(limits),
            client: Outgoing::default(),
            contents: BTreeMap::new(),
            is_connected: true,
            up: VecDeque::new(),
            down: VecDeque::new(),
            disk: VecDeque::new(),
            parts: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % limit
    }

    fn run(&mut self) {
        let mut steps = 0;
        while (self.contents.len() as u64) < STREAMS || self.client.count() > 0 {
            let have_faults = steps < 3_000;
            match self.below(100) {
                // Who skipped the last of its credit is stuck, until it comes back or is idle.
                0 if self.is_connected && (have_faults || steps % 50 == 0) => self.cut(),
                1 if have_faults && self.is_harsh => self.cancel(),
                0..=4 if !self.is_connected => self.resume(),
                0..=5 => self.begin(),
                6..=35 => self.send(have_faults),
                36..=60 => self.deliver_up(),
                61..=80 => self.deliver_down(),
                _ => self.write(have_faults),
            }
            self.check_memory();
            steps += 1;
            assert!(steps < 100_000, "seed {}: it does not come to an end", self.seed);
        }
        while !self.disk.is_empty() {
            self.write(false);
        }
    }

    fn facts(&self, number: u64) -> Facts<'static> {
        let content = &self.contents[&number];
        facts(content.is_file.then_some(content.size))
    }

    fn begin(&mut self) {
        let number = self.contents.len() as u64 + 1;
        if number > STREAMS || self.client.count() >= AT_ONCE || !self.is_connected {
            return;
        }
        let most = [1, 1_000, 400_000][self.below(3) as usize];
        let (size, is_file) = (self.below(most), self.below(2) == 0);
        let checksum = Crc32c::new();
        let content = Content { size, is_file, available: 0, checksum, fate: None };
        self.contents.insert(number, content);
        assert_eq!(self.client.open(self.facts(number)).expect("short"), number);
        if is_file {
            self.client.whole(number, size);
        }
        self.up.push_back(Up::Open(number));
    }

    fn send(&mut self, have_faults: bool) {
        for (number, content) in &mut self.contents {
            let wanted = self.client.wanted(*number, KEEP);
            if !content.is_file && content.fate.is_none() {
                content.available = (content.available + wanted).min(content.size);
                self.client.available(*number, content.available);
                if content.available == content.size {
                    self.client.whole(*number, content.size);
                }
            }
        }
        let most = [10, 5_000, usize::MAX][self.below(3) as usize];
        match self.client.next(most).filter(|_| self.is_connected) {
            Some(Next::Data { stream, offset, count, repeated }) => {
                let is_lost = have_faults && self.below(50) == 0;
                let count = 1 + self.below(count as u64);
                let bytes = bytes(stream, offset, count);
                let content = self.contents.get_mut(&stream).expect("a stream");
                content.checksum.update(bytes.get(repeated..).unwrap_or_default());
                assert!(content.is_file || Some(offset) >= self.client.stored(stream));
                self.client.sent(stream, bytes.len());
                // A client with a fault of its own skips some, and goes back when it is told to.
                if !is_lost || offset + count == content.size {
                    self.up.push_back(Up::Data { stream, offset, bytes });
                }
            }
            Some(Next::End { stream, size }) => {
                let crc32c = self.contents[&stream].checksum.finish();
                self.client.ended(stream);
                self.up.push_back(Up::End { stream, size, crc32c });
            }
            None => {}
        }
    }

    fn deliver_up(&mut self) {
        let Some(frame) = self.up.pop_front() else { return };
        let mut content = Vec::new();
        let step = match frame {
            Up::Open(number) => self.server.open(number, self.facts(number), ROOM, self.now),
            Up::End { stream, size, crc32c } => self.server.end(stream, size, crc32c),
            Up::Cancel(number) => Ok(self.server.cancel(number)),
            Up::Data { stream, offset, bytes } => {
                content = bytes;
                self.server.data(stream, offset, content.len(), ROOM, self.now)
            }
        };
        let step = step.unwrap_or_else(|violation| panic!("seed {}: {violation}", self.seed));
        self.apply(step, content);
    }

    fn apply(&mut self, step: Step, content: Vec<u8>) {
        let mut content = Some(content);
        for order in step.orders {
            self.disk.push_back((order, content.take().unwrap_or_default()));
        }
        if self.is_connected {
            self.down.extend(step.answers);
        }
    }

    fn deliver_down(&mut self) {
        let told = match self.down.pop_front() {
            None => return,
            Some(Answer::Credit { stream, offset, limit }) => {
                self.client.credit(stream, offset, limit).map(|()| None)
            }
            Some(Answer::Status { stream, code, detail }) => {
                self.client.status(stream, code, &detail)
            }
        };
        let ending = told.unwrap_or_else(|violation| panic!("seed {}: {violation}", self.seed));
        if let Some(ending) = ending {
            let content = self.contents.get_mut(&ending.stream).expect("a stream");
            assert_eq!(content.fate, None, "seed {}", self.seed);
            content.fate = Some(ending);
        }
    }

    /// The disk does one thing.
    fn write(&mut self, have_faults: bool) {
        let Some((order, bytes)) = self.disk.pop_front() else { return };
        let fails = self.is_harsh && have_faults && self.below(100) == 0;
        let step = match order {
            Order::Remove { stream } => {
                self.parts.remove(&stream);
                Step::default()
            }
            Order::Create { stream }
            | Order::Append { stream, .. }
            | Order::Finish { stream, .. }
                if fails =>
            {
                self.parts.remove(&stream);
                self.server.failed(stream, StatusCode::NotStored, "no space".into())
            }
            Order::Create { stream } => {
                assert_eq!(self.parts.insert(stream, Vec::new()), None, "seed {}", self.seed);
                Step::default()
            }
            Order::Append { stream, offset } => match self.parts.get_mut(&stream) {
                Some(part) => {
                    assert_eq!(part.len() as u64, offset, "seed {}", self.seed);
                    part.extend_from_slice(&bytes);
                    self.server.stored(stream, bytes.len() as u64, self.now)
                }
                None => Step::default(), // its Create has failed
            },
            Order::Finish { stream, size, crc32c } => match self.parts.remove(&stream) {
                Some(part) => {
                    let mut checksum = Crc32c::new();
                    checksum.update(&part);
                    assert_eq!((part.len() as u64, checksum.finish()), (size, crc32c));
                    self.files.insert(stream, part);
                    self.server.done(stream, format!("alice/{stream}"))
                }
                None => Step::default(),
            },
        };
        self.apply(step, Vec::new());
    }

    fn cut(&mut self) {
        self.is_connected = false;
        self.up.clear();
        self.down.clear();
        self.server.lost();
    }

    fn resume(&mut self) {
        self.is_connected = true;
        self.server.resumed(self.now);
        self.up = (self.client.resumed().into_iter())
            .map(|frame| match frame {
                crate::message::Frame::StreamOpen { stream, .. } => Up::Open(stream),
                crate::message::Frame::StreamCancel { stream, .. } => Up::Cancel(stream),
                other => panic!("{other:?}"),
            })
            .collect();
    }

    fn cancel(&mut self) {
        let number = 1 + self.below(STREAMS);
        if self.client.cancel(number).is_some() && self.is_connected {
            self.up.push_back(Up::Cancel(number));
        }
    }

    fn check_memory(&self) {
        let mut held = BTreeMap::new();
        for (order, bytes) in &self.disk {
            if let Order::Append { stream, .. } = order {
                *held.entry(stream).or_insert(0) += bytes.len() as u64;
            }
        }
        assert!(held.values().all(|held| *held <= WINDOW), "seed {}: {held:?}", self.seed);
    }

    fn check(&self) {
        assert_eq!(self.parts.len(), 0, "seed {}", self.seed);
        assert_eq!((self.server.count(), self.server.reserved()), (0, 0), "seed {}", self.seed);
        for (number, content) in &self.contents {
            let code = content.fate.as_ref().map(|ending| ending.code);
            let is_stored = code == Some(StatusCode::Accepted);
            assert!(is_stored || self.is_harsh, "seed {}: stream {number}: {code:?}", self.seed);
            let expected = is_stored.then(|| bytes(*number, 0, content.size));
            assert!(self.files.get(number) == expected.as_ref(), "seed {}: {number}", self.seed);
        }
    }
}

#[test]
fn all_is_stored_once_and_whole_over_a_line_that_is_cut() {
    for seed in 0..12 {
        let mut world = World::new(seed, false);
        world.run();
        world.check();
    }
}

#[test]
fn what_is_cancelled_or_fails_leaves_nothing() {
    for seed in 1_000..1_012 {
        let mut world = World::new(seed, true);
        world.run();
        world.check();
    }
}
