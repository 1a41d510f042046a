//! The vocabulary of the wire: kinds, codes, and [`Frame`], one decoded frame of any kind.
//!
//! Pure names and numbers, as in `PROTOCOL.md` sections 1 and 2. How they become bytes is the
//! business of [`crate::codec`], how bytes become frames that of [`crate::frame`].

use std::borrow::Cow;
use std::fmt;

/// The protocol version that this crate speaks.
pub const VERSION: u8 = 1;
/// The six bytes with which the payload of every Init begins.
pub const MAGIC: &[u8; 6] = b"tcpkit";

/// The kind bytes, by name (`PROTOCOL.md` section 2).
#[allow(missing_docs)] // each constant is the name of its row in the table
pub mod kind {
    pub const INIT: u8 = 0x01;
    pub const INIT_ACK: u8 = 0x02;
    pub const TERMINATE: u8 = 0x03;
    pub const TERMINATE_ACK: u8 = 0x04;
    pub const ERROR: u8 = 0x05;
    pub const PING: u8 = 0x08;
    pub const PONG: u8 = 0x09;
    pub const TEXT: u8 = 0x10;
    pub const BYTES: u8 = 0x11;
    pub const MOVE: u8 = 0x12;
    pub const DIRECT: u8 = 0x13;
    pub const STATUS: u8 = 0x18;
    pub const RELAYED_TEXT: u8 = 0x20;
    pub const RELAYED_BYTES: u8 = 0x21;
    pub const JOINED: u8 = 0x22;
    pub const LEFT: u8 = 0x23;
    pub const RELAYED_DIRECT: u8 = 0x24;
    pub const UPLOADED: u8 = 0x25;
    pub const TURN_ENDED: u8 = 0x26;
    pub const PRESENT: u8 = 0x28;
    pub const GO: u8 = 0x30;
    pub const WAIT: u8 = 0x31;
    pub const STREAM_OPEN: u8 = 0x40;
    pub const STREAM_CREDIT: u8 = 0x41;
    pub const STREAM_DATA: u8 = 0x42;
    pub const STREAM_END: u8 = 0x43;
    pub const STREAM_STATUS: u8 = 0x44;
    pub const STREAM_CANCEL: u8 = 0x45;
    /// Kinds from here on are hints of later versions: a receiver skips those it does not know.
    pub const FIRST_HINT: u8 = 0x80;

    /// Whether a client sends frames of this kind (hints count as sent by both sides).
    pub const fn sent_by_client(kind: u8) -> bool {
        match kind {
            INIT | TEXT..=DIRECT | STREAM_OPEN | STREAM_DATA | STREAM_END => true,
            _ => sent_by_both(kind),
        }
    }

    /// Whether a server sends frames of this kind (hints count as sent by both sides).
    pub const fn sent_by_server(kind: u8) -> bool {
        match kind {
            INIT_ACK | STATUS | RELAYED_TEXT..=TURN_ENDED | PRESENT | GO | WAIT => true,
            _ => sent_by_both(kind) || matches!(kind, STREAM_CREDIT | STREAM_STATUS),
        }
    }

    const fn sent_by_both(kind: u8) -> bool {
        matches!(kind, TERMINATE..=ERROR | PING | PONG | STREAM_CANCEL | FIRST_HINT..)
    }
}

macro_rules! codes {
    (
        $(#[$about:meta])*
        $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal, $text:literal;)* }
        else $(#[$other_doc:meta])* $other:ident
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)* $(#[$other_doc])* $other(u8) }

        impl $name {
            /// The number on the wire.
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* Self::$other(number) => number }
            }

            /// The meaning of a number from the wire.
            pub const fn from_number(number: u8) -> Self {
                match number { $($number => Self::$variant,)* other => Self::$other(other) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)*
                    Self::$other(number) => write!(f, "unknown code {number}"),
                }
            }
        }
    };
}

codes! {
    /// Why a dialogue ended: the reason in Terminate and Left.
    Reason {
        /// The client was done.
        Done = 0, "done";
        /// The server is shutting down.
        ShuttingDown = 1, "shutting down";
        /// Heartbeats were not answered.
        NoHeartbeat = 2, "no heartbeat";
        /// The client read too slowly, and others would have had to wait for it.
        TooSlow = 3, "too slow a reader";
        /// A newer connection took over the session.
        Replaced = 4, "replaced by a newer connection";
        /// The server turned the client out.
        TurnedOut = 5, "turned out by the server";
        /// No data for longer than the server allows.
        Idle = 6, "idle too long";
        /// The connection was lost (in Left only).
        Lost = 7, "connection lost";
    } else
    /// A number that this version does not know; taken as a lost connection.
    Unknown
}

codes! {
    /// Why a connection was closed with Error.
    ErrorCode {
        /// A frame that is not what its kind says.
        Malformed = 1, "malformed frame";
        /// A frame above the limit.
        TooLarge = 2, "frame too large";
        /// A kind that the receiver does not take.
        UnknownKind = 3, "unknown kind";
        /// A protocol version that the server does not speak.
        UnsupportedVersion = 4, "unsupported version";
        /// The first bytes were not those of tcpkit.
        NotTcpkit = 5, "not tcpkit";
        /// A frame at a time at which it has no place.
        OutOfOrder = 6, "out of order";
        /// The access token is missing or wrong.
        NotAuthorised = 7, "not authorised";
        /// The server has no room for another client.
        ServerFull = 8, "server full";
        /// The name is too long or has characters that are not allowed.
        NameRefused = 9, "name refused";
        /// The handshake took too long.
        HandshakeTimedOut = 10, "handshake timed out";
        /// A fault inside the server.
        Internal = 11, "internal error";
    } else
    /// A number that this version does not know; taken as final.
    Unknown
}

impl ErrorCode {
    /// Whether a client may connect again after this error (`PROTOCOL.md` section 2).
    pub const fn may_reconnect(self) -> bool {
        matches!(self, Self::ServerFull | Self::HandshakeTimedOut | Self::Internal)
    }
}

codes! {
    /// The fate of one message or stream.
    StatusCode {
        /// It has its place in the log.
        Accepted = 0, "accepted";
        /// The server's program refused it.
        Refused = 1, "refused by the server's program";
        /// A move by one whose turn it is not.
        NotYourTurn = 2, "not your turn";
        /// Larger than allowed.
        TooLarge = 3, "too large";
        /// More at once than allowed.
        TooMany = 4, "too many";
        /// The disk, or what stands for it, failed.
        NotStored = 5, "could not be stored";
        /// The content is not what was announced.
        Mismatch = 6, "checksum or size mismatch";
        /// A file name that is not allowed.
        NameNotAllowed = 7, "name not allowed";
        /// A quota is used up.
        QuotaExceeded = 8, "quota exceeded";
        /// The sender cancelled it.
        Cancelled = 9, "cancelled";
        /// Text that is not UTF-8.
        NotUtf8 = 10, "not UTF-8";
        /// Nobody bears that name.
        NoSuchRecipient = 11, "no such recipient";
        /// Stream data at the wrong place; not final.
        OffsetMismatch = 12, "offset mismatch";
    } else
    /// A number that this version does not know; taken as a refusal.
    Unknown
}

codes! {
    /// What a server does with the messages that it takes.
    Mode {
        /// Each message comes back to its sender.
        Echo = 0, "echo";
        /// Each message goes to all others.
        Relay = 1, "relay";
        /// Clients take turns.
        Turn = 2, "turn";
    } else
    /// A program of its own (255, and whatever number is unknown).
    Program
}

codes! {
    /// How a turn ended.
    Outcome {
        /// The holder moved.
        Moved = 0, "moved";
        /// The holder let its time pass.
        TimeOut = 1, "time out";
        /// The holder left.
        Left = 2, "left";
    } else
    /// A number that this version does not know.
    Unknown
}

/// The 16 unguessable bytes that name a session: the key to resume it.
///
/// Neither `Debug` nor `Display` shows them, so that they reach no log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SessionKey(pub [u8; 16]);

impl SessionKey {
    /// All zeros: asks for a new session.
    pub const NEW: Self = Self([0; 16]);
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::NEW { "SessionKey(new)" } else { "SessionKey(secret)" })
    }
}

/// The access token of an Init. Its `Debug` shows only whether there is one.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Token<'a>(pub &'a str);

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Token(none)" } else { "Token(secret)" })
    }
}

/// InitAck flag: the session was known and goes on.
pub const FLAG_RESUMED: u8 = 1;
/// InitAck flag: some records for this session are gone.
pub const FLAG_GAP: u8 = 2;

/// One decoded frame, borrowing what it holds from the bytes that it came from.
///
/// The fields are those of `PROTOCOL.md` section 2, in order and under the same names. Bodies of
/// Text, Move and Direct are bytes here: whether they are UTF-8 is judged by the server, which
/// refuses such a message with a status and keeps the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are specified, with their units, in PROTOCOL.md
pub enum Frame<'a> {
    Init {
        version: u8,
        session: SessionKey,
        received: u64,
        name: &'a str,
        timezone: &'a str,
        token: Token<'a>,
    },
    InitAck {
        version: u8,
        mode: Mode,
        flags: u8,
        session: SessionKey,
        seen: u64,
        head: u64,
        missed: u64,
        frame_max: u32,
        grace_ms: u32,
        name: &'a str,
    },
    Terminate {
        reason: Reason,
        retry_after_ms: u32,
        detail: Cow<'a, str>,
    },
    TerminateAck,
    Error {
        code: ErrorCode,
        detail: Cow<'a, str>,
    },
    Ping {
        nonce: u64,
    },
    Pong {
        nonce: u64,
    },
    Text {
        id: u64,
        body: &'a [u8],
    },
    Bytes {
        id: u64,
        body: &'a [u8],
    },
    Move {
        id: u64,
        turn: u64,
        body: &'a [u8],
    },
    Direct {
        id: u64,
        to: &'a str,
        body: &'a [u8],
    },
    Status {
        id: u64,
        code: StatusCode,
        detail: Cow<'a, str>,
    },
    RelayedText {
        seq: u64,
        time_ms: u64,
        from: &'a str,
        body: &'a str,
    },
    RelayedBytes {
        seq: u64,
        time_ms: u64,
        from: &'a str,
        body: &'a [u8],
    },
    Joined {
        seq: u64,
        time_ms: u64,
        name: &'a str,
    },
    Left {
        seq: u64,
        time_ms: u64,
        reason: Reason,
        name: &'a str,
    },
    RelayedDirect {
        seq: u64,
        time_ms: u64,
        from: &'a str,
        body: &'a str,
    },
    Uploaded {
        seq: u64,
        time_ms: u64,
        size: u64,
        from: &'a str,
        name: &'a str,
    },
    TurnEnded {
        seq: u64,
        time_ms: u64,
        turn: u64,
        outcome: Outcome,
        from: &'a str,
        next: &'a str,
        body: &'a str,
    },
    Present {
        total: u32,
        names: Vec<&'a str>,
    },
    Go {
        turn: u64,
        deadline_ms: u32,
    },
    Wait {
        turn: u64,
        holder: &'a str,
    },
    StreamOpen {
        stream: u64,
        size: Option<u64>,
        name: &'a str,
        media_type: &'a str,
    },
    StreamCredit {
        stream: u64,
        offset: u64,
        limit: u64,
    },
    StreamData {
        stream: u64,
        offset: u64,
        bytes: &'a [u8],
    },
    StreamEnd {
        stream: u64,
        size: u64,
        crc32c: u32,
    },
    StreamStatus {
        stream: u64,
        code: StatusCode,
        detail: Cow<'a, str>,
    },
    StreamCancel {
        stream: u64,
        detail: Cow<'a, str>,
    },
    /// A kind of 0x80 or above, which this version skips.
    Hint {
        kind: u8,
        payload: &'a [u8],
    },
}

/// What a peer did that ends the connection: the code for its Error, and words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The code that Error carries.
    pub code: ErrorCode,
    /// What was wrong, for people.
    pub detail: Cow<'static, str>,
}

impl Violation {
    /// A violation with these words.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_description_shows_the_bytes_of_a_session_key() {
        let session = SessionKey([0xa7; 16]);
        let (version, name, timezone) = (VERSION, "alice", "");
        let token = Token::default();
        let init = Frame::Init { version, session, received: 0, name, timezone, token };
        let ack = Frame::InitAck {
            version,
            mode: Mode::Relay,
            flags: 0,
            session,
            seen: 0,
            head: 0,
            missed: 0,
            frame_max: 1 << 20,
            grace_ms: 0,
            name,
        };
        for shown in [format!("{session:?}"), format!("{init:?}"), format!("{ack:?}")] {
            assert!(shown.contains("SessionKey(secret)"), "{shown}");
            assert!(!shown.contains("167"), "{shown}");
        }
        for shown in [format!("{session:x?}"), format!("{init:x?}"), format!("{ack:x?}")] {
            assert!(!shown.contains("a7"), "{shown}");
        }
    }
}
