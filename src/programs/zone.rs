//! Finds this machine's time zone: its name for the server, and its offsets for the reader.
//!
//! The rules are in [`crate::timezone`]; here is where the files are. Where nothing is found, as
//! on Windows, times are shown in UTC and no name is told.

use std::{env, fs};

use crate::name::is_timezone;
use crate::timezone::{TimeZone, name_in};

/// Where systems keep their zones, each in a file of its name.
const FOLDERS: [&str; 3] =
    ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/var/db/timezone/zoneinfo"];
const LOCAL: &str = "/etc/localtime";

/// The name to tell the server, empty if there is none, and the offsets to show times with.
///
/// `setting` is that of the user; empty: the variable `TZ` counts, then the link `/etc/localtime`.
///
/// # Errors
/// When the setting has not the form of a time zone.
pub(super) fn local(setting: &str) -> Result<(String, TimeZone), String> {
    if !setting.is_empty() && !is_timezone(setting) {
        return Err("a time zone is written as Europe/Berlin or UTC+05:30".into());
    }
    let chosen = match env::var("TZ") {
        _ if !setting.is_empty() => Some(setting.to_owned()),
        Ok(variable) if !variable.is_empty() => Some(variable),
        _ => None,
    };
    let Some(chosen) = chosen else {
        let target = fs::read_link(LOCAL).unwrap_or_default();
        let name = name_in(&target.to_string_lossy()).unwrap_or_default().to_owned();
        return Ok((name, read(LOCAL).unwrap_or(TimeZone::UTC)));
    };
    let name = name_in(&chosen).unwrap_or_default();
    let zone = FOLDERS
        .iter()
        .filter(|_| !name.is_empty())
        .find_map(|folder| read(&format!("{folder}/{name}")))
        .or_else(|| TimeZone::from_rule(chosen.trim_start_matches(':')))
        .unwrap_or(TimeZone::UTC);
    Ok((name.to_owned(), zone))
}

fn read(path: &str) -> Option<TimeZone> {
    TimeZone::from_tzif(&fs::read(path).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_wins_and_is_checked() {
        let (name, zone) = local("UTC+05:30").unwrap();
        assert_eq!((&*name, zone.offset_at(0)), ("UTC+05:30", 19_800));
        let (name, zone) = local("Nowhere/At_All").unwrap();
        assert_eq!((&*name, zone), ("Nowhere/At_All", TimeZone::UTC));
        assert!(local("../../etc/passwd").is_err());
    }
}
