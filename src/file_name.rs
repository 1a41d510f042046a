//! Names of files and folders that came from the network: which are allowed, which count as the
//! same, and what takes the place of one that is taken.
//!
//! Pure. A name that is allowed is one component of a path on every common system, means the same
//! on each of them, and shows as what it is; so a server does not take on one system what it
//! refuses on another. What only a shell minds (blanks, `-`, `$`, `'`) is allowed. That no file is
//! written over, and that no link is followed, is the business of who opens it.

use crate::escape::is_hidden;
use crate::name;

/// The longest name of a file in bytes. File systems take 255: a number of 23 bytes and
/// [`PART`] find their place behind it, with some to spare.
pub const FILE_NAME_MAX: usize = 200;
/// What stands behind the name of a file that is not whole yet.
pub const PART: &str = ".part";
/// What is no part of a name on Windows, or separates parts of a path there.
const FORBIDDEN: &[char] = &['/', '\\', ':', '<', '>', '"', '|', '?', '*'];
/// What Windows takes for a device, whatever extension follows; COM and LPT with a digit besides.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "clock$", "conin$", "conout$"];
/// The longest that counts as an extension, in bytes with its dot.
const EXTENSION_MAX: usize = 16;

/// The name as it came, if it may be that of a file.
///
/// A leading dot is refused, since who looks into the folder would not see the file, and since
/// such names steer programs (`.htaccess`, `.bashrc`).
///
/// # Errors
/// Says in a few words what is wrong with it.
pub fn check(name: &str) -> Result<&str, String> {
    if name.is_empty() {
        return Err("a file needs a name".into());
    }
    if name.len() > FILE_NAME_MAX {
        let size = name.len();
        return Err(format!(
            "a file's name has at most {FILE_NAME_MAX} bytes, this one has {size}"
        ));
    }
    let is_bad = |character: &char| is_hidden(*character) || FORBIDDEN.contains(character);
    if let Some(bad) = name.chars().find(is_bad) {
        let number = u32::from(bad);
        return Err(match bad {
            hidden if is_hidden(hidden) => format!("a file's name must not hold U+{number:04X}"),
            plain => format!("a file's name must not hold {plain}"),
        });
    }
    problem(name).map_or(Ok(name), |problem| Err(format!("a file's name must not {problem}")))
}

/// What is wrong with a name of harmless characters.
fn problem(name: &str) -> Option<&'static str> {
    let folded = name::fold(name);
    if name.starts_with('.') {
        Some("begin with a dot")
    } else if name.ends_with('.') {
        Some("end with a dot")
    } else if name.trim() != name {
        Some("begin or end with a blank")
    } else if folded.ends_with(PART) {
        Some("end with .part: such files are not whole yet")
    } else if is_device(&folded) {
        Some("be that of a device")
    } else {
        None
    }
}

fn is_device(folded: &str) -> bool {
    let stem = folded.split('.').next().unwrap_or_default().trim_end();
    let numbered = |port: &str| {
        let rest = stem.strip_prefix(port).unwrap_or_default();
        rest.chars().count() == 1
            && rest.contains(|c: char| c.is_ascii_digit() || "¹²³".contains(c))
    };
    DEVICES.contains(&stem) || numbered("com") || numbered("lpt")
}

/// What names of files are compared by: two that only differ in case are one file on some systems.
pub fn fold(name: &str) -> String {
    name::fold(name)
}

/// The name with a number: `photo (1).jpg`. Of a checked name it has at most
/// [`FILE_NAME_MAX`] + 23 bytes.
///
/// The number stands before the extension; `.tar.gz` and the like are one, as in most file
/// managers and browsers.
pub fn numbered(name: &str, number: u64) -> String {
    let (stem, extension) = name.split_at(extension(name));
    format!("{stem} ({number}){extension}")
}

/// Where the extension begins; at the end if there is none.
fn extension(name: &str) -> usize {
    let last = |name: &str| {
        let start = name.rfind('.').filter(|start| *start > 0)?;
        let is_one = name.len() - start <= EXTENSION_MAX && !name[start..].contains(' ');
        is_one.then_some(start)
    };
    let Some(start) = last(name) else { return name.len() };
    let inner = last(&name[..start]).filter(|inner| name::fold(&name[*inner..start]) == ".tar");
    inner.unwrap_or(start)
}

/// A free variant of a checked name: itself, or with a number. `is_taken` judges a folded name;
/// with n namesakes it is asked about 2 log n times.
pub fn free_variant(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&fold(name)) {
        return name.to_owned();
    }
    numbered(name, name::free_number(1, |number| is_taken(&fold(&numbered(name, number)))))
}

/// The folder for the files of the client with this name (one that [`name::check`] allows): a
/// component of at most 255 bytes that is safe on every common system.
///
/// Names that are the same when folded have the same folder, others have different ones, also
/// where case makes no difference on the disk: letters and digits, blanks, dots, `-` and `_` stay,
/// folded; all else becomes `%` and the two digits of each byte.
pub fn folder_name(client: &str) -> String {
    let folded = name::fold(client);
    let mut folder = encode(&folded, |character| matches!(character, ' ' | '.' | '-' | '_'));
    if problem(&folder).is_some() {
        // A device, or a dot or blank at an end: without those, and with another first letter.
        let first = folded.chars().next().map_or(0, char::len_utf8);
        let rest = encode(&folded[first..], |character| matches!(character, '-' | '_'));
        folder = encode_all(&folded[..first]) + &rest;
    }
    // No name gives that, since a % is followed by digits.
    if folder.is_empty() { "%".into() } else { folder }
}

fn encode(text: &str, is_plain: impl Fn(char) -> bool) -> String {
    let mut encoded = String::new();
    for character in text.chars() {
        if is_plain(character) || character.is_alphanumeric() && is_stable(character) {
            encoded.push(character);
        } else {
            encoded += &encode_all(character.encode_utf8(&mut [0; 4]));
        }
    }
    encoded
}

fn encode_all(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| encoded + &format!("%{byte:02x}"))
}

/// Whether a letter is the only one in lower case with its upper case. Those that are not (`ſ`,
/// `ß`, `ς`) are told apart here, and may not be on the disk.
fn is_stable(character: char) -> bool {
    character.to_uppercase().flat_map(char::to_lowercase).eq([character])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashSet};

    #[test]
    fn ordinary_names_are_taken_as_they_are() {
        for good in [
            "photo.jpg",
            "a",
            "Ürlaub 2024 (1).tar.gz",
            "日本.txt",
            "🙂",
            "-rf",
            "a..b",
            "console",
            "com10.txt",
            "COM",
            "part",
            "x.parts",
            "it's $5 & more; really.txt",
            &"x".repeat(200),
        ] {
            assert_eq!(check(good), Ok(good));
        }
    }

    #[test]
    fn names_that_could_do_harm_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "\\\\host\\share",
            "C:x",
            "a:b",
            "x.part",
            "X.PART",
            "x.pａrt",
            "nul\0",
            "a\nb",
            "\u{1b}[2J",
            "a\u{202e}gpj.exe",
            "a\u{200b}",
            "a\u{7f}",
            "a\u{2028}b",
            ".hidden",
            "dot.",
            "...",
            " a",
            "a ",
            "a\u{3000}",
            "what?",
            "*",
            "<a>",
            "a|b",
            "\"a\"",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for device in [
            "CON",
            "con",
            "Con.txt",
            "PRN",
            "AUX.tar.gz",
            "nul",
            "NUL .txt",
            "COM1",
            "com0.x",
            "LPT9",
            "lpt².txt",
            "ＣＯＮ",
            "CONIN$",
            "clock$",
        ] {
            assert_eq!(check(device), Err("a file's name must not be that of a device".into()));
        }
        assert!(check(&"x".repeat(201)).is_err());
        assert!(check(&"é".repeat(101)).is_err());
        assert!(check(&"x".repeat(300)).is_err());
    }

    #[test]
    fn a_refusal_says_why_without_repeating_what_could_do_harm() {
        assert_eq!(check("a\u{1b}"), Err("a file's name must not hold U+001B".into()));
        assert_eq!(check("a/b"), Err("a file's name must not hold /".into()));
        assert_eq!(check(" a"), Err("a file's name must not begin or end with a blank".into()));
    }

    #[test]
    fn a_number_stands_before_the_extension() {
        for (name, expected) in [
            ("photo.jpg", "photo (7).jpg"),
            ("photo", "photo (7)"),
            ("a.b.c", "a.b (7).c"),
            ("src.tar.gz", "src (7).tar.gz"),
            ("src.TAR.zst", "src (7).TAR.zst"),
            ("tar.gz", "tar (7).gz"),
            ("Mr. Smith's letter", "Mr. Smith's letter (7)"),
            ("e.g. something rather long", "e.g. something rather long (7)"),
            ("日本.txt", "日本 (7).txt"),
        ] {
            assert_eq!(numbered(name, 7), expected);
            assert_eq!(check(expected), Ok(expected));
        }
        let longest = numbered(&format!("{}.jpg", "é".repeat(98)), u64::MAX);
        assert!(longest.len() + PART.len() <= 255, "{longest}");
    }

    #[test]
    fn a_name_that_is_taken_in_any_case_gets_a_number() {
        let mut taken = HashSet::new();
        for (given, expected) in [
            ("Photo.jpg", "Photo.jpg"),
            ("photo.JPG", "photo (1).JPG"),
            ("PHOTO.jpg", "PHOTO (2).jpg"),
            ("photo (1).jpg", "photo (1) (1).jpg"),
            ("photo.jpg", "photo (3).jpg"),
        ] {
            let free = free_variant(given, |name| taken.contains(name));
            assert_eq!(free, expected);
            assert!(taken.insert(fold(&free)));
        }
    }

    #[test]
    fn folders_are_readable_and_safe() {
        for (client, folder) in [
            ("alice", "alice"),
            ("Alice Smith", "alice smith"),
            ("Zoë", "zoë"),
            ("j.doe-2_x", "j.doe-2_x"),
            ("日本", "日本"),
            ("", "%"),
            ("%", "%25"),
            (".", "%2e"),
            ("..", "%2e%2e"),
            ("../..", "%2e%2e%2f%2e%2e"),
            ("a/b\\c:d", "a%2fb%5cc%3ad"),
            (".ssh", "%2essh"),
            ("a.", "%61%2e"),
            ("CON", "%63on"),
            ("com1.x", "%63om1%2ex"),
            ("x.part", "%78%2epart"),
            ("Straße", "stra%c3%9fe"),
            ("e\u{301}", "e%cc%81"),
            ("🙂", "%f0%9f%99%82"),
        ] {
            assert_eq!(folder_name(client), folder);
            assert!(check(folder).is_ok(), "{folder}");
        }
    }

    /// Whatever the characters: different names have different folders, of a legal length.
    #[test]
    fn different_clients_never_share_a_folder() {
        let mut folders = BTreeMap::new();
        let characters =
            ('\0'..='\u{2FFF}').chain('\u{A640}'..='\u{ABFF}').chain('\u{FE00}'..='\u{10FFF}');
        for character in characters.filter(|character| !is_hidden(*character)) {
            let one = character.to_string();
            let most = name::NAME_MAX / character.len_utf8();
            let longest = format!("{}.", one.repeat(most - 1));
            for client in [one.clone(), format!("con.{one}"), one.repeat(most), longest] {
                let folder = folder_name(&client);
                assert!(
                    folder.len() <= 255 && problem(&folder).is_none(),
                    "{client:?}: {folder:?}"
                );
                assert!(!folder.contains(FORBIDDEN), "{client:?}: {folder:?}");
                let on_any_disk = folder.to_uppercase();
                let folded = name::fold(&client);
                let other = folders.entry(on_any_disk).or_insert_with(|| folded.clone());
                assert_eq!(*other, folded, "{folder:?}");
            }
        }
    }
}
