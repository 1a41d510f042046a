//! Where a setting came from, and what is wrong with it there.

use std::fmt;

use crate::escape::escape;

/// Where the value of a setting came from. A later one wins over an earlier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// No one set it.
    Default,
    /// A line of a file: its name, and the line from 1.
    File(String, usize),
    /// A variable of the environment, by its name.
    Environment(String),
    /// `--set` on the command line, with its `section.key`.
    Set(String),
    /// A flag of its own on the command line, such as `--bind`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name, line) => write!(f, "{}:{line}", escape(name)),
            Self::Environment(name) => write!(f, "environment {}", escape(name)),
            Self::Set(path) => write!(f, "--set {}", escape(path)),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A configuration that cannot be used. Its `Display` is one line: where, what, and what would be
/// right; safe to show on a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    pub(super) fn new(origin: &Origin, problem: &str) -> Self {
        Self(format!("{origin}: {}", escape(problem)))
    }

    /// A value that a setting cannot have, shown as it was written.
    pub(super) fn value(origin: &Origin, name: &str, value: &str, problem: &str) -> Self {
        let written = match origin {
            Origin::Default | Origin::File(..) => format!("{origin}: {name} = "),
            Origin::Environment(_) | Origin::Set(_) => format!("{origin}="),
            Origin::Flag(_) => format!("{origin} "),
        };
        Self(format!("{written}'{}': {problem}", escape(value)))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
