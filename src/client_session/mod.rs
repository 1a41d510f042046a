//! The client's side of a dialogue as a pure machine.
//!
//! ```text
//!               InitAck           terminate()            TerminateAck, or lost
//!   Handshake ----------> Open ----------------> Closing ---------------------.
//!       |                  |                        |                         v
//!       '------------------+------------------------+---------------------> Ended
//!          Terminate, Error, a violation, lost         Error, a violation
//! ```
//!
//! In: frames ([`receive`](ClientSession::receive)), what the user wants to send, and the loss of
//! the connection. Out: bytes to write ([`outgoing`](ClientSession::outgoing)), a queue of events,
//! the fate of each message, and how it all ended. Whoever drives it writes `outgoing` in order
//! and empties it; what has been put there before the end is still to be written after it.
//!
//! It has no socket, lock, thread or clock, and bounds nothing by itself: the one who drives it
//! stops sending when `outgoing` is long, and stops reading when the inbox is full.

mod receive;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::end::End;
use crate::error::Error;
use crate::event::{Event, Fate, Receipt};
use crate::frame::{BODY_MARGIN, HANDSHAKE_FRAME_MAX};
use crate::heartbeat::{Beat, Heartbeat, Rhythm, is_data};
use crate::message::{Frame, Mode, Reason, SessionKey, Token, VERSION, Violation};
use crate::outbox::Outbox;

/// How many bytes of events may wait to be taken before they count as too many. Generous, so that
/// a program that sends for a while and then receives needs no thoughts about it.
pub(crate) const INBOX_MAX: usize = 16 << 20;
/// The largest `frame_max` that is believed; a server that announces more is sent, and may send,
/// no larger frames than this.
const FRAME_MAX_CEILING: u32 = 64 << 20;
/// What an Init takes beside its three fields: kind, magic, version, session, received, and the
/// fields' sizes.
const INIT_OVERHEAD: usize = 1 + 6 + 1 + 16 + 8 + 3 * 2;
/// The longest recipient's name that the margin has room for. A real one has at most 64 bytes;
/// that nobody bears a longer one is for the server to say.
const RECIPIENT_MAX: usize = 1000;

/// Which events are kept for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Messages and notices of others, and who is present.
    pub(crate) records: bool,
    /// [`Event::Refused`].
    pub(crate) refusals: bool,
    /// [`Event::Accepted`].
    pub(crate) acceptances: bool,
}

#[derive(Debug)]
enum Phase {
    /// Init is on its way, and nothing else may be sent.
    Handshake,
    Open,
    /// Our Terminate is on its way. Of a peer that has said goodbye itself, only its Ack counts.
    Closing {
        peer_is_done: bool,
    },
    Ended(End),
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ClientSession {
    phase: Phase,
    /// Bytes for the server, whole frames.
    pub(crate) outgoing: Vec<u8>,
    outbox: Outbox,
    inbox: VecDeque<Event>,
    inbox_size: usize,
    keep: Keep,
    frame_max: u32,
    mode: Mode,
    name: String,
    /// The highest `seq` that has come.
    last_seq: u64,
    last_nonce: u64,
    /// The nonces of Pings without a Pong.
    open_pings: Vec<u64>,
    /// How many statuses and Pongs said something new.
    answers: u64,
    heartbeat: Option<Heartbeat>,
    /// Data came since the heartbeat was told.
    heard_data: bool,
}

impl ClientSession {
    /// Begins a new session: an Init is outgoing.
    ///
    /// # Errors
    /// [`Error::FieldTooLong`] if the Init would be longer than a handshake allows.
    pub(crate) fn new(name: &str, timezone: &str, token: &str, keep: Keep) -> Result<Self, Error> {
        let fields = [("name", name), ("timezone", timezone), ("token", token)];
        let size: usize = fields.iter().map(|(_, text)| text.len()).sum();
        if INIT_OVERHEAD + size > HANDSHAKE_FRAME_MAX as usize {
            let longest = fields.into_iter().max_by_key(|(_, text)| text.len());
            return Err(Error::FieldTooLong(longest.unwrap_or_default().0));
        }
        Ok(Self::begin(name, timezone, token, keep))
    }

    /// Begins a new session without a name, a time zone or a token.
    pub(crate) fn anonymous(keep: Keep) -> Self {
        Self::begin("", "", "", keep)
    }

    fn begin(name: &str, timezone: &str, token: &str, keep: Keep) -> Self {
        let init = Frame::Init {
            version: VERSION,
            session: SessionKey::NEW,
            received: 0,
            name,
            timezone,
            token: Token(token),
        };
        Self {
            phase: Phase::Handshake,
            outgoing: init.to_bytes(),
            outbox: Outbox::default(),
            inbox: VecDeque::new(),
            inbox_size: 0,
            keep,
            frame_max: HANDSHAKE_FRAME_MAX,
            mode: Mode::Relay,
            name: String::new(),
            last_seq: 0,
            last_nonce: 0,
            open_pings: Vec::new(),
            answers: 0,
            heartbeat: None,
            heard_data: false,
        }
    }

    /// Sends a text to all others.
    pub(crate) fn send_text(&mut self, text: &str) -> Result<Receipt, Error> {
        let receipt = self.number(text.len())?;
        Frame::Text { id: receipt.0, body: text.as_bytes() }.encode(&mut self.outgoing);
        Ok(receipt)
    }

    /// Sends bytes to all others.
    pub(crate) fn send_bytes(&mut self, body: &[u8]) -> Result<Receipt, Error> {
        let receipt = self.number(body.len())?;
        Frame::Bytes { id: receipt.0, body }.encode(&mut self.outgoing);
        Ok(receipt)
    }

    /// Sends a text to one.
    pub(crate) fn send_direct(&mut self, to: &str, text: &str) -> Result<Receipt, Error> {
        if to.len() > RECIPIENT_MAX {
            return Err(Error::FieldTooLong("recipient's name"));
        }
        let receipt = self.number(text.len())?;
        Frame::Direct { id: receipt.0, to, body: text.as_bytes() }.encode(&mut self.outgoing);
        Ok(receipt)
    }

    fn number(&mut self, size: usize) -> Result<Receipt, Error> {
        self.check_open()?;
        let limit = (self.frame_max - BODY_MARGIN) as usize;
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        Ok(self.outbox.number())
    }

    /// Sends a Ping and gives its nonce. See [`has_pong`](Self::has_pong).
    pub(crate) fn ping(&mut self) -> Result<u64, Error> {
        self.check_open()?;
        self.last_nonce += 1;
        self.open_pings.push(self.last_nonce);
        Frame::Ping { nonce: self.last_nonce }.encode(&mut self.outgoing);
        Ok(self.last_nonce)
    }

    /// Whether the Ping of that nonce was answered.
    pub(crate) fn has_pong(&self, nonce: u64) -> bool {
        !self.open_pings.contains(&nonce)
    }

    /// Waits no longer for the Pong of that nonce.
    pub(crate) fn forget_ping(&mut self, nonce: u64) {
        self.open_pings.retain(|open| *open != nonce);
    }

    /// Says goodbye, if the dialogue is open.
    pub(crate) fn terminate(&mut self) {
        if self.is_open() {
            let detail = Cow::Borrowed("");
            let goodbye = Frame::Terminate { reason: Reason::Done, retry_after_ms: 0, detail };
            goodbye.encode(&mut self.outgoing);
            self.phase = Phase::Closing { peer_is_done: false };
        }
    }

    /// The connection is gone: by end of file, or by an error. What was outgoing is dropped.
    pub(crate) fn lost(&mut self, cause: Option<io::Error>) {
        let end = match (&self.phase, cause) {
            (Phase::Ended(_), _) => return,
            (Phase::Closing { peer_is_done }, _) => End::Closed { answered: *peer_is_done },
            (_, None) => End::Lost,
            (_, Some(cause)) => End::Io(Arc::new(cause)),
        };
        self.end(end);
    }

    /// The peer broke the protocol: it is told so, and that is the end.
    pub(crate) fn violated(&mut self, violation: Violation) {
        if self.ended().is_some() {
            return;
        }
        let error = Frame::Error { code: violation.code, detail: violation.detail.clone() };
        error.encode(&mut self.outgoing);
        self.end(End::Violation(violation));
    }

    fn end(&mut self, end: End) {
        self.phase = Phase::Ended(end);
        if !self.may_write() {
            self.outgoing = Vec::new();
        }
    }

    /// From now on watches the server's silence.
    pub(crate) fn watch(&mut self, rhythm: Rhythm, now: Instant) {
        self.heartbeat = Some(Heartbeat::new(rhythm, now));
    }

    /// What was read has been taken in, but for `begun`, which is no whole frame yet.
    pub(crate) fn heard(&mut self, begun: &[u8], now: Instant) {
        if (std::mem::take(&mut self.heard_data) || is_data(begun))
            && let Some(heartbeat) = &mut self.heartbeat
        {
            heartbeat.data_seen(now);
        }
    }

    /// The server could not be heard, since nobody may read: its silence does not count.
    pub(crate) fn excuse_silence(&mut self, now: Instant) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.data_seen(now);
        }
    }

    /// Whether the answer to a heartbeat is waited for.
    pub(crate) fn is_beating(&self) -> bool {
        self.heartbeat.as_ref().is_some_and(Heartbeat::is_waiting)
    }

    /// Does what the heartbeat wants: a Ping becomes outgoing, a dead server is the end. Gives the
    /// time before which it wants nothing.
    pub(crate) fn beat(&mut self, now: Instant) -> Option<Instant> {
        match self.heartbeat.as_mut()?.poll(now) {
            Beat::Wait(_) => {}
            Beat::Ping(nonce) => Frame::Ping { nonce }.encode(&mut self.outgoing),
            Beat::Dead => {
                let (reason, retry_after_ms) = (Reason::NoHeartbeat, 0);
                let detail = Cow::Borrowed("");
                Frame::Terminate { reason, retry_after_ms, detail }.encode(&mut self.outgoing);
                self.end(End::Silent);
            }
        }
        self.heartbeat.as_ref().map(Heartbeat::due)
    }

    /// Whether what is outgoing still makes sense: always before the end, and after it where this
    /// side has the last word.
    pub(crate) fn may_write(&self) -> bool {
        matches!(
            self.ended(),
            None | Some(End::Terminated { .. } | End::Violation(_) | End::Silent)
        )
    }

    fn check_open(&self) -> Result<(), Error> {
        match &self.phase {
            Phase::Open => Ok(()),
            Phase::Handshake | Phase::Closing { .. } => Err(Error::Closed),
            Phase::Ended(end) => Err(end.to_error()),
        }
    }

    /// Whether messages can be sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether this side has said goodbye and waits for the answer.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&self) -> Option<&End> {
        match &self.phase {
            Phase::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// The next event, in the order in which the server sent them.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let event = self.inbox.pop_front()?;
        self.inbox_size -= event.size();
        if self.inbox.is_empty() && self.inbox.capacity() > 4096 {
            self.inbox = VecDeque::new(); // after a rush; refilling it costs little
        }
        Some(event)
    }

    /// Whether an event waits.
    pub(crate) fn has_event(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Whether so much waits that no more should be read before some of it is taken.
    pub(crate) fn inbox_is_full(&self) -> bool {
        self.inbox_size >= INBOX_MAX
    }

    /// Nobody will take events any more.
    pub(crate) fn discard_events(&mut self) {
        self.keep = Keep { records: false, refusals: false, acceptances: false };
        self.inbox = VecDeque::new();
        self.inbox_size = 0;
    }

    /// What became of a message. See [`Outbox::fate`].
    pub(crate) fn fate(&self, receipt: Receipt) -> Option<Fate> {
        self.outbox.fate(receipt)
    }

    /// The receipt of the last message that was sent.
    pub(crate) fn last_receipt(&self) -> Receipt {
        self.outbox.last()
    }

    /// How many messages up to `last` have no fate yet.
    pub(crate) fn unsettled(&self, last: Receipt) -> u64 {
        self.outbox.unsettled(last)
    }

    /// Grows with every status and every Pong that says something new.
    pub(crate) fn answers(&self) -> u64 {
        self.answers
    }

    /// The largest frame that the server may send, from the next one on.
    pub(crate) fn frame_max(&self) -> u32 {
        self.frame_max
    }

    /// What the server does with messages.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The name that the server gave.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests;
