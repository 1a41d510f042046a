//! Who is there, kept up to date from what the server tells.
//!
//! Pure. Names come from the network and are escaped here.

use crate::escape::escape;
use crate::event::Event;
use crate::name::fold;

/// How many names are told before "and so many more", where not all are asked for.
const FEW: usize = 10;

#[derive(Debug, Default)]
pub(super) struct People {
    me: String,
    /// The others, as far as the server told their names.
    others: Vec<String>,
    /// Others that are there without their names being known.
    unnamed: usize,
}

impl People {
    pub(super) fn new(me: &str) -> Self {
        Self { me: me.to_owned(), ..Self::default() }
    }

    /// The server gave this client another name. Who else is there, it tells again.
    pub(super) fn rename(&mut self, me: &str) {
        *self = Self::new(me);
    }

    /// Takes note of those who come and go.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Present { total, names } => {
                self.unnamed = (*total as usize).saturating_sub(names.len());
                self.others = names.iter().filter(|name| **name != self.me).cloned().collect();
            }
            Event::Joined { name, .. } if !self.others.contains(name) => {
                self.others.push(name.clone());
            }
            Event::Left { name, .. } => self.others.retain(|other| other != name),
            _ => {}
        }
    }

    /// `also here: bob, carol`, with at most a few names.
    pub(super) fn others(&self) -> String {
        if self.others.is_empty() && self.unnamed == 0 {
            return "nobody else is here yet".into();
        }
        format!("also here: {}", listed(&self.others, FEW, self.unnamed))
    }

    /// `here: alice (you), bob, carol`, with every name.
    pub(super) fn all(&self) -> String {
        let mut all = format!("here: {} (you)", escape(&self.me));
        if !self.others.is_empty() || self.unnamed > 0 {
            all = all + ", " + &listed(&self.others, usize::MAX, self.unnamed);
        }
        all
    }

    /// Parts `NAME TEXT`. A name may hold blanks: the longest one that is there counts, else the
    /// first word, so that the server can say that nobody bears it.
    pub(super) fn recipient<'a>(&self, line: &'a str) -> Option<(&'a str, &'a str)> {
        let mut words = line.match_indices(' ').rev().map(|(blank, _)| line.split_at(blank));
        let known = |name: &str| self.others.iter().any(|other| fold(other) == fold(name));
        let (name, text) = words.find(|(name, _)| known(name)).or_else(|| line.split_once(' '))?;
        let text = text.trim_start();
        (!name.is_empty() && !text.is_empty()).then_some((name, text))
    }
}

fn listed(names: &[String], most: usize, unnamed: usize) -> String {
    let shown = names.iter().take(most).map(|name| escape(name).to_string());
    let list = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) + unnamed {
        0 => list,
        more if list.is_empty() => format!("{more} more"),
        more => format!("{list} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Reason;
    use std::time::UNIX_EPOCH;

    fn people(total: u32, names: &[&str]) -> People {
        let mut people = People::new("alice");
        let names = names.iter().map(|&name| name.to_owned()).collect();
        people.note(&Event::Present { total, names });
        people
    }

    #[test]
    fn those_who_come_and_go_are_noted() {
        let mut people = people(2, &["alice", "bob\u{1b}"]);
        let (seq, time) = (1, UNIX_EPOCH);
        assert_eq!(people.others(), "also here: bob\\u{1b}");
        people.note(&Event::Joined { seq, time, name: "carol".into() });
        people.note(&Event::Joined { seq, time, name: "carol".into() });
        assert_eq!(people.all(), "here: alice (you), bob\\u{1b}, carol");
        for name in ["bob\u{1b}", "carol", "dave"] {
            people.note(&Event::Left { seq, time, name: name.into(), reason: Reason::Done });
        }
        assert_eq!(people.others(), "nobody else is here yet");
        assert_eq!(people.all(), "here: alice (you)");
    }

    #[test]
    fn a_new_name_is_ones_own() {
        let mut people = people(3, &["alice", "bob", "carol"]);
        people.rename("alice-2");
        let names = ["alice", "alice-2"].map(str::to_owned).to_vec();
        people.note(&Event::Present { total: 2, names });
        assert_eq!(people.all(), "here: alice-2 (you), alice");
    }

    #[test]
    fn a_crowd_is_told_in_short() {
        assert_eq!(people(9, &["alice", "bob"]).others(), "also here: bob and 7 more");
        assert_eq!(people(9, &["alice"]).others(), "also here: 8 more");
        let names: Vec<String> = (0..12).map(|number| format!("n{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let told = people(12, &names).others();
        assert!(told.ends_with("n8, n9 and 2 more"), "{told}");
    }

    #[test]
    fn a_recipient_may_have_blanks_in_the_name() {
        let people = people(4, &["alice", "bob", "Bob the builder", "zoë"]);
        for (line, parted) in [
            ("bob hi there", Some(("bob", "hi there"))),
            ("bob the builder  can we", Some(("bob the builder", "can we"))),
            ("BOB the hi", Some(("BOB", "the hi"))),
            ("nobody hi", Some(("nobody", "hi"))),
            ("bob", None),
            ("bob ", None),
            (" hi", None),
            ("", None),
        ] {
            assert_eq!(people.recipient(line), parted, "{line}");
        }
    }
}
