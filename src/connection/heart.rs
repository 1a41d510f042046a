//! The keeper, a connection's own thread: it watches the server's silence, reads while nobody else
//! does, and sees to it that a connection that is lost is [restored](super::restore).
//!
//! A program that is busy, and calls nothing, would leave the server's Pings unanswered and its
//! death unnoticed. So when nobody has read for [`PATIENCE`], or half the time in which a Ping must
//! be answered, the keeper takes the reader's role, and gives it back as soon as anybody waits for
//! what comes. What it reads is kept for [`recv`](super::Connection::recv).

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Core;
use super::wait::{Deadline, Guard, Reader, STALL_PAUSE};
use crate::end::End;
use crate::heartbeat::Rhythm;

/// For how long nobody has to read before the thread does: long enough that a program which only
/// pauses between two calls keeps the role, short enough to answer a server that is shutting down.
const PATIENCE: Duration = Duration::from_millis(500);
/// Address space for the thread's stack: to resolve a host's name needs most of it.
const STACK: usize = 256 * 1024;

/// A read or wait is never shorter, so that rounding cannot make the thread spin.
const MINIMUM: Duration = Duration::from_millis(1);
/// How long a read or wait lasts where no heartbeat is due: as good as for ever.
const NO_HEARTBEAT: Duration = Duration::from_secs(3600);

/// A thread that keeps a connection alive.
#[derive(Debug)]
pub(super) struct Keeper(JoinHandle<()>);

/// Starts the keeper of a connection whose handshake is done.
pub(super) fn start(core: &Arc<Core>, rhythm: Option<Rhythm>) -> io::Result<Keeper> {
    if let Some(rhythm) = rhythm {
        core.lock().session.watch(rhythm, Instant::now());
    }
    let core = Arc::clone(core);
    let patience = rhythm.map_or(PATIENCE, |rhythm| rhythm.threshold / 2).min(PATIENCE);
    let keeper = thread::Builder::new().name("tcpkit-keeper".to_owned()).stack_size(STACK);
    keeper.spawn(move || core.keep(patience)).map(Keeper)
}

impl Core {
    fn keep(&self, patience: Duration) {
        let mut state = self.lock();
        loop {
            state = if state.session.is_away() {
                self.restore(state)
            } else if state.session.is_open() {
                self.beat(state, patience)
            } else {
                break;
            };
        }
        // What this thread read last may have been the server's goodbye, which wants an answer, or
        // its silence, of which it is told.
        if state.has_to_write() {
            state = self.push(state);
        }
        if matches!(state.session.ended(), Some(End::Silent)) {
            state.transport.shutdown(Shutdown::Both);
        }
        state.keeper_is_done = true;
        self.done.ring_all();
    }

    /// One step of a connection that is up.
    fn beat<'a>(&'a self, mut state: Guard<'a>, patience: Duration) -> Guard<'a> {
        let now = Instant::now();
        let may_read = state.reader == Reader::Free && !state.session.inbox_is_full();
        if state.reader == Reader::Free && !may_read {
            state.session.excuse_silence(now);
        }
        let due = state.session.beat(now);
        if !state.session.is_open() {
            self.note_loss(&mut state);
            self.ring_everyone();
            return state;
        }
        if state.is_due_to_write() {
            return self.push(state);
        }
        let takeover = state.last_read + patience;
        let is_silent = takeover <= now || state.session.is_beating();
        let is_wanted = self.events.is_awaited() || self.answers.is_awaited();
        let mut left = due.map_or(NO_HEARTBEAT, |due| due.saturating_duration_since(now));
        if state.has_to_write() {
            left = left.min(STALL_PAUSE); // a server that did not read is tried again
        }
        if may_read && is_silent && !is_wanted {
            let state = self.read(state, Some(left.max(MINIMUM))).0;
            self.pass_on(&state);
            return state;
        }
        let is_free = state.reader == Reader::Free && takeover > now;
        let next = if is_free { takeover - now } else { patience };
        self.beats.wait(state, Some(left.min(next).max(MINIMUM)))
    }

    /// Lets the keeper of a connection that has ended go. It is waited for until `deadline`: one
    /// that just tries to connect cannot be called back from that, and ends by itself.
    pub(super) fn dismiss(&self, keeper: Keeper, deadline: Deadline) {
        let mut state = self.lock();
        self.ring_everyone();
        while !state.keeper_is_done && !deadline.is_over() {
            state = self.done.wait(state, deadline.remaining());
        }
        let is_done = state.keeper_is_done;
        drop(state);
        if is_done {
            let _ = keeper.0.join(); // a panic of its was told when it happened
        }
    }
}
