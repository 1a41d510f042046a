//! What must be true of heartbeats: they leave when they must and never before, only the right
//! answers count, and nobody is given up, or kept, against the rhythm (`PROTOCOL.md` section 7).
//!
//! The rhythm is computed here once more, from the bytes that come and the Pings that leave.

use tcpkit::heartbeat::Rhythm;
use tcpkit::message::kind;

use crate::network::Time;
use crate::schedule::nanoseconds;

/// Nonces of heartbeats begin here.
pub(crate) const FIRST_HEARTBEAT: u64 = 1 << 63;
/// How late a timer may be.
pub(crate) const SLACK: Time = 1_000_000;

const HEADER: usize = 5;
const NONCE: usize = 8;

/// Finds the frames in a stream of bytes, in any pieces.
#[derive(Debug, Default)]
pub(crate) struct Sniffer {
    head: [u8; HEADER + NONCE],
    held: usize,
    /// Bytes of the frame that are still to come, behind what is held of it.
    left: usize,
}

impl Sniffer {
    /// Tells the kind of each frame that is whole, and its first eight bytes as a number.
    pub(crate) fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(u8, u64)) {
        while !bytes.is_empty() {
            if self.left == 0 && self.held < HEADER {
                self.head[self.held] = bytes[0];
                (self.held, bytes) = (self.held + 1, &bytes[1..]);
                if self.held == 4 {
                    let length = u32::from_be_bytes([
                        self.head[0],
                        self.head[1],
                        self.head[2],
                        self.head[3],
                    ]);
                    self.left = length as usize;
                }
            } else {
                let count = self.left.min(bytes.len());
                let kept = count.min(self.head.len().saturating_sub(self.held));
                self.head[self.held..self.held + kept].copy_from_slice(&bytes[..kept]);
                self.held += kept;
                self.left -= count;
                bytes = &bytes[count..];
            }
            if self.held >= HEADER && self.left == 0 {
                let mut nonce = [0; NONCE];
                nonce.copy_from_slice(&self.head[HEADER..]);
                each(self.head[4], u64::from_be_bytes(nonce));
                self.held = 0;
            }
        }
    }

    pub(crate) fn is_in_mid_frame(&self) -> bool {
        self.held > 0
    }

    /// Whether a frame has begun that is not a heartbeat, or may not be one.
    fn has_begun_data(&self) -> bool {
        self.held > 0 && (self.held < HEADER || !matches!(self.head[4], kind::PING | kind::PONG))
    }
}

#[derive(Debug)]
pub(crate) struct Heart {
    rhythm: Rhythm,
    sniffer: Sniffer,
    is_on: bool,
    last_data: Time,
    last_sent: Option<Time>,
    outstanding: Option<u64>,
    answered_at: Time,
    missed: u32,
}

impl Heart {
    pub(crate) fn new(rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            sniffer: Sniffer::default(),
            is_on: false,
            last_data: 0,
            last_sent: None,
            outstanding: None,
            answered_at: 0,
            missed: 0,
        }
    }

    pub(crate) fn start(&mut self, now: Time) {
        self.is_on = true;
        self.last_data = now;
    }

    /// From here on it is not known what leaves when.
    pub(crate) fn stop(&mut self) {
        self.is_on = false;
    }

    /// This side has read so much.
    pub(crate) fn hear(&mut self, bytes: &[u8], now: Time) {
        let mut sniffer = std::mem::take(&mut self.sniffer);
        let mut has_data = false;
        sniffer.read(bytes, |kind, nonce| match kind {
            kind::PONG if self.outstanding == Some(nonce) => self.answered(now),
            kind::PING | kind::PONG => {}
            _ => has_data = true,
        });
        if has_data || sniffer.has_begun_data() {
            self.last_data = now;
            self.answered(now);
        }
        self.sniffer = sniffer;
    }

    fn answered(&mut self, now: Time) {
        self.answered_at = now;
        self.outstanding = None;
        self.missed = 0;
    }

    fn due(&self) -> Time {
        match (self.outstanding, self.last_sent) {
            (Some(_), Some(sent)) => sent + nanoseconds(self.rhythm.threshold),
            (_, sent) => {
                let silent = self.last_data + nanoseconds(self.rhythm.data_threshold);
                silent.max(sent.map_or(0, |sent| sent + nanoseconds(self.rhythm.interval)))
            }
        }
    }

    /// A Ping leaves.
    pub(crate) fn ping(&mut self, nonce: u64, now: Time) {
        if !self.is_on {
            return;
        }
        assert!(now >= self.due(), "a heartbeat leaves at {now} that is due at {}", self.due());
        self.check_overdue(now);
        self.missed += u32::from(self.outstanding.is_some());
        assert!(self.missed <= self.rhythm.additional_tries, "one heartbeat too many");
        (self.outstanding, self.last_sent) = (Some(nonce), Some(now));
    }

    /// The peer is given up.
    pub(crate) fn give_up(&mut self, now: Time) {
        if self.is_on {
            assert!(self.outstanding.is_some() && now >= self.due(), "given up before its time");
            assert_eq!(self.missed, self.rhythm.additional_tries, "given up too early");
            self.is_on = false;
        }
    }

    /// What was due must have happened by now.
    pub(crate) fn check_overdue(&self, now: Time) {
        let due = self.due().max(self.answered_at);
        assert!(
            !self.is_on || now <= due + SLACK,
            "a heartbeat was due at {due}, it is {now}: {self:?}"
        );
    }
}
