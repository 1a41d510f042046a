//! What the tests over real sockets share: a server in this process ([`Site`]), a client that can
//! say anything ([`raw`]), and two good clients that chat ([`chat`]) or play ([`game`]) meanwhile.
//!
//! Every wait has a deadline, and none of them is a sleep. How long something takes is left to the
//! tests that are about it.
#![allow(dead_code, reason = "each test file uses its part of this one")]

pub(crate) mod chat;
pub(crate) mod game;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod upload;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tcpkit::settings::Settings;
use tcpkit::{Connection, Server, ServerBuilder, ServerHandle};

/// For everything that is sure to happen soon: less than the 10 s after which a server ends a
/// handshake, so that what is to be told at once is not taken for that.
pub(crate) const SOON: Duration = Duration::from_secs(8);
/// How long nothing must come to count as silence, and the pace of whoever sends slowly.
pub(crate) const PACE: Duration = Duration::from_millis(2);

/// The names of this crate's threads, as `/proc` tells them; none where there is no `/proc`.
pub(crate) fn thread_names() -> impl Iterator<Item = String> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("tcpkit-"))
        .map(|name| name.trim_end().to_owned())
}

/// How many threads of servers there are; a client's keeper ends with its connection.
pub(crate) fn server_threads() -> usize {
    thread_names().filter(|name| !name.starts_with("tcpkit-keeper")).count()
}

/// How many threads of this crate, and descriptors of any kind, the process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Census {
    threads: usize,
    descriptors: usize,
}

impl Census {
    pub(crate) fn now() -> Self {
        let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().count();
        Self { threads: thread_names().count(), descriptors }
    }

    /// Waits until things are as they were in this census.
    pub(crate) fn returns(self) {
        eventually(|| {
            let now = Self::now();
            if now == self { Ok(()) } else { Err(format!("{now:?}, and before {self:?}")) }
        });
    }
}

/// Waits until `check` is content; fails with its last complaint.
pub(crate) fn eventually(mut check: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    while let Err(complaint) = check() {
        assert!(start.elapsed() < SOON, "{complaint}");
        thread::park_timeout(PACE); // between two looks
    }
}

/// What `task` gives within `limit`, which holds for what may hang, too.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    task: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (give, result) = mpsc::channel();
    thread::spawn(move || give.send(task()));
    result.recv_timeout(limit).unwrap_or_else(|error| panic!("not within {limit:?}: {error}"))
}

/// The defaults, changed.
pub(crate) fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

/// A server in this process, and at the end a look whether it left anything behind. There is one
/// at a time, so that its threads and descriptors can be counted.
pub(crate) struct Site {
    server: Option<ServerHandle>,
    before: Census,
    _alone: MutexGuard<'static, ()>,
}

impl Site {
    pub(crate) fn open() -> Self {
        let mut settings = Settings::default();
        // Whoever is lost is not waited for, and the others are soon told.
        settings.session.grace = Duration::from_millis(50);
        Self::with(settings)
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self::build(Server::builder().settings(settings))
    }

    pub(crate) fn build(builder: ServerBuilder) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Census::now();
        let server = builder.bind("127.0.0.1:0").unwrap().spawn().unwrap();
        Self { server: Some(server), before, _alone: alone }
    }

    pub(crate) fn server(&self) -> &ServerHandle {
        self.server.as_ref().expect("it was not shut down")
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.server().addr()
    }

    pub(crate) fn join(&self, name: &str) -> Connection {
        let builder = Connection::builder().name(name).reconnect(None);
        builder.connect(&self.addr().to_string()).unwrap()
    }

    /// Takes the server out, for a test that ends it.
    pub(crate) fn take_server(&mut self) -> ServerHandle {
        self.server.take().expect("it was not shut down")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let server = self.server.take();
        if !thread::panicking() {
            within(SOON, || drop(server));
            self.before.returns();
        }
    }
}
