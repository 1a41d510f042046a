//! The outbox: numbers a session's messages and knows what became of each.
//!
//! Pure: statuses come in as numbers, fates go out as values (`PROTOCOL.md` section 4). A status 0
//! is cumulative, any other code speaks of one message, and what was told first holds: a refusal
//! stands when a later status 0 covers it. The messages themselves are not kept here.

use std::collections::BTreeMap;

use crate::event::{Fate, Receipt};
use crate::message::{ErrorCode, StatusCode, Violation};

/// How many refusals are remembered, the newest ones: with [`DETAIL_MAX`] 24 MiB at the worst.
const REFUSALS_MAX: usize = 65_536;
/// How many bytes of a refusal's words are remembered.
const DETAIL_MAX: usize = 256;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The id of the last message.
    sent: u64,
    /// The highest id that a status 0 has named.
    accepted: u64,
    refusals: BTreeMap<u64, (StatusCode, String)>,
    /// The highest id among the refusals that are not remembered any more.
    forgotten: u64,
}

impl Outbox {
    /// Numbers the next message.
    pub(crate) fn number(&mut self) -> Receipt {
        self.sent += 1;
        Receipt(self.sent)
    }

    /// The receipt of the last message; number 0 before the first one.
    pub(crate) fn last(&self) -> Receipt {
        Receipt(self.sent)
    }

    /// Takes a status 0. Gives whether it says anything new.
    pub(crate) fn accept(&mut self, id: u64) -> Result<bool, Violation> {
        self.check(id)?;
        if id <= self.accepted {
            return Ok(false);
        }
        self.accepted = id;
        Ok(true)
    }

    /// Takes a status of any other code. Gives whether it says anything new.
    pub(crate) fn refuse(
        &mut self,
        id: u64,
        code: StatusCode,
        detail: &str,
    ) -> Result<bool, Violation> {
        self.check(id)?;
        if id <= self.forgotten || self.refusals.contains_key(&id) {
            return Ok(false);
        }
        if id <= self.accepted {
            let words = format!("message {id} is refused after it was accepted");
            return Err(Violation::new(ErrorCode::OutOfOrder, words));
        }
        self.refusals.insert(id, (code, shorten(detail).to_owned()));
        if self.refusals.len() > REFUSALS_MAX
            && let Some((oldest, _)) = self.refusals.pop_first()
        {
            self.forgotten = oldest;
        }
        Ok(true)
    }

    /// What became of a message, or `None` while that is open.
    ///
    /// [`Fate::Unknown`] where a refusal may have been forgotten, and for a receipt that this
    /// outbox did not give.
    pub(crate) fn fate(&self, receipt: Receipt) -> Option<Fate> {
        let id = receipt.0;
        if id == 0 || id > self.sent {
            return Some(Fate::Unknown);
        }
        if let Some((code, detail)) = self.refusals.get(&id) {
            return Some(Fate::Refused { code: *code, detail: detail.clone() });
        }
        if id <= self.forgotten {
            return Some(Fate::Unknown);
        }
        (id <= self.accepted).then_some(Fate::Accepted)
    }

    /// How many messages up to `last` have no fate yet.
    pub(crate) fn unsettled(&self, last: Receipt) -> u64 {
        // A refusal can only be forgotten ahead of an open message if tens of thousands came in
        // between; that message counts as settled, since its fate is unknown.
        let settled = self.accepted.max(self.forgotten);
        if last.0 <= settled {
            return 0;
        }
        let ahead = self.refusals.range(settled + 1..=last.0).count();
        last.0 - settled - ahead as u64
    }

    fn check(&self, id: u64) -> Result<(), Violation> {
        if id == 0 || id > self.sent {
            let words = format!("a status for message {id} of {}", self.sent);
            return Err(Violation::new(ErrorCode::Malformed, words));
        }
        Ok(())
    }
}

/// The beginning of `detail` that is remembered.
fn shorten(detail: &str) -> &str {
    let mut size = detail.len().min(DETAIL_MAX);
    while !detail.is_char_boundary(size) {
        size -= 1;
    }
    &detail[..size]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_messages(count: u64) -> Outbox {
        let mut outbox = Outbox::default();
        for id in 1..=count {
            assert_eq!(outbox.number(), Receipt(id));
        }
        outbox
    }

    fn fates(outbox: &Outbox) -> String {
        (1..=outbox.last().0)
            .map(|id| match outbox.fate(Receipt(id)) {
                None => '.',
                Some(Fate::Accepted) => 'a',
                Some(Fate::Refused { .. }) => 'r',
                Some(Fate::Unknown) => '?',
            })
            .collect()
    }

    #[test]
    fn a_status_0_covers_all_that_was_not_refused() {
        let mut outbox = with_messages(6);
        assert_eq!(outbox.refuse(2, StatusCode::NotUtf8, "byte 3"), Ok(true));
        assert_eq!(fates(&outbox), ".r....");
        assert_eq!(outbox.refuse(4, StatusCode::TooLarge, ""), Ok(true));
        assert_eq!(outbox.accept(5), Ok(true));
        assert_eq!(fates(&outbox), "arara.");
        let fate = Fate::Refused { code: StatusCode::NotUtf8, detail: "byte 3".into() };
        assert_eq!(outbox.fate(Receipt(2)), Some(fate));
    }

    #[test]
    fn repeats_say_nothing_new() {
        let mut outbox = with_messages(5);
        assert_eq!(outbox.refuse(3, StatusCode::Refused, ""), Ok(true));
        assert_eq!(outbox.accept(4), Ok(true));
        assert_eq!(outbox.accept(4), Ok(false));
        assert_eq!(outbox.accept(2), Ok(false));
        assert_eq!(outbox.refuse(3, StatusCode::Refused, ""), Ok(false));
        // a forgetful server repeats the refusal as a status 0
        assert_eq!(outbox.accept(3), Ok(false));
        assert_eq!(fates(&outbox), "aara.");
    }

    #[test]
    fn statuses_that_make_no_sense_are_violations() {
        let mut outbox = with_messages(2);
        for id in [0, 3, u64::MAX] {
            let code = ErrorCode::Malformed;
            assert_eq!(outbox.accept(id).expect_err("nonsense").code, code);
            let refused = outbox.refuse(id, StatusCode::Refused, "");
            assert_eq!(refused.expect_err("nonsense").code, code);
        }
        assert_eq!(outbox.accept(1), Ok(true));
        let late = outbox.refuse(1, StatusCode::Refused, "").expect_err("accepted before");
        assert_eq!(late.code, ErrorCode::OutOfOrder);
    }

    #[test]
    fn counts_what_is_open() {
        let mut outbox = with_messages(6);
        assert_eq!(outbox.unsettled(Receipt(6)), 6);
        assert_eq!(outbox.unsettled(Receipt(0)), 0);
        outbox.refuse(5, StatusCode::Refused, "").expect("legal");
        outbox.refuse(2, StatusCode::Refused, "").expect("legal");
        assert_eq!(outbox.unsettled(Receipt(6)), 4);
        assert_eq!(outbox.unsettled(Receipt(2)), 1);
        outbox.accept(4).expect("legal");
        assert_eq!(outbox.unsettled(Receipt(5)), 0, "the refusal ahead counts");
        assert_eq!(outbox.unsettled(Receipt(6)), 1);
    }

    #[test]
    fn a_receipt_of_another_connection_is_unknown() {
        let outbox = with_messages(1);
        assert_eq!(outbox.fate(Receipt(7)), Some(Fate::Unknown));
        assert_eq!(outbox.fate(Receipt(0)), Some(Fate::Unknown));
    }

    #[test]
    fn refusals_are_bounded_and_what_is_forgotten_is_unknown() {
        let count = REFUSALS_MAX as u64 + 10;
        let mut outbox = with_messages(count + 1);
        for id in 1..=count {
            let words = "é".repeat(1000);
            assert_eq!(outbox.refuse(id, StatusCode::Refused, &words), Ok(true));
        }
        assert_eq!(outbox.refusals.len(), REFUSALS_MAX);
        assert!(outbox.refusals.values().all(|(_, detail)| detail.len() <= DETAIL_MAX));
        assert_eq!(outbox.fate(Receipt(10)), Some(Fate::Unknown));
        assert!(matches!(outbox.fate(Receipt(11)), Some(Fate::Refused { .. })));
        assert_eq!(outbox.unsettled(Receipt(count)), 0);
        assert_eq!(outbox.refuse(5, StatusCode::Refused, ""), Ok(false), "a repeat after all");
        assert_eq!(outbox.fate(Receipt(count + 1)), None);
    }
}
