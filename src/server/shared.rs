//! What the server's threads share.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::crew::Crew;
use super::delivery::Workspace;
use super::reports::Reports;
use super::uploads::Uploads;
use crate::hub::{Hub, LinkId, Moment};
use crate::report::Report;

/// One client's place in the list of clients: the hub says where.
#[derive(Debug, Default)]
pub(super) struct Client {
    link: LinkId,
    /// `None` while the place is empty.
    socket: Option<Arc<TcpStream>>,
}

pub(super) struct Shared {
    hub: Mutex<Hub>,
    /// Readers that are blocked wait here, with the hub's lock.
    may_read: Condvar,
    /// The timer waits here, with the hub's lock, for its time or for an earlier one.
    pub(super) alarm: Condvar,
    /// Whoever shuts down waits here, with the hub's lock, until all connections are gone.
    empty: Condvar,
    clients: Arc<Mutex<Vec<Client>>>,
    pub(super) workspaces: Mutex<Vec<Workspace>>,
    pub(super) crew: Crew,
    accepting: Mutex<bool>,
    /// Told when `accepting` ends.
    stopping: Condvar,
    timing: AtomicBool,
    pub(super) reports: Reports,
    pub(super) uploads: Uploads,
}

impl Shared {
    pub(super) fn new(
        hub: Hub,
        uploads: Uploads,
        on_report: Box<dyn Fn(&Report) + Send + Sync>,
    ) -> Self {
        Self {
            hub: Mutex::new(hub),
            may_read: Condvar::new(),
            alarm: Condvar::new(),
            empty: Condvar::new(),
            clients: Arc::default(),
            workspaces: Mutex::default(),
            crew: Crew::default(),
            accepting: Mutex::new(true),
            stopping: Condvar::new(),
            timing: AtomicBool::new(true),
            reports: Reports::new(on_report),
            uploads,
        }
    }

    /// The hub, to look at. Changes go through [`enter`](Self::enter).
    pub(super) fn hub(&self) -> MutexGuard<'_, Hub> {
        // A handler's panic is caught inside the hub; what else panics leaves it as it was between
        // two fields at the worst, and one client's fault must not stop all others.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls into the hub, then does what came out of it, but for the work: that is for the
    /// caller to [`deliver`](Self::deliver).
    #[inline]
    pub(super) fn enter<R>(
        self: &Arc<Self>,
        at: Moment,
        work: &mut Vec<LinkId>,
        call: impl FnOnce(&mut Hub, Moment) -> R,
    ) -> R {
        let mut hub = self.hub();
        let result = call(&mut hub, at);
        hub.take_work(work);
        let (wake, alarm, reports) = (hub.take_wake(), hub.take_alarm(), hub.take_reports());
        let empty = hub.links() == 0;
        let jobs = hub.take_jobs();
        // With the hub's lock, since their order counts.
        let needs_thread = !jobs.is_empty() && self.uploads.add(jobs);
        drop(hub);
        if needs_thread {
            self.start_upload_thread();
        }
        if wake {
            self.may_read.notify_all();
        }
        if alarm {
            self.alarm.notify_one();
        }
        if empty {
            self.empty.notify_all();
        }
        if !reports.is_empty() {
            self.reports.add(reports);
        }
        result
    }

    /// Waits until more may be taken from a client.
    pub(super) fn wait_until_unblocked(&self, id: LinkId) {
        let mut hub = self.hub();
        while hub.is_blocked(id) {
            hub = self.may_read.wait(hub).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until there are no connections. False if that took longer than to `end`; the timer
    /// has cut off those who were left then.
    pub(super) fn wait_until_empty(&self, end: Instant) -> bool {
        let mut hub = self.hub();
        while hub.links() > 0 {
            hub = self.empty.wait(hub).unwrap_or_else(PoisonError::into_inner);
        }
        Instant::now() <= end
    }

    fn clients(&self) -> MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_client(&self, id: LinkId, socket: Arc<TcpStream>) {
        let mut clients = self.clients();
        if clients.len() <= id.index() {
            clients.resize_with(id.index() + 1, Client::default);
        }
        clients[id.index()] = Client { link: id, socket: Some(socket) };
    }

    pub(super) fn remove_client(&self, id: LinkId) {
        let mut clients = self.clients();
        if let Some(client) = clients.get_mut(id.index()).filter(|client| client.link == id) {
            client.socket = None;
        }
    }

    /// The socket of a client, if it is still here.
    #[inline]
    pub(super) fn socket(&self, id: LinkId) -> Option<Arc<TcpStream>> {
        let clients = self.clients();
        clients.get(id.index()).filter(|client| client.link == id)?.socket.clone()
    }

    fn accepting(&self) -> MutexGuard<'_, bool> {
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_accepting(&self) -> bool {
        *self.accepting()
    }

    pub(super) fn stop_accepting(&self) {
        *self.accepting() = false;
        self.stopping.notify_all();
    }

    /// Waits for `pause`, or until nothing more is accepted.
    pub(super) fn rest_from_accepting(&self, pause: Duration) {
        let accepting = self.accepting();
        let rested = self.stopping.wait_timeout_while(accepting, pause, |accepting| *accepting);
        drop(rested.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn is_timing(&self) -> bool {
        self.timing.load(Ordering::SeqCst)
    }

    pub(super) fn stop_timer(&self) {
        let hub = self.hub(); // so that the timer is either before its check, or waiting
        self.timing.store(false, Ordering::SeqCst);
        drop(hub);
        self.alarm.notify_all();
    }

    pub(super) fn trouble(&self, what: &'static str, error: &std::io::Error) {
        self.reports.add([Report::Trouble { what, error: error.to_string() }]);
    }
}

/// The clocks, now.
#[inline]
pub(super) fn moment() -> Moment {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment { now: Instant::now(), time_ms: since_1970.as_millis() as u64 }
}
