//! A client that says what it is told to, byte by byte, and a look at what comes back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tcpkit::codec::decode;
use tcpkit::frame::{Framer, HANDSHAKE_FRAME_MAX, RawFrame};
use tcpkit::message::{ErrorCode, Frame, Reason, SessionKey, StatusCode, Token, VERSION, kind};

use super::SOON;

/// The bytes of an Init for a new session.
pub(crate) fn init(name: &str) -> Vec<u8> {
    init_with_token(name, "")
}

pub(crate) fn init_with_token(name: &str, token: &str) -> Vec<u8> {
    let (session, token) = (SessionKey::NEW, Token(token));
    Frame::Init { version: VERSION, session, received: 0, name, timezone: "", token }.to_bytes()
}

/// The bytes of a text message.
pub(crate) fn text(id: u64, body: &[u8]) -> Vec<u8> {
    Frame::Text { id, body }.to_bytes()
}

/// A frame that has come.
#[derive(Debug)]
pub(crate) struct Received {
    kind: u8,
    payload: Vec<u8>,
}

impl Received {
    pub(crate) fn frame(&self) -> Frame<'_> {
        decode(&RawFrame { kind: self.kind, payload: &self.payload }).expect("a legal frame")
    }

    /// Whether it is a record of the log: what others say and do.
    pub(crate) fn is_record(&self) -> bool {
        (0x20..=0x27).contains(&self.kind)
    }
}

/// A client that says what it is told to, byte by byte.
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
    pub(crate) framer: Framer,
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect_timeout(&address, SOON).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(SOON)).unwrap();
        Self { socket, framer: Framer::new(HANDSHAKE_FRAME_MAX) }
    }

    /// Connects, and is in: Present has come.
    pub(crate) fn join(address: SocketAddr, name: &str) -> Self {
        let mut raw = Self::connect(address);
        raw.send(&init(name));
        raw.welcomed();
        raw
    }

    /// Takes InitAck and Present, and gives the name that it got and the names that it saw.
    pub(crate) fn welcomed(&mut self) -> (String, Vec<String>) {
        let name = match self.next().frame() {
            Frame::InitAck { name, frame_max, .. } => {
                self.framer.set_frame_max(frame_max);
                name.to_owned()
            }
            other => panic!("no InitAck but {other:?}"),
        };
        match self.next().frame() {
            Frame::Present { names, .. } => (name, names.into_iter().map(str::to_owned).collect()),
            other => panic!("no Present but {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next frame, as far as it comes within `limit`; `None` at the end.
    pub(crate) fn try_next(&mut self, limit: Duration) -> io::Result<Option<Received>> {
        let until = Instant::now() + limit;
        loop {
            if let Some(RawFrame { kind, payload }) = self.framer.next_frame().expect("frames") {
                return Ok(Some(Received { kind, payload: payload.to_vec() }));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.read(self.framer.space()) {
                Ok(0) => return Ok(None),
                Ok(count) => self.framer.filled(count),
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn next(&mut self) -> Received {
        self.try_next(SOON).expect("a frame").expect("a frame, and not the end")
    }

    /// The next frame that is none of what others say and do.
    pub(crate) fn next_own(&mut self) -> Received {
        loop {
            let received = self.next();
            if !received.is_record() {
                return received;
            }
        }
    }

    /// The next status: the message, and its fate.
    pub(crate) fn status(&mut self) -> (u64, StatusCode) {
        match self.next_own().frame() {
            Frame::Status { id, code, .. } => (id, code),
            other => panic!("no Status but {other:?}"),
        }
    }

    /// Takes an Error, behind statuses of what was said before, and an orderly end: the server
    /// says nothing more, and does not cut what it said.
    pub(crate) fn refused(&mut self) -> (ErrorCode, String) {
        loop {
            match self.next_own().frame() {
                Frame::Status { .. } => {}
                Frame::Error { code, detail } => {
                    let told = (code, detail.into_owned());
                    self.at_end();
                    return told;
                }
                other => panic!("no Error but {other:?}"),
            }
        }
    }

    /// Takes Terminate, behind what others said before.
    pub(crate) fn terminated(&mut self) -> Reason {
        match self.next_own().frame() {
            Frame::Terminate { reason, .. } => reason,
            other => panic!("no Terminate but {other:?}"),
        }
    }

    /// Ended at once: with a goodbye, if there was time for one, and with nothing else.
    pub(crate) fn cut_off(&mut self) {
        loop {
            match self.try_next(SOON) {
                Ok(None) => return,
                Ok(Some(received)) if received.is_record() => {}
                Ok(Some(received)) if received.frame().kind() == kind::TERMINATE => {
                    return self.at_end();
                }
                other => panic!("neither Terminate nor the end but {other:?}"),
            }
        }
    }

    /// The server has closed, or at least its writing half.
    pub(crate) fn at_end(&mut self) {
        let end = self.try_next(SOON);
        assert!(matches!(end, Ok(None)), "no orderly end but {end:?}");
    }

    /// Sends one byte after the other, each after a pause, unless it hears something. Gives the
    /// first frame that is for it, if one comes before all is sent.
    pub(crate) fn send_slowly(&mut self, bytes: &[u8], pause: Duration) -> Option<Received> {
        for byte in bytes {
            self.send(&[*byte]);
            match self.try_next(pause) {
                Ok(Some(received)) if received.is_record() => {}
                Ok(Some(received)) => return Some(received),
                Err(error) if is_pause(&error) => {}
                end => panic!("the connection has ended: {end:?}"),
            }
        }
        None
    }

    /// Closes its half: the end of what it says, orderly as far as TCP is concerned.
    pub(crate) fn hang_up(&mut self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a RST: that is what the system does while there is unread input.
    pub(crate) fn reset(self) {
        self.socket.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(self.socket.peek(&mut [0]).expect("something to leave unread"), 1);
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
