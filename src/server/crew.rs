//! The server's threads: named, small, and each joined.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

/// Address space for a thread's stack. What is not touched costs nothing: an idle reader touches
/// about 8 KiB; a handler and the formatting of a report are given ample room.
const STACK: usize = 256 * 1024;

#[derive(Debug, Default)]
struct Members {
    running: HashMap<ThreadId, JoinHandle<()>>,
    /// Those that are at their end and only have to be joined.
    ending: Vec<ThreadId>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Crew {
    members: Arc<Mutex<Members>>,
}

impl Crew {
    /// Starts a thread, and joins those that have ended since.
    pub(super) fn spawn(&self, name: &str, task: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.join_ended();
        let members = Arc::clone(&self.members);
        // Held until the thread is entered, so that it cannot end before.
        let mut entering = self.lock();
        let handle =
            thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || {
                task();
                let ending = thread::current().id();
                members.lock().unwrap_or_else(PoisonError::into_inner).ending.push(ending);
            })?;
        entering.running.insert(handle.thread().id(), handle);
        Ok(())
    }

    fn join_ended(&self) {
        let mut members = self.lock();
        let ending = std::mem::take(&mut members.ending);
        let ended: Vec<_> = ending.iter().filter_map(|id| members.running.remove(id)).collect();
        drop(members);
        ended.into_iter().for_each(join);
    }

    /// Waits for all threads. None may be started any more.
    pub(super) fn join_all(&self) {
        loop {
            let running = std::mem::take(&mut self.lock().running);
            if running.is_empty() {
                return;
            }
            running.into_values().for_each(join);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that panicked has told so on stderr; there is nothing else to learn from it.
fn join(handle: JoinHandle<()>) {
    let _ = handle.join();
}
