//! How a connection that was lost is restored: the keeper makes a new one, and the machine does
//! the rest.
//!
//! ```text
//!   lost -> last words written -> both roles parked -> the wait is over -> dialled -> handshake
//!    ^                                                        |                |         |
//!    +--------------------------------------------------------+----------------+---------+ failed
//! ```
//!
//! While the roles are parked nobody reads or writes, so the transport and the framer can be
//! exchanged. Whoever was at them when the connection was lost gives them back first; a read or
//! write that waits is woken by shutting the old transport down.

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Core;
use super::wait::{Deadline, Guard, Reader, Writer};
use crate::frame::{Framer, HANDSHAKE_FRAME_MAX};
use crate::transport::Transport;

/// How long a server that ended the connection is given to take our last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A connection that was just made.
pub(super) type Dialled = (Arc<dyn Transport>, Option<SocketAddr>);

/// Makes new connections to the server.
pub(super) struct Dialer {
    pub(super) dial: Box<dyn Fn() -> io::Result<Dialled> + Send + Sync>,
    pub(super) handshake_timeout: Duration,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Core {
    /// One attempt to restore a connection that is lost: waits for its time, connects, and does the
    /// handshake. Comes back when that succeeded or failed, or the session has ended.
    pub(super) fn restore<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        let mut state = self.take_roles(state);
        while let Some(retry_at) = state.session.retry_at() {
            let left = retry_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.beats.wait(state, Some(left));
        }
        let Some(dialer) = self.dialer.as_ref().filter(|_| state.session.is_away()) else {
            return state;
        };
        drop(state);
        let dialled = (dialer.dial)();
        state = self.lock();
        match dialled {
            _ if !state.session.is_away() => state, // closed meanwhile
            Ok(dialled) => {
                self.install(&mut state, dialled);
                self.shake_hands(state, Deadline::after(Some(dialer.handshake_timeout)))
            }
            Err(error) => {
                state.session.unreachable(error, Instant::now());
                self.ring_everyone();
                state
            }
        }
    }

    /// Gets the last words out, and both roles in: nobody uses the old transport after that.
    fn take_roles<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        let deadline = Deadline::after(Some(LAST_WORDS));
        while !deadline.is_over() && !state.session.outgoing.is_empty() {
            state = match state.writer {
                Writer::Busy => self.beats.wait(state, deadline.remaining()),
                Writer::Free | Writer::Stalled(_) => self.push(state),
                Writer::Parked | Writer::Shut => break,
            };
        }
        let transport = Arc::clone(&state.transport);
        transport.shutdown(Shutdown::Both);
        while state.session.is_away() {
            if state.reader == Reader::Free {
                state.reader = Reader::Parked;
            }
            if state.writer != Writer::Busy {
                state.writer = Writer::Parked;
            }
            if state.reader == Reader::Parked && state.writer == Writer::Parked {
                break;
            }
            state = self.beats.wait(state, None);
        }
        state
    }

    /// Puts a new transport in the place of the old one, and the roles back.
    fn install(&self, state: &mut Guard<'_>, (transport, server_addr): Dialled) {
        let mut framer = self.framer.lock().unwrap_or_else(PoisonError::into_inner);
        *framer = Framer::new(HANDSHAKE_FRAME_MAX);
        drop(framer);
        state.transport = transport;
        state.server_addr = server_addr.or(state.server_addr);
        state.link += 1;
        state.write_error = None;
        state.last_read = Instant::now();
        state.session.reconnect();
        state.reader = Reader::Free;
        state.writer = Writer::Free;
    }

    /// Drives the handshake, whoever else may read or write as well.
    fn shake_hands<'a>(&'a self, mut state: Guard<'a>, deadline: Deadline) -> Guard<'a> {
        while state.session.is_in_handshake() {
            if deadline.is_over() {
                state.session.unanswered(Instant::now());
                self.note_loss(&mut state);
            } else if state.has_to_write() {
                state = self.push(state);
            } else if state.reader == Reader::Free {
                state = self.read(state, deadline.remaining()).0;
            } else {
                state = self.beats.wait(state, deadline.remaining());
            }
        }
        self.ring_everyone(); // senders go on, and what was asked before can be answered
        self.pass_on(&state);
        state
    }
}
