//! A connection in memory, for tests of programs that use a [`Connection`], without sockets.
//!
//! [`Connection::memory`] gives a connection that is open and a [`FarEnd`], with which the test
//! plays the server: it sees each frame, and sends what it likes, torn or malformed bytes
//! included. The bytes pass through the same framer as those of a socket. Dropping the far end is
//! what a lost connection looks like; a connection that is dropped first waits a second for the
//! goodbye of its far end.
//!
//! ```
//! use tcpkit::message::Frame;
//! use tcpkit::{Connection, Event, Fate};
//!
//! let (connection, mut server) = Connection::memory();
//!
//! let receipt = connection.send("hello")?;
//! assert_eq!(server.accept()?, Some(Frame::Text { id: 1, body: b"hello" }));
//! assert_eq!(connection.confirm(receipt)?, Fate::Accepted);
//!
//! server.send(&Frame::RelayedText { seq: 1, time_ms: 0, from: "bob", body: "hi there" })?;
//! let Some(Event::Text { from, body, .. }) = connection.recv()? else { panic!("no text") };
//! assert_eq!((from.as_str(), body.as_str()), ("bob", "hi there"));
//!
//! server.send(&Frame::TerminateAck)?; // one thread alone answers the goodbye beforehand
//! connection.close()?;
//! assert_eq!(connection.recv()?, None);
//! # Ok::<(), tcpkit::Error>(())
//! ```
//!
//! [`Connection`]: crate::Connection
//! [`Connection::memory`]: crate::Connection::memory

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::codec::decode;
use crate::error::{Error, Waiting};
use crate::frame::{DEFAULT_FRAME_MAX, Framer, frame_size};
use crate::message::{Frame, Mode, SessionKey, StatusCode, VERSION, kind};
use crate::transport::{PipeEnd, Transport, is_timeout};

/// How long calls wait that have no limit of their own: a test should fail, not hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server's end of a connection in memory. See the [module](self).
#[derive(Debug)]
pub struct FarEnd {
    pipe: PipeEnd,
    framer: Framer,
}

impl FarEnd {
    pub(crate) fn new(pipe: PipeEnd) -> Self {
        Self { pipe, framer: Framer::new(DEFAULT_FRAME_MAX) }
    }

    /// Answers an Init.
    pub(crate) fn welcome(&mut self, name: &str) -> Result<(), Error> {
        self.send(&Frame::InitAck {
            version: VERSION,
            mode: Mode::Relay,
            flags: 0,
            session: SessionKey([1; 16]),
            seen: 0,
            head: 0,
            missed: 0,
            frame_max: DEFAULT_FRAME_MAX,
            grace_ms: 0,
            name: if name.is_empty() { "guest-1" } else { name },
        })
    }

    /// The next frame from the connection, or `None` when its end is closed. Waits for at most
    /// 10 s.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::Violation`] for bytes that are no frame.
    pub fn recv(&mut self) -> Result<Option<Frame<'_>>, Error> {
        self.recv_timeout(PATIENCE)
    }

    /// As [`recv`](Self::recv), for no longer than `limit`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, limit: Duration) -> Result<Option<Frame<'_>>, Error> {
        if !self.fill(limit)? {
            return Ok(None);
        }
        match self.framer.next_frame().map_err(Error::Violation)? {
            Some(raw) => decode(&raw).map(Some).map_err(Error::Violation),
            None => Ok(None),
        }
    }

    /// Reads until the framer has something to say: a frame, or that it is none. Gives false at
    /// the end.
    fn fill(&mut self, limit: Duration) -> Result<bool, Error> {
        let begin = Instant::now();
        while !has_news(&self.framer) {
            let remaining = limit.saturating_sub(begin.elapsed());
            match self.pipe.read(self.framer.space(), Some(remaining)) {
                Ok(0) => return Ok(false),
                Ok(count) => self.framer.filled(count),
                Err(error) if is_timeout(&error) => {
                    return Err(Error::Timeout(Waiting::Frame, limit));
                }
                Err(error) => return Err(Error::Io(error)),
            }
        }
        Ok(true)
    }

    /// Waits for the next message, confirms it with a Status 0, and gives it. On the way it
    /// answers Pings; Terminate it answers too and gives `None`, as for a connection that is gone.
    /// So `while server.accept()?.is_some() {}` is a server that accepts everything.
    ///
    /// # Errors
    /// As [`recv`](Self::recv) and [`send`](Self::send).
    pub fn accept(&mut self) -> Result<Option<Frame<'_>>, Error> {
        while self.fill(PATIENCE)? {
            if matches!(self.framer.peek().get(4), Some(kind::TEXT..=kind::DIRECT)) {
                return self.accept_next();
            }
            let (answer, is_last) = match self.recv()? {
                Some(Frame::Ping { nonce }) => (Frame::Pong { nonce }, false),
                Some(Frame::Terminate { .. }) => (Frame::TerminateAck, true),
                _ => continue,
            };
            self.send(&answer)?;
            if is_last {
                break;
            }
        }
        Ok(None)
    }

    fn accept_next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let Some(raw) = self.framer.next_frame().map_err(Error::Violation)? else {
            return Ok(None);
        };
        let frame = decode(&raw).map_err(Error::Violation)?;
        if let Frame::Text { id, .. }
        | Frame::Bytes { id, .. }
        | Frame::Move { id, .. }
        | Frame::Direct { id, .. } = frame
        {
            let detail = Cow::Borrowed("");
            let status = Frame::Status { id, code: StatusCode::Accepted, detail };
            write_all(&self.pipe, &status.to_bytes())?;
        }
        Ok(Some(frame))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`Error::Io`] if the connection's end is closed, or if it has not read what was sent
    /// before (256 KiB) for 10 s.
    pub fn send(&self, frame: &Frame<'_>) -> Result<(), Error> {
        self.send_raw(&frame.to_bytes())
    }

    /// Sends bytes as they are: part of a frame, several, or none at all.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_raw(&self, bytes: &[u8]) -> Result<(), Error> {
        write_all(&self.pipe, bytes)
    }
}

fn write_all(pipe: &PipeEnd, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        let count = pipe.write_within(bytes, PATIENCE).map_err(Error::Io)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

fn has_news(framer: &Framer) -> bool {
    let held = framer.peek();
    let size = frame_size(held);
    let is_legal = size > 4 && size <= DEFAULT_FRAME_MAX as usize + 4;
    held.len() >= 4 && (held.len() >= size || !is_legal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connection, Fate};

    #[test]
    fn a_server_that_accepts_everything_is_one_line() {
        let (connection, mut server) = Connection::memory();
        std::thread::scope(|scope| {
            scope.spawn(move || while server.accept().expect("a client").is_some() {});
            let receipts: Vec<_> = (0..100).map(|_| connection.send("x").expect("open")).collect();
            connection.ping().expect("answered");
            connection.flush().expect("accepted");
            assert_eq!(connection.confirm(receipts[50]).expect("open"), Fate::Accepted);
            connection.close().expect("answered");
        });
    }

    #[test]
    fn the_far_end_tells_silence_goodbye_and_nonsense_apart() {
        let (connection, mut server) = Connection::memory();
        let silence = server.recv_timeout(Duration::from_millis(1));
        assert!(matches!(silence, Err(Error::Timeout(Waiting::Frame, _))));
        server.send_raw(&[0, 0, 0, 0, 9]).expect("room");
        assert!(matches!(connection.recv(), Err(Error::Violation(_))));
        assert!(matches!(server.recv(), Ok(Some(Frame::Error { .. }))));
        drop(connection);
        assert!(matches!(server.recv(), Ok(None)));
        assert!(matches!(server.send(&Frame::TerminateAck), Err(Error::Io(_))));
    }

    #[test]
    fn the_name_is_what_was_asked_for() {
        assert_eq!(Connection::memory().0.name(), "guest-1");
        let builder = Connection::builder().name(" alice ").token("t");
        assert_eq!(builder.memory().expect("short").0.name(), "alice");
        let long = Connection::builder().token("t".repeat(5000)).memory();
        assert!(matches!(long, Err(Error::FieldTooLong("token"))));
    }
}
