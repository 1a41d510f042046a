//! What clients say once they are in: messages, Pings, goodbyes (`PROTOCOL.md` sections 1, 2, 4).

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::link::{Blocked, Link, LinkId, Stage};
use super::playing::Move;
use super::room::{Message, Refusal, Room};
use super::session::Numbered;
use super::streams::UPLOADED_MAX;
use super::{Core, Hub, Moment, OWED_MAX, Taken};
use crate::codec::decode;
use crate::frame::{BODY_MARGIN, Framer, RawFrame};
use crate::heartbeat::is_data;
use crate::log::SessionId;
use crate::message::{ErrorCode, Frame, StatusCode, Violation, kind};
use crate::report::Report;

/// What a record takes beside the message that it comes from: `seq`, time, and up to two names.
const RECORD_MARGIN: usize = 192;

/// A message that a handler may see, or why it may not.
type Judged<'a> = Result<Message<'a>, Refusal>;

impl Hub {
    /// Takes every whole frame that `framer` holds, in order, as far as there is room for it.
    pub fn receive(&mut self, id: LinkId, framer: &mut Framer, at: Moment) -> Taken {
        let (frames, mut data) = (framer.frames(), false);
        let taken = loop {
            let Some(link) = self.core.links.get_mut(id.0) else { break Taken::Over };
            if link.blocked.is_some() {
                break Taken::Blocked;
            }
            let went_on = match link.stage {
                Stage::Greeting => self.greet(id, framer, at),
                Stage::Joining if framer.buffered() > 0 => {
                    let words = "something was sent between Init and InitAck";
                    self.refuse(id, Violation::new(ErrorCode::OutOfOrder, words), at);
                    false
                }
                Stage::Open | Stage::Asked => {
                    // Once around many messages: around each it would cost as much as the rest.
                    let converse = || self.converse(id, framer, &mut data, at);
                    catch_unwind(AssertUnwindSafe(converse)).unwrap_or_else(|_| {
                        self.put_out_after_panic(id, at);
                        false
                    })
                }
                _ => false,
            };
            let Some(link) = self.core.links.get(id.0) else { break Taken::Over };
            match link.stage {
                Stage::Leaving | Stage::Refused | Stage::Draining => break Taken::Over,
                _ if link.blocked.is_some() => break Taken::Blocked,
                _ if !went_on => break Taken::All,
                _ => {}
            }
        };
        let took = framer.frames() > frames;
        self.core.note_data(id, data || is_data(framer.peek()), at.now);
        self.core.note_partial_frame(id, took, framer.buffered() > 0, taken, at);
        if let Some(link) = self.core.links.get(id.0) {
            let session = link.session;
            self.core.spread();
            self.core.flush_status(session, id);
        }
        taken
    }

    /// Takes frames of a session until none is whole, or one changes the stage, or there is no
    /// room. True if it should be called again.
    fn converse(&mut self, id: LinkId, framer: &mut Framer, data: &mut bool, at: Moment) -> bool {
        let Some(link) = self.core.links.get(id.0) else { return false };
        let session = link.session;
        self.core.owes_more = true;
        loop {
            if std::mem::take(&mut self.core.owes_more) && !self.core.may_owe(id, at) {
                return false;
            }
            // Room is made for what has come, not for what a length claims.
            let needed = framer.whole_frame().map_or(0, |size| match framer.peek().get(4) {
                Some(&(kind::STREAM_OPEN..=kind::STREAM_CANCEL)) => UPLOADED_MAX,
                _ => size + RECORD_MARGIN,
            });
            if !self.core.has_room(needed) {
                self.core.block_for_room(id, needed, at);
                return false;
            }
            let raw = match framer.next_frame() {
                Ok(Some(raw)) => raw,
                Ok(None) => return false,
                Err(violation) => {
                    self.refuse(id, violation, at);
                    return false;
                }
            };
            *data |= !matches!(raw.kind, kind::PING | kind::PONG);
            match self.take_frame(id, session, &raw, at) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(violation) => {
                    self.refuse(id, violation, at);
                    return false;
                }
            }
        }
    }

    /// Takes one frame. `Ok(false)` if the dialogue may have changed its stage.
    #[inline]
    fn take_frame(
        &mut self,
        id: LinkId,
        session: SessionId,
        raw: &RawFrame<'_>,
        at: Moment,
    ) -> Result<bool, Violation> {
        match raw.kind {
            kind::TEXT | kind::BYTES | kind::MOVE | kind::DIRECT => {
                self.take_message(id, session, raw, at)
            }
            kind::STREAM_OPEN | kind::STREAM_DATA | kind::STREAM_END | kind::STREAM_CANCEL => {
                self.take_stream(session, &decode(raw)?, at).map(|()| true)
            }
            kind::INIT => Err(Violation::new(ErrorCode::OutOfOrder, "a second Init")),
            known if !kind::sent_by_client(known) => {
                let words = format!("a client does not send kind 0x{known:02x}");
                Err(Violation::new(ErrorCode::UnknownKind, words))
            }
            _ => Ok(self.take_control(id, session, &decode(raw)?, at)),
        }
    }

    /// Takes a frame that is no message. False if the stage may have changed.
    fn take_control(
        &mut self,
        id: LinkId,
        session: SessionId,
        frame: &Frame<'_>,
        at: Moment,
    ) -> bool {
        match frame {
            Frame::Ping { nonce } => {
                self.core.spread();
                self.core.flush_status(session, id);
                self.core.owe(id, &Frame::Pong { nonce: *nonce });
            }
            Frame::Pong { nonce } => {
                self.core.note_pong(id, *nonce, at.now);
                if let Some(session) = self.core.sessions.get_mut(session) {
                    session.answered(*nonce);
                }
            }
            Frame::Terminate { reason, .. } => {
                self.client_terminates(id, *reason, at);
                return false;
            }
            Frame::TerminateAck => {
                self.client_acknowledges(id, at);
                return false;
            }
            Frame::Error { code, detail } => {
                self.client_complains(id, *code, detail, at);
                return false;
            }
            _ => {} // hints
        }
        true
    }

    #[inline]
    fn take_message(
        &mut self,
        link: LinkId,
        session: SessionId,
        raw: &RawFrame<'_>,
        at: Moment,
    ) -> Result<bool, Violation> {
        let (id, asked) = self.core.judge(raw)?;
        let Some(sender) = self.core.sessions.get_mut(session) else { return Ok(false) };
        if sender.number(id)? == Numbered::Repeat {
            self.core.repeat_status(link, session, id);
            return Ok(true);
        }
        let message = match asked {
            Ok(message) => message,
            Err(refusal) => {
                self.core.refuse_message(link, session, id, refusal);
                return Ok(true);
            }
        };
        let taken = if let Message::Move { turn, text } = message {
            self.take_move(Move { session, id, turn, text }, at)
        } else {
            let core = &mut self.core;
            let mut room = Room { core, session, id, open: 0, time_ms: at.time_ms };
            self.handler.message(&mut room, message).map(|()| room.open)
        };
        match taken {
            Ok(open) => {
                if let Some(sender) = self.core.sessions.get_mut(session) {
                    sender.accept(id, open);
                }
            }
            Err(refusal) => self.core.refuse_message(link, session, id, refusal),
        }
        // A move that comes too late may be what its player is turned out for.
        let is_move = raw.kind == kind::MOVE;
        Ok(!is_move || self.core.sessions.get(session).is_some())
    }
}

impl Core {
    /// The largest body of a message.
    pub(super) fn body_max(&self) -> usize {
        (self.rules.frame_max - BODY_MARGIN) as usize
    }

    /// Decodes a message and judges its body, not its number.
    #[inline]
    fn judge<'a>(&self, raw: &RawFrame<'a>) -> Result<(u64, Judged<'a>), Violation> {
        let largest = self.body_max();
        let text = |body: &'a [u8]| match str::from_utf8(body) {
            _ if body.len() > largest => Err(too_large(largest)),
            Ok(text) => Ok(text),
            Err(_) => Err(not_utf8()),
        };
        // Most messages are texts. A decoded frame is large, and moving it costs more than to read
        // these two fields here.
        if raw.kind == kind::TEXT
            && let Some((id, body)) = raw.payload.split_first_chunk()
        {
            return Ok((u64::from_be_bytes(*id), text(body).map(Message::Text)));
        }
        Ok(match decode(raw)? {
            Frame::Direct { id, to, body } => {
                (id, text(body).map(|text| Message::Direct { to, text }))
            }
            Frame::Bytes { id, body } if body.len() > largest => (id, Err(too_large(largest))),
            Frame::Bytes { id, body } => (id, Ok(Message::Bytes(body))),
            Frame::Move { id, turn, body } => {
                (id, text(body).map(|text| Message::Move { turn, text }))
            }
            _ => return Err(Violation::new(ErrorCode::UnknownKind, "no message")),
        })
    }

    /// Whether more may be taken from a client, for what it is owed already.
    pub(super) fn may_owe(&mut self, id: LinkId, at: Moment) -> bool {
        let debt = self.links.get(id.0).map_or(0, Link::debt);
        if debt > OWED_MAX {
            self.block(id, Blocked::Owed, at);
        }
        debt <= OWED_MAX
    }

    /// Remembers since when a frame has begun that is not whole yet.
    fn note_partial_frame(&mut self, id: LinkId, took: bool, held: bool, taken: Taken, at: Moment) {
        let deadline = at.now + self.rules.frame_time;
        let Some(link) = self.links.get_mut(id.0) else { return };
        if !held || taken != Taken::All || link.stage == Stage::Greeting {
            link.frame_since = None;
        } else if took || link.frame_since.is_none() {
            link.frame_since = Some(at.now);
            self.arm(id, deadline);
        }
    }

    #[cold]
    fn refuse_message(&mut self, link: LinkId, session: SessionId, id: u64, refusal: Refusal) {
        let Refusal { code, detail } = refusal.tidied();
        let Some(sender) = self.sessions.get_mut(session) else { return };
        sender.refuse(id, code, &detail);
        let ask = sender.ask();
        self.reports.push(Report::MessageRefused { name: sender.name.clone(), id, code });
        self.owe(link, &Frame::Status { id, code, detail: Cow::Owned(detail) });
        if let Some(nonce) = ask {
            self.owe(link, &Frame::Ping { nonce });
        }
    }

    /// Sends the status of a message that came before.
    fn repeat_status(&mut self, link: LinkId, session: SessionId, id: u64) {
        let Some(sender) = self.sessions.get_mut(session) else { return };
        let (code, detail) = match sender.refusal(id) {
            Some((code, detail)) => (code, detail.to_owned()),
            None if id > sender.accepted() => return, // its status comes with a commit
            None => (StatusCode::Accepted, String::new()),
        };
        let detail = Cow::Owned(detail);
        self.owe(link, &Frame::Status { id, code, detail });
    }
}

fn too_large(largest: usize) -> Refusal {
    let detail = format!("a body has at most {largest} bytes");
    Refusal { code: StatusCode::TooLarge, detail }
}

fn not_utf8() -> Refusal {
    Refusal { code: StatusCode::NotUtf8, detail: String::new() }
}
