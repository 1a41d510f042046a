//! Sessions that lost their connection: kept for a while, taken up again, or ended
//! (`PROTOCOL.md` section 6).
//!
//! ```text
//!            the connection is lost             session.grace is over, or too many are away
//!  present -------------------------> away -------------------------------------> ended
//!     ^                                |
//!     +---- Init with its key ---------+      (also while present: the newer connection wins)
//! ```

use std::borrow::Cow;
use std::time::Instant;

use super::link::{Account, Link, LinkId, Stage};
use super::{Core, Hub, Moment};
use crate::end::Loss;
use crate::heartbeat::Heartbeat;
use crate::log::SessionId;
use crate::message::{
    ErrorCode, FLAG_GAP, FLAG_RESUMED, Frame, Reason, SessionKey, StatusCode, VERSION, Violation,
};
use crate::report::Report;

/// What is kept with a session that is away.
#[derive(Debug)]
pub(super) struct Away {
    /// When it ends.
    pub(super) until: Instant,
    /// What the others are told then.
    pub(super) reason: Reason,
    /// The address of the connection that it had.
    pub(super) peer: Box<str>,
}

/// What the others are told of a session that does not come back after such a loss.
fn reason_of(loss: Loss) -> Reason {
    match loss {
        Loss::Silent => Reason::NoHeartbeat,
        Loss::Terminated(reason) => reason,
        _ => Reason::Lost,
    }
}

impl Hub {
    /// A connection is lost, and with it its session is away; it ends at once where none are kept.
    pub(super) fn lose_session(&mut self, id: LinkId, loss: Loss, at: Moment) {
        let core = &mut self.core;
        let Some(link) = core.links.get(id.0) else { return };
        let session_id = link.session;
        let Some(session) = core.sessions.get_mut(session_id) else { return };
        if session.link != id {
            return; // it is away already, or goes on elsewhere
        }
        session.account = Some(link.account);
        let (grace, reason) = (core.rules.grace, reason_of(loss));
        if grace.is_zero() || link.stage == Stage::Joining {
            self.end_session(session_id, reason, at);
            return;
        }
        session.link = LinkId::default();
        let until = at.now + grace;
        session.away = Some(Away { until, reason, peer: link.peer.clone() });
        let (peer, name) = (link.peer.to_string(), session.name.clone());
        core.reports.push(Report::Away { peer, name, loss, grace });
        core.alarms.note(until, core.away.first().map(|(until, _)| *until));
        core.away.insert((until, session_id));
        core.streams_lost(session_id);
        self.turn(at, None, |table, now, out| table.away(session_id, now, out));
        let core = &mut self.core;
        if core.away.len() > core.rules.away
            && let Some((_, longest)) = core.away.first().copied()
        {
            self.end_away(longest, at);
        }
    }

    fn end_away(&mut self, session: SessionId, at: Moment) {
        let away = self.core.sessions.get(session).and_then(|session| session.away.as_ref());
        let reason = away.map_or(Reason::Lost, |away| away.reason);
        self.end_session(session, reason, at);
    }

    /// Ends the sessions that have been away for too long.
    pub(super) fn end_those_away(&mut self, at: Moment) {
        while let Some((until, session)) = self.core.away.first().copied()
            && until <= at.now
        {
            self.end_away(session, at);
        }
    }

    /// Gives a session that is known, present or away, to the connection that shows its key.
    /// `None`: there is no such session.
    pub(super) fn resume(
        &mut self,
        id: LinkId,
        key: SessionKey,
        received: u64,
        at: Moment,
    ) -> Option<Result<(), Violation>> {
        let session_id = self.core.keys.get(&key).copied()?;
        let session = self.core.sessions.get(session_id)?;
        if self.core.links.get(id.0)?.number < session.newest {
            // An attempt that its client has given up: it must not put out the one that succeeded.
            let words = "the session goes on over a newer connection";
            return Some(Err(Violation::new(ErrorCode::HandshakeTimedOut, words)));
        }
        let (old, may_resume) = (session.link, session.may_resume());
        let leaves = self.core.links.get(old.0).is_some_and(Link::is_leaving_for_good);
        if leaves {
            return None;
        }
        if !may_resume {
            self.replace(old, at);
            self.end_session(session_id, Reason::Lost, at);
            return None;
        }
        if session.away.is_some() && self.core.connected() >= self.core.rules.clients {
            return Some(Err(self.core.full()));
        }
        self.replace(old, at);
        self.take_up(id, session_id, received, at);
        Some(Ok(()))
    }

    /// Nothing more is taken from a connection whose session goes on over a newer one.
    fn replace(&mut self, old: LinkId, at: Moment) {
        let detail = Cow::Borrowed("");
        let frame = Frame::Terminate { reason: Reason::Replaced, retry_after_ms: 0, detail };
        self.core.say_last(old, Some(&frame.to_bytes()), at);
        let Some(link) = self.core.links.get(old.0) else { return };
        let account = link.account;
        if let Some(session) = self.core.sessions.get_mut(link.session) {
            session.account = Some(account);
        }
    }

    /// Connects a session to its new connection, and tells the client how it stands.
    fn take_up(&mut self, id: LinkId, session_id: SessionId, received: u64, at: Moment) {
        let core = &mut self.core;
        let log = &core.ledger.log;
        let Some(link) = core.links.get_mut(id.0) else { return };
        let Some(session) = core.sessions.get_mut(session_id) else { return };
        if let Some(away) = session.away.take() {
            core.away.remove(&(away.until, session_id));
        }
        session.link = id;
        session.newest = link.number;
        session.begin_anew();
        let head = log.last_seq();
        let from = received.min(head).max(session.begins_behind);
        let missed = log.missed(session_id, from);
        let gap = if missed > 0 || received > head { FLAG_GAP } else { 0 };
        link.enter(session_id, log.position_behind(from));
        if let Some(account) = session.account.take() {
            // To come back is no way to more patience.
            link.account = Account { start: link.cursor, ..account };
        }
        link.heartbeat = Some(Heartbeat::new(core.rules.rhythm, at.now));
        core.pressure.floor = core.pressure.floor.min(link.cursor);
        let ack = Frame::InitAck {
            version: VERSION,
            mode: core.mode,
            flags: FLAG_RESUMED | gap,
            session: session.key,
            seen: session.seen,
            head,
            missed,
            frame_max: core.rules.frame_max,
            grace_ms: core.rules.grace_ms(),
            name: &session.name,
        };
        ack.encode(&mut link.owed);
        let (peer, name) = (link.peer.to_string(), session.name.clone());
        core.reports.push(Report::Resumed { peer, name, missed });
        core.watch(id, at.now);
        core.owe_present(id);
        core.owe_fates(id, session_id);
        core.mark(id);
        core.streams_resumed(session_id, at.now);
        self.turn(at, None, |table, now, out| table.back(session_id, now, out));
    }
}

impl Core {
    /// How many clients are connected and past their handshake.
    pub(super) fn connected(&self) -> usize {
        self.sessions.len() - self.away.len()
    }

    pub(super) fn full(&self) -> Violation {
        let words = format!("{} clients are here, no more are taken", self.connected());
        Violation::new(ErrorCode::ServerFull, words)
    }

    /// Repeats what a session that goes on may not have heard: its refusals, and then up to where
    /// everything else is accepted.
    fn owe_fates(&mut self, id: LinkId, session: SessionId) {
        let Some(session) = self.sessions.get_mut(session) else { return };
        let Some(link) = self.links.get_mut(id.0) else { return };
        let before = link.owed.len();
        for (id, code, detail) in session.refused() {
            Frame::Status { id, code, detail: Cow::Borrowed(detail) }.encode(&mut link.owed);
        }
        let accepted = session.accepted();
        if accepted > 0 {
            let (code, detail) = (StatusCode::Accepted, Cow::Borrowed(""));
            Frame::Status { id: accepted, code, detail }.encode(&mut link.owed);
        }
        session.confirm = false;
        if let Some(nonce) = session.ask() {
            Frame::Ping { nonce }.encode(&mut link.owed);
        }
        link.allowance += link.owed.len() - before;
    }
}
