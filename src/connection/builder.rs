//! How a connection begins: its choices, the TCP connection, the handshake.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Connection;
use super::restore::{Dialer, Dialled};
use super::write::Queue;
use crate::backoff::ReconnectPolicy;
use crate::client_session::{ClientSession, Keep, Options};
use crate::error::Error;
use crate::heartbeat::Rhythm;
use crate::memory::FarEnd;
use crate::message::Token;
use crate::settings::OnFull;
use crate::transport::{Tcp, pipe};

/// For connecting, and for the handshake.
const DEFAULT_LIMIT: Duration = Duration::from_secs(10);
/// A limit above this is as good as none, and can be added to any clock.
const LIMIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The choices for a [`Connection`].
///
/// ```no_run
/// let connection = tcpkit::Connection::builder()
///     .name("alice")
///     .timezone("Europe/Vienna")
///     .connect("127.0.0.1:5001")?;
/// # Ok::<(), tcpkit::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Builder {
    name: String,
    timezone: String,
    token: String,
    connect_timeout: Duration,
    handshake_timeout: Duration,
    send_only: bool,
    delivery_events: bool,
    heartbeat: Option<Rhythm>,
    reconnect: Option<ReconnectPolicy>,
    queue: Queue,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: String::new(),
            timezone: String::new(),
            token: String::new(),
            connect_timeout: DEFAULT_LIMIT,
            handshake_timeout: DEFAULT_LIMIT,
            send_only: false,
            delivery_events: false,
            heartbeat: Some(Rhythm::default()),
            reconnect: Some(ReconnectPolicy::default()),
            queue: Queue::default(),
        }
    }
}

impl Builder {
    /// The name that others shall see, of at most 64 bytes. Empty, which is the default, the
    /// server picks one; taken, it adds a suffix: see [`Connection::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The user's time zone, an IANA name or `UTC+hh:mm`; empty by default.
    pub fn timezone(mut self, timezone: impl Into<String>) -> Self {
        self.timezone = timezone.into();
        self
    }

    /// The access token that the server asks for; empty by default.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// The longest time for the TCP connection, to all addresses of a host together; 10 s by
    /// default.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The longest time for the server's answer to the handshake; 10 s by default.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// For programs that only send: what others send is dropped, so that it need not be taken
    /// with [`recv`](Connection::recv). With
    /// [`delivery_events`](Self::delivery_events) the fates of messages still come as events.
    pub fn send_only(mut self, send_only: bool) -> Self {
        self.send_only = send_only;
        self
    }

    /// Whether acceptances come as events too:
    /// [`Event::Accepted`](crate::Event::Accepted), which speaks for all messages up to one.
    pub fn delivery_events(mut self, delivery_events: bool) -> Self {
        self.delivery_events = delivery_events;
        self
    }

    /// When the server's silence is looked into, and when it counts as dead; by default after 20 s
    /// and 60 s ([`Rhythm::worst_case`]). Without a heartbeat (`None`), and without
    /// [reconnecting](Self::reconnect), the connection has no thread of its own: then the server's
    /// Pings are answered only by calls that wait.
    pub fn heartbeat(mut self, rhythm: impl Into<Option<Rhythm>>) -> Self {
        self.heartbeat = rhythm.into();
        self
    }

    /// How a connection that was lost is restored; by default for as long as it takes, with waits
    /// of up to 15 s. `None`: not at all, and a loss is the end. The first connection is made, or
    /// not, by [`connect`](Self::connect) at once.
    pub fn reconnect(mut self, policy: impl Into<Option<ReconnectPolicy>>) -> Self {
        self.reconnect = policy.into();
        self
    }

    /// How many bytes of messages may be unconfirmed, while there is a connection and while there
    /// is none; 8 MiB by default. One message may always be sent. Without
    /// [reconnecting](Self::reconnect) messages are not kept, and there is no such limit.
    pub fn queue(mut self, bytes: usize) -> Self {
        self.queue.bytes = bytes.max(1);
        self
    }

    /// What sending more than that does: by default it blocks until some of it is confirmed.
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.queue.on_full = on_full;
        self
    }

    /// Connects to the server at `address` (`host:port`).
    ///
    /// # Errors
    /// [`Error::FieldTooLong`] if the name, time zone and token do not fit into a handshake;
    /// otherwise as [`Connection::connect`].
    pub fn connect(self, address: &str) -> Result<Connection, Error> {
        let session = self.session(self.reconnect)?;
        let failed = |source| Error::Connect { address: address.to_owned(), source };
        let limit = self.connect_timeout.min(LIMIT_MAX);
        let (transport, server_addr) = dial_tcp(address, limit).map_err(failed)?;
        let dialer = self.reconnect.map(|_| {
            let address = address.to_owned();
            let dial = Box::new(move || dial_tcp(&address, limit));
            Dialer { dial, handshake_timeout: self.handshake_timeout }
        });
        let connection = Connection::new(transport, server_addr, session, self.queue, dialer);
        connection.handshake(self.handshake_timeout)?;
        connection.kept(self.heartbeat)
    }

    /// A connection in memory, open, and its far end, which a test plays, without a heartbeat, and
    /// without reconnecting. See [`memory`](crate::memory).
    ///
    /// # Errors
    /// [`Error::FieldTooLong`] if the name, time zone and token do not fit into a handshake.
    pub fn memory(self) -> Result<(Connection, FarEnd), Error> {
        Ok(in_memory(self.session(None)?, self.name.trim()))
    }

    /// As [`memory`](Self::memory), with empty fields, which always fit.
    pub(super) fn anonymous_memory(self) -> (Connection, FarEnd) {
        in_memory(ClientSession::anonymous(self.keep()), "")
    }

    fn session(&self, reconnect: Option<ReconnectPolicy>) -> Result<ClientSession, Error> {
        ClientSession::new(&Options {
            reconnect,
            // Any number that another client does not have: for jitter it need not be secret.
            seed: RandomState::new().build_hasher().finish(),
            name: &self.name,
            timezone: &self.timezone,
            token: Token(&self.token),
            ..Options::anonymous(self.keep())
        })
    }

    fn keep(&self) -> Keep {
        Keep {
            records: !self.send_only,
            refusals: !self.send_only || self.delivery_events,
            acceptances: self.delivery_events,
        }
    }
}

/// The token stays out.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("timezone", &self.timezone)
            .field("connect_timeout", &self.connect_timeout)
            .field("handshake_timeout", &self.handshake_timeout)
            .field("send_only", &self.send_only)
            .field("delivery_events", &self.delivery_events)
            .field("heartbeat", &self.heartbeat)
            .field("reconnect", &self.reconnect)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// Both ends of a connection in memory, after their handshake. Nothing in it can fail: an empty
/// pipe has room for it.
fn in_memory(session: ClientSession, name: &str) -> (Connection, FarEnd) {
    let (near, far) = pipe();
    let mut far = FarEnd::new(far);
    let connection = Connection::new(Arc::new(near), None, session, Queue::default(), None);
    let _ = far.welcome(name); // it lies in the pipe until the handshake reads it
    let _ = connection.handshake(DEFAULT_LIMIT);
    let _ = far.recv(); // the Init
    (connection, far)
}

fn dial_tcp(address: &str, limit: Duration) -> io::Result<Dialled> {
    let stream = dial(address, limit)?;
    let server_addr = stream.peer_addr().ok();
    Ok((Arc::new(Tcp::new(stream)?), server_addr))
}

/// Connects to the first address that answers. Each gets its share of the time that is left, so
/// that one that swallows everything does not take it from the others.
fn dial(address: &str, limit: Duration) -> io::Result<TcpStream> {
    let candidates: Vec<_> = address.to_socket_addrs()?.collect();
    let until = Instant::now() + limit;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (index, candidate) in candidates.iter().enumerate() {
        let left = u32::try_from(candidates.len() - index).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        if share.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(candidate, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::frame::Framer;
    use crate::message::{Frame, Mode, SessionKey, VERSION};

    /// How long the session of a connection that is lost waits for its first attempt.
    fn first_wait(builder: &Builder) -> Duration {
        let hour = Duration::from_secs(3600);
        let policy = ReconnectPolicy { first: hour, most: hour, ..ReconnectPolicy::default() };
        let mut session = builder.session(Some(policy)).expect("short fields");
        let ack = Frame::InitAck {
            version: VERSION,
            mode: Mode::Relay,
            flags: 0,
            session: SessionKey([1; 16]),
            seen: 0,
            head: 0,
            missed: 0,
            frame_max: 1 << 20,
            grace_ms: 0,
            name: "alice",
        };
        let (mut framer, now) = (Framer::new(1 << 20), Instant::now());
        framer.extend(&ack.to_bytes());
        session.receive(&framer.next_frame().expect("legal").expect("whole"), now);
        session.lost(None, now);
        session.retry_at().expect("another attempt") - now
    }

    #[test]
    fn no_two_connections_come_back_at_the_same_time() {
        let builder = Builder::default();
        let waits: HashSet<_> =
            (0..8).flat_map(|_| [first_wait(&builder), first_wait(&Builder::default())]).collect();
        assert_eq!(waits.len(), 16, "of two clients with one jitter: {waits:?}");
    }
}
