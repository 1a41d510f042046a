//! What an upload sends: a file that is read where it is asked for, or the last bytes of a reader,
//! which cannot be asked twice.
//!
//! It is read without the state's lock, by one thread at a time, and keeps the checksum of all that
//! was read. What the connection needs of it is for [`uploads`](super::uploads) to say.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::crc32c::Crc32c;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Content {
    source: Mutex<Source>,
    /// Why it cannot be read on.
    failure: Mutex<Option<io::Error>>,
}

#[derive(Debug)]
struct Source {
    kind: Kind,
    checksum: Crc32c,
    /// How many bytes are in the checksum.
    summed: u64,
}

#[derive(Debug)]
enum Kind {
    File {
        file: File,
        position: u64,
    },
    /// What may be asked for again; it begins at the offset `start`.
    Kept {
        bytes: VecDeque<u8>,
        start: u64,
    },
}

impl Content {
    fn new(kind: Kind) -> Self {
        let source = Source { kind, checksum: Crc32c::new(), summed: 0 };
        Self { source: Mutex::new(source), failure: Mutex::new(None) }
    }

    /// A file, and its size.
    pub(super) fn open(path: &Path) -> io::Result<(Self, u64)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file; send it from stdin"));
        }
        Ok((Self::new(Kind::File { file, position: 0 }), metadata.len()))
    }

    /// Nothing yet: what a reader gives is to be [kept](Self::keep).
    pub(super) fn of_reader() -> Self {
        Self::new(Kind::Kept { bytes: VecDeque::new(), start: 0 })
    }

    /// Keeps what a reader gave, behind what it gave before.
    pub(super) fn keep(&self, more: &[u8]) {
        if let Kind::Kept { bytes, .. } = &mut self.source().kind {
            bytes.extend(more);
        }
    }

    /// What lies before `stored` is not asked for any more.
    pub(super) fn drop_before(&self, stored: u64) {
        if let Kind::Kept { bytes, start } = &mut self.source().kind {
            let count = stored.saturating_sub(*start).min(bytes.len() as u64);
            bytes.drain(..count as usize);
            *start += count;
        }
    }

    /// Fills `space` with what begins at `offset`.
    pub(super) fn read(&self, offset: u64, space: &mut [u8]) -> io::Result<()> {
        let mut source = self.source();
        source.kind.read(offset, space)?;
        let end = offset + space.len() as u64;
        if offset <= source.summed && end > source.summed {
            let known = (source.summed - offset) as usize;
            source.checksum.update(&space[known..]);
            source.summed = end;
        }
        Ok(())
    }

    /// The checksum of all of it, if it ends there and was read.
    pub(super) fn finish(&self, size: u64) -> io::Result<u32> {
        let mut source = self.source();
        source.kind.check_end(size)?;
        Ok(source.checksum.finish())
    }

    pub(super) fn fail(&self, error: io::Error) {
        self.failure().get_or_insert(error);
    }

    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.failure().take()
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn read(&mut self, offset: u64, space: &mut [u8]) -> io::Result<()> {
        match self {
            Kind::File { file, position } => {
                if *position != offset {
                    file.seek(SeekFrom::Start(offset))?;
                }
                *position = u64::MAX; // unknown, until all is read
                file.read_exact(space).map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => shrunk(),
                    _ => error,
                })?;
                *position = offset + space.len() as u64;
            }
            Kind::Kept { bytes, start } => {
                let first = offset.checked_sub(*start).map(|first| first as usize);
                let Some(range) = first
                    .map(|first| first..first + space.len())
                    .filter(|range| range.end <= bytes.len())
                else {
                    return Err(io::Error::other("the server asks for what it had confirmed"));
                };
                let (front, back) = bytes.as_slices();
                let split = front.len().clamp(range.start, range.end);
                let (head, tail) = space.split_at_mut(split - range.start);
                head.copy_from_slice(front.get(range.start..split).unwrap_or_default());
                let behind = |place: usize| place - front.len().min(place);
                tail.copy_from_slice(&back[behind(split)..behind(range.end)]);
            }
        }
        Ok(())
    }

    /// Whether a file ends where it did when it was opened.
    fn check_end(&mut self, size: u64) -> io::Result<()> {
        let Kind::File { file, position } = self else { return Ok(()) };
        *position = u64::MAX;
        if file.metadata()?.len() < size {
            return Err(shrunk());
        }
        file.seek(SeekFrom::Start(size))?;
        match file.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(io::Error::other("it grew while it was sent")),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn shrunk() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "it shrank while it was sent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_takes_each_byte_once_whatever_is_asked_again() {
        let bytes: Vec<u8> = (0..200).collect();
        let path = std::env::temp_dir().join(format!("tcpkit-content-{}", std::process::id()));
        std::fs::write(&path, &bytes).expect("a file");
        let (file, size) = Content::open(&path).expect("a file");
        assert_eq!(size, 200);
        let reader = Content::of_reader();
        bytes.chunks(70).for_each(|chunk| reader.keep(chunk));
        let mut checksum = Crc32c::new();
        checksum.update(&bytes);
        for content in [file, reader] {
            for range in [0..100, 50..150, 0..10, 120..150, 150..200] {
                let mut space = vec![0; range.len()];
                content.read(range.start as u64, &mut space).expect("it is there");
                assert_eq!(space, bytes[range]);
                content.drop_before(0);
            }
            assert_eq!(content.finish(200).expect("its end"), checksum.finish());
            assert!(content.read(150, &mut [0; 51]).is_err(), "behind the end");
        }
        std::fs::remove_file(path).expect("it is there");
    }

    #[test]
    fn what_is_stored_is_kept_no_longer() {
        let content = Content::of_reader();
        for round in 0..9u8 {
            content.keep(&[round; 100]);
            content.drop_before(u64::from(round) * 100);
            let mut space = [0; 60];
            content.read(u64::from(round) * 100 + 40, &mut space).expect("it is kept");
            assert_eq!(space, [round; 60]);
        }
        assert!(content.read(799, &mut [0]).is_err());
        let Kind::Kept { bytes, start } = &content.source().kind else { panic!("a reader's") };
        assert_eq!((bytes.len(), *start), (100, 800));
    }
}
