//! The timer: one thread for all that is due.

use std::io;
use std::net::Shutdown;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::shared::{Shared, moment};

/// Starts the timer's thread.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let timing = Arc::clone(shared);
    shared.crew.spawn("tcpkit-timer", move || {
        while timing.wait_until_due() {
            timing.tick();
        }
    })
}

impl Shared {
    /// Waits until something is due; false once the server is at its end.
    fn wait_until_due(&self) -> bool {
        let mut hub = self.hub();
        while self.is_timing() {
            let left = hub.alarm_at().map(|due| due.saturating_duration_since(Instant::now()));
            hub = match left {
                Some(left) if left.is_zero() => return true,
                Some(left) => {
                    let waited = self.alarm.wait_timeout(hub, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.alarm.wait(hub).unwrap_or_else(PoisonError::into_inner),
            };
        }
        false
    }

    fn tick(self: &Arc<Self>) {
        let (mut dead, mut work) = (Vec::new(), Vec::new());
        self.enter(moment(), &mut work, |hub, at| hub.tick(&mut dead, at));
        for id in dead {
            if let Some(socket) = self.socket(id) {
                // Its threads, blocked in a read or a write, find it closed and do the rest.
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        self.deliver(work);
    }
}
