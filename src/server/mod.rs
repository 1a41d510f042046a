//! The server: sockets and threads around the pure [`hub`](crate::hub).
//!
//! Threads, each with a name, an owner that joins it, and a reason to end:
//!
//! - one accepts (`accept`),
//! - one reads for each client (`client`), and delivers what its client's messages cause,
//! - one more for a client that lags, until it has caught up (`delivery`),
//! - one wakes up when something is due (`timer`),
//! - one tells what the operator may want to know (`reports`),
//! - one, and more while there is work, writes what clients send as files (`uploads`).
//!
//! What they share is `shared::Shared`: the hub in one lock, and the clients' sockets in another.
//! Neither is held across a socket operation. Where both are, for a client that is new, the hub's
//! comes first.

mod accept;
mod client;
mod crew;
mod delivery;
mod reports;
mod shared;
mod timer;
mod uploads;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::hub::{Commit, Echo, Handler, Hub, NewKey, Relay, Rules, Secret, Turns};
use crate::message::{Mode, SessionKey};
use crate::report::Report;
use crate::settings::Settings;
use shared::{Shared, moment};
use uploads::Uploads;

/// A longer deadline for a shutdown is as good as this one, which any clock can hold.
const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A server whose port is open, and that does not serve yet. See [`Server::builder`].
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// Makes a [`Server`].
pub struct ServerBuilder {
    settings: Settings,
    handler: Option<Arc<dyn Handler>>,
    token: String,
    on_report: Box<dyn Fn(&Report) + Send + Sync>,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ServerBuilder {
    /// The settings: of these, the sections `relay`, `turn`, `session`, `uploads`, `limits` and
    /// `heartbeat` count here, and `server.mode` where no handler is given. The address is given to
    /// [`bind`](Self::bind), an access token to [`token`](Self::token): `access.token_file` is
    /// read by the program only.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// What to do with messages, in place of what `server.mode` says.
    #[must_use]
    pub fn handler(mut self, handler: impl Handler) -> Self {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// The access token that clients must show; by default, and if it is empty, none.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// Calls `report` with what an operator may want to know; by default nobody is told. It is
    /// called on a thread of its own, in order, and holds up nobody: if it blocks, up to 10,000
    /// reports wait for it, and others are counted and dropped.
    #[must_use]
    pub fn on_report(mut self, report: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.on_report = Box::new(report);
        self
    }

    /// Opens the port; port 0 takes any that is free, which [`Server::addr`] then tells. Clients
    /// can connect from now on, and are served once [`Server::run`] or [`Server::spawn`] is called.
    ///
    /// # Errors
    /// [`Error::Bind`] if the address cannot be had, [`Error::Settings`] if the settings do not
    /// fit together, [`Error::Io`] if the system has no randomness for the keys of sessions.
    pub fn bind(self, address: &str) -> Result<Server, Error> {
        self.settings.check().map_err(Error::Settings)?;
        let cannot_bind = |source| Error::Bind { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).map_err(cannot_bind)?;
        let addr = listener.local_addr().map_err(cannot_bind)?;
        let handler = self.handler.unwrap_or_else(|| match self.settings.server.mode {
            Mode::Echo => Arc::new(Echo),
            Mode::Turn => Arc::new(Turns),
            _ => Arc::new(Relay),
        });
        let new_key = keys_from_system().map_err(Error::Io)?;
        let rules = Rules { token: Secret(self.token), ..Rules::from(&self.settings) };
        let hub = Hub::new(rules, handler, Commit::AtOnce, new_key);
        let uploads = Uploads::new(&self.settings.uploads);
        let shared = Arc::new(Shared::new(hub, uploads, self.on_report));
        Ok(Server { listener, addr, shared })
    }
}

/// Session keys come from the system's randomness: 16 bytes each, so that none can be guessed.
fn keys_from_system() -> std::io::Result<NewKey> {
    let mut source = File::open("/dev/urandom")?;
    Ok(Box::new(move || {
        let mut key = SessionKey::NEW;
        source.read_exact(&mut key.0).ok()?;
        (key != SessionKey::NEW).then_some(key)
    }))
}

impl Server {
    /// Begins to make a server.
    ///
    /// ```
    /// # fn main() -> Result<(), tcpkit::Error> {
    /// let server = tcpkit::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// let conn = tcpkit::Connection::connect(&server.addr().to_string())?;
    /// conn.send("hello")?;
    /// conn.flush()?;
    /// server.shutdown(std::time::Duration::from_secs(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ServerBuilder {
        let settings = Settings::default();
        ServerBuilder { settings, handler: None, token: String::new(), on_report: Box::new(|_| ()) }
    }

    /// The address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves, and does not return while the process lives.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn run(self) -> Result<(), Error> {
        let handle = self.spawn()?;
        handle.shared.crew.join_all();
        Ok(())
    }

    /// Serves on threads of its own.
    ///
    /// # Errors
    /// [`Error::Io`] if the system does not give the first threads.
    pub fn spawn(self) -> Result<ServerHandle, Error> {
        let waker = accept::Waker::new(&self.listener, self.addr).map_err(Error::Io)?;
        let handle = ServerHandle { addr: self.addr, shared: self.shared, waker: Some(waker) };
        reports::start(&handle.shared).map_err(Error::Io)?;
        timer::start(&handle.shared).map_err(Error::Io)?;
        uploads::start(&handle.shared).map_err(Error::Io)?;
        accept::start(&handle.shared, self.listener).map_err(Error::Io)?;
        Ok(handle)
    }
}

/// A server that serves. Dropping it shuts it down at once.
pub struct ServerHandle {
    addr: SocketAddr,
    shared: Arc<Shared>,
    waker: Option<accept::Waker>,
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl ServerHandle {
    /// The address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many clients are connected and past the handshake.
    pub fn clients(&self) -> usize {
        self.shared.hub().connected()
    }

    /// Takes no more clients, says Terminate 1 to those who are here, lets what is queued for
    /// them leave until `deadline` from now, closes all connections, and joins every thread.
    ///
    /// Blocks until all that is done: at most `deadline`, and what a handler that is running, or
    /// the closure given to [`ServerBuilder::on_report`], takes to return, and the disk to complete
    /// the files whose end has come; what is not whole is removed. True if every client
    /// had gone in time.
    #[expect(
        clippy::must_use_candidate,
        reason = "most callers have nothing to do with the answer"
    )]
    pub fn shutdown(mut self, deadline: Duration) -> bool {
        self.stop(deadline)
    }

    fn stop(&mut self, deadline: Duration) -> bool {
        let Some(waker) = self.waker.take() else { return true };
        self.shared.stop_accepting();
        waker.wake();
        let end = Instant::now() + deadline.min(DEADLINE_MAX);
        let mut work = Vec::new();
        self.shared.enter(moment(), &mut work, |hub, at| hub.shut_down(end, at));
        self.shared.deliver(work);
        let in_time = self.shared.wait_until_empty(end);
        self.shared.enter(moment(), &mut Vec::new(), |hub, _| hub.close_streams());
        self.shared.uploads.end();
        self.shared.stop_timer();
        self.shared.reports.end();
        self.shared.crew.join_all();
        in_time
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_differ_from_each_other_in_every_byte() {
        let mut new_key = keys_from_system().expect("randomness");
        let keys: Vec<_> = (0..100).map(|_| new_key().expect("a key")).collect();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "no key comes twice");
        for place in 0..16 {
            let values: HashSet<_> = keys.iter().map(|key| key.0[place]).collect();
            assert!(values.len() > 1, "byte {place} is always the same");
        }
    }
}
