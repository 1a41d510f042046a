//! Makes text from the network safe to show: in a terminal, in a log line, in an error.
//!
//! Pure. Control characters, line ends, and the invisible and direction-changing format characters
//! come out as `\n`, `\t` or `\u{1b}`; all else, other scripts and emoji included, as it is.

use std::fmt::{self, Display, Write};

/// Displays `text` with everything escaped that could move a cursor, hide, or turn text around.
///
/// ```
/// assert_eq!(tcpkit::escape::escape("a\u{1b}[2J\nb").to_string(), "a\\u{1b}[2J\\nb");
/// ```
pub fn escape(text: &str) -> impl Display + '_ {
    Escaped(text)
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                hidden if is_hidden(hidden) => write!(f, "\\u{{{:x}}}", u32::from(hidden))?,
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// Whether a character is a control, or of the Unicode category Cf (format: zero-width, bidi and
/// the like), or a line or paragraph separator.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{AD}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}'
            | '\u{890}'..='\u{891}' | '\u{8E2}' | '\u{180E}' | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0001}'
            | '\u{E0020}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_do_harm_is_shown_as_its_number() {
        for (raw, shown) in [
            ("plain, ünïcode, 日本 🙂", "plain, ünïcode, 日本 🙂"),
            ("\0\u{7f}\u{9b}", "\\u{0}\\u{7f}\\u{9b}"),
            ("a\u{202e}b\u{200b}c\u{feff}", "a\\u{202e}b\\u{200b}c\\u{feff}"),
            ("\r\n\t", "\\r\\n\\t"),
        ] {
            assert_eq!(escape(raw).to_string(), shown);
        }
    }
}
