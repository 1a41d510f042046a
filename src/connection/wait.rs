//! Whoever waits, reads: the reader's role, and how it goes from thread to thread.
//!
//! A thread that waits takes the role if it is free, reads outside the lock, gives what came to
//! the machine, and rings for those whose wait may be over. A thread that finds the role taken
//! waits for a bell. One rule keeps anyone from sleeping while nobody reads: whoever leaves with
//! the role free passes it on, by ringing for one of those who wait.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Core;
use super::pump::Uploads;
use super::write::OUTGOING_MAX;
use crate::client_session::ClientSession;
use crate::error::{Error, Waiting};
use crate::frame::Framer;
use crate::transport::{Transport, WRITE_WAIT, is_timeout};

/// How long a server that does not read but has something to say is only listened to, before the
/// next try to write: long enough to leave most of the time for reading, since a try may take
/// [`WRITE_WAIT`](crate::transport::WRITE_WAIT); short enough for a Pong.
pub(super) const STALL_PAUSE: Duration = Duration::from_millis(200);

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Free,
    Busy,
    /// Nobody: the connection is lost, and the keeper has the role until there is a new one.
    Parked,
    /// Reading is over for good: the direction was shut down.
    Shut,
}

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Free,
    Busy,
    /// Free, and the last write, which ended then, met a server that does not read.
    Stalled(Instant),
    /// Nobody: the connection is lost, and the keeper has the role until there is a new one.
    Parked,
    /// Writing is over for good: the direction was shut down, or it failed.
    Shut,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct State {
    pub(super) session: ClientSession,
    pub(super) transport: Arc<dyn Transport>,
    /// The number of that transport: whoever comes back to find another one has come too late.
    pub(super) link: u64,
    pub(super) server_addr: Option<SocketAddr>,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// The buffer that is not in use, so that sending reserves no memory.
    pub(super) spare: Vec<u8>,
    /// When something was read last.
    pub(super) last_read: Instant,
    /// Why writing failed, until the reader has seen what the server said before.
    pub(super) write_error: Option<io::Error>,
    pub(super) uploads: Uploads,
    /// The keeper has ended.
    pub(super) keeper_is_done: bool,
}

impl State {
    pub(super) fn new(
        session: ClientSession,
        transport: Arc<dyn Transport>,
        server_addr: Option<SocketAddr>,
    ) -> Self {
        Self {
            session,
            transport,
            link: 0,
            server_addr,
            reader: Reader::Free,
            writer: Writer::Free,
            spare: Vec::new(),
            last_read: Instant::now(),
            write_error: None,
            uploads: Uploads::default(),
            keeper_is_done: false,
        }
    }

    /// Whether there is no connection (any more).
    pub(super) fn is_down(&self) -> bool {
        self.session.is_away() || self.session.ended().is_some()
    }

    /// Whether something is to be written, or the writing half to be ended, and nobody is at it.
    pub(super) fn has_to_write(&self) -> bool {
        match self.writer {
            Writer::Free | Writer::Stalled(_) => {
                !self.session.outgoing.is_empty() || self.session.ended().is_some()
            }
            Writer::Busy | Writer::Parked | Writer::Shut => false,
        }
    }

    /// The same, unless it was tried just before.
    pub(super) fn is_due_to_write(&self) -> bool {
        let is_due = match self.writer {
            Writer::Stalled(since) => since.elapsed() >= STALL_PAUSE,
            _ => true,
        };
        is_due && self.has_to_write()
    }
}

pub(super) type Guard<'a> = MutexGuard<'a, State>;

/// A condition variable that knows whether anyone waits, so that ringing for nobody costs nothing.
#[derive(Debug, Default)]
pub(super) struct Bell {
    condvar: Condvar,
    /// Changed only under the state's lock.
    waiting: AtomicUsize,
}

impl Bell {
    /// Waits until it rings, or for no reason, or for as long as the limit.
    pub(super) fn wait<'a>(&self, state: Guard<'a>, limit: Option<Duration>) -> Guard<'a> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = match limit {
            None => self.condvar.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let result = self.condvar.wait_timeout(state, limit);
                result.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.waiting() > 0
    }

    pub(super) fn ring_one(&self) {
        if self.is_awaited() {
            self.condvar.notify_one();
        }
    }

    pub(super) fn ring_all(&self) {
        if self.is_awaited() {
            self.condvar.notify_all();
        }
    }
}

/// A moment up to which a call may take, or never.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) fn after(limit: Option<Duration>) -> Self {
        Self(limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    /// The time that is left; `None` without a deadline.
    pub(super) fn remaining(self) -> Option<Duration> {
        self.0.map(|until| until.saturating_duration_since(Instant::now()))
    }

    pub(super) fn is_over(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}

impl Core {
    /// Waits until `check` gives a result, and reads while nobody else does.
    ///
    /// Without time left it still takes what has come already, once.
    pub(super) fn wait<T>(
        &self,
        what: Waiting,
        limit: Option<Duration>,
        mut check: impl FnMut(&mut ClientSession) -> Option<Result<T, Error>>,
    ) -> Result<T, Error> {
        let deadline = Deadline::after(limit);
        let mut state = self.lock();
        let mut is_first = true;
        let result = loop {
            if state.is_due_to_write() {
                self.pass_on(&state);
                state = self.push(state);
            }
            if let Some(result) = check(&mut state.session) {
                break result;
            }
            let remaining = deadline.remaining();
            if remaining == Some(Duration::ZERO) && !is_first {
                break Err(Error::Timeout(what, limit.unwrap_or_default()));
            }
            is_first = false;
            if state.reader == Reader::Free
                && what != Waiting::Event
                && state.session.inbox_is_full()
            {
                break Err(Error::InboxFull);
            }
            state = self.wait_step(state, what, remaining);
        };
        self.pass_on(&state);
        result
    }

    /// Waits for one thing to happen: bytes to come, room for what is stalled, or a bell.
    fn wait_step<'a>(
        &'a self,
        state: Guard<'a>,
        what: Waiting,
        remaining: Option<Duration>,
    ) -> Guard<'a> {
        let is_stalled = state.has_to_write() && remaining != Some(Duration::ZERO);
        match state.reader {
            Reader::Free if is_stalled => self.read_or_push(state),
            Reader::Free => self.read(state, remaining).0,
            _ if is_stalled => self.push(state),
            _ if what == Waiting::Event => self.events.wait(state, remaining),
            _ => self.answers.wait(state, remaining),
        }
    }

    /// With both roles at hand and a server that does not read: takes what it sends, and if there
    /// is nothing, waits for room.
    pub(super) fn read_or_push<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        if state.session.outgoing.len() > 2 * OUTGOING_MAX + state.session.kept_bytes() {
            return self.push(state); // a server that asks and never reads gets no more answers
        }
        let (state, came) = self.read(state, Some(Duration::ZERO));
        if came || !state.has_to_write() {
            return state;
        }
        self.pass_on(&state);
        self.push(state)
    }

    /// Takes the reader's role, reads once, gives what came to the machine, and gives the role
    /// back. Says whether anything came, the end included.
    ///
    /// The caller goes on reading, or [passes the role on](Self::pass_on).
    pub(super) fn read<'a>(
        &'a self,
        mut state: Guard<'a>,
        limit: Option<Duration>,
    ) -> (Guard<'a>, bool) {
        state.reader = Reader::Busy;
        let transport = Arc::clone(&state.transport);
        drop(state);
        let mut framer = self.framer.lock().unwrap_or_else(PoisonError::into_inner);
        let result = transport.read(framer.space(), limit);
        let mut state = self.lock();
        let was_shut = state.reader == Reader::Shut; // by a close that could not wait
        state.last_read = Instant::now();
        let (answers, was_open) = (state.session.answers(), state.session.is_open());
        let was_beating = state.session.is_beating();
        let came = match result {
            Ok(0) if was_shut => false,
            Err(error) if was_shut || is_timeout(&error) => false,
            Ok(count) if count > 0 => {
                framer.filled(count);
                let now = state.last_read;
                feed(&mut state.session, &mut framer, now);
                state.session.heard(framer.peek(), now);
                true
            }
            end => {
                if state.writer == Writer::Busy {
                    // The system tells of a reset once, and it may be the writer that is told.
                    state = self.written.wait(state, Some(WRITE_WAIT));
                }
                let cause = state.write_error.take().or(end.err());
                let now = state.last_read;
                state.session.lost(cause, now);
                true
            }
        };
        // Not before: whoever has the role has the framer.
        if state.reader == Reader::Busy {
            state.reader = Reader::Free;
        }
        self.note_loss(&mut state);
        if was_beating && !state.session.is_beating() {
            self.beats.ring_all(); // the next heartbeat may be due earlier than this one's end
        }
        if state.session.is_open() && !was_open {
            self.ring_everyone(); // the keeper, and those who have something to send
        } else {
            self.ring(&state, state.session.answers() != answers);
        }
        (state, came)
    }

    /// If the connection is lost, leaves the roles to the keeper, as far as nobody is at them and
    /// nothing is to be said any more.
    pub(super) fn note_loss(&self, state: &mut State) {
        if !state.session.is_away() {
            return;
        }
        if state.reader == Reader::Free {
            state.reader = Reader::Parked;
        }
        if state.writer != Writer::Busy && state.session.outgoing.is_empty() {
            state.writer = Writer::Parked;
        }
        self.ring_everyone();
    }

    /// Wakes those whose wait may be over.
    fn ring(&self, state: &State, has_answers: bool) {
        if state.is_down() {
            self.ring_everyone();
            return;
        }
        if state.session.has_event() {
            self.events.ring_all();
        }
        if has_answers {
            self.answers.ring_all();
        }
    }

    pub(super) fn ring_everyone(&self) {
        self.events.ring_all();
        self.answers.ring_all();
        self.room.ring_all();
        self.beats.ring_all();
        self.uploading.ring_all();
    }

    /// If nobody reads, wakes one of those who would.
    pub(super) fn pass_on(&self, state: &State) {
        if state.reader != Reader::Free {
            return;
        }
        if self.answers.is_awaited() {
            self.answers.ring_one();
        } else {
            self.events.ring_one();
        }
    }
}

/// Gives every whole frame to the machine.
fn feed(session: &mut ClientSession, framer: &mut Framer, now: Instant) {
    while session.ended().is_none() && !session.is_away() {
        framer.set_frame_max(session.frame_max()); // InitAck raises it, for the next frame
        match framer.next_frame() {
            Ok(Some(raw)) => session.receive(&raw, now),
            Ok(None) => return,
            Err(violation) => session.violated(violation),
        }
    }
}
