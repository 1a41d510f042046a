//! Writes gather: the writer's role, and what a sender does when the server does not read.
//!
//! A thread that has put something into the machine's `outgoing` writes it, unless another thread
//! is writing: that one takes it along. The writer takes the whole buffer, writes it outside the
//! lock, and looks again. A write that finds no room for [`WRITE_WAIT`] leaves what remains in
//! front of the rest, and is tried again; in between the thread reads what the server sends, if
//! nobody else does, since a server that cannot get rid of its statuses stops reading too.
//!
//! Bytes can stay behind without a writer only where no thread may block for them: when the inbox
//! is full, or when a call with a time limit meets it. Then the next call of any kind goes on.
//!
//! [`WRITE_WAIT`]: crate::transport::WRITE_WAIT

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem};

use super::Core;
use super::wait::{Guard, Reader, State, Writer};
use crate::client_session::ClientSession;
use crate::error::{Error, Waiting};
use crate::event::Receipt;
use crate::settings::{OnFull, Settings};
use crate::transport::is_timeout;

/// How much may wait to be written before senders wait too: 0.1 s of a network of 100 Mbit/s, and
/// sixteen times what makes a single write as cheap as it gets. What the writer has in hand comes
/// on top, so that at most twice this and two frames are held, beside what is sent again after the
/// connection was lost.
pub(super) const OUTGOING_MAX: usize = 1 << 20;

/// How much may be sent ahead of its confirmation, where messages are kept to be sent again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    pub(super) bytes: usize,
    pub(super) on_full: OnFull,
}

impl Queue {
    /// Whether no more messages are taken; of a session that has ended, that is for it to say.
    fn is_full(&self, session: &ClientSession) -> bool {
        session.kept_bytes() >= self.bytes && session.is_alive()
    }
}

/// That of the settings.
impl Default for Queue {
    fn default() -> Self {
        let client = Settings::default().client;
        Self { bytes: usize::try_from(client.queue).unwrap_or(usize::MAX), on_full: client.on_full }
    }
}

impl Core {
    /// Puts one message into the machine and sees to it that it is written.
    pub(super) fn send_with(
        &self,
        encode: impl FnOnce(&mut ClientSession) -> Result<Receipt, Error>,
    ) -> Result<Receipt, Error> {
        let mut state = self.lock();
        while self.queue.is_full(&state.session) {
            drop(state);
            self.wait_for_queue()?;
            state = self.lock();
        }
        while state.session.outgoing.len() > OUTGOING_MAX && state.session.is_open() {
            if !state.has_to_write() {
                state = self.room.wait(state, None);
                continue;
            }
            state = self.push_through(state);
            if state.has_to_write() && state.session.is_open() && state.session.inbox_is_full() {
                return Err(Error::InboxFull);
            }
        }
        let receipt = encode(&mut state.session)?;
        if !state.has_to_write() {
            return Ok(receipt);
        }
        state = self.push_through(state);
        match state.session.ended() {
            Some(end) if !end.is_orderly() => Err(end.to_error()),
            _ => Ok(receipt),
        }
    }

    /// Waits until more may be sent without confirmation, or finds that it may not.
    fn wait_for_queue(&self) -> Result<(), Error> {
        let limit = (self.queue.on_full == OnFull::Fail).then_some(Duration::ZERO);
        let waited = self.wait(Waiting::Confirmation, limit, |session| {
            (!self.queue.is_full(session)).then_some(Ok(()))
        });
        match waited {
            Err(Error::Timeout(..)) => Err(Error::QueueFull),
            waited => waited,
        }
    }

    /// Writes until all has left or another thread has taken over; stops early where nothing can
    /// be done about a server that does not read: when this side is closing, or its inbox is full.
    pub(super) fn push_through<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        let mut state = self.push(state);
        while matches!(state.writer, Writer::Stalled(_)) && state.session.is_open() {
            if state.reader == Reader::Busy || state.is_due_to_write() {
                state = self.push(state);
            } else if state.session.inbox_is_full() {
                break;
            } else {
                state = self.read_or_push(state);
            }
        }
        self.pass_on(&state);
        state
    }

    /// Takes the writer's role and writes what is outgoing, and what others add meanwhile; after
    /// the end also ends the writing half. Gives the role back when all has left, when a write
    /// found no room, or when so much came that others wait for room: one of them goes on.
    pub(super) fn push<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        state.writer = Writer::Busy;
        let transport = Arc::clone(&state.transport);
        while !state.session.outgoing.is_empty() {
            let mut bytes = mem::take(&mut state.spare);
            mem::swap(&mut bytes, &mut state.session.outgoing);
            drop(state);
            self.room.ring_all();
            let result = transport.write(&bytes);
            state = self.lock();
            match result {
                Ok(count) if count == bytes.len() => {
                    bytes.clear();
                    bytes.shrink_to(OUTGOING_MAX);
                    state.spare = bytes;
                    if state.session.outgoing.len() > OUTGOING_MAX && self.room.is_awaited() {
                        break; // those who sent it go on, so that no thread is kept for others
                    }
                }
                Ok(0) => return self.give_up_writing(state, io::ErrorKind::WriteZero.into()),
                Ok(count) => return self.stall(state, bytes, count),
                Err(error) if is_timeout(&error) => return self.stall(state, bytes, 0),
                Err(error) => return self.give_up_writing(state, error),
            }
        }
        if state.session.outgoing.is_empty() && state.session.ended().is_some() {
            drop(state);
            transport.shutdown(Shutdown::Write);
            state = self.lock();
            self.release_writer(&mut state, Writer::Shut);
        } else {
            self.release_writer(&mut state, Writer::Free);
        }
        state
    }

    /// Puts what was not written in front of what came meanwhile.
    fn stall<'a>(&self, mut state: Guard<'a>, mut bytes: Vec<u8>, count: usize) -> Guard<'a> {
        if state.session.may_write() {
            bytes.drain(..count);
            bytes.append(&mut state.session.outgoing);
            state.spare = mem::replace(&mut state.session.outgoing, bytes);
        }
        self.release_writer(&mut state, Writer::Stalled(Instant::now()));
        state
    }

    fn release_writer(&self, state: &mut State, writer: Writer) {
        state.writer = writer;
        self.written.ring_all();
        if state.session.outgoing.len() > OUTGOING_MAX {
            self.room.ring_one(); // to go on writing
        }
        if !state.session.is_open() {
            self.answers.ring_all(); // a closing thread waits for the role
        }
        self.note_loss(state);
    }

    /// Writing failed. The server may have said why before it went, so what it has sent is read
    /// first; without such words, the connection is lost for this error.
    fn give_up_writing<'a>(&'a self, mut state: Guard<'a>, error: io::Error) -> Guard<'a> {
        state.session.outgoing = Vec::new();
        state.write_error = Some(error);
        self.release_writer(&mut state, Writer::Shut);
        let link = state.link;
        while state.link == link && !state.is_down() {
            if state.reader == Reader::Busy {
                let transport = Arc::clone(&state.transport);
                drop(state);
                transport.shutdown(Shutdown::Both); // wakes the thread that reads
                state = self.lock();
                if state.reader == Reader::Busy && state.link == link && !state.is_down() {
                    state = self.answers.wait(state, None);
                }
                continue;
            }
            let came = if state.reader == Reader::Free {
                let (next, came) = self.read(state, Some(Duration::ZERO));
                state = next;
                came
            } else {
                false
            };
            if !came {
                let cause = state.write_error.take();
                state.session.lost(cause, Instant::now());
                self.note_loss(&mut state);
                self.ring_everyone();
            }
        }
        state
    }
}
