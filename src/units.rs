//! Durations and sizes as people write them: `20`, `0.5`, `250ms`, `2m`; `4096`, `64KiB`, `1.5MB`.
//!
//! Pure and exact: no floating point, and what was formatted parses to the same value. What is a
//! sensible duration or size is decided by [`crate::settings`].

use std::fmt;
use std::time::Duration;

/// The longest duration that is taken, 365 days: nobody waits for longer on purpose.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Units of a duration, in nanoseconds. The first is that of a bare number, and preferred.
const DURATIONS: &[(&str, u64)] = &[
    ("", 1_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Units of a size, in bytes, those preferred first.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Why a text is not a duration or not a size; its `Display` says what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitError(&'static str);

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UnitError {}

const NOT_A_DURATION: UnitError =
    UnitError("a duration is seconds (5, 0.5) or has a unit (250ms, 2m, 1h)");
const DURATION_TOO_LONG: UnitError = UnitError("a duration is at most 365 days");
const NOT_A_SIZE: UnitError =
    UnitError("a size is bytes (4096) or has a unit (64KiB, 1.5MiB, 2GiB, 10MB)");
const SIZE_TOO_LARGE: UnitError = UnitError("a size is at most 16777215TiB");

/// Reads a duration: seconds, or a number with `us`, `ms`, `s`, `m`, `h` or `d`, in any case.
///
/// # Errors
/// What is not a number with such a unit, is finer than a nanosecond, or is above
/// [`DURATION_MAX`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let nanoseconds = quantity(text, DURATIONS).ok_or(NOT_A_DURATION)?;
    match u64::try_from(nanoseconds).map(Duration::from_nanos) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err(DURATION_TOO_LONG),
    }
}

/// Reads a size: bytes, or a number with `KiB`, `MiB`, `GiB`, `TiB` (of 1,024) or `KB`, `MB`,
/// `GB`, `TB` (of 1,000), in any case.
///
/// # Errors
/// What is not a number with such a unit, is no whole number of bytes, or does not fit a `u64`.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let bytes = quantity(text, SIZES).ok_or(NOT_A_SIZE)?;
    u64::try_from(bytes).map_err(|_| SIZE_TOO_LARGE)
}

/// Writes a duration in its shortest exact form; seconds without a unit where that is no longer.
pub fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let seconds = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.').to_owned();
    shortest(nanoseconds, DURATIONS).filter(|text| text.len() < seconds.len()).unwrap_or(seconds)
}

/// Writes a size in its shortest exact form; with a unit of 1,024 where that is no longer.
pub fn format_size(bytes: u64) -> String {
    shortest(u128::from(bytes), SIZES).unwrap_or_else(|| bytes.to_string())
}

/// Writes a size for people: in the unit of 1,024 that suits it, with one decimal where that is
/// below 100 (`2.1 MiB`, `512 B`).
pub fn round_size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (name, power) in units {
        let tenths = (u128::from(bytes) * 10 + (1 << power) / 2) >> power;
        if tenths >= 1000 {
            return format!("{} {name}", (tenths + 5) / 10);
        } else if tenths >= 10 {
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// A decimal number and its unit, in multiples of one; `None` unless it is one, and whole.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u128> {
    let number_end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.'));
    let (number, unit) = text.split_at(number_end.unwrap_or(text.len()));
    let (_, scale) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let digits = [whole, fraction].concat().parse::<u128>().ok()?;
    let scaled = digits.checked_mul(u128::from(*scale))?;
    let divisor = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    (scaled % divisor == 0).then_some(scaled / divisor)
}

/// The shortest of the units in which `value` is a whole number, the first of equally short ones.
fn shortest(value: u128, units: &[(&str, u64)]) -> Option<String> {
    units
        .iter()
        .filter(|(_, scale)| value.is_multiple_of(u128::from(*scale)))
        .map(|(name, scale)| format!("{}{name}", value / u128::from(*scale)))
        .min_by_key(String::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_for_people_has_two_or_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (972, "972 B"),
            (1023, "1.0 KiB"),
            (1024, "1.0 KiB"),
            (102_300, "99.9 KiB"),
            (102_400, "100 KiB"),
            (2_200_000, "2.1 MiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(round_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, milliseconds, back) in [
            ("5", 5_000, "5"),
            ("0.5", 500, "0.5"),
            ("0.25", 250, "0.25"),
            ("250ms", 250, "0.25"),
            ("1ms", 1, "1ms"),
            ("1.5 S", 1_500, "1.5"),
            ("2m", 120_000, "2m"),
            ("60", 60_000, "60"),
            ("0.5h", 1_800_000, "30m"),
            ("1H", 3_600_000, "1h"),
            ("365d", 31_536_000_000, "365d"),
            ("0", 0, "0"),
        ] {
            let duration = parse_duration(text).expect(text);
            assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(format_duration(duration), back);
            assert_eq!(parse_duration(back), Ok(duration));
        }
        let odd = Duration::new(1, 1);
        assert_eq!(parse_duration(&format_duration(odd)), Ok(odd));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", " ", "s", "-1", "+1", "NaN", "inf", "1e3", "1,5", ".5", "5.", "1.2.3", "5 parsecs"]
        {
            assert_eq!(parse_duration(text), Err(NOT_A_DURATION), "{text}");
        }
        assert_eq!(parse_duration("0.0000000001"), Err(NOT_A_DURATION));
        for text in ["366d", "99999999999999999999"] {
            assert_eq!(parse_duration(text), Err(DURATION_TOO_LONG), "{text}");
        }
        let nines = "9".repeat(100);
        assert!(parse_duration(&nines).is_err());
    }

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes, back) in [
            ("0", 0, "0"),
            ("100", 100, "100"),
            ("4096", 4096, "4KiB"),
            ("64KiB", 65_536, "64KiB"),
            ("64 kib", 65_536, "64KiB"),
            ("1.5MiB", 1_572_864, "1536KiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("10MB", 10_000_000, "10MB"),
            ("12b", 12, "12"),
            ("18446744073709551615", u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(format_size(bytes), back);
            assert_eq!(parse_size(back), Ok(bytes));
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "KiB", "-1", "0.5", "1.0001KiB", "64K", "64Mb/s", "lots"] {
            assert_eq!(parse_size(text), Err(NOT_A_SIZE), "{text}");
        }
        for text in ["18446744073709551616", "16777216TiB"] {
            assert_eq!(parse_size(text), Err(SIZE_TOO_LARGE), "{text}");
        }
    }
}
