//! Where a chat shows what comes: above the half-typed line of a terminal, or on stdout and stderr.

use std::env;
use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::output::{Failure, print, tell};
use super::terminal::{columns_in, insert_above, wrap};
use crate::settings::Colour;

/// For how long a measured width holds: the window may be resized, and measuring takes a process.
const WIDTH_HOLDS: Duration = Duration::from_secs(1);
/// Where the width cannot be found out.
const USUAL_WIDTH: usize = 80;

/// What a line is, and so how it looks and where it goes without a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A message, beginning with its time: a result, for stdout.
    Message,
    /// What else happens, for stderr.
    Notice,
    /// A message was accepted; only a terminal is told.
    Good,
    /// A message was not accepted, for stderr.
    Refused,
}

#[derive(Debug)]
pub(super) struct Screen {
    ansi: bool,
    colour: bool,
    width: Option<(Instant, usize)>,
}

impl Screen {
    /// Finds out what stdin and stdout are.
    pub(super) fn new(colour: Colour) -> Self {
        let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let ansi = on_terminal() && !dumb;
        let wanted = match colour {
            Colour::Auto => env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            Colour::Always => true,
            Colour::Never => false,
        };
        Self { ansi, colour: ansi && wanted, width: None }
    }

    /// Shows one line.
    ///
    /// # Errors
    /// When stdout is gone.
    pub(super) fn show(&mut self, style: Style, line: &str) -> Result<(), Failure> {
        if self.ansi {
            let rows = wrap(line, self.columns());
            let painted = rows.iter().enumerate().map(|(index, row)| self.paint(style, row, index));
            return print(&painted.map(|row| insert_above(&row)).collect::<String>());
        }
        match style {
            Style::Message => print(&format!("{line}\n"))?,
            Style::Notice | Style::Refused => tell(line),
            Style::Good => {}
        }
        Ok(())
    }

    /// Leaves a line that may be half-typed, so that what follows stands below it.
    pub(super) fn leave(&self) {
        if self.ansi {
            let _ = print("\n");
        }
    }

    fn paint(&self, style: Style, row: &str, index: usize) -> String {
        let (dimmed, rest) = match style {
            _ if !self.colour => return row.to_owned(),
            Style::Good => return format!("\x1b[32m{row}\x1b[m"),
            Style::Refused => return format!("\x1b[31m{row}\x1b[m"),
            Style::Notice => (row, ""),
            Style::Message if index == 0 => row.split_once(' ').unwrap_or((row, "")),
            Style::Message => return row.to_owned(),
        };
        let blank = if rest.is_empty() { "" } else { " " };
        format!("\x1b[2m{dimmed}\x1b[m{blank}{rest}")
    }

    /// The terminal's width, as `stty` tells it, since `std` cannot.
    pub(super) fn columns(&mut self) -> usize {
        if let Some((measured, columns)) = self.width
            && measured.elapsed() < WIDTH_HOLDS
        {
            return columns;
        }
        let mut stty = Command::new("stty");
        stty.arg("size").stdin(Stdio::inherit()).stderr(Stdio::null());
        let told = stty.output().ok().map(|output| output.stdout).unwrap_or_default();
        let columns = columns_in(&String::from_utf8_lossy(&told)).unwrap_or(USUAL_WIDTH);
        self.width = Some((Instant::now(), columns));
        columns
    }
}

/// Whether someone sits there: stdin and stdout are both a terminal.
pub(super) fn on_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}
