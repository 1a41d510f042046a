//! Which messages are settled: what a tick under a typed line stands for.
//!
//! Pure.

use crate::event::Receipt;

#[derive(Debug, Default)]
pub(super) struct Ticks {
    settled: u64,
    refused: Vec<u64>,
}

impl Ticks {
    /// One message is refused.
    pub(super) fn refuse(&mut self, receipt: Receipt) {
        self.refused.push(receipt.number());
    }

    /// The session of all up to this one is lost: what is open among them is never accepted.
    pub(super) fn lose(&mut self, up_to: Receipt) {
        self.accept(up_to);
    }

    /// All up to this one are accepted that were not refused: how many that is more than before.
    pub(super) fn accept(&mut self, receipt: Receipt) -> u64 {
        let number = receipt.number();
        let before = self.refused.len();
        self.refused.retain(|refused| *refused > number);
        let refused = (before - self.refused.len()) as u64;
        let accepted = number.saturating_sub(self.settled + refused);
        self.settled = self.settled.max(number);
        accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_counted_once() {
        let mut ticks = Ticks::default();
        assert_eq!(ticks.accept(Receipt(1)), 1);
        ticks.refuse(Receipt(2));
        ticks.refuse(Receipt(9));
        assert_eq!(ticks.accept(Receipt(1)), 0);
        assert_eq!(ticks.accept(Receipt(5)), 3);
        assert_eq!(ticks.accept(Receipt(9)), 3);
        assert_eq!(ticks.accept(Receipt(10)), 1);
    }

    #[test]
    fn what_was_lost_with_its_session_is_not_counted() {
        let mut ticks = Ticks::default();
        assert_eq!(ticks.accept(Receipt(2)), 2);
        ticks.refuse(Receipt(4));
        ticks.lose(Receipt(5));
        ticks.refuse(Receipt(7)); // a move that never left
        assert_eq!(ticks.accept(Receipt(8)), 2, "6 and 8");
    }
}
