//! One connection as the hub sees it: how far its dialogue is, and what it is owed.
//!
//! ```text
//!            Init            Terminate from the client
//!  Greeting ------> Open ------------------------------> Leaving --+
//!     |    (Joining) |  our Terminate                              | all sent
//!     |              +---------------> Asked --- Ack, end ---+     v
//!     |   Error      |   Error                               |   Draining
//!     +--------------+---------------> Refused --------------|-----^   |
//!                        all sent                            v         v
//!                                                          (removed: connection closed)
//! ```

use std::time::{Duration, Instant};

use crate::heartbeat::Heartbeat;
use crate::log::SessionId;
use crate::message::Reason;

/// Names one connection; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LinkId(pub(super) u64);

impl LinkId {
    /// The place in a table of clients, used again after the connection is gone.
    pub fn index(self) -> usize {
        self.0 as u32 as usize
    }
}

/// How far the dialogue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before Init.
    Greeting,
    /// Init was taken, and the session's Joined waits for its commit.
    Joining,
    /// Messages go both ways.
    Open,
    /// The client said Terminate: what is queued leaves, then TerminateAck.
    Leaving,
    /// We said Terminate, or will when what is queued has left: what comes is still taken.
    Asked,
    /// Error, or Terminate to one that was too slow, is on its way; nothing more is taken.
    Refused,
    /// All was said and our half is shut: what comes is dropped until the peer closes as well.
    Draining,
}

/// Who is at work on sending to this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Nobody: there is nothing to send.
    Idle,
    /// It is on the list of a thread that will come to it.
    Queued,
    /// A thread is writing to it at this moment.
    Writing,
    /// It does not keep up and has a helper of its own.
    Helped,
    /// Nothing can be sent to it any more.
    Broken,
}

/// What a reader made senders wait, in the last minute and since it last took a whole log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    pub(super) since: Instant,
    pub(super) start: u64,
    pub(super) waited: Duration,
}

/// Why nothing more is taken from a client for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    /// The log is full.
    LogFull,
    /// It does not take what it is owed.
    Owed,
}

/// See the [module](self).
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Link {
    /// The address, for reports.
    pub(super) peer: Box<str>,
    /// Connections are numbered in the order in which they were accepted.
    pub(super) number: u64,
    pub(super) stage: Stage,
    pub(super) session: SessionId,
    /// Why the session ends if the connection ends now.
    pub(super) reason: Reason,
    pub(super) service: Service,
    /// Every record before this position was sent, or was not for this client.
    pub(super) cursor: u64,
    /// The end of a record of which only a part was sent; at most `cursor` if there is none.
    pub(super) torn_until: u64,
    /// Frames outside the log that go first: Status, Pong, Error.
    pub(super) owed: Vec<u8>,
    /// How many bytes of such frames somebody is writing at this moment.
    pub(super) owed_in_flight: usize,
    /// The size of what is owed from the start, such as Present, and counts for no bound.
    pub(super) allowance: usize,
    /// Somebody is writing to it at this moment.
    pub(super) in_flight: bool,
    /// A frame that goes behind the records up to `notice_at`, and before later ones.
    pub(super) notice: Vec<u8>,
    pub(super) notice_at: u64,
    /// Records up to here are sent before the farewell.
    pub(super) last_position: Option<u64>,
    /// The last frame of all.
    pub(super) farewell: Vec<u8>,
    /// When the stage ends by itself.
    pub(super) deadline: Option<Instant>,
    /// Watches the client's silence, once it has a session.
    pub(super) heartbeat: Option<Heartbeat>,
    /// When it last said anything but a heartbeat.
    pub(super) last_data: Instant,
    /// It was not read on purpose: its silence since does not count.
    pub(super) excused: bool,
    /// When it is looked at next.
    pub(super) alarm: Option<Instant>,
    /// The shell was told to shut it down; there is nothing left to wait for.
    pub(super) given_up: bool,
    /// Since when a frame has begun and is not whole.
    pub(super) frame_since: Option<Instant>,
    pub(super) blocked: Option<Blocked>,
    pub(super) blocked_since: Instant,
    /// When it last took bytes.
    pub(super) took_at: Instant,
    /// It holds up senders that wait for room in the log.
    pub(super) holds: bool,
    pub(super) account: Account,
}

impl Link {
    pub(super) fn new(peer: &str, number: u64, now: Instant) -> Self {
        Self {
            peer: peer.into(),
            number,
            stage: Stage::Greeting,
            session: 0,
            reason: Reason::Lost,
            service: Service::Idle,
            cursor: 0,
            torn_until: 0,
            owed: Vec::new(),
            owed_in_flight: 0,
            allowance: 0,
            in_flight: false,
            notice: Vec::new(),
            notice_at: 0,
            last_position: None,
            farewell: Vec::new(),
            deadline: None,
            heartbeat: None,
            last_data: now,
            excused: false,
            alarm: None,
            given_up: false,
            frame_since: None,
            blocked: None,
            blocked_since: now,
            took_at: now,
            holds: false,
            account: Account { since: now, start: 0, waited: Duration::ZERO },
        }
    }

    /// Its client has a session from now on, and gets the records from `cursor` on.
    pub(super) fn enter(&mut self, session: SessionId, cursor: u64) {
        self.session = session;
        self.stage = Stage::Open;
        self.deadline = None;
        self.frame_since = None;
        self.cursor = cursor;
        self.torn_until = cursor;
        self.account.start = cursor;
    }

    /// Whether its client has ended the session, and only waits for the fate of its messages.
    pub(super) fn is_leaving_for_good(&self) -> bool {
        self.stage == Stage::Leaving && self.reason == Reason::Done
    }

    /// Whether records of the log are sent to it.
    pub(super) fn takes_records(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Leaving | Stage::Asked)
            && self.service != Service::Broken
    }

    /// Up to which position records are sent to it, before anything else is.
    pub(super) fn limit(&self, head: u64) -> u64 {
        let limit = self.last_position.unwrap_or(head);
        if self.notice.is_empty() { limit } else { limit.min(self.notice_at) }
    }

    /// Whether records that it has not taken yet must stay in the log.
    pub(super) fn holds_log(&self) -> bool {
        self.takes_records() && self.service != Service::Idle
    }

    /// What it is owed outside the log and its bound counts, in bytes.
    pub(super) fn debt(&self) -> usize {
        (self.owed.len() + self.owed_in_flight).saturating_sub(self.allowance)
    }

    /// Whether a record was sent to it only in part.
    pub(super) fn is_torn(&self) -> bool {
        self.torn_until > self.cursor
    }
}
