//! The outbox: numbers a client's messages, knows what became of each, and keeps those that may
//! have to be sent again.
//!
//! Pure: statuses come in as numbers, fates go out as values (`PROTOCOL.md` sections 4 and 6). A
//! status 0 is cumulative, any other code speaks of one message, and what was told first holds: a
//! refusal stands when a later status 0 covers it.
//!
//! A message has two numbers. Its *receipt* is for the user, and goes on over all sessions of a
//! connection; its *id* is for the wire, and begins anew with each session:
//!
//! ```text
//!   receipt   1 .. base  |  base + 1  ..  left  |  left + 1  ..  sent
//!   id                   |     1      ..        |
//!             sessions   |  put in line to be   |  sent while there was
//!             that ended |  written             |  no connection
//! ```
//!
//! A message that is kept while there is no connection may make no sense in a new session. It is
//! refused here then, and bears no id.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::backlog::Backlog;
use crate::event::{Fate, Receipt};
use crate::frame::{BODY_MARGIN, HEADER};
use crate::message::{ErrorCode, Frame, StatusCode, Violation, kind};

/// How many refusals are remembered, the newest ones: with [`DETAIL_MAX`] 24 MiB at the worst.
const REFUSALS_MAX: usize = 65_536;
/// How many bytes of a refusal's words are remembered.
const DETAIL_MAX: usize = 256;
/// The bytes of a frame that its length does not count: the length itself.
const LENGTH: usize = 4;
/// How many ranges of messages with an unknown fate are remembered; each lost session makes one.
const UNKNOWN_MAX: usize = 1024;

/// See the [module](self). All numbers are receipts, unless they are called ids.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Whether messages are kept until the server has them.
    keeps: bool,
    backlog: Backlog,
    /// The last message.
    sent: u64,
    /// The last message that may have reached the server.
    left: u64,
    /// The last message of the sessions that ended.
    base: u64,
    /// All messages up to here have their fate: the highest that a status 0 has named, or `base`.
    settled: u64,
    /// The last message that the server is known to have; no longer kept.
    arrived: u64,
    refusals: BTreeMap<u64, (StatusCode, String)>,
    /// The highest among the refusals that are not remembered any more.
    forgotten: u64,
    /// What was open when its session ended, in ascending order. Refusals in it stand.
    unknown: Vec<RangeInclusive<u64>>,
    /// The last message that a flush has answered for.
    flushed: u64,
    /// What was refused here since `base`, each with the id of the next message, in ascending
    /// order.
    skipped: Vec<(u64, u64)>,
}

/// What becomes of the messages of a session that is lost.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LostSession {
    /// How many have an unknown fate from now on.
    pub(crate) unconfirmed: u64,
    /// The last one that may have left.
    pub(crate) up_to: Receipt,
    /// Those that never left and will not, since the new session has no place for them: they are
    /// refused.
    pub(crate) refused: Vec<Receipt>,
}

impl Outbox {
    /// Empty. One that `keeps` messages can have them sent again.
    pub(crate) fn new(keeps: bool) -> Self {
        Self { keeps, ..Self::default() }
    }

    /// The id of the next message.
    pub(crate) fn next_id(&self) -> u64 {
        self.id(self.sent) + 1
    }

    /// Takes the next message, which bears [`next_id`](Self::next_id), and puts it in `line` to be
    /// written; without a line it waits for [`put_in_line`](Self::put_in_line).
    pub(crate) fn push(&mut self, message: &Frame<'_>, line: Option<&mut Vec<u8>>) -> Receipt {
        self.sent += 1;
        if let Some(line) = line {
            self.left = self.sent;
            if self.keeps {
                line.extend_from_slice(self.backlog.push(message));
            } else {
                message.encode(line);
            }
        } else {
            self.backlog.push(message);
        }
        self.last()
    }

    /// Puts all that is kept in line to be written.
    pub(crate) fn put_in_line(&mut self, line: &mut Vec<u8>) {
        line.extend_from_slice(self.backlog.frames());
        self.left = self.sent;
    }

    /// How many bytes of messages are kept, since the server has not been seen to have them.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.backlog.size()
    }

    /// The receipt of the last message; number 0 before the first one.
    pub(crate) fn last(&self) -> Receipt {
        Receipt(self.sent)
    }

    /// Takes a status 0. Gives the receipt if that says anything new.
    pub(crate) fn accept(&mut self, id: u64) -> Result<Option<Receipt>, Violation> {
        let receipt = self.receipt(id)?;
        if receipt <= self.settled {
            return Ok(None);
        }
        self.settled = receipt;
        self.arrive(receipt);
        Ok(Some(Receipt(receipt)))
    }

    /// Takes a status of any other code. Gives the receipt if that says anything new.
    pub(crate) fn refuse(
        &mut self,
        id: u64,
        code: StatusCode,
        detail: &str,
    ) -> Result<Option<Receipt>, Violation> {
        let receipt = self.receipt(id)?;
        if receipt <= self.forgotten || self.refusals.contains_key(&receipt) {
            return Ok(None);
        }
        if receipt <= self.settled {
            let words = format!("message {id} is refused after it was accepted");
            return Err(Violation::new(ErrorCode::OutOfOrder, words));
        }
        self.remember_refusal(receipt, code, detail);
        self.arrive(receipt);
        Ok(Some(Receipt(receipt)))
    }

    fn remember_refusal(&mut self, receipt: u64, code: StatusCode, detail: &str) {
        self.refusals.insert(receipt, (code, shorten(detail).to_owned()));
        if self.refusals.len() > REFUSALS_MAX
            && let Some((oldest, _)) = self.refusals.pop_first()
        {
            self.forgotten = oldest;
        }
    }

    /// The session goes on, and the server has seen its messages up to the id `seen`.
    pub(crate) fn resume(&mut self, seen: u64) -> Result<(), Violation> {
        let (least, most) = (self.id(self.arrived), self.id(self.left));
        if !(least..=most).contains(&seen) {
            let words = format!("seen is {seen}, it must be between {least} and {most}");
            return Err(Violation::new(ErrorCode::Malformed, words));
        }
        self.arrive(self.bearer(seen));
        Ok(())
    }

    /// The session is lost: what may have reached the server and has no fate gets none any more,
    /// and the rest becomes the first of a new session, whose server takes frames up to
    /// `frame_max`.
    pub(crate) fn lose_session(&mut self, frame_max: u32) -> LostSession {
        let up_to = Receipt(self.left);
        let unconfirmed = self.unsettled(up_to);
        if unconfirmed > 0 {
            self.remember_unknown(self.settled + 1..=self.left);
        }
        self.arrive(self.left);
        (self.base, self.settled) = (self.left, self.left);
        LostSession { unconfirmed, up_to, refused: self.begin_anew(frame_max) }
    }

    /// Numbers what never left for a new session, but for what makes no sense in it. Gives that.
    fn begin_anew(&mut self, frame_max: u32) -> Vec<Receipt> {
        self.skipped.clear();
        let (mut receipt, mut next_id) = (self.base, 1);
        let skipped = &mut self.skipped;
        let mut refusals = Vec::new();
        self.backlog.begin_anew(|frame| {
            receipt += 1;
            let Some((code, detail)) = refusal_in_new_session(frame, frame_max) else {
                next_id += 1;
                return true;
            };
            skipped.push((receipt, next_id));
            refusals.push((receipt, code, detail));
            false
        });
        for (receipt, code, detail) in &refusals {
            self.remember_refusal(*receipt, *code, detail);
        }
        refusals.into_iter().map(|(receipt, ..)| Receipt(receipt)).collect()
    }

    /// Of too many ranges the oldest two become one, with what was accepted in between: a fate
    /// that is forgotten is unknown.
    fn remember_unknown(&mut self, range: RangeInclusive<u64>) {
        match self.unknown.last_mut() {
            Some(last) if last.end() + 1 == *range.start() => {
                *last = *last.start()..=*range.end();
            }
            _ => self.unknown.push(range),
        }
        if self.unknown.len() > UNKNOWN_MAX {
            let second = self.unknown.remove(1);
            self.unknown[0] = *self.unknown[0].start()..=*second.end();
        }
    }

    fn is_unknown(&self, receipt: u64) -> bool {
        let index = self.unknown.partition_point(|range| *range.end() < receipt);
        self.unknown.get(index).is_some_and(|range| range.contains(&receipt))
    }

    fn arrive(&mut self, receipt: u64) {
        self.arrived = self.arrived.max(receipt);
        self.backlog.drop_through(self.id(self.arrived));
    }

    /// What became of a message, or `None` while that is open.
    ///
    /// [`Fate::Unknown`] if its session was lost before the server told, where the fate may have
    /// been forgotten, and for a receipt that this outbox did not give.
    pub(crate) fn fate(&self, receipt: Receipt) -> Option<Fate> {
        let receipt = receipt.0;
        if receipt == 0 || receipt > self.sent {
            return Some(Fate::Unknown);
        }
        if let Some((code, detail)) = self.refusals.get(&receipt) {
            return Some(Fate::Refused { code: *code, detail: detail.clone() });
        }
        if receipt <= self.forgotten || self.is_unknown(receipt) {
            return Some(Fate::Unknown);
        }
        (receipt <= self.settled).then_some(Fate::Accepted)
    }

    /// How many messages up to `last` have no fate yet.
    pub(crate) fn unsettled(&self, last: Receipt) -> u64 {
        // A refusal can only be forgotten ahead of an open message if tens of thousands came in
        // between; that message counts as settled, since its fate is unknown.
        let settled = self.settled.max(self.forgotten);
        if last.0 <= settled {
            return 0;
        }
        let ahead = self.refusals.range(settled + 1..=last.0).count();
        last.0 - settled - ahead as u64
    }

    /// How many messages behind `first` up to `last` have an unknown fate. Where fates were
    /// forgotten that is more than were ever open.
    pub(crate) fn unknown(&self, first: Receipt, last: Receipt) -> u64 {
        let begin = self.unknown.partition_point(|range| *range.end() <= first.0);
        let in_range = |range: &RangeInclusive<u64>| {
            let (start, end) = ((*range.start()).max(first.0 + 1), (*range.end()).min(last.0));
            let messages = (end + 1).saturating_sub(start);
            if messages == 0 {
                0
            } else {
                messages - self.refusals.range(start..=end).count() as u64
            }
        };
        self.unknown[begin..].iter().map(in_range).sum()
    }

    /// The last message that a flush has answered for.
    pub(crate) fn flushed(&self) -> Receipt {
        Receipt(self.flushed)
    }

    /// A flush answers for all messages up to `last`.
    pub(crate) fn flush(&mut self, last: Receipt) {
        self.flushed = self.flushed.max(last.0);
    }

    /// The receipt of the message that a status speaks of.
    fn receipt(&self, id: u64) -> Result<u64, Violation> {
        let most = self.id(self.left);
        if id == 0 || id > most {
            let words = format!("a status for message {id} of {most}");
            return Err(Violation::new(ErrorCode::Malformed, words));
        }
        Ok(self.bearer(id))
    }

    /// The receipt of the message that bears an id; `base` for 0.
    fn bearer(&self, id: u64) -> u64 {
        let ahead = self.skipped.partition_point(|(_, next_id)| *next_id <= id);
        self.base + id + ahead as u64
    }

    /// The id of a message of this session, or the last one before it if it bears none.
    fn id(&self, receipt: u64) -> u64 {
        let ahead = self.skipped.partition_point(|(skipped, _)| *skipped <= receipt);
        receipt - self.base - ahead as u64
    }
}

/// Why a message that never left makes no sense in a new session, if so. A move is for a turn of
/// the game that was lost with the old one, and the new one has a turn of the same number. A frame
/// above `frame_max` would be the end of the new session.
fn refusal_in_new_session(frame: &[u8], frame_max: u32) -> Option<(StatusCode, String)> {
    if frame.get(HEADER - 1) == Some(&kind::MOVE) {
        let detail = "the turn was lost with its session";
        return Some((StatusCode::NotYourTurn, detail.into()));
    }
    if frame.len() - LENGTH <= frame_max as usize {
        return None;
    }
    let most = frame_max - BODY_MARGIN;
    let detail = format!("the server that came back takes at most {most} bytes");
    Some((StatusCode::TooLarge, detail))
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
mod tests;
