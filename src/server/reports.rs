//! What the operator may want to know, told on a thread of its own: a log that blocks, on a
//! terminal that is stopped or a pipe that nobody reads, must hold up nobody.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::shared::Shared;
use crate::report::Report;

/// So many reports wait at the most; what comes beyond is counted, and the count is told.
const WAITING_MAX: usize = 10_000;

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Report>,
    dropped: u64,
    ended: bool,
}

/// See the [module](self).
pub(super) struct Reports {
    queue: Mutex<Queue>,
    changed: Condvar,
    tell: Box<dyn Fn(&Report) + Send + Sync>,
}

impl Reports {
    pub(super) fn new(tell: Box<dyn Fn(&Report) + Send + Sync>) -> Self {
        Self { queue: Mutex::default(), changed: Condvar::new(), tell }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts reports in line. Never waits.
    pub(super) fn add(&self, reports: impl IntoIterator<Item = Report>) {
        let mut queue = self.queue();
        for report in reports {
            if queue.waiting.len() < WAITING_MAX {
                queue.waiting.push_back(report);
            } else {
                queue.dropped += 1;
            }
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// After what waits has been told, the thread ends.
    pub(super) fn end(&self) {
        self.queue().ended = true;
        self.changed.notify_one();
    }

    fn next(&self) -> Option<Report> {
        let mut queue = self.queue();
        loop {
            if let Some(report) = queue.waiting.pop_front() {
                return Some(report);
            }
            if queue.dropped > 0 {
                let count = std::mem::take(&mut queue.dropped);
                return Some(Report::Dropped { count });
            }
            if queue.ended {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Starts the thread that tells.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let telling = Arc::clone(shared);
    shared.crew.spawn("tcpkit-report", move || {
        let reports = &telling.reports;
        while let Some(report) = reports.next() {
            // A panic in there is the embedding program's fault, and no reason to fall silent.
            let _ = catch_unwind(AssertUnwindSafe(|| (reports.tell)(&report)));
        }
    })
}
