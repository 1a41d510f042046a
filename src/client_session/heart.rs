//! The heartbeat of the connection of now: what it hears, and what it wants.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::{ClientSession, Phase};
use crate::end::{End, Loss};
use crate::heartbeat::{Beat, Heartbeat, Rhythm, is_data};
use crate::message::{Frame, Reason};

impl ClientSession {
    /// From now on watches the server's silence, over this connection and each that follows.
    pub fn watch(&mut self, rhythm: Rhythm, now: Instant) {
        self.rhythm = Some(rhythm);
        self.begin_heartbeat(now);
    }

    /// There is a heartbeat from the InitAck on.
    pub(super) fn begin_heartbeat(&mut self, now: Instant) {
        self.heard_data = false;
        self.heartbeat = match self.phase {
            Phase::Handshake | Phase::Away { .. } => None,
            _ => self.rhythm.map(|rhythm| Heartbeat::new(rhythm, now)),
        };
    }

    /// What was read has been taken in, but for `begun`, which is no whole frame yet.
    pub fn heard(&mut self, begun: &[u8], now: Instant) {
        if (std::mem::take(&mut self.heard_data) || is_data(begun))
            && let Some(heartbeat) = &mut self.heartbeat
        {
            heartbeat.data_seen(now);
        }
    }

    /// The server could not be heard, since nobody may read: its silence does not count.
    pub fn excuse_silence(&mut self, now: Instant) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.data_seen(now);
        }
    }

    /// Whether the answer to a heartbeat is waited for.
    pub fn is_beating(&self) -> bool {
        self.heartbeat.as_ref().is_some_and(Heartbeat::is_waiting)
    }

    /// Does what the heartbeat wants: a Ping becomes outgoing, a dead server is a loss. Gives the
    /// time before which it wants nothing; `None` while there is no heartbeat.
    pub fn beat(&mut self, now: Instant) -> Option<Instant> {
        match self.heartbeat.as_mut()?.poll(now) {
            Beat::Wait(_) => {}
            Beat::Ping(nonce) => Frame::Ping { nonce }.encode(&mut self.outgoing),
            Beat::Dead => {
                let (reason, retry_after_ms) = (Reason::NoHeartbeat, 0);
                let detail = Cow::Borrowed("");
                Frame::Terminate { reason, retry_after_ms, detail }.encode(&mut self.outgoing);
                self.lose(Loss::Silent, End::Silent, Duration::ZERO, now);
            }
        }
        self.heartbeat.as_ref().map(Heartbeat::due)
    }
}
