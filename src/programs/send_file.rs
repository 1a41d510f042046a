//! `client send-file`: files, and stdin, each stored whole before the program ends.
//!
//! A few files are begun ahead, so that small ones do not wait for one another's round trips; their
//! fates are told in order. What is stored goes to stdout, what is not to stderr; on a terminal
//! stderr also shows how far the first of them is, in one line that is drawn anew.

use std::collections::VecDeque;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::OnTermination;
use super::json;
use super::meter::Meter;
use super::output::{Failure, KILLED, NOT_DELIVERED, chain, print, tell};
use super::screen::Screen;
use super::session::Session;
use super::terminal::wrap;
use crate::connection::{Progress, Stored, UploadHandle};
use crate::error::Error;
use crate::escape::escape;
use crate::settings::Colour;
use crate::units::round_size;

/// How many files are open at once. A server takes fewer at a time; those that wait are ready.
const AHEAD: usize = 32;
/// The time between two looks at the progress, and so between two drawings of its line.
const TICK: Duration = Duration::from_millis(100);
/// The time between two progress events of `--json`.
const EVENT_EVERY: Duration = Duration::from_secs(1);
/// How long an interrupted program waits for the server's word on what it cancels.
const CANCEL_WAIT: Duration = Duration::from_secs(2);
/// What kind of content stdin is: unknown.
const ANY_TYPE: &str = "application/octet-stream";

/// What to send, and how to tell of it.
#[derive(Debug)]
pub(super) struct Options {
    /// Files in order; `-` is stdin, and there at most once.
    pub(super) paths: Vec<String>,
    /// What stdin's content is called.
    pub(super) name: String,
    pub(super) json: bool,
}

/// Sends all of it. One that fails keeps back no other.
pub(super) fn run(
    session: &Arc<Session>,
    options: &Options,
    on_termination: OnTermination,
) -> Result<(), Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    cancel_on(on_termination, session, &interrupted)?;
    let mut sending =
        Sending { session, interrupted: &interrupted, teller: Teller::new(options), stored: 0 };
    let mut begun: VecDeque<(&str, UploadHandle)> = VecDeque::new();
    for path in &options.paths {
        if begun.len() >= AHEAD {
            let (path, upload) = begun.pop_front().unzip();
            if let (Some(path), Some(upload)) = (path, upload) {
                sending.finish(path, &upload);
            }
        }
        if sending.is_interrupted() {
            break;
        }
        if path == "-" {
            sending.send_stdin(&options.name);
            continue;
        }
        match session.connection.upload(path) {
            Ok(upload) => {
                sending.teller.begun(path, upload.progress());
                begun.push_back((path, upload));
            }
            Err(error) => sending.teller.failed(path, &error),
        }
    }
    while let Some((path, upload)) = begun.pop_front() {
        sending.finish(path, &upload);
    }
    sending.verdict(options.paths.len())
}

/// On a first signal has all cancelled. What keeps that from being done, a stdin that gives nothing
/// or a server that is away, is left behind soon. A second signal ends the program at once.
fn cancel_on(
    on_termination: OnTermination,
    session: &Arc<Session>,
    interrupted: &Arc<AtomicBool>,
) -> Result<(), Failure> {
    let (session, interrupted) = (Arc::clone(session), Arc::clone(interrupted));
    let callback = move |count| {
        if count > 1 {
            process::exit(KILLED.into());
        }
        interrupted.store(true, Ordering::Release);
        let session = Arc::clone(&session);
        let leave = move || {
            thread::sleep(CANCEL_WAIT);
            session.close();
            tell("client: not all is stored: interrupted");
            process::exit(NOT_DELIVERED.into());
        };
        if thread::Builder::new().name("goodbye".into()).spawn(leave).is_err() {
            process::exit(KILLED.into());
        }
    };
    Ok(on_termination(Box::new(callback))?)
}

struct Sending<'a> {
    session: &'a Session,
    interrupted: &'a AtomicBool,
    teller: Teller,
    stored: usize,
}

impl Sending<'_> {
    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// Waits for the fate of one, showing how far it is, and tells of it.
    fn finish(&mut self, path: &str, upload: &UploadHandle) {
        let fate = loop {
            match upload.wait_timeout(TICK) {
                Err(Error::Timeout(..)) => {}
                fate => break fate,
            }
            self.look(path, upload.progress());
            if self.is_interrupted() {
                upload.cancel();
            }
        };
        self.tell_fate(path, fate);
    }

    fn send_stdin(&mut self, name: &str) {
        let connection = &self.session.connection;
        let mut looked: Option<Instant> = None;
        let fate = connection.send_stream(name, ANY_TYPE, io::stdin().lock(), |progress| {
            if looked.is_none_or(|looked| looked.elapsed() >= TICK) {
                looked = Some(Instant::now());
                self.look(name, progress);
            }
            if self.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.tell_fate(name, fate);
    }

    /// Shows how far it is, and what becomes of the connection.
    fn look(&mut self, path: &str, progress: Progress) {
        while let Ok(Some(event)) = self.session.connection.try_recv() {
            self.teller.clear();
            self.session.tell_of_connection(&event);
        }
        self.teller.progress(path, progress);
    }

    fn tell_fate(&mut self, path: &str, fate: Result<Stored, Error>) {
        match fate {
            Ok(stored) => {
                self.stored += 1;
                self.teller.stored(path, &stored);
            }
            Err(error) => self.teller.failed(path, &error),
        }
    }

    fn verdict(self, files: usize) -> Result<(), Failure> {
        if self.stored == files {
            return self.teller.outcome;
        }
        let cause = if self.is_interrupted() { "interrupted; " } else { "" };
        let files = if files == 1 { "1 file".into() } else { format!("{files} files") };
        let text = format!("not all is stored: {cause}{} of {files}", self.stored);
        Err(Failure::new(NOT_DELIVERED, text))
    }
}

/// Shows what happens: for people, or as JSON.
struct Teller {
    json: bool,
    /// For the line that is drawn anew, if there is one; and whether it stands there now.
    screen: Option<Screen>,
    is_drawn: bool,
    meter: Meter,
    /// The file that is measured.
    measured: String,
    reported: Option<Instant>,
    /// A stdout that is gone does not stop what is under way.
    outcome: Result<(), Failure>,
}

impl Teller {
    fn new(options: &Options) -> Self {
        let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let draws = io::stderr().is_terminal() && !dumb && !options.json;
        Self {
            json: options.json,
            screen: draws.then(|| Screen::new(Colour::Never)),
            is_drawn: false,
            meter: Meter::default(),
            measured: String::new(),
            reported: None,
            outcome: Ok(()),
        }
    }

    fn begun(&mut self, path: &str, progress: Progress) {
        if self.json {
            self.print(&json::file("begun", path).size(progress.size).line());
        }
    }

    fn progress(&mut self, path: &str, progress: Progress) {
        let now = Instant::now();
        if self.measured != path {
            path.clone_into(&mut self.measured);
            self.meter = Meter::default();
            self.reported = None;
        }
        self.meter.note(progress.sent, now);
        if self.json {
            if self.reported.is_none_or(|reported| now.duration_since(reported) >= EVENT_EVERY) {
                self.reported = Some(now);
                let Progress { sent, stored, size, .. } = progress;
                let event = json::file("progress", path).count("sent", sent);
                self.print(&event.count("stored", stored).size(size).line());
            }
            return;
        }
        let Some(screen) = &mut self.screen else { return };
        let line = self.meter.line(path, progress.size);
        let rows = wrap(&line, screen.columns().saturating_sub(1));
        let row = rows.first().map_or("", |row| row);
        let _ = write!(io::stderr().lock(), "\r{row}\x1b[K");
        self.is_drawn = true;
    }

    /// Takes the line away that is drawn anew.
    fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }

    fn stored(&mut self, path: &str, stored: &Stored) {
        if self.json {
            let event = json::file("stored", path).text("path", &stored.path);
            self.print(&event.size(Some(stored.size)).line());
            return;
        }
        self.clear();
        self.print(&stored_line(path, stored));
    }

    fn failed(&mut self, path: &str, error: &Error) {
        let problem = chain(error);
        if self.json {
            self.print(&json::file("not-stored", path).text("problem", &problem).line());
            return;
        }
        self.clear();
        match error {
            Error::Content { .. } => tell(&problem), // it names the file itself
            _ => tell(&format!("{}: {problem}", escape(path))),
        }
    }

    fn print(&mut self, line: &str) {
        if self.outcome.is_ok() {
            self.outcome = print(&format!("{line}\n"));
        }
    }
}

/// `photo.jpg  2.1 MiB  ✓ saved as alice/photo.jpg`
pub(super) fn stored_line(path: &str, stored: &Stored) -> String {
    let size = round_size(stored.size);
    format!("{}  {size}  ✓ saved as {}", escape(path), escape(&stored.path))
}
