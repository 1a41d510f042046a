//! The disk: what clients send as streams becomes files below `uploads.folder`.
//!
//! A small pool of threads does it, one of which is there as long as the server, the others while
//! there is work. A thread for each client would serve no better: all files lie on one disk, and
//! ten thousand writers at once make it no faster. A single thread would let a thousand small
//! files wait for each other's sync. So several work at once, a few for any one client, and the
//! clients have their turns (`queue`); who sends to a slow disk waits, and nobody else does: no
//! reader and no lock that others need waits for the disk. What waits for it is bounded by the
//! credit that clients are given (`crate::hub`).
//!
//! ```text
//!  a reader: hub --- Job ---> queue ---> a thread: folder, part ---> hub: stored, finished, failed
//! ```
//!
//! The names and files themselves are the business of `folder`.

mod folder;
mod queue;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::shared::{Shared, moment};
use crate::hub::{Deed, Hub, Job, Moment};
use crate::settings::{Sync, UploadSettings};
use folder::{Failure, Folder, Part, Store};
use queue::{Queue, Task, Turn};

/// So many threads work at once: enough for a disk to gather their syncs.
const THREADS_MAX: usize = 16;
/// A thread that finds nothing to do ends after this time.
const LINGER: Duration = Duration::from_secs(1);

type Work = Turn<Mutex<Folder>, Part>;

struct Pool {
    queue: Queue<Mutex<Folder>, Part>,
    threads: usize,
    /// Threads that wait and that nobody has woken.
    idle: usize,
    /// Threads that were woken and do not know it yet.
    woken: usize,
    /// What lies on the disk is known, and cleared of what a crash left: work may begin.
    is_open: bool,
    is_ended: bool,
}

/// See the [module](self).
pub(super) struct Uploads {
    /// `None`: no files are taken.
    store: Option<Store>,
    pool: Mutex<Pool>,
    /// For threads that wait for work.
    work: Condvar,
    /// For whoever waits until all threads are gone.
    gone: Condvar,
}

impl Uploads {
    pub(super) fn new(settings: &UploadSettings) -> Self {
        let store = (!settings.folder.is_empty()).then(|| {
            // Where the process goes later makes no difference.
            let folder = PathBuf::from(&settings.folder);
            let root = std::path::absolute(&folder).unwrap_or(folder);
            Store::new(root, settings.sync == Sync::On)
        });
        let queue = Queue::new();
        let (threads, idle, woken) = (0, 0, 0);
        let pool = Pool { queue, threads, idle, woken, is_open: false, is_ended: false };
        Self { store, pool: Mutex::new(pool), work: Condvar::new(), gone: Condvar::new() }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts jobs in line. Never waits. True if one more thread is to be started for them, which
    /// counts already.
    pub(super) fn add(&self, jobs: Vec<Job>) -> bool {
        let Some(store) = &self.store else { return false };
        let mut pool = self.pool();
        for job in jobs {
            pool.queue.add(job, |name| Mutex::new(Folder::new(store, name)));
        }
        if !pool.is_open || !pool.queue.has_work() {
            return false;
        }
        if self.wake_one(&mut pool) {
            return false;
        }
        let is_needed = pool.threads < THREADS_MAX && !pool.is_ended;
        pool.threads += usize::from(is_needed);
        is_needed
    }

    /// False if all threads are at work.
    fn wake_one(&self, pool: &mut Pool) -> bool {
        let is_one = pool.idle > 0;
        if is_one {
            pool.idle -= 1;
            pool.woken += 1;
            self.work.notify_one();
        }
        is_one
    }

    /// The next turn of work; `None` if the thread is to end. `stays`: not for want of work.
    fn next(&self, stays: bool) -> Option<Task<Mutex<Folder>, Part>> {
        let mut pool = self.pool();
        loop {
            if let Some(task) = pool.queue.next() {
                if pool.queue.has_work() {
                    self.wake_one(&mut pool);
                }
                return Some(task);
            }
            if pool.is_ended {
                break;
            }
            pool.idle += 1;
            let nobody_woke = |pool: &mut Pool| pool.woken == 0 && !pool.is_ended;
            pool = if stays {
                self.work.wait_while(pool, nobody_woke).unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.work.wait_timeout_while(pool, LINGER, nobody_woke);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
            if pool.woken > 0 {
                pool.woken -= 1;
            } else {
                pool.idle -= 1;
                break;
            }
        }
        drop(pool);
        self.thread_ended();
        None
    }

    /// A thread is at its end, or could not be started.
    fn thread_ended(&self) {
        let mut pool = self.pool();
        pool.threads -= 1;
        if pool.threads == 0 {
            self.gone.notify_all();
        }
    }

    fn is_ended(&self) -> bool {
        self.pool().is_ended
    }

    /// What is in line is done, then the threads end; waits for that.
    pub(super) fn end(&self) {
        let mut pool = self.pool();
        pool.is_ended = true;
        self.work.notify_all();
        let gone = self.gone.wait_while(pool, |pool| pool.threads > 0);
        drop(gone.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Starts the thread that stays, if files are taken.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let Some(_) = shared.uploads.store else { return Ok(()) };
    let working = Arc::clone(shared);
    shared.uploads.pool().threads += 1;
    let started = shared.crew.spawn("tcpkit-disk", move || {
        working.open_uploads();
        working.work_for_uploads(true);
    });
    started.inspect_err(|_| shared.uploads.thread_ended())
}

impl Shared {
    /// Starts one more thread, which [`Uploads::add`] asked for.
    pub(super) fn start_upload_thread(self: &Arc<Self>) {
        let working = Arc::clone(self);
        let started = self.crew.spawn("tcpkit-disk", move || working.work_for_uploads(false));
        if let Err(error) = started {
            // The one that stays does all.
            self.uploads.thread_ended();
            self.trouble("start a thread for files", &error);
        }
    }

    /// Sees what lies on the disk.
    fn open_uploads(self: &Arc<Self>) {
        if let Some(store) = &self.uploads.store {
            store.clear(|| self.uploads.is_ended());
            let bytes = store.count(|| self.uploads.is_ended());
            self.tell_hub(|hub, at| hub.counted(bytes, at));
        }
        self.uploads.pool().is_open = true;
    }

    fn work_for_uploads(self: &Arc<Self>, stays: bool) {
        let Some(store) = &self.uploads.store else { return };
        while let Some(task) = self.uploads.next(stays) {
            match task {
                Task::Upload(turn) => {
                    let upload = turn.upload;
                    let part = self.work_on(store, turn);
                    self.uploads.pool().queue.give_back(upload, part);
                }
                Task::Count { session, client } => {
                    let bytes = store.count(|| self.uploads.is_ended());
                    let name = crate::file_name::folder_name(&client);
                    let own = Folder::new(store, &name).measure();
                    self.tell_hub(|hub, at| {
                        hub.counted(bytes, at);
                        hub.measured(session, own, at);
                    });
                }
            }
        }
    }

    fn tell_hub(self: &Arc<Self>, news: impl FnOnce(&mut Hub, Moment)) {
        let mut work = Vec::new();
        self.enter(moment(), &mut work, news);
        self.deliver(work);
    }

    /// Does what is to be done for an upload. Gives its part, if it is not over.
    fn work_on(self: &Arc<Self>, store: &Store, mut turn: Work) -> Option<Part> {
        let (upload, client) = (turn.upload, Arc::clone(&turn.client));
        match self.carry_out(store, &mut turn) {
            Ok(()) => turn.part,
            Err(failure) => {
                drop(turn.part); // before the client knows, so that it can count on it
                self.tell_hub(|hub, at| hub.failed(upload, &client, failure, at));
                None
            }
        }
    }

    fn carry_out(self: &Arc<Self>, store: &Store, turn: &mut Work) -> Result<(), Failure> {
        let upload = turn.upload;
        let mut stored = 0;
        for deed in std::mem::take(&mut turn.deeds) {
            match (deed, &mut turn.part) {
                (Deed::Create { name }, _) => {
                    let mut folder = lock(&turn.folder);
                    if let Some(bytes) = folder.open(store, upload.session)? {
                        // Before anyone goes on in there.
                        self.tell_hub(|hub, at| hub.measured(upload.session, bytes, at));
                    }
                    turn.part = Some(Part::create(store, &folder, upload, name)?);
                }
                (Deed::Append { bytes }, Some(part)) => {
                    part.append(&bytes)?;
                    stored += bytes.len() as u64;
                }
                (Deed::Finish { size, crc32c }, Some(part)) => {
                    part.check(size, crc32c)?;
                    part.sync(store)?;
                    let Some(part) = turn.part.take() else { return Ok(()) };
                    let file = part.place(store, &mut lock(&turn.folder))?;
                    let client = &*turn.client;
                    self.tell_hub(|hub, at| hub.finished(upload, client, file, at));
                    return Ok(());
                }
                (Deed::Remove, _) => {
                    turn.part = None;
                    return Ok(());
                }
                (_, None) => {}
            }
        }
        if stored > 0 {
            self.tell_hub(|hub, at| hub.stored(upload, stored, at));
        }
        Ok(())
    }
}

/// Only threads that work for the same client wait here.
fn lock(folder: &Mutex<Folder>) -> MutexGuard<'_, Folder> {
    folder.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
