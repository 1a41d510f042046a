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

    /// The connection was restored. If too much waits already, this is told together with the
    /// restorations right before it, so that a server that comes and goes takes no more memory.
    pub(super) fn push_restored(&mut self, event: Event) {
        if !self.is_full() {
            return self.push_about_connection(event);
        }
        let (mut first, mut latest, mut restored) = (None, None, event);
        while self.events.back().is_some_and(is_told_anew)
            && let Some(last) = self.events.pop_back()
        {
            self.size -= last.size();
            match last {
                attempt @ Event::Reconnecting { .. } if latest.is_none() => latest = Some(attempt),
                attempt @ Event::Reconnecting { .. } => first = Some(attempt),
                earlier => restored = summed_up(&earlier, restored),
            }
        }
        first.into_iter().chain(latest).for_each(|attempt| self.push(attempt));
        self.push_about_connection(restored);
    }

    pub(super) fn push_about_connection(&mut self, event: Event) {
        if self.keep.records || self.keep.refusals || self.keep.acceptances {
            self.push(event);
        }
    }
}

/// Whether an event is about the connection, or of what the server tells on each new one.
fn is_told_anew(event: &Event) -> bool {
    matches!(
        event,
        Event::Reconnecting { .. }
            | Event::Resumed { .. }
            | Event::SessionLost { .. }
            | Event::Present { .. }
            | Event::Go { .. }
            | Event::Wait { .. }
    )
}

/// Two restorations as one: a session that was lost in between stays lost, with all it missed.
fn summed_up(earlier: &Event, later: Event) -> Event {
    match (earlier, later) {
        (Event::Resumed { missed: before }, Event::Resumed { missed }) => {
            Event::Resumed { missed: missed.saturating_add(*before) }
        }
        (
            Event::SessionLost { unconfirmed: before, .. },
            Event::SessionLost { unconfirmed, up_to },
        ) => Event::SessionLost { unconfirmed: unconfirmed.saturating_add(*before), up_to },
        (Event::SessionLost { .. }, Event::Resumed { .. }) => earlier.clone(),
        (_, later) => later,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

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
    fn a_server_that_comes_and_goes_does_not_fill_a_full_inbox() {
        let mut inbox = Inbox::new(ALL);
        let filling = Event::Direct {
            seq: 1,
            time: UNIX_EPOCH,
            from: String::new(),
            body: "x".repeat(INBOX_MAX),
        };
        inbox.push(filling.clone());
        let lost = |unconfirmed, up_to| Event::SessionLost { unconfirmed, up_to: Receipt(up_to) };
        let resumed = |missed| Event::Resumed { missed };
        let mut flap = |restored: &[Event]| {
            for event in restored {
                (1..=9).for_each(|number| inbox.push_attempt(attempt(number)));
                inbox.push_restored(event.clone());
                inbox.push(Event::Present { total: 0, names: Vec::new() });
                inbox.push(Event::Wait { turn: 1, holder: None });
            }
            let told: Vec<_> = std::iter::from_fn(|| inbox.next()).skip(1).collect();
            assert_eq!(inbox.size, 0);
            inbox.push(filling.clone());
            assert_eq!(told[..2], [attempt(1), attempt(9)]);
            assert_eq!(told.len(), 5, "{told:?}");
            told[2].clone()
        };
        assert_eq!(flap(&[resumed(1), resumed(0), resumed(4)]), resumed(5));
        assert_eq!(flap(&[resumed(1), lost(2, 3), lost(1, 9)]), lost(3, 9));
        assert_eq!(flap(&[lost(2, 3), resumed(1), resumed(1)]), lost(2, 3));
    }

    #[test]
    fn what_is_told_once_stays_between_two_restorations() {
        let mut inbox = Inbox::new(ALL);
        inbox.push(Event::Present { total: 0, names: vec!["x".repeat(INBOX_MAX)] });
        inbox.push_acceptance(Receipt(1));
        inbox.push_restored(Event::Resumed { missed: 1 });
        inbox.push_acceptance(Receipt(2));
        inbox.push_restored(Event::Resumed { missed: 2 });
        assert_eq!(inbox.events.len(), 5);
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
