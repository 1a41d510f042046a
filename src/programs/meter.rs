//! How fast a file goes, and the line that tells of it.
//!
//! Pure: time comes in as an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::escape::escape;
use crate::units::round_size;

/// The rate is that of so long: short enough to follow a network, long enough not to jump.
const SPAN: Duration = Duration::from_secs(3);
/// Before that, no rate is told.
const LEAST: Duration = Duration::from_millis(200);

/// What was sent of one file, and when.
#[derive(Debug, Default)]
pub(super) struct Meter(VecDeque<(Instant, u64)>);

impl Meter {
    /// So many bytes are there by now.
    pub(super) fn note(&mut self, bytes: u64, now: Instant) {
        self.0.push_back((now, bytes));
        while self.0.get(1).is_some_and(|(time, _)| now.duration_since(*time) >= SPAN) {
            self.0.pop_front();
        }
    }

    /// Bytes a second, if there were any.
    fn rate(&self) -> Option<u64> {
        let ((first, before), (last, after)) = (self.0.front()?, self.0.back()?);
        let time = last.duration_since(*first);
        let rate = u128::from(after.saturating_sub(*before)) * 1000 / time.as_millis().max(1);
        (time >= LEAST && rate > 0).then_some(rate as u64)
    }

    /// `photo.jpg  1.2 / 2.1 MiB  57%  0.5 MiB/s  0:02 left`; of unknown size, without the size.
    pub(super) fn line(&self, name: &str, size: Option<u64>) -> String {
        let sent = self.0.back().map_or(0, |(_, bytes)| *bytes);
        let rate = self.rate();
        let mut words = vec![escape(name).to_string(), amount(sent, size)];
        if let Some(size) = size.filter(|size| *size > 0) {
            words.push(format!("{}%", u128::from(sent) * 100 / u128::from(size)));
        }
        if let Some(rate) = rate {
            words.push(format!("{}/s", round_size(rate)));
        }
        if let (Some(rate), Some(size)) = (rate, size) {
            words.push(format!("{} left", clock(size.saturating_sub(sent).div_ceil(rate))));
        }
        words.join("  ")
    }
}

/// `1.2 / 2.1 MiB`, with one unit where it is the same.
fn amount(sent: u64, size: Option<u64>) -> String {
    let Some(size) = size else { return round_size(sent) };
    let (sent, size) = (round_size(sent), round_size(size));
    match (sent.split_once(' '), size.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} / {size}"),
        _ => format!("{sent} / {size}"),
    }
}

/// `0:07`, `12:34`, `1:02:03`.
fn clock(seconds: u64) -> String {
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    match minutes / 60 {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{:02}:{seconds:02}", minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_line_tells_how_far_how_fast_and_how_long() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut meter = Meter::default();
        assert_eq!(meter.line("a\u{1b}", Some(2 * MIB)), "a\\u{1b}  0 B / 2.0 MiB  0%");
        meter.note(0, start);
        assert_eq!(meter.line("a", None), "a  0 B", "no rate yet");
        meter.note(MIB, at(1000));
        let line = "a  1.0 / 100 MiB  1%  1.0 MiB/s  1:39 left";
        assert_eq!(meter.line("a", Some(100 * MIB)), line);
        assert_eq!(meter.line("a", None), "a  1.0 MiB  1.0 MiB/s");
        // What was long ago does not count: from 2 to 5 s it is 7 MiB a second.
        meter.note(2 * MIB, at(2000));
        meter.note(23 * MIB, at(5000));
        assert_eq!(
            meter.line("a", Some(23 * MIB)),
            "a  23.0 / 23.0 MiB  100%  7.0 MiB/s  0:00 left"
        );
        assert_eq!(meter.line("empty", Some(0)), "empty  23.0 MiB / 0 B  7.0 MiB/s  0:00 left");
    }

    #[test]
    fn time_is_told_as_a_clock_does() {
        for (seconds, text) in [(0, "0:00"), (67, "1:07"), (3600, "1:00:00"), (45_296, "12:34:56")]
        {
            assert_eq!(clock(seconds), text);
        }
    }
}
