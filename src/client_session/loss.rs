//! How a connection ends, and what becomes of the session then.
//!
//! A *loss* is followed by another attempt, if there is a policy that has one; otherwise, and
//! after all that is final, the session *ends*.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ClientSession, Phase};
use crate::end::{End, Loss};
use crate::event::Event;
use crate::frame::HANDSHAKE_FRAME_MAX;
use crate::message::{ErrorCode, Frame, Reason, SessionKey, Violation};

impl ClientSession {
    /// Says goodbye, if the dialogue is open. While it is to be restored there is nobody to say it
    /// to, and this is the end at once.
    pub fn terminate(&mut self) {
        if self.is_open() {
            let detail = Cow::Borrowed("");
            let goodbye = Frame::Terminate { reason: Reason::Done, retry_after_ms: 0, detail };
            goodbye.encode(&mut self.outgoing);
            self.phase = Phase::Closing { peer_is_done: false };
        } else if self.is_alive() && self.was_open() {
            self.end(End::Closed { answered: false });
        }
    }

    /// The connection is gone: by end of file, or by an error. What was outgoing is dropped.
    pub fn lost(&mut self, cause: Option<io::Error>, now: Instant) {
        let (loss, end) = match cause {
            None => (Loss::Closed, End::Lost),
            Some(cause) => (Loss::from(&cause), End::Io(Arc::new(cause))),
        };
        match self.phase {
            Phase::Away { .. } => {} // told before, by the last frame that came
            Phase::Closing { peer_is_done } => self.end(End::Closed { answered: peer_is_done }),
            _ => self.lose(loss, end, Duration::ZERO, now),
        }
    }

    /// An attempt to connect failed.
    pub fn unreachable(&mut self, error: io::Error, now: Instant) {
        if self.is_away() {
            let loss = Loss::Unreachable(error.kind());
            self.lose(loss, End::Io(Arc::new(error)), Duration::ZERO, now);
        }
    }

    /// The server did not answer the Init in time.
    pub fn unanswered(&mut self, now: Instant) {
        if self.is_in_handshake() {
            let end = End::Io(Arc::new(io::ErrorKind::TimedOut.into()));
            self.lose(Loss::NoAnswer, end, Duration::ZERO, now);
        }
    }

    /// When to connect again, while there is no connection.
    pub fn retry_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Away { retry_at, .. } => Some(retry_at),
            _ => None,
        }
    }

    /// There is a new connection: its Init, which asks for the session, is all that is outgoing.
    /// What was outgoing on the old one is forgotten, and nothing of it may be written any more.
    pub fn reconnect(&mut self) {
        if !self.is_away() {
            return;
        }
        self.phase = Phase::Handshake;
        self.frame_max = HANDSHAKE_FRAME_MAX;
        let key = self.key.unwrap_or(SessionKey::NEW);
        self.outgoing.clear();
        self.introduction.init(key, self.last_seq).encode(&mut self.outgoing);
    }

    /// The peer broke the protocol: it is told so, and that is the end.
    pub fn violated(&mut self, violation: Violation) {
        if self.is_away() || self.ended().is_some() {
            return;
        }
        let error = Frame::Error { code: violation.code, detail: violation.detail.clone() };
        error.encode(&mut self.outgoing);
        self.end(End::Violation(violation));
    }

    /// The server ended the dialogue with Terminate.
    pub(super) fn terminated(
        &mut self,
        reason: Reason,
        retry_after_ms: u32,
        detail: Cow<'_, str>,
        now: Instant,
    ) {
        let retry_after = Duration::from_millis(u64::from(retry_after_ms));
        let end = End::Terminated { reason, retry_after, detail: detail.into_owned() };
        if matches!(reason, Reason::Done | Reason::Replaced | Reason::TurnedOut) {
            self.end(end);
        } else {
            self.lose(Loss::Terminated(reason), end, retry_after, now);
        }
    }

    /// The server ended the dialogue with Error.
    pub(super) fn refused(&mut self, code: ErrorCode, detail: Cow<'_, str>, now: Instant) {
        let end = End::Refused { code, detail: detail.into_owned() };
        if code.may_reconnect() {
            self.lose(Loss::Refused(code), end, Duration::ZERO, now);
        } else {
            self.end(end);
        }
    }

    /// The connection is over, by `loss`; if no attempt to restore it is left, that is the `end`.
    pub(super) fn lose(&mut self, loss: Loss, end: End, retry_after: Duration, now: Instant) {
        let may_return = self.is_alive() && self.was_open();
        let attempt = match &mut self.backoff {
            Some(backoff) if may_return => backoff.next_attempt(now, retry_after),
            _ => None,
        };
        let Some(attempt) = attempt else {
            return self.end(end);
        };
        let has_last_words = has_last_words(&end);
        self.phase = Phase::Away { retry_at: attempt.at, has_last_words };
        self.drop_unwritable();
        self.begin_heartbeat(now);
        self.lost_nonce = self.last_nonce;
        self.answers += 1;
        let (attempt, next_in) = (attempt.number, attempt.wait);
        self.inbox.push_attempt(Event::Reconnecting { attempt, next_in, loss });
    }

    pub(super) fn end(&mut self, end: End) {
        if self.ended().is_none() {
            self.phase = Phase::Ended(end);
            self.drop_unwritable();
        }
    }

    fn drop_unwritable(&mut self) {
        if !self.may_write() {
            self.outgoing = Vec::new();
        }
    }

    /// Whether what is outgoing still makes sense: always while there is a connection, and after
    /// its end where this side has the last word. What was in line stays in front of that: part of
    /// it may have been written, and a frame that is torn would swallow what follows.
    pub fn may_write(&self) -> bool {
        match &self.phase {
            Phase::Handshake | Phase::Open | Phase::Closing { .. } => true,
            Phase::Away { has_last_words, .. } => *has_last_words,
            Phase::Ended(end) => has_last_words(end),
        }
    }
}

/// Whether this side says something at such an end.
fn has_last_words(end: &End) -> bool {
    matches!(end, End::Terminated { .. } | End::Violation(_) | End::Silent)
}
