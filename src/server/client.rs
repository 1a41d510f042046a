//! A client's reader: one thread, blocked in a read while its client says nothing.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;

use super::shared::{Shared, moment};
use crate::end::Loss;
use crate::frame::{Framer, HANDSHAKE_FRAME_MAX};
use crate::hub::{LinkId, Taken};

/// What still comes after the end is read in pieces of this size, and dropped.
const DROPPED: usize = 4096;

impl Shared {
    /// Reads from a client until the connection ends.
    pub(super) fn serve(self: &Arc<Self>, id: LinkId, socket: &TcpStream) {
        let mut framer = Framer::new(HANDSHAKE_FRAME_MAX);
        let loss = loop {
            match read(socket, framer.space()) {
                Ok(count) => framer.filled(count),
                Err(loss) => break loss,
            }
            if self.take(id, &mut framer) == Taken::Over {
                drop(framer);
                break drop_rest(socket);
            }
        };
        // Whoever is still writing to it is to stop.
        let _ = socket.shutdown(Shutdown::Both);
        self.remove_client(id);
        let mut work = Vec::new();
        self.enter(moment(), &mut work, |hub, at| hub.hung_up(id, loss, at));
        self.deliver(work);
    }

    /// Gives the hub what was read, and delivers what it causes.
    fn take(self: &Arc<Self>, id: LinkId, framer: &mut Framer) -> Taken {
        loop {
            let mut workspace = self.take_workspace();
            let at = moment();
            let taken = self.enter(at, &mut workspace.work, |hub, at| hub.receive(id, framer, at));
            self.deliver_all(&mut workspace, at);
            self.return_workspace(workspace);
            if taken != Taken::Blocked {
                return taken;
            }
            self.wait_until_unblocked(id);
        }
    }
}

/// Reads what is there, waiting for it.
fn read(mut socket: &TcpStream, space: &mut [u8]) -> Result<usize, Loss> {
    loop {
        match socket.read(space) {
            Ok(0) => return Err(Loss::Closed),
            Ok(count) => return Ok(count),
            // Somebody is writing to it at this moment, see `write_without_blocking`.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Loss::from(&error)),
        }
    }
}

/// Reads and drops until the peer closes; the timer sees to it that this does not last.
fn drop_rest(socket: &TcpStream) -> Loss {
    let mut dropped = [0; DROPPED];
    loop {
        if let Err(loss) = read(socket, &mut dropped) {
            return loss;
        }
    }
}
