//! Files and other long content, whole or not at all: what a caller has of an upload.
//!
//! How the content gets to the server is in [`pump`](super::pump), where it is read in
//! [`content`](super::content), and what may be sent when is for the
//! [machine](crate::client_session) to say.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::content::Content;
use super::wait::{Deadline, Guard};
use super::{Connection, Core};
use crate::error::{Error, Waiting};
use crate::transfer::{DATA_MAX, Facts};

/// The time between two reports of the progress.
const REPORT: Duration = Duration::from_millis(50);
/// How much of a reader's content is kept at the most, for a server that wants that much before it
/// confirms any: eight times what one of this crate does.
const KEPT_MAX: u64 = 8 * crate::transfer::WINDOW;
/// What kind of content a file is: unknown.
const ANY_TYPE: &str = "application/octet-stream";

/// How far an upload has come, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// So many were sent.
    pub sent: u64,
    /// So many the server is known to have.
    pub stored: u64,
    /// So many there are; `None` while that is unknown.
    pub size: Option<u64>,
}

/// What the server has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Where: the path below the server's upload folder, in the server's words, not escaped.
    pub path: String,
    /// How many bytes.
    pub size: u64,
}

/// A file, or other content, on its way to the server; see [`Connection::upload`].
///
/// Dropping it before it is stored cancels it.
#[must_use = "dropped, it is cancelled"]
pub struct UploadHandle {
    core: Arc<Core>,
    number: u64,
    content: Arc<Content>,
    /// For errors.
    name: String,
    size: Option<u64>,
}

impl Connection {
    /// Sends a file under its own name, and waits until the server has stored it, whole.
    ///
    /// The file is read as the server takes it: at most 64 KiB of it are in memory, and messages
    /// of other threads pass between. Over a connection that was restored it goes on where the
    /// server says. `progress` is called at the beginning, about 20 times a second, and when all
    /// is stored; with [`ControlFlow::Break`] it cancels. [`upload`](Self::upload) does not wait.
    ///
    /// # Errors
    /// [`Error::Content`] for what is no file, cannot be read, or changes its size meanwhile;
    /// [`Error::NotStored`] if the server does not store it, or it was cancelled;
    /// [`Error::UploadUnknown`] if the session ended first. [`Error::Closed`] and
    /// [`Error::InboxFull`] as for [`confirm`](Self::confirm).
    pub fn send_file(
        &self,
        path: impl AsRef<Path>,
        progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Stored, Error> {
        self.begin_file(path.as_ref())?.finish(progress)
    }

    /// Sends all that a reader gives, whatever its size, under `name`, and waits until the server
    /// has stored it. `media_type` says what it is, as in `image/jpeg`; it may be empty.
    ///
    /// The reader is read in the caller's thread, and not further ahead than the server takes;
    /// what the server may ask for again is kept, in general 1 MiB and at the most 8 MiB.
    /// `progress` is as for [`send_file`](Self::send_file), except that it is not called while the
    /// reader blocks.
    ///
    /// # Errors
    /// As [`send_file`](Self::send_file), [`Error::Content`] with what the reader said;
    /// [`Error::FieldTooLong`] for a name or media type of more than 1,000 bytes.
    pub fn send_stream(
        &self,
        name: &str,
        media_type: &str,
        reader: impl Read,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Stored, Error> {
        let facts = Facts { size: None, name, media_type };
        let mut upload = self.begin(facts, Content::of_reader(), name.to_owned())?;
        self.core.start_worker()?; // for what is asked again while the reader blocks
        upload.feed(reader, &mut progress)?;
        upload.finish(progress)
    }

    /// Begins to send a file under its own name, and returns at once. The upload goes on in a
    /// thread of the connection; any number may be under way, of which a few are sent at a time,
    /// in turns. Each keeps its file open.
    ///
    /// ```no_run
    /// # let connection = tcpkit::Connection::connect("127.0.0.1:5001")?;
    /// let one = connection.upload("photo.jpg")?;
    /// let other = connection.upload("notes.txt")?;
    /// connection.send("two files are on their way")?;
    /// println!("saved as {} and {}", one.wait()?.path, other.wait()?.path);
    /// # Ok::<(), tcpkit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Content`] for what is no file or cannot be opened; [`Error::FieldTooLong`] for a
    /// name of more than 1,000 bytes; after the end [`Error::Closed`], or how it ended;
    /// [`Error::Io`] if the system gives no thread.
    pub fn upload(&self, path: impl AsRef<Path>) -> Result<UploadHandle, Error> {
        let upload = self.begin_file(path.as_ref())?;
        self.core.start_worker()?;
        Ok(upload)
    }

    fn begin_file(&self, path: &Path) -> Result<UploadHandle, Error> {
        let label = path.to_string_lossy().into_owned();
        let failed = |source| Error::Content { name: label.clone(), source };
        let (content, size) = Content::open(path).map_err(failed)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.begin(Facts { size: Some(size), name: &name, media_type: ANY_TYPE }, content, label)
    }

    fn begin(
        &self,
        facts: Facts<'_>,
        content: Content,
        name: String,
    ) -> Result<UploadHandle, Error> {
        let content = Arc::new(content);
        let mut state = self.core.lock();
        let number = state.session.begin_upload(facts)?;
        state.uploads.contents.insert(number, Arc::clone(&content));
        if state.has_to_write() {
            state = self.core.push(state);
        }
        drop(state);
        Ok(UploadHandle { core: Arc::clone(&self.core), number, content, name, size: facts.size })
    }
}

/// What the thread that waits for an upload is to do next.
enum Turn {
    /// The upload has its fate.
    Over(Result<String, Error>),
    /// Something can be sent.
    Serve,
    /// So many bytes should be read from its reader.
    Read(u64),
}

impl UploadHandle {
    /// Waits until the server has stored it.
    ///
    /// # Errors
    /// As [`Connection::send_file`].
    pub fn wait(&self) -> Result<Stored, Error> {
        self.wait_until(Deadline::after(None), Duration::ZERO)
    }

    /// As [`wait`](Self::wait), for no longer than `limit`; the upload goes on after that.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and [`Error::Timeout`].
    pub fn wait_timeout(&self, limit: Duration) -> Result<Stored, Error> {
        self.wait_until(Deadline::after(Some(limit)), limit)
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let (sent, stored) = self.core.lock().session.upload_progress(self.number);
        Progress { sent, stored, size: self.size }
    }

    /// Gives it up. What becomes of it is still to be [waited](Self::wait) for: most often
    /// [`Error::NotStored`], but it may be stored already.
    pub fn cancel(&self) {
        let mut state = self.core.lock();
        state.session.cancel_upload(self.number);
        self.after_cancel(state);
    }

    fn after_cancel<'a>(&'a self, mut state: Guard<'a>) {
        if state.has_to_write() {
            state = self.core.push(state);
        }
        drop(state);
        self.core.ring_everyone();
    }

    fn wait_until(&self, deadline: Deadline, limit: Duration) -> Result<Stored, Error> {
        let timeout = || Error::Timeout(Waiting::Confirmation, limit);
        loop {
            match self.next_turn(false, deadline.remaining()).map_err(|error| match error {
                Error::Timeout(..) => timeout(),
                error => error,
            })? {
                Turn::Over(fate) => return self.fate(fate),
                Turn::Serve | Turn::Read(_) => {
                    drop(self.core.serve_uploads(self.core.lock()));
                }
            }
            if deadline.is_over() {
                return Err(timeout());
            }
        }
    }

    /// Waits for something to do; to read is only for the one that has the reader.
    fn next_turn(&self, reads: bool, limit: Option<Duration>) -> Result<Turn, Error> {
        self.core.wait(Waiting::Confirmation, limit, |session| {
            if let Some(fate) = session.upload_fate(self.number) {
                return Some(Ok(Turn::Over(fate)));
            }
            if session.has_piece() {
                return Some(Ok(Turn::Serve));
            }
            let wanted = session.content_wanted(self.number, KEPT_MAX);
            (reads && wanted > 0).then_some(Ok(Turn::Read(wanted)))
        })
    }

    /// What failed here is the reason for what the server says.
    fn fate(&self, fate: Result<String, Error>) -> Result<Stored, Error> {
        match fate {
            Ok(path) => Ok(Stored { path, size: self.progress().stored }),
            Err(error) => Err(match self.content.take_failure() {
                Some(source) => Error::Content { name: self.name.clone(), source },
                None => error,
            }),
        }
    }

    /// Waits, and reports meanwhile.
    fn finish(
        self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Stored, Error> {
        let mut is_cancelled = false;
        loop {
            if !is_cancelled && progress(self.progress()).is_break() {
                self.cancel();
                is_cancelled = true;
            }
            match self.wait_timeout(REPORT) {
                Err(Error::Timeout(..)) => {}
                Ok(stored) => {
                    let _ = progress(self.progress()); // there is nothing left to cancel
                    return Ok(stored);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes all that a reader gives, as the server takes it. What became of the upload, if that
    /// is known before the reader's end, is left for [`finish`](Self::finish).
    fn feed(
        &mut self,
        mut reader: impl Read,
        progress: &mut impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut space = vec![0; DATA_MAX];
        let mut total = 0;
        let mut reported: Option<Instant> = None;
        loop {
            if reported.is_none_or(|reported| reported.elapsed() >= REPORT) {
                reported = Some(Instant::now());
                if progress(self.progress()).is_break() {
                    self.cancel();
                    return Ok(());
                }
            }
            match self.next_turn(true, Some(REPORT)) {
                Ok(Turn::Over(_)) => return Ok(()),
                Ok(Turn::Serve) => drop(self.core.serve_uploads(self.core.lock())),
                Ok(Turn::Read(wanted)) => {
                    let most = wanted.min(DATA_MAX as u64) as usize;
                    let count = match reader.read(&mut space[..most]) {
                        Ok(count) => count,
                        Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                        Err(error) => return Err(self.fail(error)),
                    };
                    total += count as u64;
                    self.take(&space[..count], total);
                    if count == 0 {
                        return Ok(());
                    }
                }
                Err(Error::Timeout(..)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes what was read available; nothing: that was all.
    fn take(&mut self, bytes: &[u8], total: u64) {
        let (_, stored) = self.core.lock().session.upload_progress(self.number);
        self.content.drop_before(stored);
        self.content.keep(bytes);
        let is_whole = bytes.is_empty();
        if is_whole {
            self.size = Some(total);
        }
        let mut state = self.core.lock();
        state.session.content_available(self.number, total, is_whole);
        drop(self.core.serve_uploads(state));
    }

    /// The reader failed.
    fn fail(&self, source: io::Error) -> Error {
        self.cancel();
        Error::Content { name: self.name.clone(), source }
    }
}

impl Drop for UploadHandle {
    fn drop(&mut self) {
        let mut state = self.core.lock();
        state.session.forget_upload(self.number);
        state.uploads.contents.remove(&self.number);
        self.after_cancel(state);
    }
}

impl fmt::Debug for UploadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadHandle")
            .field("name", &self.name)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
