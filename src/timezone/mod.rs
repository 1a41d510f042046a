//! The reader's time zone: its IANA name, and its offset at any moment.
//!
//! Pure. The name comes from `TZ` or from where the link `/etc/localtime` points; the offsets from
//! the bytes of a TZif file (RFC 8536), whose last line is a `rule` for the time behind its
//! table. Finding and reading these is left to the programs.

mod rule;

use std::time::SystemTime;

use crate::clock::{DAY, unix_milliseconds};
use crate::name::is_timezone;
use rule::Rule;

/// Offsets from UTC over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone {
    /// From when on which offset holds, in seconds, ascending.
    transitions: Vec<(i64, i32)>,
    before: i32,
    after: Option<Rule>,
}

impl TimeZone {
    /// Universal time.
    pub const UTC: Self = Self { transitions: Vec::new(), before: 0, after: None };

    /// The zone that the bytes of a TZif file describe, or `None` if they are not one.
    pub fn from_tzif(bytes: &[u8]) -> Option<Self> {
        let (header, data) = Header::read(bytes)?;
        if header.version == 1 {
            return header.zone(data, 4);
        }
        // Versions from 2 on repeat the data with 64-bit times behind the old one.
        let (header, data) = Header::read(data.get(header.size(4)..)?)?;
        let mut zone = header.zone(data, 8)?;
        let footer = str::from_utf8(data.get(header.size(8)..)?).ok()?;
        zone.after = Rule::parse(footer.trim_matches('\n'));
        Some(zone)
    }

    /// The zone of a rule as POSIX has it in `TZ` (`CET-1CEST,M3.5.0,M10.5.0/3`), or of
    /// `UTC+hh:mm`, which counts to the east.
    pub fn from_rule(text: &str) -> Option<Self> {
        if let Some(before) = offset_from_utc(text) {
            return Some(Self { before, ..Self::UTC });
        }
        Some(Self { after: Some(Rule::parse(text)?), ..Self::UTC })
    }

    /// Seconds to add to UTC at a time, in seconds since 1970.
    pub fn offset_at(&self, time: i64) -> i32 {
        let passed = self.transitions.partition_point(|(start, _)| *start <= time);
        match &self.after {
            Some(rule) if passed == self.transitions.len() => rule.offset_at(time),
            _ if passed == 0 => self.before,
            _ => self.transitions[passed - 1].1,
        }
    }

    /// The local time as `HH:MM`.
    pub fn hours_minutes(&self, time: SystemTime) -> String {
        let seconds = unix_milliseconds(time).div_euclid(1000);
        let local = (seconds + i64::from(self.offset_at(seconds))).rem_euclid(DAY);
        format!("{:02}:{:02}", local / 3600, local / 60 % 60)
    }
}

/// The zone's name in a value of `TZ`, or in the target of the link `/etc/localtime`. It names no
/// path but one below the folder of zones.
pub fn name_in(text: &str) -> Option<&str> {
    let text = text.strip_prefix(':').unwrap_or(text);
    let name = text.rsplit_once("zoneinfo/").map_or(text, |(_, name)| name);
    let name = name.strip_prefix("posix/").or(name.strip_prefix("right/")).unwrap_or(name);
    is_timezone(name).then_some(name)
}

/// `UTC+hh:mm` in seconds.
fn offset_from_utc(text: &str) -> Option<i32> {
    let (hours, minutes) = text.strip_prefix("UTC")?.split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let sign = if text.starts_with("UTC-") { -1 } else { 1 };
    is_timezone(text).then_some(hours * 3600 + sign * minutes * 60)
}

/// The counts at the head of a TZif block.
struct Header {
    version: u8,
    universal: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
}

impl Header {
    /// The header, and what follows it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, data) = bytes.split_at_checked(44)?;
        let version = match (&header[..4], header[4]) {
            (b"TZif", 0) => 1,
            (b"TZif", later @ b'2'..) => later - b'0',
            _ => return None,
        };
        let mut counts = header[20..].chunks_exact(4);
        let mut next = || usize::try_from(number(counts.next()?)).ok();
        let [universal, standard, leaps] = [next()?, next()?, next()?];
        let [times, types, letters] = [next()?, next()?, next()?];
        Some((Self { version, universal, standard, leaps, times, types, letters }, data))
    }

    /// Bytes of data behind the header, where a time takes `width` bytes.
    fn size(&self, width: usize) -> usize {
        [(self.times, width + 1), (self.types, 6), (self.letters, 1), (self.leaps, width + 4)]
            .into_iter()
            .chain([(self.standard, 1), (self.universal, 1)])
            .fold(0, |sum, (count, size)| sum.saturating_add(count.saturating_mul(size)))
    }

    /// The table: times, then for each time the number of its type, then the types.
    fn zone(&self, data: &[u8], width: usize) -> Option<TimeZone> {
        let (times, rest) = data.split_at_checked(self.times.checked_mul(width)?)?;
        let (kinds, rest) = rest.split_at_checked(self.times)?;
        let types = rest.get(..self.types.checked_mul(6)?)?;
        let offset = |kind: usize| {
            let offset = number(types.chunks_exact(6).nth(kind)?.get(..4)?) as i32;
            (offset.unsigned_abs() < 2 * DAY as u32).then_some(offset)
        };
        let transitions = times
            .chunks_exact(width)
            .zip(kinds)
            .map(|(time, kind)| Some((number(time), offset(usize::from(*kind))?)))
            .collect::<Option<Vec<_>>>()?;
        let sorted = transitions.is_sorted_by_key(|(time, _)| *time);
        sorted.then_some(TimeZone { transitions, before: offset(0)?, after: None })
    }
}

/// A big-endian number of 4 or 8 bytes with its sign.
fn number(bytes: &[u8]) -> i64 {
    let first = if bytes.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
    bytes.iter().fold(first, |number, byte| number << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// A TZif file of version 2 with these transitions, types (offsets) and footer.
    fn tzif(transitions: &[(i64, u8)], offsets: &[i32], footer: &str) -> Vec<u8> {
        let mut file = Vec::new();
        for width in [4, 8] {
            file.extend(b"TZif2");
            file.extend([0; 15]);
            for count in [0, 0, 0, transitions.len(), offsets.len(), 4] {
                file.extend((count as u32).to_be_bytes());
            }
            for (time, _) in transitions {
                file.extend(&time.to_be_bytes()[8 - width..]);
            }
            file.extend(transitions.iter().map(|(_, kind)| kind));
            for offset in offsets {
                file.extend(offset.to_be_bytes());
                file.extend([0, 0]);
            }
            file.extend(b"ABC\0");
        }
        file.extend(format!("\n{footer}\n").bytes());
        file
    }

    #[test]
    fn offsets_come_from_the_table_then_from_the_rule() {
        let file = tzif(&[(1000, 1), (2000, 2)], &[60, 3600, 7200], "CET-1CEST,M3.5.0,M10.5.0/3");
        let zone = TimeZone::from_tzif(&file).unwrap();
        for (time, offset) in [(-5, 60), (999, 60), (1000, 3600), (1999, 3600)] {
            assert_eq!(zone.offset_at(time), offset, "{time}");
        }
        assert_eq!(zone.offset_at(1_785_000_000), 7200); // July 2026
        assert_eq!(zone.offset_at(1_795_179_300), 3600); // November 2026

        let zone = TimeZone::from_tzif(&tzif(&[(1000, 1)], &[60, -3600], "")).unwrap();
        assert_eq!(zone.offset_at(1 << 40), -3600, "without a rule, the last transition holds");
    }

    #[test]
    fn what_is_no_tzif_file_is_no_zone() {
        let file = tzif(&[(1000, 1), (2000, 0)], &[60, 3600], "");
        for end in 0..file.len() - 2 {
            assert_eq!(TimeZone::from_tzif(&file[..end]), None, "cut at {end}");
        }
        assert_eq!(TimeZone::from_tzif(&tzif(&[(1000, 7)], &[60], "")), None, "an unknown type");
        assert_eq!(TimeZone::from_tzif(&tzif(&[(9, 0), (8, 0)], &[60], "")), None, "unsorted");
        let mut vast = file.clone();
        vast[20..44].fill(0xFF);
        assert_eq!(TimeZone::from_tzif(&vast), None, "counts beyond all memory");
    }

    #[test]
    fn the_time_is_shown_in_the_zone() {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_179_300); // 12:55 UTC
        assert_eq!(TimeZone::UTC.hours_minutes(time), "12:55");
        for (rule, shown) in [
            ("UTC+05:30", "18:25"),
            ("UTC-13:30", "23:25"),
            ("EST5EDT", "07:55"),
            ("<+0545>-5:45", "18:40"),
        ] {
            let zone = TimeZone::from_rule(rule).unwrap();
            assert_eq!(zone.hours_minutes(time), shown, "{rule}");
        }
    }

    #[test]
    fn names_are_found_and_judged() {
        for (text, name) in [
            ("Europe/Paris", Some("Europe/Paris")),
            (":America/Argentina/Buenos_Aires", Some("America/Argentina/Buenos_Aires")),
            ("/usr/share/zoneinfo/Etc/GMT+1", Some("Etc/GMT+1")),
            ("../usr/share/zoneinfo/posix/Asia/Tokyo", Some("Asia/Tokyo")),
            ("UTC", Some("UTC")),
            ("UTC+05:30", Some("UTC+05:30")),
            ("UTC+15:00", None),
            ("UTC+5:3x", None),
            ("", None),
            ("Europe/", None),
            ("Europe/../../etc/passwd", None),
            ("/etc/passwd", None),
            ("a b", None),
            ("CET-1CEST,M3.5.0,M10.5.0/3", None),
        ] {
            assert_eq!(name_in(text), name, "{text}");
        }
    }
}
