//! The heartbeat's thread: it watches the server's silence, and reads while nobody else does.
//!
//! A program that is busy, and calls nothing, would leave the server's Pings unanswered and its
//! death unnoticed. So when nobody has read for [`PATIENCE`], or half the time in which a Ping must
//! be answered, the thread takes the reader's role, and gives it back as soon as anybody waits for
//! what comes. What it reads is kept for [`recv`](super::Connection::recv).

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Core;
use super::wait::{Guard, Reader, STALL_PAUSE};
use crate::heartbeat::Rhythm;

/// For how long nobody has to read before the thread does: long enough that a program which only
/// pauses between two calls keeps the role, short enough to answer a server that is shutting down.
const PATIENCE: Duration = Duration::from_millis(500);
/// Address space for the thread's stack; decoding one frame needs little of it.
const STACK: usize = 128 * 1024;

/// A read or wait is never shorter, so that rounding cannot make the thread spin.
const MINIMUM: Duration = Duration::from_millis(1);

/// Starts the heartbeat of a connection whose handshake is done.
pub(super) fn start(core: &Arc<Core>, rhythm: Rhythm) -> io::Result<JoinHandle<()>> {
    core.lock().session.watch(rhythm, Instant::now());
    let core = Arc::clone(core);
    let patience = rhythm.threshold / 2;
    let heart = thread::Builder::new().name("tcpkit-heartbeat".to_owned()).stack_size(STACK);
    heart.spawn(move || core.beat_until_end(patience))
}

impl Core {
    fn beat_until_end(&self, patience: Duration) {
        let mut state = self.lock();
        while state.session.is_open() {
            let now = Instant::now();
            let may_read = state.reader == Reader::Free && !state.session.inbox_is_full();
            if state.reader == Reader::Free && !may_read {
                state.session.excuse_silence(now);
            }
            let Some(due) = state.session.beat(now) else { return };
            if state.session.ended().is_some() {
                return self.bury(state);
            }
            if state.is_due_to_write() {
                state = self.push(state);
                continue;
            }
            let takeover = state.last_read + patience.min(PATIENCE);
            let is_silent = takeover <= now || state.session.is_beating();
            let is_wanted = self.events.is_awaited() || self.answers.is_awaited();
            let mut left = due.saturating_duration_since(now);
            if state.has_to_write() {
                left = left.min(STALL_PAUSE); // a server that did not read is tried again
            }
            state = if may_read && is_silent && !is_wanted {
                let state = self.read(state, Some(left.max(MINIMUM))).0;
                self.pass_on(&state);
                state
            } else {
                let is_free = state.reader == Reader::Free && takeover > now;
                let next = if is_free { takeover - now } else { patience };
                self.beats.wait(state, Some(left.min(next).max(MINIMUM)))
            };
        }
        // What this thread read last may have been the server's goodbye, which wants an answer.
        if state.has_to_write() {
            drop(self.push(state));
        }
    }

    /// The server is dead: tries to tell it so, and wakes everyone who waits for it.
    fn bury<'a>(&'a self, state: Guard<'a>) {
        self.ring_everyone();
        let state = if state.has_to_write() { self.push(state) } else { state };
        drop(state);
        self.transport.shutdown(Shutdown::Both);
    }
}
