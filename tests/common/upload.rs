//! Streams, frame by frame, and the folder in which they end up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tcpkit::crc32c::Crc32c;
use tcpkit::message::{Frame, SessionKey, StatusCode, Token, VERSION};
use tcpkit::settings::Settings;

use super::raw::Raw;
use super::{Site, eventually};

/// A folder of a test's own, gone at its end. There is one at a time, since open files would be
/// counted by the [`Site`] of another.
pub(crate) struct Place {
    path: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Place {
    pub(crate) fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let path = std::env::temp_dir().join(format!("tcpkit-uploads-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a folder for the test");
        Self { path, _alone: alone }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the server's files go, in there; not made.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.path.join("received")
    }

    /// Settings for a server that stores there.
    pub(crate) fn settings(&self, change: impl FnOnce(&mut Settings)) -> Settings {
        super::settings(|settings| {
            settings.uploads.folder = self.uploads().display().to_string();
            // So that the tests about it are not the slowest; with it there is another.
            settings.uploads.sync = tcpkit::settings::Sync::Off;
            settings.session.grace = std::time::Duration::ZERO;
            change(settings);
        })
    }

    pub(crate) fn open(&self, change: impl FnOnce(&mut Settings)) -> Site {
        Site::with(self.settings(change))
    }

    /// Every file below the upload folder with its content, parts as `(part)`, sorted.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.uploads()).into_iter().flatten().flatten() {
            for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let name = file.file_name().into_string().expect("UTF-8");
                let is_part = Path::new(&name).extension().is_some_and(|it| it == "part");
                let name = if is_part { "(part)".to_owned() } else { name };
                let folder = folder.file_name().into_string().expect("UTF-8");
                let content = fs::read(file.path()).unwrap_or_default();
                found.push((format!("{folder}/{name}"), content));
            }
        }
        found.sort();
        found
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.files().into_iter().map(|(name, _)| name).collect()
    }

    pub(crate) fn becomes(&self, names: &[&str]) {
        eventually(|| {
            let found = self.names();
            if found == names { Ok(()) } else { Err(format!("{found:?}, not {names:?}")) }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut checksum = Crc32c::new();
    checksum.update(bytes);
    checksum.finish()
}

/// Bytes that differ from place to place.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 251 + at % 251) as u8).collect()
}

pub(crate) fn open(stream: u64, size: Option<u64>, name: &str) -> Vec<u8> {
    Frame::StreamOpen { stream, size, name, media_type: "text/plain" }.to_bytes()
}

pub(crate) fn data(stream: u64, offset: u64, bytes: &[u8]) -> Vec<u8> {
    Frame::StreamData { stream, offset, bytes }.to_bytes()
}

pub(crate) fn end(stream: u64, content: &[u8]) -> Vec<u8> {
    let (size, crc32c) = (content.len() as u64, crc32c(content));
    Frame::StreamEnd { stream, size, crc32c }.to_bytes()
}

pub(crate) fn cancel(stream: u64) -> Vec<u8> {
    Frame::StreamCancel { stream, detail: "".into() }.to_bytes()
}

impl Raw {
    /// The next credit: stream, offset, limit.
    pub(crate) fn credit(&mut self) -> (u64, u64, u64) {
        match self.next_own().frame() {
            Frame::StreamCredit { stream, offset, limit } => (stream, offset, limit),
            other => panic!("no StreamCredit but {other:?}"),
        }
    }

    /// The next status of a stream, credits passed over: stream, code, words.
    pub(crate) fn fate(&mut self) -> (u64, StatusCode, String) {
        loop {
            match self.next_own().frame() {
                Frame::StreamCredit { .. } => {}
                Frame::StreamStatus { stream, code, detail } => {
                    return (stream, code, detail.into_owned());
                }
                other => panic!("no StreamStatus but {other:?}"),
            }
        }
    }

    /// Opens a stream, and takes its first credit.
    pub(crate) fn open(&mut self, stream: u64, size: Option<u64>, name: &str) -> u64 {
        self.send(&open(stream, size, name));
        let (number, offset, limit) = self.credit();
        assert_eq!((number, offset), (stream, 0));
        limit
    }

    /// Sends `content` from `offset` on, as far as credit goes, waiting for more.
    pub(crate) fn pour(&mut self, stream: u64, content: &[u8], mut offset: u64, mut limit: u64) {
        while offset < content.len() as u64 {
            while offset == limit {
                limit = self.credit().2;
            }
            let until = limit.min(offset + 65_536).min(content.len() as u64);
            let bytes = &content[offset as usize..until as usize];
            self.send(&data(stream, offset, bytes));
            offset = until;
        }
    }

    /// Sends the whole of a file. Gives its fate.
    pub(crate) fn send_file(
        &mut self,
        stream: u64,
        name: &str,
        content: &[u8],
    ) -> (StatusCode, String) {
        let limit = self.open(stream, Some(content.len() as u64), name);
        self.pour(stream, content, 0, limit);
        self.send(&end(stream, content));
        let (number, code, words) = self.fate();
        assert_eq!(number, stream);
        (code, words)
    }

    /// Comes in with a name, and gives the key to come back with.
    pub(crate) fn join_with_key(site: &Site, name: &str) -> (Self, SessionKey) {
        let mut raw = Self::connect(site.addr());
        raw.send(&super::raw::init(name));
        let key = raw.resumed_or_new().0;
        (raw, key)
    }

    /// Comes back with a key, and is known.
    pub(crate) fn come_back(site: &Site, session: SessionKey) -> Self {
        let mut raw = Self::connect(site.addr());
        let (name, timezone, token) = ("", "", Token(""));
        let received = 0;
        let init = Frame::Init { version: VERSION, session, received, name, timezone, token };
        raw.send(&init.to_bytes());
        assert_eq!(raw.resumed_or_new(), (session, true));
        raw
    }

    /// Takes InitAck and Present: the key, and whether it was known.
    fn resumed_or_new(&mut self) -> (SessionKey, bool) {
        let told = match self.next().frame() {
            Frame::InitAck { session, flags, frame_max, .. } => {
                self.framer.set_frame_max(frame_max);
                (session, flags & 1 == 1)
            }
            other => panic!("no InitAck but {other:?}"),
        };
        assert!(matches!(self.next().frame(), Frame::Present { .. }));
        told
    }
}
