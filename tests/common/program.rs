//! The programs `server` and `client` as processes, and what they print, line by line, with when
//! it came.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;

use super::{PACE, SOON, eventually};

/// A line that a program has printed.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

/// How many lines are shown where one is missing.
const SHOWN: usize = 50;

/// The lines of a pipe, which a thread takes to its end, so that the program never waits for its
/// reader, and a wait for a line can have a deadline.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Vec<Line>>, Condvar)>);

impl Lines {
    /// Only lines of which `keep` says so are kept.
    fn of(
        pipe: impl Read + Send + 'static,
        mut keep: impl FnMut(&str) -> bool + Send + 'static,
    ) -> Self {
        let lines = Self::default();
        let taken = lines.clone();
        thread::spawn(move || {
            for text in BufReader::new(pipe).lines().map_while(Result::ok) {
                let at = Instant::now();
                if keep(&text) {
                    let (lines, came) = &*taken.0;
                    lines.lock().unwrap_or_else(PoisonError::into_inner).push(Line { at, text });
                    came.notify_all();
                }
            }
        });
        lines
    }

    /// Waits until `find` is content with the lines that have come; if it never is, gives the
    /// last of them. It must not ask for them itself.
    pub(crate) fn wait<T>(
        &self,
        limit: Duration,
        mut find: impl FnMut(&[Line]) -> Option<T>,
    ) -> Result<T, String> {
        let (lines, came) = &*self.0;
        let until = Instant::now() + limit;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&lines) {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let texts: Vec<_> = lines.iter().rev().take(SHOWN).map(|line| &line.text).collect();
                return Err(format!(
                    "nothing of that kind; the last lines, newest first: {texts:#?}"
                ));
            }
            lines = came.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a line that contains all of `words`, and gives the first.
    pub(crate) fn told(&self, words: &[&str]) -> Line {
        let is_it = |line: &&Line| words.iter().all(|word| line.text.contains(word));
        let line = self.wait(SOON, |lines| lines.iter().find(is_it).cloned());
        line.unwrap_or_else(|complaint| panic!("{words:?}: {complaint}"))
    }

    /// How many lines contain `words`, of those that have come.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.texts().iter().filter(|text| text.contains(words)).count()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| line.text.clone()).collect()
    }
}

/// A program that runs, without the settings that this machine may have; it is killed when its test
/// is over.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Program {
    /// A server on a free port of `host`, once it listens, and its address.
    pub(crate) fn serve(host: &str, arguments: &[&str]) -> (Self, SocketAddr) {
        let mut command = Command::new(cargo_bin!("server"));
        command.args(["--bind", &format!("{host}:0")]).args(arguments);
        let server = Self::start(command);
        let address = server.address();
        (server, address)
    }

    /// The client, as `name`.
    pub(crate) fn client(address: SocketAddr, name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(cargo_bin!("client"));
        command.args(["--server", &address.to_string(), "--name", name]).args(arguments);
        Self::start(command)
    }

    pub(crate) fn start(command: Command) -> Self {
        Self::start_keeping(command, |_| true)
    }

    /// Of stdout, only lines of which `keep` says so are kept.
    pub(crate) fn start_keeping(
        mut command: Command,
        keep: impl FnMut(&str) -> bool + Send + 'static,
    ) -> Self {
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Lines::of(child.stdout.take().expect("a pipe"), keep);
        let stderr = Lines::of(child.stderr.take().expect("a pipe"), |_| true);
        Self { stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address that a server's first line tells.
    pub(crate) fn address(&self) -> SocketAddr {
        let ready = self.stdout.told(&["listening on "]).text;
        let address = ready.rsplit(' ').next().and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no address in {ready}"))
    }

    /// Its stdin; the program reads its end when this is dropped.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("once")
    }

    /// Sends lines, and then the end of the input.
    pub(crate) fn feed(&mut self, lines: &str) {
        self.stdin().write_all(lines.as_bytes()).expect("the program reads");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Stops it, and waits until none of its threads runs any more.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
        let threads = format!("/proc/{}/task", self.child.id());
        eventually(|| {
            let threads = fs::read_dir(&threads).expect("it runs").flatten();
            let stats =
                threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
            // Behind the name, which is in brackets, stands the state; T is stopped.
            let running = stats.filter(|stat| !stat.contains(") T ")).count();
            if running == 0 { Ok(()) } else { Err(format!("{running} threads still run")) }
        });
    }

    /// Lets one that was stopped go on.
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Ends it without a chance to say anything, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
    }

    /// Its exit code, once it has ended.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.code_within(SOON)
    }

    pub(crate) fn code_within(&mut self, limit: Duration) -> Option<i32> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end: {:?}", self.stderr.texts());
            thread::park_timeout(PACE); // between two looks
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
