//! The client's side of a dialogue as a pure machine.
//!
//! ```text
//!                 InitAck           terminate()           TerminateAck, or lost
//!   .-> Handshake --------->  Open  ------------> Closing ----------------------.
//!   |       |                  |                                                |
//!   |       | lost             | lost                                           |
//!   |       v                  v                given up, or terminate()        v
//!   |       '---------------> Away -----------------------------------------> Ended
//!   |                         | ^ |
//!   '-------------------------' '-' unreachable
//!            reconnect()
//! ```
//!
//! What ends a session for good (a violation, most Errors, some reasons of Terminate) leads from
//! anywhere to Ended. So does every loss without a [policy](Options::reconnect), and one before the
//! session was ever open: the very first handshake is not tried again.
//!
//! In: frames ([`receive`](ClientSession::receive)), what the user wants to send, the loss of the
//! connection, and a new one. Out: bytes to write ([`outgoing`](ClientSession::outgoing)), a queue
//! of events, the fate of each message, when to dial again, and how it all ended. Whoever drives it
//! writes `outgoing` in order and empties it; what is there at the end of a connection is still to
//! be written if [`may_write`](ClientSession::may_write) says so.
//!
//! It has no socket, lock, thread or clock, and bounds nothing by itself: the one who drives it
//! stops sending when `outgoing` is long or much is [kept](ClientSession::kept_bytes), stops
//! reading when the inbox is full, and limits the time that a handshake may take.

mod heart;
mod inbox;
mod loss;
mod receive;
mod streams;
mod turns;

use std::fmt;
use std::time::Instant;

use self::inbox::Inbox;
pub use self::inbox::{INBOX_MAX, Keep};
pub use self::streams::Piece;
use self::streams::Streams;
use self::turns::Seat;
use crate::backoff::{Backoff, ReconnectPolicy};
use crate::end::End;
use crate::error::Error;
use crate::event::{Event, Fate, Receipt};
use crate::frame::{BODY_MARGIN, HANDSHAKE_FRAME_MAX};
use crate::heartbeat::{Heartbeat, Rhythm};
use crate::message::{Frame, Mode, SessionKey, Token, VERSION};
use crate::outbox::Outbox;

/// The largest `frame_max` that is believed; a server that announces more is sent, and may send,
/// no larger frames than this.
const FRAME_MAX_CEILING: u32 = 64 << 20;
/// What an Init takes beside its three fields: kind, magic, version, session, received, and the
/// fields' sizes.
const INIT_OVERHEAD: usize = 1 + 6 + 1 + 16 + 8 + 3 * 2;
/// The longest recipient's name that the margin has room for. A real one has at most 64 bytes;
/// that nobody bears a longer one is for the server to say.
const RECIPIENT_MAX: usize = 1000;

/// What a session begins with.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The name that others shall see; empty: the server picks one.
    pub name: &'a str,
    /// The user's time zone, or empty.
    pub timezone: &'a str,
    /// The access token, or empty.
    pub token: Token<'a>,
    /// Which events are kept for the user.
    pub keep: Keep,
    /// Whether and how a lost connection is restored.
    pub reconnect: Option<ReconnectPolicy>,
    /// Where the jitter of the attempts to reconnect begins: another number for each client.
    pub seed: u64,
}

impl Options<'_> {
    /// No name, time zone or token, and no reconnecting.
    pub fn anonymous(keep: Keep) -> Self {
        Self { name: "", timezone: "", token: Token(""), keep, reconnect: None, seed: 0 }
    }
}

/// The fields of every Init.
struct Introduction {
    name: String,
    timezone: String,
    token: String,
}

impl Introduction {
    fn init(&self, session: SessionKey, received: u64) -> Frame<'_> {
        let Self { name, timezone, token } = self;
        Frame::Init { version: VERSION, session, received, name, timezone, token: Token(token) }
    }
}

#[derive(Debug)]
enum Phase {
    /// Init is on its way, and nothing else may be sent.
    Handshake,
    Open,
    /// Between two connections.
    Away {
        retry_at: Instant,
        /// Whether what is outgoing ends with this side's last words on the connection that is
        /// lost.
        has_last_words: bool,
    },
    /// Our Terminate is on its way. Of a peer that has said goodbye itself, only its Ack counts.
    Closing {
        peer_is_done: bool,
    },
    Ended(End),
}

/// See the [module](self).
pub struct ClientSession {
    phase: Phase,
    /// Bytes for the server, whole frames.
    pub outgoing: Vec<u8>,
    outbox: Outbox,
    inbox: Inbox,
    streams: Streams,
    introduction: Introduction,
    /// The key to resume, once the session was open.
    key: Option<SessionKey>,
    backoff: Option<Backoff>,
    /// The largest frame on the connection of now.
    frame_max: u32,
    /// The largest body of a message, as the last InitAck told.
    body_max: usize,
    mode: Mode,
    name: String,
    seat: Seat,
    /// The highest `seq` that has come, and what a resume is asked for: what lies in the inbox is
    /// as good as handed out, since it lives and dies with the same process.
    last_seq: u64,
    last_nonce: u64,
    /// The nonces of Pings without a Pong.
    open_pings: Vec<u64>,
    /// The last nonce of connections that are lost: what is open up to it will never be answered.
    lost_nonce: u64,
    /// How many statuses, Pongs, credits and losses said something new.
    answers: u64,
    rhythm: Option<Rhythm>,
    heartbeat: Option<Heartbeat>,
    /// Data came since the heartbeat was told.
    heard_data: bool,
}

impl ClientSession {
    /// Begins a new session: an Init is outgoing.
    ///
    /// # Errors
    /// [`Error::FieldTooLong`] if the Init would be longer than a handshake allows.
    pub fn new(options: &Options<'_>) -> Result<Self, Error> {
        let Options { name, timezone, token, .. } = *options;
        let fields = [("name", name), ("timezone", timezone), ("token", token.0)];
        let size: usize = fields.iter().map(|(_, text)| text.len()).sum();
        if INIT_OVERHEAD + size > HANDSHAKE_FRAME_MAX as usize {
            let longest = fields.into_iter().max_by_key(|(_, text)| text.len());
            return Err(Error::FieldTooLong(longest.unwrap_or_default().0));
        }
        Ok(Self::begin(options))
    }

    /// Begins a new session without a name, a time zone or a token.
    pub(crate) fn anonymous(keep: Keep) -> Self {
        Self::begin(&Options::anonymous(keep))
    }

    fn begin(options: &Options<'_>) -> Self {
        let introduction = Introduction {
            name: options.name.to_owned(),
            timezone: options.timezone.to_owned(),
            token: options.token.0.to_owned(),
        };
        Self {
            phase: Phase::Handshake,
            outgoing: introduction.init(SessionKey::NEW, 0).to_bytes(),
            outbox: Outbox::new(options.reconnect.is_some()),
            inbox: Inbox::new(options.keep),
            streams: Streams::default(),
            introduction,
            key: None,
            backoff: options.reconnect.map(|policy| Backoff::new(policy, options.seed)),
            frame_max: HANDSHAKE_FRAME_MAX,
            body_max: 0,
            mode: Mode::Relay,
            name: String::new(),
            seat: Seat::default(),
            last_seq: 0,
            last_nonce: 0,
            open_pings: Vec::new(),
            lost_nonce: 0,
            answers: 0,
            rhythm: None,
            heartbeat: None,
            heard_data: false,
        }
    }

    /// Sends a text to all others; while there is no connection, as soon as there is one.
    pub fn send_text(&mut self, text: &str) -> Result<Receipt, Error> {
        let id = self.next_id(text.len())?;
        Ok(self.send(&Frame::Text { id, body: text.as_bytes() }))
    }

    /// Sends bytes to all others. As [`send_text`](Self::send_text).
    pub fn send_bytes(&mut self, body: &[u8]) -> Result<Receipt, Error> {
        let id = self.next_id(body.len())?;
        Ok(self.send(&Frame::Bytes { id, body }))
    }

    /// Sends a text to one. As [`send_text`](Self::send_text).
    pub fn send_direct(&mut self, to: &str, text: &str) -> Result<Receipt, Error> {
        if to.len() > RECIPIENT_MAX {
            return Err(Error::FieldTooLong("recipient's name"));
        }
        let id = self.next_id(text.len())?;
        Ok(self.send(&Frame::Direct { id, to, body: text.as_bytes() }))
    }

    /// The id of the next message, if one of that size can be sent.
    fn next_id(&self, size: usize) -> Result<u64, Error> {
        self.check_alive()?;
        let limit = self.body_max;
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        Ok(self.outbox.next_id())
    }

    /// Whether more can be sent, now or when the connection is back.
    fn check_alive(&self) -> Result<(), Error> {
        match &self.phase {
            Phase::Open | Phase::Away { .. } => Ok(()),
            Phase::Handshake if self.was_open() => Ok(()),
            Phase::Handshake | Phase::Closing { .. } => Err(Error::Closed),
            Phase::Ended(end) => Err(end.to_error()),
        }
    }

    fn send(&mut self, message: &Frame<'_>) -> Receipt {
        let line = matches!(self.phase, Phase::Open).then_some(&mut self.outgoing);
        self.outbox.push(message, line)
    }

    /// Sends a Ping and gives its nonce. See [`has_pong`](Self::has_pong).
    pub fn ping(&mut self) -> Result<u64, Error> {
        match &self.phase {
            Phase::Open => {}
            Phase::Away { .. } => return Err(Error::Reconnecting),
            Phase::Handshake if self.was_open() => return Err(Error::Reconnecting),
            Phase::Handshake | Phase::Closing { .. } => return Err(Error::Closed),
            Phase::Ended(end) => return Err(end.to_error()),
        }
        self.last_nonce += 1;
        self.open_pings.push(self.last_nonce);
        Frame::Ping { nonce: self.last_nonce }.encode(&mut self.outgoing);
        Ok(self.last_nonce)
    }

    /// Whether the Ping of that nonce was answered.
    ///
    /// # Errors
    /// It will not be: how the session ended, [`Error::Closed`] while it is closing, and
    /// [`Error::Reconnecting`] if the connection is lost, also when there is a new one.
    pub fn has_pong(&self, nonce: u64) -> Result<bool, Error> {
        match &self.phase {
            _ if !self.open_pings.contains(&nonce) => Ok(true),
            Phase::Ended(end) => Err(end.to_error()),
            Phase::Closing { .. } => Err(Error::Closed),
            _ if nonce <= self.lost_nonce => Err(Error::Reconnecting),
            _ => Ok(false),
        }
    }

    /// Waits no longer for the Pong of that nonce.
    pub fn forget_ping(&mut self, nonce: u64) {
        self.open_pings.retain(|open| *open != nonce);
    }

    /// The next event, in the order in which the server sent them. A turn that was given is passed
    /// over if by now it is over, or a move of it is under way.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            match self.inbox.next()? {
                Event::Go { turn, .. } if !self.is_to_be_played(turn) => {}
                event => return Some(event),
            }
        }
    }

    /// Whether an event waits.
    pub fn has_event(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Whether so much waits that no more should be read before some of it is taken.
    pub fn inbox_is_full(&self) -> bool {
        self.inbox.is_full()
    }

    /// Nobody will take events any more.
    pub fn discard_events(&mut self) {
        self.inbox = Inbox::new(Keep { records: false, refusals: false, acceptances: false });
    }

    /// What became of a message, or `None` while that is open. [`Fate::Unknown`] if its session
    /// was lost before the server told, where the fate may have been forgotten, and for a receipt
    /// that this session did not give.
    pub fn fate(&self, receipt: Receipt) -> Option<Fate> {
        self.outbox.fate(receipt)
    }

    /// The receipt of the last message that was sent.
    pub fn last_receipt(&self) -> Receipt {
        self.outbox.last()
    }

    /// How many messages up to `last` have no fate yet.
    pub fn unsettled(&self, last: Receipt) -> u64 {
        self.outbox.unsettled(last)
    }

    /// How many messages behind `first` up to `last` have an unknown fate, since their session was
    /// lost.
    pub fn unknown(&self, first: Receipt, last: Receipt) -> u64 {
        self.outbox.unknown(first, last)
    }

    /// The last message that a flush has answered for.
    pub fn flushed(&self) -> Receipt {
        self.outbox.flushed()
    }

    /// A flush answers for all messages up to `last`.
    pub fn flush(&mut self, last: Receipt) {
        self.outbox.flush(last);
    }

    /// How many bytes of messages are kept, so that they can be sent again: none without a
    /// [policy](Options::reconnect).
    pub fn kept_bytes(&self) -> usize {
        self.outbox.kept_bytes()
    }

    /// Grows whenever a call that waits for a fate, a credit or a Pong should look again.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// The largest frame that the server may send, from the next one on.
    pub fn frame_max(&self) -> u32 {
        self.frame_max
    }

    /// What the server does with messages.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The name that the server gave.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the connection is up, and messages flow.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether there is no connection, and one is to be made at [`retry_at`](Self::retry_at).
    pub fn is_away(&self) -> bool {
        matches!(self.phase, Phase::Away { .. })
    }

    /// Whether the server's answer to Init is waited for.
    pub fn is_in_handshake(&self) -> bool {
        matches!(self.phase, Phase::Handshake)
    }

    /// Whether this side has said goodbye and waits for the answer.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Whether the session has neither ended nor is closing: open, or to be opened.
    pub fn is_alive(&self) -> bool {
        !self.is_closing() && self.ended().is_none()
    }

    /// How it ended, once it has.
    pub fn ended(&self) -> Option<&End> {
        match &self.phase {
            Phase::Ended(end) => Some(end),
            _ => None,
        }
    }

    fn was_open(&self) -> bool {
        self.key.is_some()
    }

    /// Takes the limit that an InitAck tells.
    fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max.min(FRAME_MAX_CEILING);
        self.body_max = (self.frame_max - BODY_MARGIN) as usize;
    }
}

/// The token, the key and the messages stay out, also as bytes that are outgoing.
impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("phase", &self.phase)
            .field("name", &self.name)
            .field("outgoing", &self.outgoing.len())
            .field("kept_bytes", &self.kept_bytes())
            .field("last_receipt", &self.last_receipt())
            .field("last_seq", &self.last_seq)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
