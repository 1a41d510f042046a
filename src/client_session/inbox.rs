//! What waits to be taken by the user.

use std::collections::VecDeque;

use crate::event::{Event, Receipt};

/// How many bytes of events may wait to be taken before they count as too many. Generous, so that
/// a program that sends for a while and then receives needs no thoughts about it.
pub const INBOX_MAX: usize = 16 << 20;

/// Which events are kept for the user. Those about the connection are kept if any others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Messages and notices of others, who is present, and whose turn it is.
    pub records: bool,
    /// [`Event::Refused`].
    pub refusals: bool,
    /// [`Event::Accepted`].
    pub acceptances: bool,
}

/// Events in order, and how much memory they hold.
#[derive(Debug)]
pub(super) struct Inbox {
    events: VecDeque<Event>,
    size: usize,
    pub(super) keep: Keep,
}

impl Inbox {
    pub(super) fn new(keep: Keep) -> Self {
        Self { events: VecDeque::new(), size: 0, keep }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.size >= INBOX_MAX
    }

    pub(super) fn next(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.size -= event.size();
        if self.events.is_empty() && self.events.capacity() > 4096 {
            self.events = VecDeque::new(); // after a rush; refilling it costs little
        }
        Some(event)
    }

    pub(super) fn push(&mut self, event: Event) {
        self.size += event.size();
        self.events.push_back(event);
    }

    /// An acceptance that nobody has taken yet is made to say more, instead of a second one.
    pub(super) fn push_acceptance(&mut self, receipt: Receipt) {
        if let Some(Event::Accepted { receipt: last }) = self.events.back_mut() {
            *last = receipt;
        } else {
            self.push(Event::Accepted { receipt });
        }
    }

    /// Of an outage that nobody has been told of, the first and the latest step are kept: how the
    /// connection was lost, and how it stands. It may last for years.
    pub(super) fn push_attempt(&mut self, event: Event) {
        let is_attempt = |event: &Event| matches!(event, Event::Reconnecting { .. });
        let behind = self.events.iter().rev().take_while(|event| is_attempt(event)).take(2).count();
        if behind == 2
            && let Some(latest) = self.events.pop_back()
        {
            self.size -= latest.size();
        }
        self.push_about_connection(event);
    }

    pub(super) fn push_about_connection(&mut self, event: Event) {
        if self.keep.records || self.keep.refusals || self.keep.acceptances {
            self.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::end::Loss;

    const ALL: Keep = Keep { records: true, refusals: true, acceptances: true };
    const NOTHING: Keep = Keep { records: false, refusals: false, acceptances: false };

    fn attempt(attempt: u32) -> Event {
        Event::Reconnecting { attempt, next_in: Duration::ZERO, loss: Loss::Closed }
    }

    #[test]
    fn counts_its_bytes_to_the_last() {
        let mut inbox = Inbox::new(ALL);
        let mut taken = 0;
        while !inbox.is_full() {
            inbox.push(Event::Present { total: 1, names: vec!["n".repeat(1 << 20)] });
            taken += 1;
        }
        assert_eq!(taken, 16, "16 MiB");
        inbox.next();
        assert!(!inbox.is_full());
        (1..=9).for_each(|number| inbox.push_attempt(attempt(number)));
        while inbox.next().is_some() {}
        assert_eq!(inbox.size, 0);
    }

    #[test]
    fn a_long_outage_takes_two_events() {
        let mut inbox = Inbox::new(ALL);
        (1..=9).for_each(|number| inbox.push_attempt(attempt(number)));
        inbox.push_about_connection(Event::Resumed { missed: 0 });
        (1..=9).for_each(|number| inbox.push_attempt(attempt(number)));
        let events: Vec<_> = std::iter::from_fn(|| inbox.next()).collect();
        let resumed = Event::Resumed { missed: 0 };
        assert_eq!(events, [attempt(1), attempt(9), resumed, attempt(1), attempt(9)]);
    }

    #[test]
    fn who_takes_no_events_gets_none_about_the_connection() {
        let mut inbox = Inbox::new(NOTHING);
        inbox.push_attempt(attempt(1));
        inbox.push_about_connection(Event::Resumed { missed: 0 });
        assert!(inbox.is_empty());
        let mut inbox = Inbox::new(Keep { acceptances: true, ..NOTHING });
        inbox.push_attempt(attempt(1));
        assert_eq!(inbox.next(), Some(attempt(1)));
    }
}
