//! The handshake: who may come in, under which name, and what a newcomer is told
//! (`PROTOCOL.md` section 3).

use std::borrow::Cow;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::draft::{Draft, Proposal};
use super::link::{Link, LinkId, Stage};
use super::room::Room;
use super::session::Session;
use super::{Core, Hub, Moment};
use crate::codec::decode;
use crate::frame::{Framer, HANDSHAKE_FRAME_MAX};
use crate::heartbeat::Heartbeat;
use crate::log::Audience;
use crate::message::{ErrorCode, Frame, MAGIC, Mode, SessionKey, VERSION, Violation, kind};
use crate::name;
use crate::report::Report;

/// The names in Present take at most this many bytes.
const PRESENT_MAX: usize = 64 * 1024;
/// What Present takes beside the names, in a frame's length: the kind, and how many there are.
const PRESENT_HEADER: usize = 5;
/// Kind and nonce: what the length field of the shortest Ping says.
const PING_LENGTH: usize = 9;

/// The room in the log that one admission needs: a Joined with the longest name.
const ADMISSION_SIZE: usize = 128;

/// What a client asks for in Init.
struct Request {
    session: SessionKey,
    received: u64,
    name: String,
    timezone: String,
}

impl Hub {
    /// A connection was accepted from `peer`. `None`: there are too many that have no session;
    /// it is told so with Error 8 and closed by the shell.
    pub fn connect(&mut self, peer: &str, at: Moment) -> Option<LinkId> {
        let core = &mut self.core;
        let without_session = core.links.len().saturating_sub(core.connected());
        if core.cut_off.is_some() || without_session >= core.rules.handshaking {
            return None;
        }
        core.connections += 1;
        let id = LinkId(core.links.insert(Link::new(peer, core.connections, at.now)));
        core.set_deadline(id, at.now + core.rules.handshake_time);
        Some(id)
    }

    /// Takes what a client says before its session: Pings, then Init. True if it took a frame.
    pub(super) fn greet(&mut self, id: LinkId, framer: &mut Framer, at: Moment) -> bool {
        if let Err(violation) = judge_first_bytes(framer.peek()) {
            self.refuse(id, violation, at);
            return false;
        }
        if !self.core.may_owe(id, at) {
            return false;
        }
        if !self.core.has_room(ADMISSION_SIZE) {
            self.core.block_for_room(id, ADMISSION_SIZE, at);
            return false;
        }
        let taken = match framer.next_frame() {
            Ok(Some(raw)) => decode(&raw).and_then(|frame| self.greeting(id, &frame)),
            Ok(None) => return false,
            Err(violation) => Err(violation),
        };
        let admitted = match taken {
            Ok(None) => return true,
            Ok(Some(_)) if framer.buffered() > 0 => Err(sent_too_early()),
            Ok(Some(request)) => self
                .resume(id, request.session, request.received, at)
                .unwrap_or_else(|| self.admit(id, &request, at)),
            Err(violation) => Err(violation),
        };
        match admitted {
            Ok(()) => framer.set_frame_max(self.core.rules.frame_max),
            Err(violation) => self.refuse(id, violation, at),
        }
        true
    }

    /// Judges one frame of the greeting; gives what the client asks for once it has said it.
    fn greeting(&mut self, id: LinkId, frame: &Frame<'_>) -> Result<Option<Request>, Violation> {
        match frame {
            Frame::Ping { nonce } => {
                self.core.owe(id, &Frame::Pong { nonce: *nonce });
                Ok(None)
            }
            Frame::Init { session, received, name, timezone, token, .. } => {
                if !same_token(&self.core.rules.token.0, token.0) {
                    let words = if token.0.is_empty() { "no token" } else { "a wrong token" };
                    return Err(Violation::new(ErrorCode::NotAuthorised, words));
                }
                if !self.core.keys.contains_key(session) {
                    check_name(name)?;
                }
                let (name, timezone) = ((*name).to_owned(), (*timezone).to_owned());
                Ok(Some(Request { session: *session, received: *received, name, timezone }))
            }
            _ => Err(Violation::new(ErrorCode::NotTcpkit, "neither Init nor Ping")),
        }
    }

    /// Makes a session, or says why not.
    fn admit(&mut self, id: LinkId, request: &Request, at: Moment) -> Result<(), Violation> {
        let core = &mut self.core;
        let name = check_name(&request.name)?;
        if core.connected() >= core.rules.clients {
            return Err(core.full());
        }
        let Some(key) = (core.new_key)() else {
            return Err(Violation::new(ErrorCode::Internal, "no randomness for a session's key"));
        };
        let name = core.free_name(name);
        let folded = name::fold(&name);
        let timezone = &*request.timezone;
        let timezone = if name::is_timezone(timezone) { timezone } else { "" }.to_owned();
        let mut session = Session::new(name.clone(), folded.clone(), timezone, key);
        session.link = id;
        let session = core.sessions.insert(session);
        core.names.insert(folded, session);
        core.keys.insert(key, session);
        let Some(link) = core.links.get_mut(id.0) else { return Ok(()) };
        if let Some(session) = core.sessions.get_mut(session) {
            session.newest = link.number;
        }
        link.session = session;
        link.stage = Stage::Joining;
        link.deadline = None;
        link.frame_since = None;
        let draft = Draft::Joined { name: Cow::Owned(name) };
        let (id_none, audience, time_ms) = (0, Audience::Others, at.time_ms);
        let joined = Proposal { session, id: id_none, audience, time_ms, draft };
        if !core.announces() || core.propose(joined) {
            self.welcome(id, at);
        }
        Ok(())
    }

    /// The session is there, and so is its Joined: tells the client.
    pub(super) fn welcome(&mut self, id: LinkId, at: Moment) {
        let core = &mut self.core;
        let Some(link) = core.links.get_mut(id.0) else { return };
        let Some(session) = core.sessions.get_mut(link.session) else { return };
        let log = &core.ledger.log;
        link.enter(link.session, log.latest_for(link.session, core.rules.history));
        link.heartbeat = Some(Heartbeat::new(core.rules.rhythm, at.now));
        session.begins_behind = log.seq_before(link.cursor);
        core.pressure.floor = core.pressure.floor.min(link.cursor);
        let ack = Frame::InitAck {
            version: VERSION,
            mode: core.mode,
            flags: 0,
            session: session.key,
            seen: 0,
            head: log.last_seq(),
            missed: 0,
            frame_max: core.rules.frame_max,
            grace_ms: core.rules.grace_ms(),
            name: &session.name,
        };
        ack.encode(&mut link.owed);
        let (peer, session) = (link.peer.to_string(), link.session);
        core.watch(id, at.now);
        core.owe_present(id);
        core.mark(id);
        self.turn(at, None, |table, now, out| table.sit_down(session, now, out));
        let core = &mut self.core;
        let mut room = Room { core, session, id: 0, open: 0, time_ms: at.time_ms };
        let (name, timezone) = (room.member().name.to_owned(), room.member().timezone.to_owned());
        let handler = &*self.handler;
        let calm = catch_unwind(AssertUnwindSafe(|| handler.joined(&mut room))).is_ok();
        self.core.reports.push(Report::Joined { peer, name, timezone });
        if !calm {
            self.put_out_after_panic(id, at);
        }
    }
}

impl Core {
    /// Whether comings and goings are logged: not in mode 0, nor while there are too many.
    pub(super) fn announces(&self) -> bool {
        self.mode != Mode::Echo && self.sessions.len() <= self.rules.announce
    }

    fn free_name(&mut self, name: &str) -> String {
        if !name.is_empty() {
            return name::free_variant(name, |folded| self.names.contains_key(folded));
        }
        loop {
            self.guests += 1;
            let guest = format!("guest-{}", self.guests);
            if !self.names.contains_key(&guest) {
                return guest;
            }
        }
    }

    pub(super) fn owe_present(&mut self, id: LinkId) {
        if self.mode == Mode::Echo {
            return;
        }
        let most = PRESENT_MAX.min(self.rules.frame_max as usize - PRESENT_HEADER);
        let mut size = 0;
        let names = self.sessions.iter().map(|(_, session)| &*session.name);
        let names = names
            .take_while(|name| {
                size += 2 + name.len();
                size <= most
            })
            .collect();
        let present = Frame::Present { total: self.sessions.len() as u32, names };
        if let Some(link) = self.links.get_mut(id.0) {
            let before = link.owed.len();
            present.encode(&mut link.owed);
            link.allowance += link.owed.len() - before;
        }
    }
}

fn check_name(name: &str) -> Result<&str, Violation> {
    name::check(name).map_err(|words| Violation::new(ErrorCode::NameRefused, words))
}

fn sent_too_early() -> Violation {
    Violation::new(ErrorCode::OutOfOrder, "something was sent between Init and InitAck")
}

/// Judges as much as is there of the first frame, so that a stranger is told at once: length,
/// kind and magic must be those of an Init or a Ping.
fn judge_first_bytes(bytes: &[u8]) -> Result<(), Violation> {
    let stranger = |words| Err(Violation::new(ErrorCode::NotTcpkit, words));
    let high_bytes = (HANDSHAKE_FRAME_MAX >> 8).to_be_bytes();
    // The largest length is 0x00001000: what comes first must not be above its first bytes.
    if bytes.iter().zip(&[0, 0, high_bytes[3]]).any(|(byte, limit)| byte > limit) {
        return stranger("the first bytes are no frame of tcpkit");
    }
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else { return Ok(()) };
    let length = u32::from_be_bytes(*header);
    if length == 0 || length > HANDSHAKE_FRAME_MAX {
        return stranger("the first frame is empty or too large");
    }
    let Some((kind, payload)) = rest.split_first() else { return Ok(()) };
    match *kind {
        kind::INIT if payload.iter().zip(MAGIC).all(|(byte, magic)| byte == magic) => Ok(()),
        kind::INIT => stranger("an Init without its magic"),
        kind::PING if (length as usize) < PING_LENGTH => {
            Err(Violation::new(ErrorCode::Malformed, "a Ping without its nonce"))
        }
        kind::PING => Ok(()),
        _ => stranger("the first frame is neither Init nor Ping"),
    }
}

/// Compares without telling by its time how much of a guess is right. An empty `expected` lets
/// everyone in.
fn same_token(expected: &str, shown: &str) -> bool {
    if expected.is_empty() {
        return true;
    }
    let mut difference = expected.len() ^ shown.len();
    for (index, byte) in shown.bytes().enumerate() {
        let wanted = expected.as_bytes()[index % expected.len()];
        difference |= usize::from(black_box(byte ^ wanted));
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_known_by_their_first_bytes() {
        let init = [0, 0, 0, 45, 1, b't', b'c', b'p', b'k', b'i', b't', 1];
        for cut in 0..=init.len() {
            assert!(judge_first_bytes(&init[..cut]).is_ok(), "cut at {cut}");
        }
        for (bytes, code) in [
            (&b"G"[..], 5),           // HTTP, at its first byte
            (b"\x16\x03\x01\x02", 5), // TLS
            (b"\0\0\0\0", 5),         // length 0
            (b"\0\0\x10\x01", 5),     // 4,097
            (b"\0\0\x20", 5),         // plain at the third byte
            (b"\xff\xff\xff\xff", 5),
            (b"\0\0\0\x10\x10", 5),       // Text
            (b"\0\0\0\x2d\x01tcpkid", 5), // bad magic
            (b"\0\0\0\x08\x08", 1),       // a Ping too short
        ] {
            let verdict = judge_first_bytes(bytes).map_err(|violation| violation.code.number());
            assert_eq!(verdict, Err(code), "{bytes:?}");
        }
        assert!(judge_first_bytes(b"\0\0\x10\0\x01t").is_ok());
        assert!(judge_first_bytes(b"\0\0\0\x09\x08").is_ok());
    }

    #[test]
    fn tokens() {
        assert!(same_token("", "whatever"));
        assert!(same_token("secret", "secret"));
        for wrong in ["", "secre", "secret2", "secretsecret", "Secret"] {
            assert!(!same_token("secret", wrong), "{wrong}");
        }
    }
}
