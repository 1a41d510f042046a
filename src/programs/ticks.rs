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
}
