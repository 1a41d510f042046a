//! `client ping`: whether a server is there and answers, as a health check asks it.
//!
//! It needs no session, so that nobody is told of a guest who comes and goes: a Ping is the one
//! frame that a server answers before Init (`PROTOCOL.md` section 3).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use super::output::{Failure, print};
use crate::codec::decode;
use crate::error::{Error, Waiting};
use crate::frame::{Framer, HANDSHAKE_FRAME_MAX};
use crate::message::{ErrorCode, Frame, Violation};

/// How long connecting may take, and then the answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two pings.
const PAUSE: Duration = Duration::from_secs(1);

/// Pings `count` times, each over a connection of its own, and prints how long each took.
pub(super) fn run(address: &str, count: u64) -> Result<(), Failure> {
    for number in 0..count {
        if number > 0 {
            thread::sleep(PAUSE);
        }
        let (peer, time) =
            ping(address, number).map_err(|error| Failure::network(&error, address))?;
        print(&format!("pong from {peer} in {:.2} ms\n", time.as_secs_f64() * 1000.0))?;
    }
    Ok(())
}

/// The round trip of one Ping, without the time that connecting took.
fn ping(address: &str, nonce: u64) -> Result<(String, Duration), Error> {
    let mut stream = connect(address)
        .map_err(|source| Error::Connect { address: address.to_owned(), source })?;
    let start = Instant::now();
    stream.write_all(&Frame::Ping { nonce }.to_bytes()).map_err(Error::Io)?;
    let mut framer = Framer::new(HANDSHAKE_FRAME_MAX);
    loop {
        while let Some(raw) = framer.next_frame().map_err(Error::Violation)? {
            match decode(&raw).map_err(Error::Violation)? {
                Frame::Pong { nonce: answered } if answered == nonce => {
                    let time = start.elapsed();
                    let peer = stream.peer_addr().map_err(Error::Io)?;
                    return Ok((peer.to_string(), time));
                }
                Frame::Error { code, detail } => {
                    return Err(Error::Refused { code, detail: detail.into_owned() });
                }
                Frame::Terminate { reason, detail, .. } => {
                    return Err(Error::Ended { reason, detail: detail.into_owned() });
                }
                Frame::Hint { .. } => {}
                _ => {
                    let words = "something other than a pong";
                    return Err(Error::Violation(Violation::new(ErrorCode::OutOfOrder, words)));
                }
            }
        }
        let left = LIMIT.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).map_err(Error::Io)?;
        match stream.read(framer.space()) {
            _ if start.elapsed() >= LIMIT => return Err(Error::Timeout(Waiting::Pong, LIMIT)),
            Ok(0) => return Err(Error::Lost),
            Ok(count) => framer.filled(count),
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(Error::Io(error)),
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Tries each address that a name stands for.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name stands for no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => return stream.set_nodelay(true).map(|()| stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
