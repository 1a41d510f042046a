//! INI by hand: bytes in, sections with their entries and line numbers out.
//!
//! - `[section]` opens a section, `key = value` stands in one. A section may be opened again; a key
//!   may stand in it only once.
//! - A comment begins with `#` or `;` at the start of a line, or behind white space after a value,
//!   so that a value may hold either: `name = a#b`.
//! - A value in double quotes is taken as it is, `""` in it stands for one quote. Only a value
//!   that holds what would be a comment, or begins or ends with white space or a quote, needs them.
//! - A byte order mark in front and CRLF at line ends are accepted.
//!
//! Pure syntax: which sections and keys there are, and what their values mean, is the business of
//! [`crate::settings`]; files are read by the programs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// One `[section]` and what stands below it, as far as the next header.
#[derive(Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// What stands between the brackets.
    pub name: &'a str,
    /// The line of the header, from 1.
    pub line: usize,
    /// The entries in their order.
    pub entries: Vec<Entry<'a>>,
}

/// One `key = value`.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What stands before the `=`.
    pub key: &'a str,
    /// What stands behind it, without comment and quotes; may be empty.
    pub value: Cow<'a, str>,
    /// The line, from 1.
    pub line: usize,
}

/// What is wrong in which line; the name of the file is known to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IniError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there, and what would be right.
    pub problem: String,
}

impl fmt::Display for IniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for IniError {}

/// Parses a whole file.
///
/// # Errors
/// The first line that is not UTF-8, has none of the forms above, stands before any section, or
/// repeats a key of its section.
pub fn parse(bytes: &[u8]) -> Result<Vec<Section<'_>>, IniError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut seen = HashMap::new();
    for (index, bytes) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        let error = |problem: String| IniError { line, problem };
        let text = std::str::from_utf8(bytes)
            .map_err(|_| error("not UTF-8; save the file as UTF-8".into()))?
            .trim();
        if is_comment(text) {
            continue;
        }
        if let Some(header) = text.strip_prefix('[') {
            let name = section_name(header).map_err(|problem| error(problem.into()))?;
            sections.push(Section { name, line, entries: Vec::new() });
            continue;
        }
        let (key, value) = entry(text).map_err(|problem| error(problem.into()))?;
        let Some(section) = sections.last_mut() else {
            return Err(error(format!("'{key}' stands before any [section]")));
        };
        if let Some(first) = seen.insert((section.name, key), line) {
            let section = section.name;
            return Err(error(format!("'{key}' stands in [{section}] already, in line {first}")));
        }
        section.entries.push(Entry { key, value, line });
    }
    Ok(sections)
}

/// Writes a value so that [`parse`] reads the same: in quotes only where it needs them. It must not
/// hold a line end.
pub fn quote(value: &str) -> Cow<'_, str> {
    let plain = without_comment(value) == value && value.trim() == value;
    if plain && !value.starts_with(['"', '#', ';']) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("\"{}\"", value.replace('"', "\"\"")))
}

/// The name in `name] # comment`.
fn section_name(header: &str) -> Result<&str, &'static str> {
    let (name, rest) = header.split_once(']').ok_or("a section needs a closing ']'")?;
    match name.trim() {
        "" => Err("a section needs a name: [name]"),
        name if is_comment(rest) => Ok(name),
        _ => Err("only a comment may stand behind a [section]"),
    }
}

/// The key and the value in `key = value # comment`.
fn entry(text: &str) -> Result<(&str, Cow<'_, str>), &'static str> {
    let (key, rest) =
        text.split_once('=').ok_or("neither a [section], nor key = value, nor a # comment")?;
    let (key, value) = (key.trim(), rest.trim());
    if key.is_empty() {
        return Err("a key is missing before the '='");
    }
    match value.strip_prefix('"') {
        Some(quoted) => Ok((key, Cow::Owned(unquote(quoted)?))),
        None => Ok((key, Cow::Borrowed(without_comment(rest).trim()))),
    }
}

/// What stands before the first comment, which begins behind white space.
fn without_comment(text: &str) -> &str {
    let mut blank = false;
    for (index, letter) in text.char_indices() {
        if blank && matches!(letter, '#' | ';') {
            return &text[..index];
        }
        blank = letter.is_whitespace();
    }
    text
}

/// Whether a whole line, or what is left of one, is a comment or nothing.
fn is_comment(text: &str) -> bool {
    matches!(text.trim_start().chars().next(), None | Some('#' | ';'))
}

/// A quoted value, given what stands behind its opening quote.
fn unquote(mut rest: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    loop {
        let (piece, behind) = rest.split_once('"').ok_or("a value needs its closing quote")?;
        value.push_str(piece);
        match behind.strip_prefix('"') {
            Some(more) => (value, rest) = (value + "\"", more),
            None if is_comment(behind) => return Ok(value),
            None => return Err("only a comment may stand behind a quoted value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `section.key=value@line` of each entry.
    fn flat(text: &str) -> Vec<String> {
        let sections = parse(text.as_bytes()).expect("legal INI");
        let of = |section: &Section<'_>, entry: &Entry<'_>| {
            format!("{}.{}={}@{}", section.name, entry.key, entry.value, entry.line)
        };
        sections.iter().flat_map(|one| one.entries.iter().map(move |e| of(one, e))).collect()
    }

    fn problem(bytes: &[u8]) -> String {
        parse(bytes).expect_err("an error").to_string()
    }

    #[test]
    fn sections_keys_and_comments() {
        let text = "# top\n\n[relay] ; behind\n history = 5 # five\nlog=64MiB;not a comment\n\
                    ; own line\n[client]\nname =\ntoken_file = a#b ;c\nserver = # nothing\n\
                    [relay]\nstall = 5=6";
        let expected = [
            "relay.history=5@4",
            "relay.log=64MiB;not a comment@5",
            "client.name=@8",
            "client.token_file=a#b@9",
            "client.server=@10",
            "relay.stall=5=6@12",
        ];
        assert_eq!(flat(text), expected);
        assert_eq!(flat(&text.replace('\n', "\r\n")), expected, "CRLF");
        assert_eq!(flat(&format!("\u{feff}{text}")), expected, "byte order mark");
        assert_eq!(flat(""), [""; 0]);
        let header = parse(b"\n[empty]\n").expect("legal INI");
        assert_eq!(header, [Section { name: "empty", line: 2, entries: Vec::new() }]);
    }

    #[test]
    fn values_in_quotes_are_taken_as_they_are() {
        for (written, value) in [
            ("\"alice\"", "alice"),
            ("\" a # b \" # comment", " a # b "),
            ("\"say \"\"hi\"\"\"", "say \"hi\""),
            ("\"\"", ""),
            ("the \"x\"", "the \"x\""),
        ] {
            assert_eq!(flat(&format!("[a]\nb = {written}")), [format!("a.b={value}@2")]);
        }
    }

    #[test]
    fn what_is_quoted_parses_to_the_same() {
        for (value, written) in [
            ("", ""),
            ("a b", "a b"),
            ("a#b;c", "a#b;c"),
            ("#a", "\"#a\""),
            (";a", "\";a\""),
            ("a #b", "\"a #b\""),
            (" a", "\" a\""),
            ("\"", "\"\"\"\""),
            ("a\"b", "a\"b"),
        ] {
            assert_eq!(quote(value), written);
            assert_eq!(flat(&format!("[a]\nb = {written}")), [format!("a.b={value}@2")]);
        }
    }

    #[test]
    fn each_fault_is_told_with_its_line() {
        for (bytes, line_and_words) in [
            (&b"[a]\nb = \xff\n"[..], "line 2: not UTF-8; save the file as UTF-8"),
            (b"\xff\xfe[\0a\0]\0", "line 1: not UTF-8; save the file as UTF-8"),
            (b"b = 1", "line 1: 'b' stands before any [section]"),
            (b"[a]\nb = 1\n\nb = 2", "line 4: 'b' stands in [a] already, in line 2"),
            (b"[a]\nb = 1\n[a]\nb = 2", "line 4: 'b' stands in [a] already, in line 2"),
            (b"[a]\n\nhello", "line 3: neither a [section], nor key = value, nor a # comment"),
            (b"[a]\n= 5", "line 2: a key is missing before the '='"),
            (b"[a", "line 1: a section needs a closing ']'"),
            (b"[ ]", "line 1: a section needs a name: [name]"),
            (b"[a] b", "line 1: only a comment may stand behind a [section]"),
            (b"[a]\nb = \"c", "line 2: a value needs its closing quote"),
            (b"[a]\nb = \"c\" d", "line 2: only a comment may stand behind a quoted value"),
        ] {
            assert_eq!(problem(bytes), line_and_words);
        }
    }
}
