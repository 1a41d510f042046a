//! What waits for the disk: in order for each upload, in turns for the clients.
//!
//! Pure: who carries it out, and when, is the business of the [module above](super). An upload is
//! worked on by one thread at a time, several of one client by a few, so that small files need not
//! wait for each other's sync, and so that one client cannot keep all threads to itself.
//!
//! ```text
//!            add             next              give_back
//!  (nothing) ----> ready ------------> active -----------> at rest, ready, or over
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::file_name;
use crate::hub::{Deed, Job, UploadId};
use crate::log::SessionId;
use crate::transfer::DATA_MAX;

/// So many threads work for one client at once.
const THREADS_FOR_ONE: usize = 4;
/// About so many bytes are written before the next upload has its turn, and the client its credit.
const BATCH: usize = 256 * 1024;
/// Smaller pieces are added to the one before: each has a cost of its own.
const SMALL: usize = 4096;

/// One turn of work.
#[derive(Debug)]
pub(super) enum Task<F, P> {
    /// Count the whole folder, and that of a session's client.
    Count { session: SessionId, client: Arc<str> },
    /// Work on one upload; then [`Queue::give_back`].
    Upload(Turn<F, P>),
}

/// What is to be done for one upload now.
#[derive(Debug)]
pub(super) struct Turn<F, P> {
    pub(super) upload: UploadId,
    pub(super) client: Arc<str>,
    /// Shared by all uploads of the client.
    pub(super) folder: Arc<F>,
    /// What was made of it so far.
    pub(super) part: Option<P>,
    pub(super) deeds: Vec<Deed>,
}

#[derive(Debug)]
struct Line<P> {
    client: Arc<str>,
    folder_name: Arc<str>,
    deeds: VecDeque<Deed>,
    part: Option<P>,
    is_active: bool,
    /// It is among those of its client that have work.
    is_ready: bool,
}

#[derive(Debug)]
struct Client<F> {
    folder: Arc<F>,
    /// Uploads that have work and nobody who does it; some may be gone.
    ready: VecDeque<UploadId>,
    lines: usize,
    active: usize,
    is_listed: bool,
    has_left: bool,
}

/// See the [module](self). `F` is what clients have on the disk, `P` what uploads have.
#[derive(Debug)]
pub(super) struct Queue<F, P> {
    lines: HashMap<UploadId, Line<P>>,
    /// By the name of their folder.
    clients: HashMap<Arc<str>, Client<F>>,
    /// Clients with ready uploads and fewer threads than they may have.
    ready: VecDeque<Arc<str>>,
    counts: VecDeque<(SessionId, Arc<str>)>,
}

impl<F, P> Queue<F, P> {
    pub(super) fn new() -> Self {
        let (lines, clients) = (HashMap::new(), HashMap::new());
        Self { lines, clients, ready: VecDeque::new(), counts: VecDeque::new() }
    }

    /// Whether [`next`](Self::next) has something to give.
    pub(super) fn has_work(&self) -> bool {
        !self.counts.is_empty() || !self.ready.is_empty()
    }

    /// Puts a job in line. `folder` makes what a client has, of the name of its folder.
    pub(super) fn add(&mut self, job: Job, folder: impl FnOnce(&str) -> F) {
        match job {
            Job::Count { session, client } => self.counts.push_back((session, client)),
            Job::Leave { client } => {
                let name = file_name::folder_name(&client);
                if let Some(client) = self.clients.get_mut(&*name) {
                    client.has_left = true;
                }
                self.forget_client(&name);
            }
            Job::Upload { upload, client, deed: deed @ Deed::Create { .. } } => {
                self.begin(upload, client, deed, folder);
            }
            Job::Upload { upload, deed, .. } => self.go_on(upload, deed),
        }
    }

    fn begin(
        &mut self,
        upload: UploadId,
        client: Arc<str>,
        deed: Deed,
        folder: impl FnOnce(&str) -> F,
    ) {
        let folder_name: Arc<str> = file_name::folder_name(&client).into();
        let owner = self.clients.entry(Arc::clone(&folder_name)).or_insert_with(|| Client {
            folder: Arc::new(folder(&folder_name)),
            ready: VecDeque::new(),
            lines: 0,
            active: 0,
            is_listed: false,
            has_left: false,
        });
        owner.lines += 1;
        owner.has_left = false;
        owner.ready.push_back(upload);
        let line = Line {
            client,
            folder_name: Arc::clone(&folder_name),
            deeds: VecDeque::from([deed]),
            part: None,
            is_active: false,
            is_ready: true,
        };
        self.lines.insert(upload, line);
        self.list(&folder_name);
    }

    /// What comes for an upload that is over, because it failed, is dropped.
    fn go_on(&mut self, upload: UploadId, deed: Deed) {
        let Some(line) = self.lines.get_mut(&upload) else { return };
        if deed == Deed::Remove {
            line.deeds.clear();
            if line.part.is_none() && !line.is_active {
                return self.end(upload); // it was not begun
            }
        }
        match (line.deeds.back_mut(), deed) {
            (Some(Deed::Append { bytes: last }), Deed::Append { bytes })
                if bytes.len() < SMALL && last.len() + bytes.len() <= DATA_MAX =>
            {
                last.extend_from_slice(&bytes);
            }
            (_, deed) => line.deeds.push_back(deed),
        }
        if line.is_active || std::mem::replace(&mut line.is_ready, true) {
            return;
        }
        let name = Arc::clone(&line.folder_name);
        if let Some(client) = self.clients.get_mut(&name) {
            client.ready.push_back(upload);
            self.list(&name);
        }
    }

    /// Puts a client on the list of those that threads look for, if it belongs there.
    fn list(&mut self, name: &Arc<str>) {
        if let Some(client) = self.clients.get_mut(name)
            && !client.is_listed
            && !client.ready.is_empty()
            && client.active < THREADS_FOR_ONE
        {
            client.is_listed = true;
            self.ready.push_back(Arc::clone(name));
        }
    }

    /// The next turn of work, if there is some that nobody does.
    pub(super) fn next(&mut self) -> Option<Task<F, P>> {
        if let Some((session, client)) = self.counts.pop_front() {
            return Some(Task::Count { session, client });
        }
        while let Some(name) = self.ready.pop_front() {
            let Some(client) = self.clients.get_mut(&name) else { continue };
            client.is_listed = false;
            let upload = client.ready.pop_front();
            let found = upload.and_then(|upload| Some((upload, self.lines.get_mut(&upload)?)));
            let Some((upload, line)) = found else {
                self.list(&name);
                self.forget_client(&name);
                continue;
            };
            client.active += 1;
            line.is_active = true;
            line.is_ready = false;
            let turn = Turn {
                upload,
                client: Arc::clone(&line.client),
                folder: Arc::clone(&client.folder),
                part: line.part.take(),
                deeds: take_batch(&mut line.deeds),
            };
            self.list(&name);
            return Some(Task::Upload(turn));
        }
        None
    }

    /// A turn is over; without a part, so is the upload.
    pub(super) fn give_back(&mut self, upload: UploadId, part: Option<P>) {
        let Some(line) = self.lines.get_mut(&upload) else { return };
        let name = Arc::clone(&line.folder_name);
        line.is_active = false;
        let is_over = part.is_none();
        line.part = part;
        line.is_ready = !is_over && !line.deeds.is_empty();
        if let Some(client) = self.clients.get_mut(&name) {
            client.active -= 1;
            if line.is_ready {
                client.ready.push_back(upload);
            }
        }
        self.list(&name);
        if is_over {
            self.end(upload);
        }
    }

    fn end(&mut self, upload: UploadId) {
        let Some(line) = self.lines.remove(&upload) else { return };
        if let Some(client) = self.clients.get_mut(&line.folder_name) {
            client.lines -= 1;
            if line.is_ready {
                client.ready.retain(|ready| *ready != upload); // or opening and cancelling piles up
            }
        }
        self.forget_client(&line.folder_name);
    }

    fn forget_client(&mut self, name: &str) {
        let is_over =
            |client: &Client<F>| client.has_left && client.lines == 0 && !client.is_listed;
        if self.clients.get(name).is_some_and(is_over) {
            self.clients.remove(name);
        }
    }
}

/// A file is made in a turn of its own: what is learnt of its folder may speak against the rest.
fn take_batch(deeds: &mut VecDeque<Deed>) -> Vec<Deed> {
    let (mut batch, mut size) = (Vec::new(), 0);
    while size < BATCH
        && let Some(deed) = deeds.pop_front()
    {
        let is_alone = matches!(deed, Deed::Create { .. });
        if let Deed::Append { bytes } = &deed {
            size += bytes.len();
        }
        batch.push(deed);
        if is_alone {
            break;
        }
    }
    batch
}
