//! What carries a connection's bytes: TCP, or a pair of pipes in memory.
//!
//! A [`Transport`] is shared by one reader and one writer at a time; who that is, the connection
//! decides. Both kinds behave alike: a write waits for room for about [`WRITE_WAIT`] and then
//! gives [`WouldBlock`](io::ErrorKind::WouldBlock), a read waits for as long as it is told.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a write waits for room. Then its caller looks at what the peer sends, since a peer
/// that cannot send may have stopped reading. Short enough for that, and for a close; long enough
/// that it costs a blocked sender nothing to speak of.
pub(crate) const WRITE_WAIT: Duration = Duration::from_millis(50);

/// How many bytes a pipe in memory holds, about what a socket does.
const PIPE_MAX: usize = 256 * 1024;

/// Carries bytes. No call waits for a lock that another one holds while it waits for the peer.
pub(crate) trait Transport: Send + Sync + fmt::Debug {
    /// Reads at least one byte; 0 is the end. Without a limit it waits, with a limit of zero it
    /// takes only what is there.
    ///
    /// # Errors
    /// `WouldBlock` or `TimedOut` after the limit; whatever else the system says.
    fn read(&self, space: &mut [u8], limit: Option<Duration>) -> io::Result<usize>;

    /// Writes at least one byte, and gives how many.
    ///
    /// # Errors
    /// `WouldBlock` or `TimedOut` if there was no room within about [`WRITE_WAIT`]; whatever else
    /// the system says.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ends one direction or both. A read or write that waits there is woken.
    fn shutdown(&self, how: Shutdown);
}

/// Whether a read or write has merely met its time limit.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Tcp {
    stream: TcpStream,
    /// The read timeout as it was set last, to save a system call when it stays.
    read_timeout: Mutex<Option<Duration>>,
}

impl Tcp {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(Some(WRITE_WAIT))?;
        Ok(Self { stream, read_timeout: Mutex::new(None) })
    }

    /// Sets the timeout of the next read. One that is up to a millisecond too long is left as it
    /// is: clocks of sockets are no finer, and a limit that recurs costs nothing then.
    fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        let mut current = lock(&self.read_timeout);
        let fits = match (*current, limit) {
            (None, None) => true,
            (Some(current), Some(limit)) => {
                current.checked_sub(limit).is_some_and(|more| more <= Duration::from_millis(1))
            }
            _ => false,
        };
        if !fits {
            self.stream.set_read_timeout(limit)?;
            *current = limit;
        }
        Ok(())
    }
}

impl Transport for Tcp {
    fn read(&self, space: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        if limit != Some(Duration::ZERO) {
            self.set_read_timeout(limit)?;
            return retry(|| (&self.stream).read(space));
        }
        // A write of another thread may fail with `WouldBlock` meanwhile, and is tried again.
        self.stream.set_nonblocking(true)?;
        let result = retry(|| (&self.stream).read(space));
        self.stream.set_nonblocking(false)?;
        result
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| (&self.stream).write(bytes))
    }

    fn shutdown(&self, how: Shutdown) {
        let _ = self.stream.shutdown(how); // it fails only where there is nothing left to end
    }
}

/// One direction in memory.
#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<PipeState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PipeState {
    bytes: VecDeque<u8>,
    /// No more bytes will come in.
    is_finished: bool,
    /// No more bytes will be taken out.
    is_abandoned: bool,
}

impl Pipe {
    fn read(&self, space: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        let is_empty =
            |state: &PipeState| state.bytes.is_empty() && !state.is_finished && !state.is_abandoned;
        let mut state = self.wait_while(is_empty, limit);
        if is_empty(&state) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = state.bytes.read(space)?;
        self.changed.notify_all();
        Ok(count)
    }

    fn write(&self, bytes: &[u8], limit: Option<Duration>) -> io::Result<usize> {
        let is_full = |state: &PipeState| {
            state.bytes.len() >= PIPE_MAX && !state.is_finished && !state.is_abandoned
        };
        let mut state = self.wait_while(is_full, limit);
        if state.is_finished || state.is_abandoned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(PIPE_MAX.saturating_sub(state.bytes.len()));
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.bytes.extend(&bytes[..count]);
        self.changed.notify_all();
        Ok(count)
    }

    fn wait_while(
        &self,
        condition: impl Fn(&PipeState) -> bool,
        limit: Option<Duration>,
    ) -> MutexGuard<'_, PipeState> {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = lock(&self.state);
        while condition(&state) {
            let Some(until) = until else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                break;
            }
            let result = self.changed.wait_timeout(state, remaining);
            state = result.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    fn change(&self, change: impl FnOnce(&mut PipeState)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }
}

/// One end of a two-way connection in memory. Dropping it ends both directions.
#[derive(Debug)]
pub(crate) struct PipeEnd {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

/// A two-way connection in memory.
pub(crate) fn pipe() -> (PipeEnd, PipeEnd) {
    let (there, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    let near = PipeEnd { incoming: Arc::clone(&back), outgoing: Arc::clone(&there) };
    (near, PipeEnd { incoming: there, outgoing: back })
}

impl PipeEnd {
    /// Writes as [`Transport::write`] does, but waits for as long as it is told.
    pub(crate) fn write_within(&self, bytes: &[u8], limit: Duration) -> io::Result<usize> {
        self.outgoing.write(bytes, Some(limit))
    }
}

impl Transport for PipeEnd {
    fn read(&self, space: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        self.incoming.read(space, limit)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_within(bytes, WRITE_WAIT)
    }

    fn shutdown(&self, how: Shutdown) {
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            self.incoming.change(|state| state.is_abandoned = true);
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            self.outgoing.change(|state| state.is_finished = true);
        }
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Both kinds, each with its other end.
    fn transports() -> Vec<(Box<dyn Transport>, Box<dyn Transport>)> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (far, _) = listener.accept().expect("accepts");
        let tcp: (Box<dyn Transport>, Box<dyn Transport>) =
            (Box::new(Tcp::new(near).expect("options")), Box::new(Tcp::new(far).expect("options")));
        let (near, far) = pipe();
        vec![tcp, (Box::new(near), Box::new(far))]
    }

    const LONG: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn bytes_come_through_and_the_end_is_told() {
        for (near, far) in transports() {
            assert_eq!(near.write(b"hello").expect("room"), 5);
            near.shutdown(Shutdown::Write);
            let mut space = [0; 3];
            assert_eq!(far.read(&mut space, LONG).expect("bytes"), 3);
            assert_eq!(&space, b"hel");
            assert_eq!(far.read(&mut space, None).expect("bytes"), 2);
            assert_eq!(far.read(&mut space, None).expect("the end"), 0);
        }
    }

    #[test]
    fn a_read_waits_no_longer_than_it_is_told() {
        for (near, _far) in transports() {
            for limit in [Duration::ZERO, Duration::from_millis(20), Duration::from_micros(1)] {
                let begin = Instant::now();
                let error = near.read(&mut [0; 8], Some(limit)).expect_err("nothing to read");
                assert!(is_timeout(&error), "{error}");
                assert!(begin.elapsed() < Duration::from_secs(5));
            }
        }
    }

    #[test]
    fn a_write_gives_up_when_nobody_reads() {
        for (near, _far) in transports() {
            let begin = Instant::now();
            let error = loop {
                match near.write(&vec![0; 65_536]) {
                    Ok(count) => assert!(count > 0),
                    Err(error) => break error,
                }
            };
            assert!(is_timeout(&error), "{error}");
            assert!(begin.elapsed() < Duration::from_secs(5));
        }
    }

    #[test]
    fn a_shutdown_wakes_a_read_that_waits() {
        for (near, _far) in transports() {
            thread::scope(|scope| {
                let reader = scope.spawn(|| near.read(&mut [0; 8], LONG));
                near.shutdown(Shutdown::Read);
                assert_eq!(reader.join().expect("no panic").expect("the end"), 0);
            });
        }
    }

    #[test]
    fn writing_to_one_that_is_gone_fails() {
        for (near, far) in transports() {
            drop(far);
            let begin = Instant::now();
            while near.write(b"x").is_ok() {
                assert!(begin.elapsed() < Duration::from_secs(10), "a reset was due");
            }
        }
    }

    #[test]
    fn a_read_timeout_that_stays_is_set_once() {
        let (near, _far) = transports().swap_remove(0);
        drop(near);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let tcp = Tcp::new(stream).expect("options");
        let timeout = || tcp.stream.read_timeout().expect("an option").expect("set");
        tcp.set_read_timeout(Some(Duration::from_secs(1))).expect("an option");
        let before = timeout();
        tcp.set_read_timeout(Some(Duration::from_micros(999_500))).expect("an option");
        assert_eq!(timeout(), before);
        tcp.set_read_timeout(Some(Duration::from_millis(500))).expect("an option");
        assert!(timeout() < before);
        tcp.set_read_timeout(None).expect("an option");
        assert_eq!(tcp.stream.read_timeout().expect("an option"), None);
    }
}
