//! The rule for daylight saving time that POSIX puts into `TZ`, and TZif files into their last
//! line: `CET-1CEST,M3.5.0,M10.5.0/3`.
//!
//! Pure. Offsets in the text count to the west, here to the east of UTC.

use crate::clock::{DAY, civil_from_days, days_from_civil};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    standard: i32,
    daylight: Option<Daylight>,
}

/// The offset in summer, and when summer begins and ends, by the clock that is then in use.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Daylight {
    offset: i32,
    start: Change,
    end: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    day: Day,
    /// Behind midnight, in seconds; may be negative or beyond the day.
    seconds: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Day {
    /// 1 to 365; 29 February is never counted.
    WithoutLeap(i64),
    /// 0 to 365.
    FromZero(i64),
    /// The `week`th (5: the last) of that day of the week (0: Sunday) in a month.
    Weekday { month: i64, week: i64, weekday: i64 },
}

impl Rule {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut text = text;
        skip_name(&mut text)?;
        let standard = -clock_time(&mut text)?;
        if text.is_empty() {
            return Some(Self { standard, daylight: None });
        }
        skip_name(&mut text)?;
        let given = !text.is_empty() && !text.starts_with(',');
        let offset = if given { -clock_time(&mut text)? } else { standard + 3600 };
        // A rule without dates means those of the United States.
        let dates = if text.is_empty() { "M3.2.0,M11.1.0" } else { text.strip_prefix(',')? };
        let (start, end) = dates.split_once(',')?;
        let daylight = Daylight { offset, start: Change::parse(start)?, end: Change::parse(end)? };
        Some(Self { standard, daylight: Some(daylight) })
    }

    pub(super) fn offset_at(&self, time: i64) -> i32 {
        let Some(Daylight { offset, start, end }) = &self.daylight else {
            return self.standard;
        };
        let (year, ..) = civil_from_days((time + i64::from(self.standard)).div_euclid(DAY));
        let start = start.seconds_in(year) - i64::from(self.standard);
        let end = end.seconds_in(year) - i64::from(*offset);
        // In the south the summer spans the turn of the year.
        let summer =
            if start < end { (start..end).contains(&time) } else { !(end..start).contains(&time) };
        if summer { *offset } else { self.standard }
    }
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let (day, time) = text.split_once('/').unwrap_or((text, "2"));
        let mut time = time;
        let seconds = clock_time(&mut time).filter(|_| time.is_empty())?;
        let ranged = |text: &str, from: i64, to: i64| {
            text.parse().ok().filter(|number| (from..=to).contains(number))
        };
        let day = if let Some(date) = day.strip_prefix('M') {
            let mut parts = date.split('.');
            Day::Weekday {
                month: ranged(parts.next()?, 1, 12)?,
                week: ranged(parts.next()?, 1, 5)?,
                weekday: ranged(parts.next()?, 0, 6)?,
            }
        } else if let Some(day) = day.strip_prefix('J') {
            Day::WithoutLeap(ranged(day, 1, 365)?)
        } else {
            Day::FromZero(ranged(day, 0, 365)?)
        };
        Some(Self { day, seconds })
    }

    /// The local time of the change in a year, in seconds since 1970.
    fn seconds_in(&self, year: i64) -> i64 {
        let january = days_from_civil(year, 1, 1);
        let day = match self.day {
            Day::FromZero(day) => january + day,
            Day::WithoutLeap(day) => {
                let leap = days_from_civil(year, 3, 1) - january == 60;
                january + day - 1 + i64::from(leap && day >= 60)
            }
            Day::Weekday { month, week, weekday } => {
                let first = days_from_civil(year, month, 1);
                let next = days_from_civil(year + month / 12, month % 12 + 1, 1);
                // 1970-01-01 was a Thursday.
                let wanted = first + (weekday - 4 - first).rem_euclid(7) + (week - 1) * 7;
                if wanted < next { wanted } else { wanted - 7 }
            }
        };
        day * DAY + i64::from(self.seconds)
    }
}

/// Skips a zone's name: letters, or anything between `<` and `>`.
fn skip_name(text: &mut &str) -> Option<()> {
    let size = if text.starts_with('<') {
        text.find('>')? + 1
    } else {
        text.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(text.len())
    };
    *text = &text[size..];
    (size >= 3).then_some(())
}

/// Takes `[+-]h[h[h]][:mm[:ss]]` from the front, in seconds; at most a week.
fn clock_time(text: &mut &str) -> Option<i32> {
    let end = text
        .find(|letter: char| !(letter.is_ascii_digit() || "+-:".contains(letter)))
        .unwrap_or(text.len());
    let (time, rest) = text.split_at(end);
    *text = rest;
    let (sign, time) = match time.strip_prefix('-') {
        Some(time) => (-1, time),
        None => (1, time.strip_prefix('+').unwrap_or(time)),
    };
    let mut seconds = 0;
    for (part, unit) in time.splitn(3, ':').zip([3600, 60, 1]) {
        let most = if unit == 3600 { 167 } else { 59 };
        let number: i32 = part.parse().ok()?;
        seconds += (0..=most).contains(&number).then_some(unit * number)?;
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(year: i64, month: i64, day: i64, hour: i64) -> i64 {
        days_from_civil(year, month, day) * DAY + hour * 3600
    }

    #[test]
    fn summer_begins_and_ends_to_the_second() {
        for (rule, change, before, after) in [
            ("EST5EDT,M3.2.0,M11.1.0", seconds(2026, 3, 8, 7), -5, -4),
            ("EST5EDT,M3.2.0,M11.1.0", seconds(2026, 11, 1, 6), -4, -5),
            ("CET-1CEST,M3.5.0,M10.5.0/3", seconds(2026, 3, 29, 1), 1, 2),
            ("CET-1CEST,M3.5.0,M10.5.0/3", seconds(2027, 10, 31, 1), 2, 1),
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", seconds(2026, 4, 4, 16), 11, 10),
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", seconds(2026, 10, 3, 16), 10, 11),
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", seconds(2026, 3, 29, 1), -2, -1),
            ("AAA0BBB,J60/0,J300/0", seconds(2028, 3, 1, 0), 0, 1),
            ("AAA0BBB,59/0,300/0", seconds(2028, 2, 29, 0), 0, 1),
        ] {
            let rule = Rule::parse(rule).unwrap();
            assert_eq!(rule.offset_at(change - 1), before * 3600, "{rule:?}");
            assert_eq!(rule.offset_at(change), after * 3600, "{rule:?}");
        }
    }

    #[test]
    fn what_is_no_rule_is_none() {
        for text in [
            "",
            "UT",
            "UTC",
            "EST5EDT,M3.2.0",
            "EST5EDT,M13.2.0,M11.1.0",
            "EST999",
            "<abc5",
            "EST5EDT,M3.2.0,M11.1.0/x",
            "EST5:",
            "EST5EDT,J0,J1",
            "é5",
        ] {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }
}
