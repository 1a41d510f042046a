//! Names of clients: which are allowed, when two are the same, and what a newcomer gets instead of
//! a name that is taken (`PROTOCOL.md` section 3).
//!
//! Pure. Who bears which name is kept by the hub.

use crate::escape::is_hidden;

/// The longest name in bytes.
pub const NAME_MAX: usize = 64;

/// The name as it will be used: trimmed, and checked. An empty one is allowed and means that the
/// server picks.
///
/// # Errors
/// Says in a few words what is wrong with it.
pub fn check(name: &str) -> Result<&str, String> {
    let name = name.trim();
    if name.len() > NAME_MAX {
        return Err(format!("a name has at most {NAME_MAX} bytes, this one has {}", name.len()));
    }
    match name.chars().find(|character| is_hidden(*character)) {
        Some(hidden) => Err(format!("a name must not hold U+{:04X}", u32::from(hidden))),
        None => Ok(name),
    }
}

/// What names are compared by: case and width folded, hidden characters left out.
pub fn fold(name: &str) -> String {
    name.chars()
        .filter(|character| !is_hidden(*character))
        .map(narrow)
        .flat_map(char::to_lowercase)
        .collect()
}

/// The ordinary form of a full-width letter, digit, sign or space.
fn narrow(character: char) -> char {
    match character {
        '\u{3000}' => ' ',
        '\u{FF01}'..='\u{FF5E}' => {
            char::from_u32(u32::from(character) - 0xFEE0).unwrap_or(character)
        }
        other => other,
    }
}

/// A free variant of `name`: itself, or with a suffix as in `alice-2`, shortened to fit.
///
/// `is_taken` judges a folded name. With n namesakes about 2 log n names are tried, so that ten
/// thousand clients called `alice` do not cost each other a search through all of them.
pub fn free_variant(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&fold(name)) {
        return name.to_owned();
    }
    with_suffix(name, free_number(2, |number| is_taken(&fold(&with_suffix(name, number)))))
}

/// A number from `first` on (at least 1) that is not taken, found in few tries where most of those
/// below it are.
pub(crate) fn free_number(first: u64, is_taken: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (first - 1, first); // low is taken, high is to be tried
    while is_taken(high) {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_taken(middle) { low = middle } else { high = middle }
    }
    high
}

fn with_suffix(name: &str, number: u64) -> String {
    let suffix = format!("-{number}");
    let mut size = name.len().min(NAME_MAX - suffix.len());
    while !name.is_char_boundary(size) {
        size -= 1;
    }
    format!("{}{suffix}", &name[..size])
}

/// Whether `timezone` looks like an IANA name or `UTC+hh:mm`; what does not counts as empty.
pub fn is_timezone(timezone: &str) -> bool {
    if let Some(offset) = timezone.strip_prefix("UTC").filter(|offset| !offset.is_empty()) {
        return is_utc_offset(offset.as_bytes());
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte);
    !timezone.is_empty()
        && timezone.len() <= NAME_MAX
        && timezone.as_bytes()[0].is_ascii_alphabetic()
        && timezone.split('/').all(|part| !part.is_empty() && part.bytes().all(legal))
}

fn is_utc_offset(offset: &[u8]) -> bool {
    let number = |tens: u8, ones: u8| (tens - b'0') * 10 + (ones - b'0');
    match *offset {
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            [h1, h2, m1, m2].iter().all(u8::is_ascii_digit)
                && number(h1, h2) <= 14
                && number(m1, m2) < 60
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_trimmed_and_checked() {
        assert_eq!(check("  Zoë 🙂 "), Ok("Zoë 🙂"));
        assert_eq!(check(" \u{3000}"), Ok(""));
        assert_eq!(check(&"x".repeat(64)).map(str::len), Ok(64));
        for bad in
            ["a\nb", "a\0b", "\u{1b}[1m", "a\u{200b}b", "\u{202e}evil", "a\u{ad}b", "a\u{2066}b"]
        {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&"x".repeat(65)).is_err());
        assert!(check(&"é".repeat(33)).is_err());
    }

    #[test]
    fn case_width_and_hidden_characters_do_not_tell_names_apart() {
        for same in ["admin", "Admin", "ａｄｍｉｎ", "ad\u{200b}min", "ADMIN\u{202e}"] {
            assert_eq!(fold(same), "admin", "{same:?}");
        }
        assert_ne!(fold("admin"), fold("admin2"));
    }

    #[test]
    fn a_taken_name_gets_the_next_number_and_still_fits() {
        let mut taken = HashSet::new();
        for expected in ["alice", "Alice-2", "alice-3", "alice-4", "alice-5"] {
            let given = if expected == "Alice-2" { "Alice" } else { "alice" };
            let got = free_variant(given, |name| taken.contains(name));
            assert_eq!(got, expected);
            assert!(taken.insert(fold(&got)));
        }
        let long = "é".repeat(32);
        taken.insert(fold(&long));
        let got = free_variant(&long, |name| taken.contains(name));
        assert!(got.len() <= NAME_MAX && got.ends_with("é-2"), "{got}");
    }

    #[test]
    fn timezones() {
        for good in ["Europe/Berlin", "UTC", "Etc/GMT+5", "America/Port-au-Prince", "UTC+05:30"] {
            assert!(is_timezone(good), "{good}");
        }
        for bad in ["", "/", "a//b", "../etc", "UTC+5", "UTC+25:00", "a b", "é", "UTC-05:60"] {
            assert!(!is_timezone(bad), "{bad}");
        }
    }
}
