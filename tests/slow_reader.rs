//! One of many receivers stops reading, and nobody else feels it: all that was sent reaches the
//! others, in order and without a long pause, and the server's memory stays within its log.
//!
//! The server is a process of its own, so that its memory can be measured, as `/proc` tells it.
#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::SOON;
use common::raw::Raw;
use tcpkit::Connection;
use tcpkit::codec::decode;
use tcpkit::message::Frame;
use tcpkit::settings::Settings;

const MIB: u64 = 1 << 20;
/// What is sent: 200 MB in so many messages.
const MESSAGES: u64 = 10_000;
const MESSAGE_SIZE: usize = 20_000;
/// How many receivers read all the time; one more does not.
const READERS: usize = 19;
/// What the server may take beside its log.
const SPARE_MEMORY: u64 = 16 * MIB;
/// What a busy machine may add to the time that others may have to wait.
const SLACK: Duration = Duration::from_secs(2);
/// For the whole of what is sent.
const LONG: Duration = Duration::from_secs(120);

/// The lines of a pipe, as they come.
fn lines_of(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || {
        // To the end, also when nobody wants to know: the process must not wait for its reader.
        BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| drop(tell.send(line)));
    });
    lines
}

/// A server in a process of its own, which ends with this value.
struct Process {
    child: Child,
    addr: SocketAddr,
    /// The lines of its log.
    log: mpsc::Receiver<String>,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
            .env_clear()
            .args(["--bind", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().expect("a pipe");
        let (first_line, log) = (lines_of(stdout), lines_of(stderr));
        let ready = first_line.recv_timeout(SOON).expect("the ready line");
        let addr = ready.rsplit(' ').next().and_then(|addr| addr.parse().ok());
        Self { child, addr: addr.expect("an address in the ready line"), log }
    }

    /// The most memory that the process has had so far, in bytes.
    fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.expect("VmHWM in kB").parse::<u64>().expect("a number") * 1024
    }

    /// Waits for a line of the log that holds all of `words`.
    fn has_logged(&self, words: &[&str]) {
        let (start, mut lines) = (Instant::now(), Vec::new());
        while !lines
            .last()
            .is_some_and(|line: &String| words.iter().all(|word| line.contains(word)))
        {
            let left = SOON.saturating_sub(start.elapsed());
            let line = self.log.recv_timeout(left);
            lines.push(line.unwrap_or_else(|error| panic!("{error}, no {words:?} in {lines:#?}")));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The messages: each begins with its number, and is told from any other by that.
fn message(number: u64) -> Vec<u8> {
    let mut body = vec![0x5a; MESSAGE_SIZE];
    body[..8].copy_from_slice(&number.to_be_bytes());
    body
}

/// Reads until all messages have come, each once and in order. Gives the longest time between two.
fn receive_all(mut raw: Raw) -> Duration {
    let mut expected = message(1);
    let (mut number, mut last_seq, mut answers) = (1, 0, Vec::new());
    let (start, mut longest, mut last_came) = (Instant::now(), Duration::ZERO, None::<Instant>);
    raw.socket.set_read_timeout(Some(SOON)).expect("a socket");
    while number <= MESSAGES {
        assert!(start.elapsed() < LONG, "it takes too long: {number} of {MESSAGES}");
        let count = raw.socket.read(raw.framer.space()).expect("more, and soon");
        assert!(count > 0, "the end after {number} messages");
        raw.framer.filled(count);
        while let Some(received) = raw.framer.next_frame().expect("legal frames") {
            let (seq, body) = match decode(&received).expect("a legal frame") {
                Frame::RelayedBytes { seq, body, .. } => (seq, body),
                Frame::Joined { .. } | Frame::Left { .. } => continue,
                Frame::Ping { nonce } => {
                    Frame::Pong { nonce }.encode(&mut answers);
                    continue;
                }
                other => panic!("kind {:#x} is not expected", other.kind()),
            };
            assert!(seq > last_seq && body == expected, "message {number}, seq {seq}");
            last_seq = seq;
            number += 1;
            expected[..8].copy_from_slice(&number.to_be_bytes());
            longest = longest.max(last_came.map_or(Duration::ZERO, |came| came.elapsed()));
            last_came = Some(Instant::now());
        }
        raw.send(&answers);
        answers.clear();
    }
    longest
}

fn one_that_does_not_read_harms_nobody(log: u64) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Process::start(&["--set", &format!("relay.log={log}")]);
    let _stalled = Raw::join(server.addr, "stalled");
    let readers: Vec<_> =
        (0..READERS).map(|index| Raw::join(server.addr, &format!("reader-{index}"))).collect();
    let sender = Connection::builder()
        .name("sender")
        .send_only(true)
        .connect(&server.addr.to_string())
        .expect("a connection");
    let (before, start) = (server.peak_memory(), Instant::now());
    let receiving: Vec<_> =
        readers.into_iter().map(|reader| thread::spawn(move || receive_all(reader))).collect();
    for number in 1..=MESSAGES {
        sender.send_bytes(&message(number)).expect("it is taken");
    }
    sender.flush_timeout(LONG).expect("all is confirmed");
    let longest = receiving.into_iter().map(|reader| reader.join().expect("it got all")).max();
    let (took, longest) = (start.elapsed(), longest.expect("readers"));
    let grown = server.peak_memory() - before;
    let [log_kib, grown_kib] = [log, grown].map(|bytes| bytes / 1024);
    println!("{log_kib} KiB of log: {took:.1?}, pauses {longest:.2?}, memory {grown_kib} KiB more");
    assert!(grown <= log + SPARE_MEMORY, "the server took {grown} bytes more");
    let patience = Settings::default().relay.patience;
    assert!(longest < patience + SLACK, "somebody waited for {longest:?}");
    server.has_logged(&["away name=stalled", "reason=\"too slow a reader\""]);
}

#[test]
fn with_the_log_of_the_defaults() {
    one_that_does_not_read_harms_nobody(Settings::default().relay.log);
}

#[test]
fn with_a_smaller_log() {
    one_that_does_not_read_harms_nobody(16 * MIB);
}
