//! Delivery: carrying out the hub's orders on the sockets.
//!
//! The thread that has the news delivers it, to everyone who keeps up, with writes that do not
//! block. A client whose socket does not take a whole order gets a helper: a thread that may block
//! on it, and that ends when the client has caught up.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, PoisonError};

use super::shared::{Shared, moment};
use crate::hub::{LinkId, Moment, Order, Step, Who};

/// The most pieces that an order has.
const PIECES: usize = 64;

/// After so many orders for one client the others on the list have their turn.
const IN_A_ROW: usize = 4;
/// So many more orders than clients a thread carries out, before it leaves the rest to helpers.
const SPARE_ORDERS: usize = 64;

/// What a thread needs to deliver; kept for the next one that does.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) work: Vec<LinkId>,
    order: Order,
}

impl Shared {
    pub(super) fn take_workspace(&self) -> Workspace {
        let mut workspaces = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        workspaces.pop().unwrap_or_default()
    }

    pub(super) fn return_workspace(&self, workspace: Workspace) {
        let mut workspaces = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        workspaces.push(workspace);
    }

    /// Serves the clients in `work`.
    pub(super) fn deliver(self: &Arc<Self>, work: Vec<LinkId>) {
        if work.is_empty() {
            return;
        }
        let mut workspace = self.take_workspace();
        workspace.work.extend(work);
        self.deliver_all(&mut workspace, moment());
        self.return_workspace(workspace);
    }

    /// Serves the clients on the workspace's list of work until it is empty.
    pub(super) fn deliver_all(self: &Arc<Self>, workspace: &mut Workspace, at: Moment) {
        let Workspace { work, order } = workspace;
        let (mut index, mut orders) = (0, 0);
        while let Some(id) = work.get(index).copied() {
            index += 1;
            let Some(socket) = self.socket(id) else { continue };
            if orders > SPARE_ORDERS + 2 * work.len() {
                // Others say more than one thread gets rid of, and its own client waits.
                if self.enter(at, work, |hub, _| hub.hand_over(id)) {
                    self.help(id, socket, work);
                }
                continue;
            }
            let mut in_a_row = 0;
            let mut step =
                self.enter(at, work, |hub, at| hub.next_write(id, order, Who::Visitor, at));
            while step == Step::Write {
                let count = write_without_blocking(&socket, order);
                orders += 1;
                in_a_row += 1;
                let (lags, next) = self.enter(at, work, |hub, at| {
                    if hub.wrote(id, order, count, Who::Again, at) {
                        (true, Step::Nothing)
                    } else if in_a_row == IN_A_ROW {
                        hub.queue_again(id);
                        (false, Step::Nothing)
                    } else {
                        (false, hub.next_write(id, order, Who::Again, at))
                    }
                });
                step = next;
                if lags {
                    self.help(id, Arc::clone(&socket), work);
                }
            }
            if step == Step::ShutDown {
                shut_down_writing(&socket);
            }
        }
        work.clear();
        order.shrink();
    }

    /// Starts a helper for a client that lags.
    fn help(self: &Arc<Self>, id: LinkId, socket: Arc<TcpStream>, work: &mut Vec<LinkId>) {
        let shared = Arc::clone(self);
        let started = self.crew.spawn("tcpkit-helper", move || shared.catch_up(id, &socket));
        if let Err(error) = started {
            self.trouble("start a helper for a slow client", &error);
            self.enter(moment(), work, |hub, at| hub.no_helper(id, at));
        }
    }

    /// The helper's life: writes that block, until there is nothing left to write.
    fn catch_up(self: &Arc<Self>, id: LinkId, socket: &TcpStream) {
        let (mut order, mut work) = (Order::default(), Vec::new());
        let mut step = self
            .enter(moment(), &mut work, |hub, at| hub.next_write(id, &mut order, Who::Helper, at));
        while step == Step::Write {
            let count = write_some(socket, &order).ok();
            step = self.enter(moment(), &mut work, |hub, at| {
                hub.wrote(id, &mut order, count, Who::Helper, at);
                hub.next_write(id, &mut order, Who::Helper, at)
            });
        }
        if step == Step::ShutDown {
            shut_down_writing(socket);
        }
        self.deliver(work);
    }
}

/// How much of an order the socket takes at once; `None` if it is broken.
fn write_without_blocking(socket: &TcpStream, order: &Order) -> Option<usize> {
    // There is no write that does not block in std, but a socket that does not: for the time of
    // one write. Its reader takes a read that fails for that for nothing.
    socket.set_nonblocking(true).ok()?;
    let count = match write_some(socket, order) {
        Ok(count) => Some(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
        Err(_) => None,
    };
    socket.set_nonblocking(false).ok()?;
    count
}

fn write_some(mut socket: &TcpStream, order: &Order) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); PIECES];
    let mut count = 0;
    for (slice, piece) in slices.iter_mut().zip(order.pieces()) {
        *slice = IoSlice::new(piece);
        count += 1;
    }
    loop {
        let written = match &slices[..count] {
            [one] => socket.write(one),
            several => socket.write_vectored(several),
        };
        match written {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A socket that is gone already needs no shutting down.
fn shut_down_writing(socket: &TcpStream) {
    let _ = socket.shutdown(Shutdown::Write);
}
