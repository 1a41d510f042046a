//! Folders and files below `uploads.folder`: made, measured, named, and cleared of what a crash has
//! left.
//!
//! What came from the network is a component of a path at the most, checked by
//! [`file_name`]. No link is followed out of the folder: a file is only ever made anew, which fails
//! where anything lies under its name, links included; and the folder of a client must be a real
//! one. Between that look and the use somebody could put a link in its place. Only who may write
//! into the upload folder can do that, which no client can: it has no way to make a link or to name
//! anything but its files. The upload folder itself may be a link: it is the owner's choice.
//!
//! Parts are locked while they are written, so that another server that has the same folder tells
//! them from those that nobody writes any more. Where the system knows no locks, they are left.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::crc32c::Crc32c;
use crate::file_name::{self, PART};
use crate::hub::UploadId;
use crate::log::SessionId;
use crate::message::StatusCode;
use crate::transfer::cost;

/// What the names of parts begin with.
const PREFIX: &str = "tcpkit-";
/// The digits of a server's number in them.
const RUN_DIGITS: usize = 16;

/// Why something could not be done, for the client.
pub(super) type Failure = (StatusCode, String);

/// The upload folder.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    /// Files are on the disk before they count as stored.
    sync: bool,
    /// Tells this server's parts from those of others.
    run: u64,
}

impl Store {
    pub(super) fn new(root: PathBuf, sync: bool) -> Self {
        Self { root, sync, run: RandomState::new().hash_one(std::process::id()) }
    }

    /// How much all files in it cost of the quota; as much as could be seen when `is_ended`.
    pub(super) fn count(&self, is_ended: impl Fn() -> bool) -> u64 {
        count(&self.root, is_ended)
    }

    /// Removes the parts that a server left which is not there any more. Nothing else is touched.
    pub(super) fn clear(&self, is_ended: impl Fn() -> bool) {
        for folder in entries(&self.root).filter(|entry| is(entry, fs::FileType::is_dir)) {
            if is_ended() {
                return;
            }
            for entry in entries(&folder.path()) {
                if is_part(&entry.file_name().to_string_lossy())
                    && is(&entry, fs::FileType::is_file)
                {
                    remove_abandoned(&entry.path());
                }
            }
        }
    }

    fn part_name(&self, upload: UploadId) -> String {
        let UploadId { session, stream } = upload;
        format!("{PREFIX}{:0RUN_DIGITS$x}-{session:x}-{stream}{PART}", self.run)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // Elsewhere a folder cannot be opened as a file, nor synced.
        if cfg!(unix) && self.sync { File::open(path)?.sync_all() } else { Ok(()) }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = fs::DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Whether an entry itself is such; links are what they are.
fn is(entry: &fs::DirEntry, kind: impl Fn(&fs::FileType) -> bool) -> bool {
    entry.file_type().is_ok_and(|it| kind(&it))
}

fn count(top: &Path, is_ended: impl Fn() -> bool) -> u64 {
    let (mut open, mut sum) = (vec![top.to_owned()], 0u64);
    while let Some(folder) = open.pop()
        && !is_ended()
    {
        for entry in entries(&folder) {
            if is(&entry, fs::FileType::is_dir) {
                open.push(entry.path());
            } else if !is_part(&entry.file_name().to_string_lossy()) {
                sum = sum.saturating_add(entry.metadata().map_or(0, |it| cost(it.len())));
            }
        }
    }
    sum
}

/// Whether a name is that of a part: `tcpkit-0123456789abcdef-100000000-1.part`.
fn is_part(name: &str) -> bool {
    let inner = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(PART));
    let mut fields = inner.unwrap_or_default().split('-');
    let mut is_number = |digits: &dyn Fn(usize) -> bool| {
        let field = fields.next().unwrap_or_default();
        digits(field.len()) && field.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let is_run = is_number(&|digits| digits == RUN_DIGITS);
    let is_ours = is_run && is_number(&|digits| digits > 0) && is_number(&|digits| digits > 0);
    is_ours && fields.next().is_none()
}

fn remove_abandoned(path: &Path) {
    if let Ok(file) = File::open(path)
        && file.try_lock().is_ok()
    {
        let _ = fs::remove_file(path);
    }
}

/// The folder of one client.
#[derive(Debug)]
pub(super) struct Folder {
    name: String,
    path: PathBuf,
    /// The session that it was last measured for.
    session: Option<SessionId>,
    /// Hashes of the names that are taken, folded: a million of them shall not cost much memory.
    /// Should two be the same, a file gets a number that it did not need.
    taken: HashSet<u64>,
    hasher: RandomState,
}

impl Folder {
    pub(super) fn new(store: &Store, name: &str) -> Self {
        let (path, hasher) = (store.root.join(name), RandomState::new());
        Self { name: name.to_owned(), path, session: None, taken: HashSet::new(), hasher }
    }

    /// Sees to it that it is there. Gives how much it holds, the first time for a session.
    pub(super) fn open(
        &mut self,
        store: &Store,
        session: SessionId,
    ) -> Result<Option<u64>, Failure> {
        self.make(store).map_err(|error| no(&error, "the folder cannot be made"))?;
        if self.session == Some(session) {
            return Ok(None);
        }
        self.session = Some(session);
        Ok(Some(self.measure()))
    }

    fn make(&self, store: &Store) -> io::Result<()> {
        let found = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(&store.root)?;
                match fs::create_dir(&self.path) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
                store.sync_folder(&store.root)?;
                fs::symlink_metadata(&self.path)?
            }
            found => found?,
        };
        if found.is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) }
    }

    /// Looks at what is there. Gives how much that costs of the quota.
    pub(super) fn measure(&mut self) -> u64 {
        self.taken.clear();
        for entry in entries(&self.path) {
            let name = entry.file_name();
            self.take(&name.to_string_lossy());
        }
        count(&self.path, || false)
    }

    fn take(&mut self, name: &str) {
        self.taken.insert(self.hasher.hash_one(file_name::fold(name)));
    }

    /// Gives a part a name of its own: the one that was asked for, or with a number. Gives the path
    /// below the upload folder.
    fn place(&mut self, part: &Path, wanted: &str) -> io::Result<String> {
        loop {
            let is_taken = |folded: &str| self.taken.contains(&self.hasher.hash_one(folded));
            let name = file_name::free_variant(wanted, is_taken);
            let placed = place_at(part, &self.path.join(&name));
            match placed {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => self.take(&name),
                Err(error) => return Err(error),
                Ok(()) => {
                    self.take(&name);
                    return Ok(format!("{}/{name}", self.name));
                }
            }
        }
    }
}

/// Gives a file a name that nothing has yet; [`ErrorKind::AlreadyExists`] where something has.
///
/// A rename would replace what is there. A second hard link cannot, and the first is removed with
/// the part. Where there are none to be had (FAT, some networks), the name is taken by an empty
/// file, made anew, which the part then replaces: whole or empty, even after a crash.
fn place_at(part: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(part, name) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        Err(_) => {
            drop(File::create_new(name)?);
            fs::rename(part, name).inspect_err(|_| {
                let _ = fs::remove_file(name);
            })
        }
    }
}

/// A file that is not whole yet. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
    /// What it shall be called.
    name: String,
    size: u64,
    checksum: Crc32c,
}

impl Drop for Part {
    fn drop(&mut self) {
        // One that was renamed is not there any more.
        let _ = fs::remove_file(&self.path);
    }
}

impl Part {
    pub(super) fn create(
        store: &Store,
        folder: &Folder,
        upload: UploadId,
        name: String,
    ) -> Result<Self, Failure> {
        let path = folder.path.join(store.part_name(upload));
        let file = create_locked(&path).map_err(|error| no(&error, "the file cannot be made"))?;
        Ok(Self { file, path, name, size: 0, checksum: Crc32c::new() })
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| no(&error, "it cannot be written"))?;
        self.size += bytes.len() as u64;
        self.checksum.update(bytes);
        Ok(())
    }

    /// What is wrong with the whole of it.
    pub(super) fn check(&self, size: u64, crc32c: u32) -> Result<(), Failure> {
        let mismatch = |words: &str| Err((StatusCode::Mismatch, words.to_owned()));
        if self.size != size {
            return mismatch("the size is another one");
        }
        if self.checksum.finish() != crc32c {
            return mismatch("the checksum is another one");
        }
        Ok(())
    }

    /// Brings the content onto the disk, if that is asked for.
    pub(super) fn sync(&self, store: &Store) -> Result<(), Failure> {
        if !store.sync {
            return Ok(());
        }
        self.file.sync_all().map_err(|error| no(&error, "it cannot be written"))
    }

    /// Gives it its name. Gives its path below the upload folder, and its size.
    pub(super) fn place(
        self,
        store: &Store,
        folder: &mut Folder,
    ) -> Result<(String, u64), Failure> {
        let placed = folder.place(&self.path, &self.name);
        let path = placed.map_err(|error| no(&error, "it cannot be given its name"))?;
        store.sync_folder(&folder.path).map_err(|error| {
            // The name may not survive, and so nothing was stored.
            let _ = fs::remove_file(store.root.join(&path));
            no(&error, "it cannot be written")
        })?;
        Ok((path, self.size))
    }
}

fn create_locked(path: &Path) -> io::Result<File> {
    loop {
        let file = File::create_new(path)?;
        match file.try_lock() {
            // Another server is about to remove it, having seen it before it was locked.
            Err(TryLockError::WouldBlock) => drop(fs::remove_file(path)),
            Ok(()) if !path.try_exists()? => {}
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// What the client is told when the system refuses something: what, and the system's reason.
fn no(error: &io::Error, what: &str) -> Failure {
    let words = error.to_string();
    let words = words.split_once(" (os error").map_or(&*words, |(words, _)| words);
    (StatusCode::NotStored, format!("{what}: {}", words.to_lowercase()))
}
