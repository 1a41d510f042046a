//! `/file PATH` in the chat: a file is sent while the chat goes on.
//!
//! Each has a thread that waits for it and tells of its beginning, its end, and now and then of how
//! far it is.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::chat::Chat;
use super::meter::Meter;
use super::output::{Failure, chain};
use super::screen::Style;
use super::send_file::stored_line;
use crate::connection::UploadHandle;
use crate::error::Error;
use crate::escape::escape;
use crate::units::round_size;

/// How often one that takes long is told of.
const NEWS_EVERY: Duration = Duration::from_secs(10);

/// The files of a chat that are under way.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<JoinHandle<()>>);

impl Files {
    /// Begins to send a file, or says why not.
    pub(super) fn send(&mut self, chat: &Arc<Chat>, path: &str) -> Result<(), Failure> {
        self.0.retain(|file| !file.is_finished());
        if path.is_empty() {
            return chat.show(Style::Notice, "write it as /file PATH");
        }
        match chat.session.connection.upload(at_home(path)) {
            Ok(upload) => {
                let size = upload.progress().size.unwrap_or(0);
                let line = format!("sending {}, {}", escape(path), round_size(size));
                chat.show(Style::Notice, &line)?;
                let (chat, path) = (Arc::clone(chat), path.to_owned());
                let thread = thread::Builder::new().name("file".into());
                self.0.push(thread.spawn(move || follow(&chat, &path, &upload))?);
                Ok(())
            }
            Err(error) => chat.show(Style::Refused, &format!("  ✗ not sent: {}", chain(&error))),
        }
    }

    /// Waits for all of them.
    pub(super) fn finish(mut self, chat: &Chat) -> Result<(), Failure> {
        self.0.retain(|file| !file.is_finished());
        if !self.0.is_empty() {
            let files = if self.0.len() == 1 { "file is" } else { "files are" };
            let count = self.0.len();
            let line = format!("{count} {files} still under way; Ctrl-C leaves at once");
            chat.show(Style::Notice, &line)?;
        }
        for file in self.0 {
            let _ = file.join(); // a panic of its was told when it happened
        }
        Ok(())
    }
}

/// Waits for one, and tells of it. A terminal that is gone needs no more news.
fn follow(chat: &Chat, path: &str, upload: &UploadHandle) {
    let mut meter = Meter::default();
    let fate = loop {
        meter.note(upload.progress().sent, Instant::now());
        match upload.wait_timeout(NEWS_EVERY) {
            Err(Error::Timeout(..)) => {
                let progress = upload.progress();
                meter.note(progress.sent, Instant::now());
                let _ = chat.show(Style::Notice, &meter.line(path, progress.size));
            }
            fate => break fate,
        }
    };
    let _ = match fate {
        Ok(stored) => chat.show(Style::Good, &format!("  {}", stored_line(path, &stored))),
        Err(error) => {
            let line = format!("  ✗ {}: {}", escape(path), chain(&error));
            chat.show(Style::Refused, &line)
        }
    };
}

/// `~/x` in the home folder, as a shell has it.
fn at_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}
