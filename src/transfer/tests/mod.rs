//! Tests of both sides of a stream: each rule by itself, and both together over a lossy line.

mod bad_input;
mod incoming;
mod outgoing;
mod random;

use std::time::{Duration, Instant};

use super::{Answer, Facts, Incoming, Limits, Order, Step};
use crate::message::{ErrorCode, StatusCode, Violation};

/// Room enough for everything.
const ROOM: u64 = 1 << 40;
const KIB: u64 = 1024;

fn facts(size: impl Into<Option<u64>>) -> Facts<'static> {
    Facts { size: size.into(), name: "photo.jpg", media_type: "image/jpeg" }
}

fn named(name: &str) -> Facts<'_> {
    Facts { size: Some(1), name, media_type: "" }
}

fn credit(stream: u64, offset: u64, limit: u64) -> Answer {
    Answer::Credit { stream, offset, limit }
}

/// The server's side of one session, with a clock that stands still until it is moved.
struct Server {
    incoming: Incoming,
    now: Instant,
}

impl Server {
    /// One that allows 1 MiB each, two streams, 256 KiB of window, and 60 s.
    fn new() -> Self {
        let idle_time = Duration::from_secs(60);
        let limits = Limits { file: 1 << 20, streams: 2, window: 256 * KIB, idle_time };
        Self { incoming: Incoming::new(limits), now: Instant::now() }
    }

    /// One that has taken stream 1, of this size.
    fn with_stream(size: impl Into<Option<u64>>) -> Self {
        let mut server = Self::new();
        let step = server.open(1, facts(size)).expect("legal");
        assert_eq!(step.orders, [Order::Create { stream: 1 }]);
        server
    }

    fn open(&mut self, number: u64, facts: Facts<'_>) -> Result<Step, Violation> {
        self.incoming.open(number, facts, ROOM, self.now)
    }

    fn data(&mut self, number: u64, offset: u64, count: u64) -> Result<Step, Violation> {
        self.incoming.data(number, offset, count as usize, ROOM, self.now)
    }

    /// Takes bytes, which must be what happens.
    fn take(&mut self, number: u64, offset: u64, count: u64) {
        let step = self.data(number, offset, count).expect("legal");
        let order = Order::Append { stream: number, offset };
        assert_eq!(step, Step { orders: vec![order], answers: vec![] });
    }

    fn stored(&mut self, number: u64, count: u64) -> Step {
        self.incoming.stored(number, count, self.now)
    }
}

/// The only answer, which is a status.
fn status(step: &Step) -> (u64, StatusCode) {
    match &step.answers[..] {
        [Answer::Status { stream, code, .. }] => (*stream, *code),
        other => panic!("one status is expected, not {other:?}"),
    }
}

fn code(result: Result<Step, Violation>) -> ErrorCode {
    result.expect_err("a violation").code
}
