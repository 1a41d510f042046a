//! The seam between the rules and the place where records are kept: proposed, then committed.
//!
//! In memory a commit is immediate ([`Commit::AtOnce`]): the record goes from the sender's bytes
//! into the log without a stop. A log on disk or in a distributed store commits later, in groups,
//! in its own order, and brings records that nobody here proposed ([`Commit::Later`]): the hub
//! hands its proposals out and takes committed ones in. Nothing else in the hub knows which.

use super::draft::{Proposal, RECORD_HEADER};
use crate::codec::put_relayed;
use crate::log::{Audience, Log, SessionId};

/// When a proposed record is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// At once, by the hub itself.
    AtOnce,
    /// By whoever takes the proposals and gives them back as commits.
    Later,
}

/// The log and what waits to get into it.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) log: Log,
    commit: Commit,
    proposals: Vec<Proposal<'static>>,
    /// Bytes that are promised to proposals which are not committed yet.
    reserved: u64,
    /// How many records were proposed that were not committed with that.
    pub(super) proposed: u64,
    /// How many of those are committed.
    pub(super) committed: u64,
}

impl Ledger {
    pub(super) fn new(log: Log, commit: Commit) -> Self {
        Self { log, commit, proposals: Vec::new(), reserved: 0, proposed: 0, committed: 0 }
    }

    /// Whether one more record of `size` bytes can be proposed; `floor` as in [`Log::make_room`].
    #[inline]
    pub(super) fn has_room(&mut self, size: usize, floor: u64) -> bool {
        self.log.make_room(size as u64 + self.reserved, floor)
    }

    /// Up to which position readers must get before one more record of `size` bytes has room.
    pub(super) fn line_for(&self, size: usize) -> u64 {
        self.log.line_for(size as u64 + self.reserved)
    }

    /// Appends a message at once, if that is how records are committed: straight from the bytes
    /// that came, since to put a proposal together costs as much as to write the record.
    #[inline]
    pub(super) fn append_at_once(
        &mut self,
        (session, audience): (SessionId, Audience),
        time_ms: u64,
        from: &str,
        (kind, body): (u8, &[u8]),
    ) -> bool {
        if self.commit != Commit::AtOnce {
            return false;
        }
        let size = RECORD_HEADER + from.len() + body.len();
        self.log.append(session, audience, size, |out, seq| {
            put_relayed(out, kind, (seq, time_ms), from, body);
        });
        true
    }

    /// Takes a proposal. True if it is committed with that.
    #[inline]
    pub(super) fn propose(&mut self, proposal: Proposal<'_>) -> bool {
        match self.commit {
            Commit::AtOnce => {
                self.append(&proposal);
                true
            }
            Commit::Later => {
                self.reserved += proposal.draft.size() as u64;
                let draft = proposal.draft.into_owned();
                self.proposed += 1;
                self.proposals.push(Proposal { draft, ..proposal });
                false
            }
        }
    }

    /// Writes a committed record into the log.
    #[inline]
    pub(super) fn append(&mut self, record: &Proposal<'_>) {
        let size = record.draft.size();
        self.log.append(record.session, record.audience, size, |out, seq| {
            record.draft.encode(seq, record.time_ms, out);
        });
    }

    /// A commit has used up what was reserved for it, if it was proposed here.
    pub(super) fn release(&mut self, record: &Proposal<'_>) {
        if record.session != 0 {
            self.reserved = self.reserved.saturating_sub(record.draft.size() as u64);
            self.committed += 1;
        }
    }

    /// Whether everything that was proposed is committed.
    pub(super) fn is_settled(&self) -> bool {
        self.proposed == self.committed
    }

    pub(super) fn take_proposals(&mut self) -> Vec<Proposal<'static>> {
        std::mem::take(&mut self.proposals)
    }
}
