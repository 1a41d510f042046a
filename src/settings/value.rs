//! The forms that the values of settings have: text to value, value to text, and ranges.
//!
//! Errors say what would be right; the value, and where it stands, is known to the caller.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::message::Mode;
use crate::units::{format_duration, format_size, parse_duration, parse_size};

/// How a type of values is written. One type may have several: a number is a count or a size.
pub(super) trait Form<T> {
    fn parse(text: &str) -> Result<T, String>;
    fn format(value: &T) -> String;
}

pub(super) fn in_range<T: PartialOrd>(
    value: &T,
    range: &RangeInclusive<T>,
    format: fn(&T) -> String,
) -> Result<(), String> {
    if range.contains(value) {
        return Ok(());
    }
    Err(format!("it must be between {} and {}", format(range.start()), format(range.end())))
}

/// Any text that fits on a line.
pub(super) struct Text;

impl Form<String> for Text {
    fn parse(text: &str) -> Result<String, String> {
        if text.chars().any(char::is_control) {
            return Err("control characters are not allowed".into());
        }
        Ok(text.to_owned())
    }

    fn format(value: &String) -> String {
        value.clone()
    }
}

/// `HOST:PORT`; whether the host exists turns out when it is used.
pub(super) struct Address;

impl Form<String> for Address {
    fn parse(text: &str) -> Result<String, String> {
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Text::parse(text)
            }
            _ => Err("an address is a host and a port up to 65535: 127.0.0.1:5001".into()),
        }
    }

    fn format(value: &String) -> String {
        value.clone()
    }
}

/// A whole number, in digits.
pub(super) struct Count;

impl<T: FromStr + Display> Form<T> for Count {
    fn parse(text: &str) -> Result<T, String> {
        text.parse().map_err(|_| "a whole number is needed".into())
    }

    fn format(value: &T) -> String {
        value.to_string()
    }
}

/// A number of bytes.
pub(super) struct Size;

impl<T: TryFrom<u64> + Into<u64> + Copy> Form<T> for Size {
    fn parse(text: &str) -> Result<T, String> {
        let bytes = parse_size(text).map_err(|error| error.to_string())?;
        T::try_from(bytes).map_err(|_| "it must be below 4GiB".into())
    }

    fn format(value: &T) -> String {
        format_size((*value).into())
    }
}

/// A duration.
pub(super) struct Time;

impl Form<Duration> for Time {
    fn parse(text: &str) -> Result<Duration, String> {
        parse_duration(text).map_err(|error| error.to_string())
    }

    fn format(value: &Duration) -> String {
        format_duration(*value)
    }
}

/// One of a few words.
pub(super) struct Choice;

/// A type whose values have names.
pub(super) trait Named: Copy + PartialEq + 'static {
    /// The names, all in lower case.
    const NAMES: &'static [(&'static str, Self)];
}

impl<T: Named> Form<T> for Choice {
    fn parse(text: &str) -> Result<T, String> {
        if let Some((_, value)) = T::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text))
        {
            return Ok(*value);
        }
        let names: Vec<_> = T::NAMES.iter().map(|(name, _)| *name).collect();
        let (last, others) = names.split_last().unwrap_or((&"", &[]));
        Err(format!("it must be {} or {last}", others.join(", ")))
    }

    fn format(value: &T) -> String {
        let name = T::NAMES.iter().find(|(_, named)| named == value);
        name.map_or_else(String::new, |(name, _)| (*name).to_owned())
    }
}

impl Named for Mode {
    const NAMES: &'static [(&'static str, Self)] =
        &[("relay", Self::Relay), ("turn", Self::Turn), ("echo", Self::Echo)];
}

/// How important a line of the log is; the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server cannot do its work.
    Error,
    /// Something is wrong, and somebody should look at it.
    Warn,
    /// What happens: clients come and go.
    Info,
    /// Every detail, for finding faults.
    Debug,
}

impl Named for Level {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];
}

/// Whether output has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Named for Colour {
    const NAMES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("always", Self::Always), ("never", Self::Never)];
}

/// What happens to a player that lets the time for its turn pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTimeout {
    /// The turn passes to the next one.
    Skip,
    /// So too; and after some in a row its session is ended.
    TurnOut,
}

impl Named for OnTimeout {
    const NAMES: &'static [(&'static str, Self)] =
        &[("skip", Self::Skip), ("turn-out", Self::TurnOut)];
}

/// What sending does when too much waits for its confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// It waits until some of it is confirmed.
    Block,
    /// It fails.
    Fail,
}

impl Named for OnFull {
    const NAMES: &'static [(&'static str, Self)] = &[("block", Self::Block), ("fail", Self::Fail)];
}

/// Whether a file is synced to the disk before it counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// It is: what is confirmed survives a loss of power.
    On,
    /// It is left to the operating system, which is faster.
    Off,
}

impl Named for Sync {
    const NAMES: &'static [(&'static str, Self)] = &[("on", Self::On), ("off", Self::Off)];
}
