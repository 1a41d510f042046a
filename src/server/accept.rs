//! Taking in new connections.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::shared::{Shared, moment};
use crate::end::Loss;
use crate::hub::LinkId;
use crate::message::{ErrorCode, Frame};

/// How long the accepting rests when the system has no descriptor or memory for it: long enough
/// not to spin, short enough that nobody notices once there is some again.
const REST: Duration = Duration::from_millis(50);

/// Ends a blocked accept.
///
/// Shutting the listening socket down does it on Linux, through a second handle that is made
/// beforehand, when there are descriptors to be had.
#[derive(Debug)]
pub(super) struct Waker {
    #[cfg(unix)]
    listener: TcpStream,
    addr: SocketAddr,
}

impl Waker {
    pub(super) fn new(listener: &TcpListener, addr: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            listener: TcpStream::from(std::os::fd::OwnedFd::from(listener.try_clone()?)),
            addr,
        })
    }

    pub(super) fn wake(self) {
        #[cfg(unix)]
        if self.listener.shutdown(Shutdown::Both).is_ok() {
            return;
        }
        // Elsewhere: a connection wakes it as well.
        let ip = match self.addr.ip() {
            ip if !ip.is_unspecified() => ip,
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        let addr = SocketAddr::new(ip, self.addr.port());
        let _ = TcpStream::connect_timeout(&addr, Duration::from_secs(1));
    }
}

/// Starts the thread that accepts.
pub(super) fn start(shared: &Arc<Shared>, listener: TcpListener) -> io::Result<()> {
    let accepting = Arc::clone(shared);
    shared.crew.spawn("tcpkit-accept", move || {
        while accepting.is_accepting() {
            match listener.accept() {
                Ok((socket, peer)) => accepting.take_in(socket, peer),
                // The peer was gone before we came to it.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) if !accepting.is_accepting() => break,
                Err(error) => {
                    accepting.trouble("accept a connection", &error);
                    accepting.rest_from_accepting(REST);
                }
            }
        }
    })
}

impl Shared {
    fn take_in(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        // Without it, a Status would wait for the acknowledgement of what went before.
        let _ = socket.set_nodelay(true);
        let socket = Arc::new(socket);
        let (mut work, name) = (Vec::new(), peer.to_string());
        let id = self.enter(moment(), &mut work, |hub, at| {
            let id = hub.connect(&name, at)?;
            // Under the hub's lock, which may give orders for this client from now on.
            self.add_client(id, Arc::clone(&socket));
            Some(id)
        });
        let Some(id) = id else { return turn_away(&socket) };
        let shared = Arc::clone(self);
        let reader = Arc::clone(&socket);
        if let Err(error) = self.crew.spawn("tcpkit-client", move || shared.serve(id, &reader)) {
            self.trouble("start a thread for a client", &error);
            turn_away(&socket);
            self.forget(id);
        }
    }

    fn forget(self: &Arc<Self>, id: LinkId) {
        self.remove_client(id);
        let mut work = Vec::new();
        self.enter(moment(), &mut work, |hub, at| hub.hung_up(id, Loss::Closed, at));
        self.deliver(work);
    }
}

/// Says that there is no room, as far as the socket takes it at once.
fn turn_away(mut socket: &TcpStream) {
    let (code, detail) = (ErrorCode::ServerFull, "too many connections".into());
    let error = Frame::Error { code, detail }.to_bytes();
    if socket.set_nonblocking(true).is_ok() && socket.write(&error).is_ok() {
        let _ = socket.shutdown(Shutdown::Write);
    }
}
