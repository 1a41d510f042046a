//! How a connection ends: goodbye, answer, and letting go of the transport.
//!
//! ```text
//!   Terminate ->            everyone who waits is woken
//!            <- statuses    taken in by the closing thread, or by one that was just reading
//!            <- TerminateAck
//! ```
//!
//! A thread that is in the middle of a read cannot be called out of it. It will meet the answer;
//! if that does not come soon, the reading half is shut down under it.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Core;
use super::wait::{Deadline, Guard, Reader, State, Writer};
use crate::end::End;
use crate::error::{Error, Waiting};
use crate::transport::Transport;

/// How long another thread's read may go on after a close: long enough for the answer of a server
/// on the same continent, short enough to count as at once.
const READER_WAIT: Duration = Duration::from_millis(100);
/// How long what still comes is read and dropped after the last word, since closing with unread
/// input would destroy that word on its way (`PROTOCOL.md` section 1).
const LINGER: Duration = Duration::from_secs(1);

impl State {
    /// Whether all is written, and nobody will see the answer.
    fn is_unheard(&self) -> bool {
        self.reader == Reader::Shut && self.writer != Writer::Busy && !self.has_to_write()
    }
}

impl Core {
    pub(super) fn close_within(&self, limit: Duration) -> Result<(), Error> {
        let deadline = Deadline::after(Some(limit));
        let reader_deadline = Deadline::after(Some(READER_WAIT.min(limit)));
        let mut state = self.lock();
        let had_ended = state.session.ended().is_some();
        state.session.terminate();
        if !state.session.is_closing() {
            // A handshake that failed; nothing changes after an end.
            state.session.lost(None, Instant::now());
        }
        self.ring_everyone();
        while state.session.ended().is_none() && !deadline.is_over() {
            if state.is_unheard() {
                break;
            }
            state = self.close_step(state, deadline, reader_deadline);
        }
        let result = match state.session.ended() {
            _ if had_ended => Ok(()),
            Some(End::Closed { answered: true }) => Ok(()),
            None if state.is_unheard() => Ok(()),
            Some(End::Closed { .. }) if state.reader == Reader::Shut => Ok(()),
            None => Err(Error::Timeout(Waiting::Goodbye, limit)),
            Some(End::Closed { .. }) => Err(Error::Lost),
            Some(end) => Err(end.to_error()),
        };
        state.session.lost(None, Instant::now());
        self.ring_everyone();
        self.let_go(state, deadline);
        result
    }

    fn close_step<'a>(
        &'a self,
        mut state: Guard<'a>,
        deadline: Deadline,
        reader_deadline: Deadline,
    ) -> Guard<'a> {
        let has_to_write = state.has_to_write();
        let remaining = deadline.remaining();
        if state.writer == Writer::Free && has_to_write {
            return self.push(state);
        }
        match state.reader {
            Reader::Busy if reader_deadline.is_over() => {
                state.reader = Reader::Shut;
                let transport = Arc::clone(&state.transport);
                drop(state);
                transport.shutdown(Shutdown::Read);
                self.lock()
            }
            Reader::Free if has_to_write => self.read_or_push(state),
            _ if has_to_write => self.push(state),
            Reader::Busy => self.answers.wait(state, reader_deadline.remaining()),
            // Another thread writes. It will notice, and leave the rest to this one.
            _ if state.writer == Writer::Busy => self.answers.wait(state, remaining),
            _ => self.read(state, remaining).0,
        }
    }

    /// After the end: has the last word written, reads and drops what still comes, and closes both
    /// halves.
    fn let_go<'a>(&'a self, mut state: Guard<'a>, deadline: Deadline) {
        while !deadline.is_over() {
            if state.has_to_write() {
                state = self.push(state);
            } else if state.writer == Writer::Busy {
                state = self.answers.wait(state, deadline.remaining());
            } else {
                break;
            }
        }
        let had_last_word =
            matches!(state.session.ended(), Some(End::Terminated { .. } | End::Violation(_)));
        let lingers = had_last_word && state.reader == Reader::Free;
        state.reader = Reader::Shut;
        let transport = Arc::clone(&state.transport);
        drop(state);
        if lingers {
            linger(&*transport, deadline);
        }
        transport.shutdown(Shutdown::Both);
    }
}

fn linger(transport: &dyn Transport, deadline: Deadline) {
    let end = Deadline::after(Some(LINGER));
    let mut dropped = [0; 4096];
    while let (Some(left), Some(most)) = (end.remaining(), deadline.remaining()) {
        let limit = left.min(most);
        if limit.is_zero()
            || !transport.read(&mut dropped, Some(limit)).is_ok_and(|count| count > 0)
        {
            return;
        }
    }
}
