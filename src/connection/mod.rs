//! [`Connection`]: one dialogue with a server, blocking, for any number of threads.
//!
//! A shell around the [client's machine](crate::client_session): it owns the transport and one
//! lock, and decides nothing about the protocol. Two rules keep it fast. *Whoever waits, reads*: a
//! call that waits for something reads in its caller's thread, as the one that has the reader's
//! role, and keeps for others what is theirs (`wait`). *Writes gather*: what many threads send
//! while one of them writes leaves with the next write (`write`). One thread of its own watches
//! the server's silence, and reads while nobody else does (`heart`); it also makes a new connection
//! when one is lost (`restore`). Files are sent by whoever waits for them, and by one more thread
//! (`pump`). Taking turns is in `turns`. How it ends is in `close`, how it begins in `builder`.
//!
//! No lock is held across a call of the transport but the framer's, which belongs to the role.

mod builder;
mod close;
mod content;
mod heart;
mod pump;
mod restore;
mod turns;
mod uploads;
mod wait;
mod write;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::builder::Builder;
use self::heart::Keeper;
use self::restore::Dialer;
pub use self::turns::{OwnTurns, Turn};
pub use self::uploads::{Progress, Stored, UploadHandle};
use self::wait::{Bell, Deadline, State};
use self::write::Queue;
use crate::client_session::ClientSession;
use crate::end::End;
use crate::error::{Error, Waiting};
use crate::event::{Event, Fate, Receipt};
use crate::frame::{Framer, HANDSHAKE_FRAME_MAX};
use crate::heartbeat::Rhythm;
use crate::memory::FarEnd;
use crate::message::Mode;
use crate::transport::Transport;

/// How long [`Connection::close`] waits for the server's goodbye (`PROTOCOL.md` section 10).
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How long a dropped connection waits for it.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// A connection to a tcpkit server.
///
/// All methods take `&self`, and any number of threads may call them at once: one receives while
/// others send, over an [`Arc`] or in a [scope](std::thread::scope). Whichever call waits, reads.
/// Where none does, a thread of the connection's own takes over after a while, so that the server's
/// heartbeats are answered, and a dead server is noticed, also while the program is busy.
///
/// A connection that is lost is restored by that thread, as the
/// [policy](Builder::reconnect) says: [`Event::Reconnecting`], then [`Event::Resumed`] or
/// [`Event::SessionLost`] tell of it. Meanwhile messages can be sent up to a
/// [limit](Builder::queue), and calls that wait for the server go on waiting. Nothing that was
/// accepted is lost or comes twice: what the server had not seen is sent again, and what each side
/// missed is made up for, as long as the server still has it.
///
/// Dropping it closes it as [`close`](Self::close) does, but takes a second at the most; a thread
/// that is just trying to connect then ends by itself.
///
/// ```no_run
/// let connection = tcpkit::Connection::connect("127.0.0.1:5001")?;
/// connection.send("hello")?;
/// while let Some(event) = connection.recv()? {
///     println!("{event}");
/// }
/// # Ok::<(), tcpkit::Error>(())
/// ```
///
/// # Time limits
///
/// A call with a limit may take 50 ms longer while the server does not read what was sent.
pub struct Connection {
    core: Arc<Core>,
    /// None for a connection without a heartbeat that is not restored either.
    keeper: Option<Keeper>,
}

/// What the calls of a connection and its heartbeat share.
struct Core {
    state: Mutex<State>,
    /// How much may be unconfirmed, and what sending more does.
    queue: Queue,
    /// Makes a new connection; none for one that cannot be restored.
    dialer: Option<Dialer>,
    /// Held by whoever has the reader's role, and never while the state's lock is waited for by
    /// someone who would need it.
    framer: Mutex<Framer>,
    /// Rung for those who wait for an event.
    events: Bell,
    /// Rung for those who wait for a status or a Pong, or for a role while closing.
    answers: Bell,
    /// Rung for those who wait for room to send.
    room: Bell,
    /// Rung for the keeper: at the end, at a loss, and when a role is given back after that.
    beats: Bell,
    /// Rung for the thread that sends what nobody waits for.
    uploading: Bell,
    /// Rung when the writer's role is given back.
    written: Bell,
    /// Rung when a thread of the connection's own has ended.
    done: Bell,
}

impl Connection {
    /// Connects to the server at `address` (`host:port`) under a name that the server picks.
    ///
    /// Takes at most 10 s for the connection and 10 s for the handshake, beside the time in which
    /// the system resolves a host name. [`builder`](Self::builder) has all the choices.
    ///
    /// # Errors
    /// [`Error::Connect`] if there is no connection, [`Error::Timeout`] if the server does not
    /// answer, [`Error::Refused`] if it will not have this client; or how else it ended.
    pub fn connect(address: &str) -> Result<Self, Error> {
        Builder::default().connect(address)
    }

    /// A connection with a name, a token, other limits: see [`Builder`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A connection in memory, open, and its far end, which a test plays. See [`memory`].
    ///
    /// [`memory`]: crate::memory
    pub fn memory() -> (Self, FarEnd) {
        Builder::default().anonymous_memory()
    }

    fn new(
        transport: Arc<dyn Transport>,
        server_addr: Option<SocketAddr>,
        session: ClientSession,
        queue: Queue,
        dialer: Option<Dialer>,
    ) -> Self {
        let core = Core {
            state: Mutex::new(State::new(session, transport, server_addr)),
            queue,
            dialer,
            framer: Mutex::new(Framer::new(HANDSHAKE_FRAME_MAX)),
            events: Bell::default(),
            answers: Bell::default(),
            room: Bell::default(),
            beats: Bell::default(),
            uploading: Bell::default(),
            written: Bell::default(),
            done: Bell::default(),
        };
        Self { core: Arc::new(core), keeper: None }
    }

    fn handshake(&self, limit: Duration) -> Result<(), Error> {
        self.core.wait(Waiting::Handshake, Some(limit), |session| match session.ended() {
            Some(end) => Some(Err(end.to_error())),
            None => session.is_open().then_some(Ok(())),
        })
    }

    /// Gives the connection its keeper, if there is something to keep.
    fn kept(mut self, rhythm: Option<Rhythm>) -> Result<Self, Error> {
        if rhythm.is_some() || self.core.dialer.is_some() {
            self.keeper = Some(heart::start(&self.core, rhythm).map_err(Error::Io)?);
        }
        Ok(self)
    }

    /// Sends a text to all others, and returns once it is on its way.
    ///
    /// The message is numbered: its [`Receipt`] can be [confirmed](Self::confirm). Sent by one
    /// thread alone it is written at once; while another thread writes, that one takes it along;
    /// while the connection is being restored it is kept for then. Blocks only while more than
    /// 1 MiB waits to be written, or more than the [queue](Builder::queue) holds is unconfirmed.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above the server's limit; [`Error::InboxFull`] if the server does not
    /// read because nobody here takes what it sends; [`Error::QueueFull`] if the connection is made
    /// to [fail](Builder::on_full) then. The message was not sent then. After the end
    /// [`Error::Closed`], or how it ended; if that is met by this very call, the message may or
    /// may not have reached the server.
    pub fn send(&self, text: &str) -> Result<Receipt, Error> {
        self.core.send_with(|session| session.send_text(text))
    }

    /// Sends bytes to all others. As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_bytes(&self, body: &[u8]) -> Result<Receipt, Error> {
        self.core.send_with(|session| session.send_bytes(body))
    }

    /// Sends a text to the one client of that name. As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Error::FieldTooLong`] for a name of more than 1,000 bytes. That
    /// nobody bears a name is no error but the message's [`Fate`].
    pub fn send_to(&self, name: &str, text: &str) -> Result<Receipt, Error> {
        self.core.send_with(|session| session.send_direct(name, text))
    }

    /// Waits until the server has told what became of a message.
    ///
    /// The newest 65,536 refusals are remembered, with the first 256 bytes of their words; the
    /// fate of an older message is [`Fate::Unknown`] if there were more. It is also unknown if the
    /// connection ended first, and for a receipt of another connection.
    ///
    /// # Errors
    /// [`Error::InboxFull`] if it had to read on while 16 MiB of events wait for
    /// [`recv`](Self::recv); [`Error::Closed`] if another thread is closing the connection.
    pub fn confirm(&self, receipt: Receipt) -> Result<Fate, Error> {
        self.confirm_within(receipt, None)
    }

    /// As [`confirm`](Self::confirm), for no longer than `limit`.
    ///
    /// # Errors
    /// As [`confirm`](Self::confirm), and [`Error::Timeout`].
    pub fn confirm_timeout(&self, receipt: Receipt, limit: Duration) -> Result<Fate, Error> {
        self.confirm_within(receipt, Some(limit))
    }

    fn confirm_within(&self, receipt: Receipt, limit: Option<Duration>) -> Result<Fate, Error> {
        let mut was_alive = false;
        self.core.wait(Waiting::Confirmation, limit, |session| match session.fate(receipt) {
            Some(fate) => Some(Ok(fate)),
            None if is_closed_meanwhile(session, &mut was_alive) => Some(Err(Error::Closed)),
            None => session.ended().map(|_| Ok(Fate::Unknown)),
        })
    }

    /// Waits until every message that was sent before this call has its fate.
    ///
    /// # Errors
    /// [`Error::Unconfirmed`] with the number of those whose fate is [unknown](Fate::Unknown):
    /// their session was lost, or the connection ended first. A message of a lost session is
    /// counted also if it was lost before this call, but by one flush only (and by those that wait
    /// at the same time): the next one answers for what was sent since. A refusal is no error
    /// here. Otherwise as [`confirm`](Self::confirm).
    pub fn flush(&self) -> Result<(), Error> {
        self.flush_within(None)
    }

    /// As [`flush`](Self::flush), for no longer than `limit`.
    ///
    /// # Errors
    /// As [`flush`](Self::flush), and [`Error::Timeout`].
    pub fn flush_timeout(&self, limit: Duration) -> Result<(), Error> {
        self.flush_within(Some(limit))
    }

    fn flush_within(&self, limit: Option<Duration>) -> Result<(), Error> {
        let (mut range, mut was_alive) = (None, false);
        self.core.wait(Waiting::Confirmation, limit, |session| {
            let begin = || (session.flushed(), session.last_receipt());
            let (first, last) = *range.get_or_insert_with(begin);
            let open = session.unsettled(last);
            if open > 0 && is_closed_meanwhile(session, &mut was_alive) {
                return Some(Err(Error::Closed));
            }
            if open > 0 && session.ended().is_none() {
                return None;
            }
            session.flush(last);
            match open + session.unknown(first, last) {
                0 => Some(Ok(())),
                count => Some(Err(Error::Unconfirmed(count))),
            }
        })
    }

    /// Waits for the next event; `None` is an orderly end: this side closed the connection, or
    /// the server was done, or is shutting down and the connection is not to be restored
    /// ([`ended`](Self::ended) says which).
    ///
    /// Events that came before the end are handed out before it is told. A connection that is lost
    /// and being restored has not ended.
    ///
    /// # Errors
    /// How the connection ended, if that was not orderly. It is told again by each later call.
    pub fn recv(&self) -> Result<Option<Event>, Error> {
        self.recv_within(None)
    }

    /// As [`recv`](Self::recv), for no longer than `limit`. A limit that is met in the middle of a
    /// frame loses nothing.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`Error::Timeout`].
    pub fn recv_timeout(&self, limit: Duration) -> Result<Option<Event>, Error> {
        self.recv_within(Some(limit))
    }

    /// As [`recv`](Self::recv), without waiting.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`Error::Timeout`] with a limit of zero when nothing is there.
    pub fn try_recv(&self) -> Result<Option<Event>, Error> {
        self.recv_within(Some(Duration::ZERO))
    }

    fn recv_within(&self, limit: Option<Duration>) -> Result<Option<Event>, Error> {
        self.core.wait(Waiting::Event, limit, |session| {
            if let Some(event) = session.next_event() {
                return Some(Ok(Some(event)));
            }
            match session.ended() {
                Some(end) if end.is_orderly() => Some(Ok(None)),
                Some(end) => Some(Err(end.to_error())),
                None => session.is_closing().then_some(Ok(None)),
            }
        })
    }

    /// The events from now on, up to the end of the connection; an end that is not orderly is the
    /// last item.
    pub fn events(&self) -> Events<'_> {
        Events { connection: self, is_over: false }
    }

    /// Asks the server for a sign of life, and gives how long it took.
    ///
    /// # Errors
    /// [`Error::Closed`], or how the connection ended; [`Error::Reconnecting`] if it is lost or
    /// was lost meanwhile; [`Error::InboxFull`] as for [`confirm`](Self::confirm).
    pub fn ping(&self) -> Result<Duration, Error> {
        self.ping_within(None)
    }

    /// As [`ping`](Self::ping), for no longer than `limit`.
    ///
    /// # Errors
    /// As [`ping`](Self::ping), and [`Error::Timeout`].
    pub fn ping_timeout(&self, limit: Duration) -> Result<Duration, Error> {
        self.ping_within(Some(limit))
    }

    fn ping_within(&self, limit: Option<Duration>) -> Result<Duration, Error> {
        let begin = Instant::now();
        let nonce = self.core.lock().session.ping()?;
        let result = self.core.wait(Waiting::Pong, limit, |session| {
            let has_pong = session.has_pong(nonce);
            has_pong.map(|came| came.then(|| begin.elapsed())).transpose()
        });
        if result.is_err() {
            self.core.lock().session.forget_ping(nonce);
        }
        result
    }

    /// Says goodbye, waits for the server's answer, and closes the connection.
    ///
    /// What was sent before is written first, and what the server still sends is taken in, so that
    /// after it every message has its final fate. Calls of other threads that wait return at once:
    /// `recv` with `None`, others with [`Error::Closed`]. It takes at most 5 s, and if another
    /// thread was just reading, it waits no longer than 100 ms for the answer. Closing what has
    /// ended already is no error.
    ///
    /// # Errors
    /// [`Error::Lost`] if the server went without an answer or could not be reached just then,
    /// [`Error::Timeout`] if there was no answer: the server may not have read all that was sent.
    /// Whatever else ended the dialogue instead.
    pub fn close(&self) -> Result<(), Error> {
        self.core.close_within(CLOSE_WAIT)
    }

    /// This client's name, as the server gave it and others see it: `alice-2` where `alice` was
    /// taken.
    pub fn name(&self) -> String {
        self.core.lock().session.name().to_owned()
    }

    /// What the server does with messages.
    pub fn mode(&self) -> Mode {
        self.core.lock().session.mode()
    }

    /// The server's address, of the last connection to it; `None` for a connection in memory.
    pub fn server_addr(&self) -> Option<SocketAddr> {
        self.core.lock().server_addr
    }

    /// Whether there is a connection now, as far as is known: false while it is being restored,
    /// while it is closing, and after its end.
    pub fn is_connected(&self) -> bool {
        self.core.lock().session.is_open()
    }

    /// How the connection ended, or `None` while it has not, as far as it was read.
    pub fn ended(&self) -> Option<End> {
        self.core.lock().session.ended().cloned()
    }
}

impl Core {
    /// A thread that panicked has left the state whole: nothing in here panics half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this side is closing, or has closed, the connection under a call that waits. A call that
/// comes after the end is told what is known by then instead.
fn is_closed_meanwhile(session: &ClientSession, was_alive: &mut bool) -> bool {
    *was_alive |= session.is_alive();
    session.is_closing() || (*was_alive && matches!(session.ended(), Some(End::Closed { .. })))
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.core.lock().session.discard_events();
        let deadline = Deadline::after(Some(DROP_WAIT));
        let _ = self.core.close_within(DROP_WAIT); // nobody is left to be told
        if let Some(keeper) = self.keeper.take() {
            self.core.dismiss(keeper, deadline);
        }
        self.core.dismiss_worker(deadline);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.name())
            .field("server_addr", &self.server_addr())
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

/// The events of a connection. See [`Connection::events`].
#[derive(Debug)]
pub struct Events<'a> {
    connection: &'a Connection,
    is_over: bool,
}

impl Iterator for Events<'_> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let item = self.connection.recv().transpose();
        self.is_over = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests;
