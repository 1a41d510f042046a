//! One session: who it is, and the numbering of what it sends (`PROTOCOL.md` sections 3 and 4).
//!
//! Pure. A session is apart from the connection (the hub's *link*) that it talks through, since
//! it outlives it: see `away`.

use std::collections::VecDeque;

use super::away::Away;
use super::link::{Account, LinkId};
use super::streams::Streams;
use crate::message::{ErrorCode, SessionKey, StatusCode, Violation};

/// At this many remembered refusals the client is asked, by a Ping, whether it has them.
const REFUSALS_ASK: usize = 512;
/// Of more than this many the oldest is forgotten: the client has been sent them all, and its Pong
/// may stand behind a thousand more messages (see "Changes" in `PROTOCOL.md`). Until it comes, the
/// session cannot be resumed, since a Status 0 would then cover a refusal.
const REFUSALS_MAX: usize = 1024;

/// Messages side by side that were refused with the same words.
#[derive(Debug)]
struct Refusal {
    first: u64,
    last: u64,
    code: StatusCode,
    detail: String,
}

/// What is to be done with the id of a message that has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Numbered {
    /// It is the next one: take it.
    Next,
    /// It was seen before: its status is sent again, and nothing else happens.
    Repeat,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) folded: String,
    pub(super) timezone: String,
    pub(super) key: SessionKey,
    /// The connection that it talks through; none of that name while it is away.
    pub(super) link: LinkId,
    /// The number of that connection, or of the one that it had last.
    pub(super) newest: u64,
    pub(super) away: Option<Away>,
    /// What it sends as streams; none before the first.
    pub(super) streams: Option<Box<Streams>>,
    /// What it made senders wait over the connection that it had before.
    pub(super) account: Option<Account>,
    /// Its records begin behind this `seq`.
    pub(super) begins_behind: u64,
    /// The highest id that has come.
    pub(super) seen: u64,
    /// Messages whose records are not all committed yet, with how many are missing.
    pending: VecDeque<(u64, u32)>,
    /// Something was accepted that no Status 0 has told yet.
    pub(super) confirm: bool,
    refusals: VecDeque<Refusal>,
    /// How many messages those are.
    refused: usize,
    /// The last refusal that was forgotten without proof that the client has it; 0: none was.
    unproven: u64,
    /// The nonce of the Ping that asks, and the last refusal before it.
    asked: Option<(u64, u64)>,
}

impl Session {
    pub(super) fn new(name: String, folded: String, timezone: String, key: SessionKey) -> Self {
        Self {
            name,
            folded,
            timezone,
            key,
            link: LinkId::default(),
            newest: 0,
            away: None,
            streams: None,
            account: None,
            begins_behind: 0,
            seen: 0,
            pending: VecDeque::new(),
            confirm: false,
            refusals: VecDeque::new(),
            refused: 0,
            unproven: 0,
            asked: None,
        }
    }

    /// Judges the id of a message. [`Numbered::Next`] counts it as seen.
    #[inline]
    pub(super) fn number(&mut self, id: u64) -> Result<Numbered, Violation> {
        if id == self.seen + 1 {
            self.seen = id;
            return Ok(Numbered::Next);
        }
        if id == 0 || id > self.seen {
            let words = format!("message {id} came after message {}", self.seen);
            return Err(Violation::new(ErrorCode::OutOfOrder, words));
        }
        Ok(Numbered::Repeat)
    }

    /// The message `id` is taken; `open` of its records wait for their commit.
    #[inline]
    pub(super) fn accept(&mut self, id: u64, open: u32) {
        if open > 0 {
            self.pending.push_back((id, open));
        } else if self.pending.is_empty() {
            self.confirm = true;
        }
    }

    /// One record of the message `id` was committed.
    pub(super) fn committed(&mut self, id: u64) {
        let Some(waiting) = self.pending.iter_mut().find(|(waiting, _)| *waiting == id) else {
            return;
        };
        waiting.1 -= 1;
        while self.pending.front().is_some_and(|(_, open)| *open == 0) {
            self.pending.pop_front();
            self.confirm = true;
        }
    }

    /// Up to which id everything that was not refused is accepted: what a Status 0 says.
    #[inline]
    pub(super) fn accepted(&self) -> u64 {
        self.pending.front().map_or(self.seen, |(id, _)| id - 1)
    }

    pub(super) fn refuse(&mut self, id: u64, code: StatusCode, detail: &str) {
        if self.refused == REFUSALS_MAX
            && let Some(oldest) = self.refusals.front_mut()
        {
            self.unproven = oldest.first;
            self.refused -= 1;
            oldest.first += 1;
            if oldest.first > oldest.last {
                self.refusals.pop_front();
            }
        }
        self.refused += 1;
        if let Some(last) = self.refusals.back_mut()
            && (last.last + 1, last.code, &*last.detail) == (id, code, detail)
        {
            last.last = id;
            return;
        }
        self.refusals.push_back(Refusal { first: id, last: id, code, detail: detail.to_owned() });
    }

    /// Every refusal that is remembered, in order.
    pub(super) fn refused(&self) -> impl Iterator<Item = (u64, StatusCode, &str)> {
        let each = |refusal: &'_ Refusal| refusal.first..=refusal.last;
        self.refusals
            .iter()
            .flat_map(move |refusal| each(refusal).map(|id| (id, refusal.code, &*refusal.detail)))
    }

    /// Whether a new connection can be told the truth about all that was refused.
    pub(super) fn may_resume(&self) -> bool {
        self.unproven == 0
    }

    /// It has a new connection: what was asked over the old one will not be answered.
    pub(super) fn begin_anew(&mut self) {
        self.asked = None;
    }

    /// The refusal of message `id`, if it is still remembered.
    pub(super) fn refusal(&self, id: u64) -> Option<(StatusCode, &str)> {
        let index = self.refusals.partition_point(|refusal| refusal.last < id);
        let refusal = self.refusals.get(index).filter(|refusal| refusal.first <= id)?;
        Some((refusal.code, &refusal.detail))
    }

    /// Whether all its messages have their fate.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// The nonce of a Ping to send now, if it is time to ask for the refusals.
    pub(super) fn ask(&mut self) -> Option<u64> {
        if self.refused < REFUSALS_ASK || self.asked.is_some() {
            return None;
        }
        let last = self.refusals.back()?.last;
        self.asked = Some((last, last));
        Some(last)
    }

    /// A Pong proves that what was sent before its Ping has arrived.
    pub(super) fn answered(&mut self, nonce: u64) {
        if let Some((asked, last)) = self.asked
            && asked == nonce
        {
            self.asked = None;
            if self.unproven <= last {
                self.unproven = 0;
            }
            while let Some(oldest) = self.refusals.front_mut()
                && oldest.first <= last
            {
                let proven = oldest.last.min(last) + 1 - oldest.first;
                self.refused -= proven as usize;
                oldest.first += proven;
                if oldest.first > oldest.last {
                    self.refusals.pop_front();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new("a".into(), "a".into(), String::new(), SessionKey([1; 16]))
    }

    #[test]
    fn numbers_have_no_holes_and_repeats_are_known() {
        let mut session = session();
        assert_eq!(session.number(1), Ok(Numbered::Next));
        assert_eq!(session.number(2), Ok(Numbered::Next));
        assert_eq!(session.number(1), Ok(Numbered::Repeat));
        for bad in [0, 4, u64::MAX] {
            assert_eq!(session.number(bad).map_err(|v| v.code), Err(ErrorCode::OutOfOrder));
        }
        assert_eq!(session.seen, 2);
    }

    #[test]
    fn accepted_waits_for_the_oldest_open_commit() {
        let mut session = session();
        for id in 1..=4 {
            session.number(id).expect("in order");
        }
        session.accept(1, 1);
        session.accept(2, 2);
        session.refuse(3, StatusCode::NotUtf8, "");
        session.accept(4, 1);
        assert_eq!(session.accepted(), 0);
        session.committed(4);
        session.committed(2);
        assert_eq!((session.accepted(), session.confirm), (0, false));
        session.committed(1);
        assert_eq!((session.accepted(), session.confirm), (1, true));
        session.committed(2);
        assert_eq!(session.accepted(), 4);
    }

    #[test]
    fn refusals_are_remembered_until_the_right_pong() {
        let mut session = session();
        let mut nonce = None;
        for id in 1..=600u64 {
            let code = if id % 2 == 0 { StatusCode::NotUtf8 } else { StatusCode::TooLarge };
            session.refuse(id, code, "");
            nonce = nonce.or(session.ask());
        }
        assert_eq!(session.ask(), None, "one question at a time");
        assert_eq!(session.refusal(600).map(|(code, _)| code), Some(StatusCode::NotUtf8));
        session.answered(12345);
        assert!(session.refusal(1).is_some());
        session.answered(nonce.expect("it was asked"));
        assert!(session.refusal(512).is_none());
        assert!(session.refusal(513).is_some(), "came after the question");
    }

    #[test]
    fn refusals_of_a_kind_take_one_place_and_are_bounded() {
        let mut session = session();
        for id in 1..=1024 {
            session.refuse(id, StatusCode::NoSuchRecipient, "nobody");
        }
        assert_eq!((session.refusals.len(), session.refused().count()), (1, 1024));
        assert!(session.may_resume());
        let nonce = session.ask().expect("there are many");
        for id in 1025..=3000 {
            session.refuse(id, StatusCode::NoSuchRecipient, "nobody");
        }
        assert_eq!(
            session.refused().map(|(id, ..)| id).collect::<Vec<_>>(),
            (1977..=3000).collect::<Vec<_>>()
        );
        assert!(!session.may_resume(), "1025 to 1976 are forgotten, and may not be known");
        session.answered(nonce);
        assert!(!session.may_resume());
        let nonce = session.ask().expect("there are many again");
        session.answered(nonce);
        assert!(session.may_resume());
        assert_eq!((session.refused().count(), session.refused), (0, 0));
    }
}
