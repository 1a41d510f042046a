//! What the machine does with each frame that comes.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use super::turns::holder;
use super::{ClientSession, Phase};
use crate::codec::decode;
use crate::end::End;
use crate::event::{Event, Fate, Receipt};
use crate::frame::{HANDSHAKE_FRAME_MAX, RawFrame};
use crate::message::{
    ErrorCode, FLAG_GAP, FLAG_RESUMED, Frame, SessionKey, StatusCode, VERSION, Violation, kind,
};
use crate::outbox::LostSession;

/// What an InitAck says of the session.
struct Answer {
    flags: u8,
    session: SessionKey,
    seen: u64,
    head: u64,
    missed: u64,
}

impl ClientSession {
    /// Takes one frame from the server, which came at `now`. What is wrong with it becomes the end
    /// of the session. Without a connection, what was still read of the last one is dropped.
    pub fn receive(&mut self, raw: &RawFrame<'_>, now: Instant) {
        if let Err(violation) = self.take(raw, now) {
            self.violated(violation);
        }
    }

    fn take(&mut self, raw: &RawFrame<'_>, now: Instant) -> Result<(), Violation> {
        match self.phase {
            Phase::Ended(_) | Phase::Away { .. } => return Ok(()),
            Phase::Closing { peer_is_done: true } if raw.kind != kind::TERMINATE_ACK => {
                return Ok(());
            }
            _ => {}
        }
        if !kind::sent_by_server(raw.kind) {
            let words = format!("a server never sends kind 0x{:02x}", raw.kind);
            return Err(Violation::new(ErrorCode::UnknownKind, words));
        }
        self.heard_data |= !matches!(raw.kind, kind::PING | kind::PONG);
        let frame = decode(raw)?;
        if self.is_in_handshake() {
            self.take_in_handshake(frame, now)
        } else {
            self.take_in_dialogue(frame, now)
        }
    }

    fn take_in_handshake(&mut self, frame: Frame<'_>, now: Instant) -> Result<(), Violation> {
        match frame {
            Frame::InitAck {
                version,
                mode,
                flags,
                session,
                seen,
                head,
                missed,
                frame_max,
                name,
                ..
            } => {
                if version != VERSION {
                    let words = format!("the answer to version {VERSION} is version {version}");
                    return Err(Violation::new(ErrorCode::UnsupportedVersion, words));
                }
                if frame_max < HANDSHAKE_FRAME_MAX {
                    let words = format!("a frame_max of {frame_max}");
                    return Err(Violation::new(ErrorCode::Malformed, words));
                }
                self.set_frame_max(frame_max);
                self.take_answer(&Answer { flags, session, seen, head, missed })?;
                self.mode = mode;
                name.clone_into(&mut self.name);
                self.open(now);
            }
            // No Ack: a client is silent until InitAck.
            Frame::Terminate { reason, retry_after_ms, detail } => {
                self.outgoing.clear();
                self.terminated(reason, retry_after_ms, detail, now);
            }
            Frame::Error { code, detail } => self.refused(code, detail, now),
            Frame::Hint { .. } => {}
            _ => return Err(out_of_order("a frame before InitAck")),
        }
        Ok(())
    }

    /// The session goes on, or there is a new one.
    fn take_answer(&mut self, answer: &Answer) -> Result<(), Violation> {
        let Answer { flags, session, seen, head, missed } = *answer;
        if flags & FLAG_RESUMED != 0 {
            if self.key != Some(session) || session == SessionKey::NEW {
                let words = "a session is resumed that was not asked for";
                return Err(Violation::new(ErrorCode::Malformed, words));
            }
            self.outbox.resume(seen)?;
            // Before the messages, so that the credits are on their way while those are written.
            self.streams.resume(&mut self.outgoing);
            if flags & FLAG_GAP != 0 {
                self.last_seq = self.last_seq.min(head);
            }
            self.inbox.push_restored(Event::Resumed { missed });
        } else if self.key.replace(session).is_some() {
            self.last_seq = 0;
            self.seat.begin_anew();
            let LostSession { unconfirmed, up_to, refused } =
                self.outbox.lose_session(self.frame_max);
            self.streams.lose_session();
            self.answers += 1;
            self.inbox.push_restored(Event::SessionLost { unconfirmed, up_to });
            for receipt in refused {
                self.tell_refusal(receipt);
            }
        }
        Ok(())
    }

    /// A message is refused before it was sent.
    fn tell_refusal(&mut self, receipt: Receipt) {
        if self.inbox.keep.refusals
            && let Some(Fate::Refused { code, detail }) = self.outbox.fate(receipt)
        {
            self.keep_event(Event::Refused { receipt, code, detail });
        }
    }

    /// The handshake is done: what is kept may be sent.
    fn open(&mut self, now: Instant) {
        self.phase = Phase::Open;
        self.open_waiting();
        self.outbox.put_in_line(&mut self.outgoing);
        self.begin_heartbeat(now);
        if let Some(backoff) = &mut self.backoff {
            backoff.opened(now);
        }
    }

    fn take_in_dialogue(&mut self, frame: Frame<'_>, now: Instant) -> Result<(), Violation> {
        match frame {
            Frame::RelayedText { .. }
            | Frame::RelayedBytes { .. }
            | Frame::RelayedDirect { .. }
            | Frame::Joined { .. }
            | Frame::Left { .. }
            | Frame::Uploaded { .. }
            | Frame::TurnEnded { .. } => self.take_record(&frame)?,
            Frame::Status { id, code, detail } => self.take_status(id, code, detail)?,
            Frame::StreamCredit { .. }
            | Frame::StreamStatus { .. }
            | Frame::StreamCancel { .. } => self.take_of_stream(&frame)?,
            Frame::Present { total, names } if self.inbox.keep.records => {
                let names = names.into_iter().map(str::to_owned).collect();
                self.keep_event(Event::Present { total, names });
            }
            Frame::Go { turn, deadline_ms } => self.take_go(turn, deadline_ms, now),
            Frame::Wait { turn, holder } => self.take_wait(turn, holder),
            Frame::Ping { nonce } => Frame::Pong { nonce }.encode(&mut self.outgoing),
            Frame::Pong { nonce } => self.take_pong(nonce),
            Frame::Terminate { reason, retry_after_ms, detail } => {
                Frame::TerminateAck.encode(&mut self.outgoing);
                if self.is_closing() {
                    self.phase = Phase::Closing { peer_is_done: true };
                } else {
                    self.terminated(reason, retry_after_ms, detail, now);
                }
            }
            Frame::TerminateAck if self.is_closing() => self.end(End::Closed { answered: true }),
            Frame::Error { code, detail } => self.refused(code, detail, now),
            Frame::InitAck { .. } => return Err(out_of_order("a second InitAck")),
            // Answers that nobody waits for, hints: legal, and of no meaning.
            _ => {}
        }
        Ok(())
    }

    fn take_of_stream(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        match frame {
            Frame::StreamCredit { stream, offset, limit } => {
                self.streams.credit(*stream, *offset, *limit)?;
            }
            Frame::StreamStatus { stream, code, detail } => {
                self.streams.status(*stream, *code, detail)?;
            }
            Frame::StreamCancel { stream, detail } => self.streams.cancelled(*stream, detail)?,
            _ => {}
        }
        self.answers += 1;
        self.open_waiting();
        Ok(())
    }

    fn take_pong(&mut self, nonce: u64) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.pong_seen(nonce);
        }
        if nonce > self.lost_nonce && self.open_pings.contains(&nonce) {
            self.forget_ping(nonce);
            self.answers += 1;
        }
    }

    fn take_record(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let (Frame::RelayedText { seq, time_ms, .. }
        | Frame::RelayedBytes { seq, time_ms, .. }
        | Frame::RelayedDirect { seq, time_ms, .. }
        | Frame::Joined { seq, time_ms, .. }
        | Frame::Left { seq, time_ms, .. }
        | Frame::Uploaded { seq, time_ms, .. }
        | Frame::TurnEnded { seq, time_ms, .. }) = *frame
        else {
            return Ok(());
        };
        if seq <= self.last_seq {
            let words = format!("record {seq} behind record {}", self.last_seq);
            return Err(Violation::new(ErrorCode::OutOfOrder, words));
        }
        self.last_seq = seq;
        if let Frame::TurnEnded { turn, .. } = *frame {
            self.seat.turn_ended(turn);
        }
        if self.inbox.keep.records
            && let Some(event) = record_event(frame, seq, time_of(time_ms))
        {
            self.keep_event(event);
        }
        Ok(())
    }

    fn take_status(
        &mut self,
        id: u64,
        code: StatusCode,
        detail: Cow<'_, str>,
    ) -> Result<(), Violation> {
        if code != StatusCode::Accepted {
            if let Some(receipt) = self.outbox.refuse(id, code, &detail)? {
                self.answers += 1;
                if self.inbox.keep.refusals {
                    let detail = detail.into_owned();
                    self.keep_event(Event::Refused { receipt, code, detail });
                }
            }
        } else if let Some(receipt) = self.outbox.accept(id)? {
            self.answers += 1;
            if self.inbox.keep.acceptances {
                self.inbox.push_acceptance(receipt);
            }
        }
        Ok(())
    }

    /// While this side is closing, reading goes on whatever the inbox holds, for the sake of the
    /// statuses; then events beyond the limit are dropped.
    pub(super) fn keep_event(&mut self, event: Event) {
        if self.is_closing() && self.inbox_is_full() {
            return;
        }
        self.inbox.push(event);
    }
}

fn out_of_order(words: &'static str) -> Violation {
    Violation::new(ErrorCode::OutOfOrder, words)
}

fn time_of(time_ms: u64) -> SystemTime {
    let since = Duration::from_millis(time_ms);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The event for a record.
fn record_event(frame: &Frame<'_>, seq: u64, time: SystemTime) -> Option<Event> {
    Some(match *frame {
        Frame::RelayedText { from, body, .. } => {
            Event::Text { seq, time, from: from.to_owned(), body: body.to_owned() }
        }
        Frame::RelayedBytes { from, body, .. } => {
            Event::Bytes { seq, time, from: from.to_owned(), body: body.to_owned() }
        }
        Frame::RelayedDirect { from, body, .. } => {
            Event::Direct { seq, time, from: from.to_owned(), body: body.to_owned() }
        }
        Frame::Joined { name, .. } => Event::Joined { seq, time, name: name.to_owned() },
        Frame::Left { name, reason, .. } => {
            Event::Left { seq, time, name: name.to_owned(), reason }
        }
        Frame::Uploaded { from, name, size, .. } => {
            Event::Uploaded { seq, time, from: from.to_owned(), name: name.to_owned(), size }
        }
        Frame::TurnEnded { turn, outcome, from, next, body, .. } => Event::TurnEnded {
            seq,
            time,
            turn,
            outcome,
            from: from.to_owned(),
            next: holder(next),
            body: body.to_owned(),
        },
        _ => return None,
    })
}
