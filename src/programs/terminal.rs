//! Lines that are inserted above a half-typed one, in plain ANSI sequences.
//!
//! Pure. In a terminal's cooked mode the kernel shows what is typed and hands it over only when the
//! line is whole: a program cannot know what is half-typed, but it can make the terminal move it.
//! Where a half-typed line is longer than the terminal is wide, only its last row moves, so that
//! what is inserted stands between its rows; what is sent is whole all the same.

/// Under the name, behind the time, where a long line goes on.
const INDENT: usize = 6;

/// The bytes that insert `row` above the row with the cursor, which keeps its content and its place
/// in it. The row must fit the terminal's width.
///
/// They make sure of a row below (ESC D scrolls at the bottom of the screen), go back up, remember
/// the place, insert an empty row there, write, and go to the place, now one row further down.
pub(super) fn insert_above(row: &str) -> String {
    format!("\x1bD\x1b[A\x1b7\x1b[G\x1b[L{row}\x1b8\x1b[B")
}

/// Cuts `text` into rows of at most `columns` cells, at blanks where there are some.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let indent = if columns >= 4 * INDENT { INDENT } else { 0 };
    let mut rows = Vec::new();
    let mut row = String::new();
    let mut cells = 0;
    let mut behind_blank = 0;
    for character in text.chars() {
        let width = cells_of(character);
        if cells + width > columns {
            let word = width_of(&row[behind_blank..]);
            // A word as long as half a row is cut rather than leave a gap.
            let fits = behind_blank > indent && word <= columns / 2;
            let rest = row.split_off(if fits { behind_blank } else { row.len() });
            rows.push(std::mem::take(&mut row));
            row = " ".repeat(indent) + &rest;
            cells = indent + if fits { word } else { 0 };
            behind_blank = 0;
        }
        row.push(character);
        cells += width;
        if character == ' ' {
            behind_blank = row.len();
        }
    }
    rows.push(row);
    rows
}

fn width_of(text: &str) -> usize {
    text.chars().map(cells_of).sum()
}

/// How many cells a character takes at most: two for East Asian scripts, emoji and what some
/// terminals take for such. Too many only breaks a row early.
fn cells_of(character: char) -> usize {
    let wide = matches!(character,
        '\u{1100}'..='\u{115F}' | '\u{231A}'..='\u{23FF}' | '\u{25A0}'..='\u{27BF}'
        | '\u{2B00}'..='\u{2BFF}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}'
        | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE6F}' | '\u{FF00}'..='\u{FFE6}'
        | '\u{1F000}'..='\u{1FAFF}' | '\u{20000}'..='\u{3FFFD}');
    1 + usize::from(wide)
}

/// The width of the terminal on stdin out of what `stty size` says: rows, a blank, columns.
pub(super) fn columns_in(stty: &str) -> Option<usize> {
    let columns = stty.split_whitespace().nth(1)?.parse().ok()?;
    (columns > 0).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_at_blanks_below_the_name() {
        for (text, columns, rows) in [
            ("", 24, vec![""]),
            ("12:00 bob: hi", 24, vec!["12:00 bob: hi"]),
            (
                "12:00 bob: one two three four five",
                24,
                vec!["12:00 bob: one two ", "      three four five"],
            ),
            (
                "12:00 bob: https://example.org/very/long",
                24,
                vec!["12:00 bob: https://examp", "      le.org/very/long"],
            ),
            ("abcdefgh", 3, vec!["abc", "def", "gh"]),
            ("日本語", 4, vec!["日本", "語"]),
            ("日本", 1, vec!["日", "本"]),
        ] {
            assert_eq!(wrap(text, columns), rows, "{text}");
        }
    }

    #[test]
    fn no_row_is_wider_than_the_terminal_and_nothing_is_lost() {
        let text =
            "12:34 zoë: ab  cde 日本語 fghijklmnop 🙂 q rstuvwxyz and a very long tail of words";
        let bare = |text: &str| text.replace(' ', "");
        for columns in 2..60 {
            let rows = wrap(text, columns);
            assert!(rows.iter().all(|row| width_of(row) <= columns), "{columns}: {rows:?}");
            assert_eq!(bare(&rows.concat()), bare(text));
        }
    }

    #[test]
    fn the_width_is_the_second_number() {
        assert_eq!(columns_in("24 80\n"), Some(80));
        for none in ["", "24", "0 0\n", "a b"] {
            assert_eq!(columns_in(none), None);
        }
    }
}
