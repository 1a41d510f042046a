//! How a dialogue ends: goodbyes of either side, violations, lost connections (`PROTOCOL.md`
//! sections 1, 6 and 10).

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::draft::{Draft, Proposal};
use super::link::{LinkId, Service, Stage};
use super::room::Room;
use super::session::Session;
use super::{Core, DRAIN_TIME, Hub, Moment};
use crate::end::Loss;
use crate::log::{Audience, SessionId};
use crate::message::{ErrorCode, Frame, Reason, Violation};
use crate::report::Report;

/// How long the answer to our Terminate is waited for (section 10).
pub(super) const ACK_TIME: Duration = Duration::from_secs(5);

impl Hub {
    /// The connection is closed: by the peer, by the system, or by the shell. It is forgotten.
    /// `loss` says how, as the system told it.
    pub fn hung_up(&mut self, id: LinkId, loss: Loss, at: Moment) {
        // First, so that what it made others wait is known when its session is laid aside.
        self.core.end_service(id);
        self.core.unblock(id);
        self.core.relieve(id, at.now);
        let Some(link) = self.core.links.get(id.0) else { return };
        match link.reason {
            Reason::Done => self.end_session_of(id, Reason::Done, at),
            Reason::Lost => self.lose_session(id, loss, at),
            reason => self.lose_session(id, Loss::Terminated(reason), at),
        }
        self.core.links.remove(id.0);
        self.core.spread();
    }

    /// The client says Terminate: what is queued leaves, then TerminateAck.
    pub(super) fn client_terminates(&mut self, id: LinkId, reason: Reason, at: Moment) {
        let Some(link) = self.core.links.get_mut(id.0) else { return };
        if !matches!(link.stage, Stage::Open | Stage::Asked) {
            return;
        }
        link.stage = Stage::Leaving;
        link.last_position = None;
        link.reason = match reason {
            Reason::Done | Reason::NoHeartbeat => reason,
            _ => Reason::Lost,
        };
        let session = link.session;
        self.core.spread();
        self.core.flush_status(session, id);
        self.leave_if_settled(id, at);
    }

    /// Lets a client that said Terminate go, once all its messages have their fate.
    pub(super) fn leave_if_settled(&mut self, id: LinkId, at: Moment) {
        let Some(link) = self.core.links.get_mut(id.0) else { return };
        let (session, reason) = (link.session, link.reason);
        let settled = self.core.sessions.get(session).is_none_or(Session::is_settled);
        if link.stage != Stage::Leaving || link.last_position.is_some() || !settled {
            return;
        }
        link.last_position = Some(self.core.ledger.log.head());
        Frame::TerminateAck.encode(&mut link.farewell);
        self.core.set_deadline(id, at.now + ACK_TIME);
        match reason {
            Reason::Done => self.end_session(session, reason, at),
            reason => self.lose_session(id, Loss::Terminated(reason), at),
        }
        self.core.mark(id);
    }

    /// The client answers our Terminate.
    pub(super) fn client_acknowledges(&mut self, id: LinkId, at: Moment) {
        let Some(link) = self.core.links.get(id.0) else { return };
        if link.stage == Stage::Asked && link.farewell.is_empty() {
            self.lose_session(id, Loss::Terminated(link.reason), at);
            self.core.say_last(id, None, at);
        }
    }

    /// The client says Error: it will not talk on.
    pub(super) fn client_complains(
        &mut self,
        id: LinkId,
        code: ErrorCode,
        detail: &str,
        at: Moment,
    ) {
        let detail = Cow::Owned(format!("the client complains: {detail}"));
        self.core.report_refusal(id, Violation { code, detail });
        self.put_out(id, Reason::TurnedOut, None, at);
    }

    /// Answers a violation, or a handshake that cannot succeed, with Error.
    pub(super) fn refuse(&mut self, id: LinkId, violation: Violation, at: Moment) {
        let error = Frame::Error { code: violation.code, detail: violation.detail.clone() };
        let error = error.to_bytes();
        self.core.report_refusal(id, violation);
        self.put_out(id, Reason::TurnedOut, Some(&error), at);
    }

    /// The handler panicked on a call for this client.
    pub(super) fn put_out_after_panic(&mut self, id: LinkId, at: Moment) {
        let session = self.core.links.get(id.0).map_or(0, |link| link.session);
        if let Some(session) = self.core.sessions.get(session) {
            let name = session.name.clone();
            self.core.reports.push(Report::HandlerPanicked { name });
        }
        self.refuse(id, Violation::new(ErrorCode::Internal, "a fault in the server"), at);
    }

    /// A reader was too slow: tries to say so.
    pub(super) fn let_go(&mut self, id: LinkId, at: Moment) {
        let detail = Cow::Borrowed("others would have had to wait");
        let frame = Frame::Terminate { reason: Reason::TooSlow, retry_after_ms: 0, detail };
        self.send_away(id, Loss::Terminated(Reason::TooSlow), &frame, at);
    }

    /// A client that gave no sign of life: tries to say so.
    pub(super) fn give_up_dead(&mut self, id: LinkId, at: Moment) {
        let detail = Cow::Borrowed("");
        let frame = Frame::Terminate { reason: Reason::NoHeartbeat, retry_after_ms: 0, detail };
        self.send_away(id, Loss::Silent, &frame, at);
    }

    /// A client that said nothing but heartbeats for too long.
    pub(super) fn let_idle_go(&mut self, id: LinkId, at: Moment) {
        let detail = Cow::Borrowed("");
        let frame = Frame::Terminate { reason: Reason::Idle, retry_after_ms: 0, detail };
        self.send_away(id, Loss::Terminated(Reason::Idle), &frame, at);
    }

    /// Ends a connection, not its session.
    fn send_away(&mut self, id: LinkId, loss: Loss, last_words: &Frame<'_>, at: Moment) {
        let Some(link) = self.core.links.get_mut(id.0) else { return };
        if matches!(link.stage, Stage::Refused | Stage::Draining) {
            return;
        }
        self.core.say_last(id, Some(&last_words.to_bytes()), at);
        self.lose_session(id, loss, at);
    }

    /// Ends a connection, and its session with it.
    pub(super) fn put_out(
        &mut self,
        id: LinkId,
        reason: Reason,
        last_words: Option<&[u8]>,
        at: Moment,
    ) {
        let Some(link) = self.core.links.get_mut(id.0) else { return };
        if matches!(link.stage, Stage::Refused | Stage::Draining) {
            return;
        }
        self.core.say_last(id, last_words, at);
        self.end_session_of(id, reason, at);
    }

    /// Ends the session of a connection, unless it goes on elsewhere.
    fn end_session_of(&mut self, id: LinkId, reason: Reason, at: Moment) {
        let session_id = self.core.links.get(id.0).map_or(0, |link| link.session);
        if self.core.sessions.get(session_id).is_some_and(|session| session.link == id) {
            self.end_session(session_id, reason, at);
        }
    }

    /// Ends a session: its name is free, and the others are told.
    pub(super) fn end_session(&mut self, session: SessionId, reason: Reason, at: Moment) {
        if self.core.sessions.get(session).is_none() {
            return;
        }
        self.turn(at, None, |table, now, out| table.leave(session, now, out));
        let core = &mut self.core;
        let mut room = Room { core, session, id: 0, open: 0, time_ms: at.time_ms };
        let handler = &*self.handler;
        let calm = catch_unwind(AssertUnwindSafe(|| handler.left(&mut room, reason))).is_ok();
        let core = &mut self.core;
        let announces = core.announces();
        let Some(ended) = core.sessions.remove(session) else { return };
        core.names.remove(&ended.folded);
        core.keys.remove(&ended.key);
        core.close_streams_of(session, ended.streams);
        if !calm {
            core.reports.push(Report::HandlerPanicked { name: ended.name.clone() });
        }
        if announces {
            let draft = Draft::Left { reason, name: Cow::Borrowed(&ended.name) };
            let (audience, time_ms) = (Audience::Others, at.time_ms);
            core.propose(Proposal { session, id: 0, audience, time_ms, draft });
        }
        let link = core.links.get(ended.link.0).map(|link| link.peer.to_string());
        let away = ended.away.map(|away| {
            core.away.remove(&(away.until, session));
            away.peer.into()
        });
        let peer = link.or(away).unwrap_or_default();
        core.reports.push(Report::Left { peer, name: ended.name, reason });
    }

    /// No more clients; those who are here are asked to go, once what is queued for them has
    /// left, and are shut out at `deadline`.
    pub fn shut_down(&mut self, deadline: Instant, at: Moment) {
        self.core.cut_off = Some(deadline);
        let head = self.core.ledger.log.head();
        let detail = Cow::Borrowed("");
        let goodbye = Frame::Terminate { reason: Reason::ShuttingDown, retry_after_ms: 0, detail };
        let goodbye = goodbye.to_bytes();
        let ids: Vec<_> = self.core.links.iter().map(|(key, _)| LinkId(key)).collect();
        for id in ids {
            self.core.arm(id, deadline);
            let Some(link) = self.core.links.get_mut(id.0) else { continue };
            match link.stage {
                Stage::Greeting | Stage::Joining => {
                    self.put_out(id, Reason::ShuttingDown, Some(&goodbye), at);
                }
                Stage::Open => {
                    link.stage = Stage::Asked;
                    link.reason = Reason::ShuttingDown;
                    link.last_position = Some(head);
                    link.farewell.extend_from_slice(&goodbye);
                    self.core.mark(id);
                }
                _ => {}
            }
        }
        self.core.spread();
    }
}

impl Core {
    /// Nothing but `last_words` is sent to a client any more, behind what is under way; then our
    /// half is shut.
    pub(super) fn say_last(&mut self, id: LinkId, last_words: Option<&[u8]>, at: Moment) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        if link.is_torn() && !link.in_flight {
            let mut rest = Vec::new();
            self.ledger.log.copy(link.cursor..link.torn_until, &mut rest);
            rest.append(&mut link.owed);
            link.owed = rest;
            link.torn_until = link.cursor;
        }
        link.owed.extend_from_slice(last_words.unwrap_or_default());
        link.stage = Stage::Refused;
        link.frame_since = None;
        self.set_deadline(id, at.now + DRAIN_TIME);
        self.unblock(id);
        self.relieve(id, at.now);
        self.mark(id);
    }

    fn report_refusal(&mut self, id: LinkId, violation: Violation) {
        let Some(link) = self.links.get(id.0) else { return };
        let name = self.sessions.get(link.session).map(|session| session.name.clone());
        self.reports.push(Report::Refused { peer: link.peer.to_string(), name, violation });
    }

    /// Nothing can be sent to a client any more.
    pub(super) fn end_service(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id.0) {
            link.service = Service::Broken;
            link.given_up = true;
            link.owed = Vec::new();
            link.farewell = Vec::new();
            link.deadline = None;
        }
    }
}
