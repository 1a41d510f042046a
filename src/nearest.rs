//! "Did you mean ...?": the known word nearest to one that was mistyped.
//!
//! Pure. Serves the keys and sections of `config.ini`, variables of the environment, flags and
//! subcommands.

/// The candidate that `word` most likely stands for, or `None` if none is near.
///
/// Near is one slip in three characters: a letter wrong, missing, doubled, or two swapped; upper
/// and lower case are the same. Of equally near ones the first wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let most = word.len().div_ceil(3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= most)
        .map(|candidate| (distance(&word, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many slips turn one word into the other; a swap of neighbours counts as one.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other_letter) in other.iter().enumerate() {
            let change = above[column] + usize::from(letter != other_letter);
            let mut least = change.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0
                && column > 0
                && one[row - 1] == *other_letter
                && *letter == other[column - 1];
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let known = ["history", "announce", "log", "records", "patience", "stall"];
        for (typed, meant) in [
            ("histroy", Some("history")),
            ("History", Some("history")),
            ("anounce", Some("announce")),
            ("recordss", Some("records")),
            ("lag", Some("log")),
            ("", None),
            ("colour", None),
            ("patiently_waiting", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }

    #[test]
    fn the_distance_counts_slips() {
        let of = |one: &str, other: &str| {
            let letters = |word: &str| word.chars().collect::<Vec<_>>();
            distance(&letters(one), &letters(other))
        };
        assert_eq!(of("bind", "bind"), 0);
        assert_eq!(of("bnid", "bind"), 1);
        assert_eq!(of("", "bind"), 4);
        assert_eq!(of("kitten", "sitting"), 3);
    }
}
