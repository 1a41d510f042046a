//! The heartbeat: when a silent peer is asked for a sign of life, and when it counts as dead
//! (`PROTOCOL.md` section 7).
//!
//! Pure: bytes seen, pong seen, now; out comes nothing until then, ping, or dead. Both sides use
//! it, each for itself. Who sends the Ping and who ends the connection is left to the machines.
//!
//! ```text
//!            silence for data_threshold              missed 1 + tries times
//!  Listening --------------------------> Beating ------------------------> Dead
//!      ^                                    |
//!      +------------- data -----------------+
//! ```

use std::time::{Duration, Instant};

use crate::message::kind;
use crate::settings::{HeartbeatSettings, Settings};

/// Nonces of heartbeats begin here, apart from those of other Pings.
pub(crate) const FIRST_NONCE: u64 = 1 << 63;

/// Whether what has come of a frame is data: a byte of anything but Ping and Pong.
pub(crate) fn is_data(begun: &[u8]) -> bool {
    !begun.is_empty() && !matches!(begun.get(4), Some(&kind::PING | &kind::PONG))
}

/// The four numbers of the section `heartbeat` of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Silence after which heartbeats begin.
    pub data_threshold: Duration,
    /// The time from one heartbeat to the next.
    pub interval: Duration,
    /// When a heartbeat that was not answered counts as missed.
    pub threshold: Duration,
    /// How many more are tried after a missed one.
    pub additional_tries: u32,
}

impl From<&HeartbeatSettings> for Rhythm {
    fn from(settings: &HeartbeatSettings) -> Self {
        Self {
            data_threshold: settings.data_threshold,
            interval: settings.heart_beat_interval,
            threshold: settings.heart_beat_threshold,
            additional_tries: settings.heart_beat_additional_tries as u32,
        }
    }
}

/// The defaults of the settings.
impl Default for Rhythm {
    fn default() -> Self {
        Self::from(&Settings::default().heartbeat)
    }
}

impl Rhythm {
    /// How long after its last byte a dead peer is noticed, at the latest.
    pub fn worst_case(&self) -> Duration {
        let missed = self.threshold.saturating_mul(self.additional_tries.saturating_add(1));
        self.data_threshold.max(self.interval).saturating_add(missed)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing before this point in time.
    Wait(Instant),
    /// Send a Ping with this nonce, now.
    Ping(u64),
    /// The peer is dead.
    Dead,
}

/// One side's view of its peer. See the [module](self).
#[derive(Debug, Clone)]
pub struct Heartbeat {
    rhythm: Rhythm,
    last_data: Instant,
    last_sent: Option<Instant>,
    /// The Ping that waits for its answer: its nonce. Sent at `last_sent`.
    outstanding: Option<u64>,
    missed: u32,
    nonce: u64,
}

impl Heartbeat {
    /// Begins to listen at `now`.
    pub fn new(rhythm: Rhythm, now: Instant) -> Self {
        let nonce = FIRST_NONCE;
        Self { rhythm, last_data: now, last_sent: None, outstanding: None, missed: 0, nonce }
    }

    /// Data came, or nothing could come because this side did not read: the silence is counted
    /// anew, and the heartbeat ends.
    #[inline]
    pub fn data_seen(&mut self, now: Instant) {
        self.last_data = now;
        self.outstanding = None;
        self.missed = 0;
    }

    /// A Pong came. Only that of the outstanding Ping is an answer.
    pub fn pong_seen(&mut self, nonce: u64) {
        if self.outstanding == Some(nonce) {
            self.outstanding = None;
            self.missed = 0;
        }
    }

    /// Whether an answer is waited for.
    pub fn is_waiting(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Before when there is nothing to be done, if nothing comes.
    pub fn due(&self) -> Instant {
        match (self.outstanding, self.last_sent) {
            (Some(_), Some(sent)) => sent + self.rhythm.threshold,
            (_, sent) => {
                let silent = self.last_data + self.rhythm.data_threshold;
                sent.map_or(silent, |sent| silent.max(sent + self.rhythm.interval))
            }
        }
    }

    /// What is to be done at `now`.
    pub fn poll(&mut self, now: Instant) -> Beat {
        let due = self.due();
        if now < due {
            return Beat::Wait(due);
        }
        if self.outstanding.is_some() {
            self.missed += 1;
            if self.missed > self.rhythm.additional_tries {
                return Beat::Dead;
            }
        }
        self.nonce = self.nonce.wrapping_add(1);
        self.outstanding = Some(self.nonce);
        self.last_sent = Some(now);
        Beat::Ping(self.nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn default_rhythm() -> Rhythm {
        Rhythm {
            data_threshold: 20 * SECOND,
            interval: 5 * SECOND,
            threshold: 10 * SECOND,
            additional_tries: 3,
        }
    }

    /// Polls until the peer is dead; the times of the Pings and of the end, in seconds.
    fn run_until_dead(beat: &mut Heartbeat, start: Instant, mut now: Instant) -> (Vec<u64>, u64) {
        let mut pings = Vec::new();
        loop {
            match beat.poll(now) {
                Beat::Wait(until) => now = until,
                Beat::Ping(_) => pings.push((now - start).as_secs()),
                Beat::Dead => return (pings, (now - start).as_secs()),
            }
        }
    }

    #[test]
    fn a_silent_peer_is_dead_after_the_worst_case() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(default_rhythm(), start);
        assert_eq!(run_until_dead(&mut beat, start, start), (vec![20, 30, 40, 50], 60));
        assert_eq!(default_rhythm().worst_case(), 60 * SECOND);
    }

    #[test]
    fn always_on_as_in_seed_000() {
        let rhythm = Rhythm {
            data_threshold: Duration::ZERO,
            interval: 30 * SECOND,
            threshold: 30 * SECOND,
            additional_tries: 0,
        };
        assert_eq!(rhythm.worst_case(), 60 * SECOND);
        let start = Instant::now();
        let mut beat = Heartbeat::new(rhythm, start);
        let mut now = start;
        // Data every second does not make it ping more often.
        let mut pings = Vec::new();
        for second in 0..100 {
            now = start + second * SECOND;
            beat.data_seen(now);
            if let Beat::Ping(_) = beat.poll(now) {
                pings.push(second);
            }
        }
        assert_eq!(pings, [0, 30, 60, 90]);
        assert!(run_until_dead(&mut beat, now, now).1 <= 60);
    }

    #[test]
    fn only_the_right_pong_or_data_is_an_answer() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(default_rhythm(), start);
        let mut now = start + 20 * SECOND;
        let Beat::Ping(nonce) = beat.poll(now) else { panic!("silence is over") };
        beat.pong_seen(nonce - 1);
        assert_eq!(beat.poll(now), Beat::Wait(now + 10 * SECOND));
        beat.pong_seen(nonce);
        assert_eq!(beat.poll(now), Beat::Wait(now + 5 * SECOND));
        now += 5 * SECOND;
        assert!(matches!(beat.poll(now), Beat::Ping(_)));
        beat.pong_seen(nonce);
        now += 10 * SECOND;
        assert!(matches!(beat.poll(now), Beat::Ping(_)), "the old pong is no answer");
        beat.data_seen(now);
        assert_eq!(beat.poll(now), Beat::Wait(now + 20 * SECOND), "data ends the heartbeat");
    }

    /// Whenever the peer falls silent, and whatever it said before, it is noticed in time.
    #[test]
    fn never_later_than_the_worst_case() {
        for seed in 0..2_000u64 {
            let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut below = |limit: u64| {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (number >> 33) % limit
            };
            let rhythm = Rhythm {
                data_threshold: Duration::from_millis(below(30_000)),
                interval: Duration::from_millis(1 + below(20_000)),
                threshold: Duration::from_millis(1 + below(20_000)),
                additional_tries: below(5) as u32,
            };
            let start = Instant::now();
            let mut beat = Heartbeat::new(rhythm, start);
            let (mut now, mut last_byte) = (start, start);
            for _ in 0..below(30) {
                match beat.poll(now) {
                    Beat::Wait(until) if below(3) > 0 => now = until,
                    Beat::Wait(until) => {
                        now += (until - now) * below(100) as u32 / 100;
                        beat.data_seen(now);
                        last_byte = now;
                    }
                    Beat::Ping(nonce) => {
                        beat.pong_seen(nonce);
                        last_byte = now;
                    }
                    Beat::Dead => unreachable!("every ping was answered"),
                }
            }
            let end = run_until_dead(&mut beat, start, now).1;
            let latest = (last_byte - start + rhythm.worst_case()).as_secs();
            assert!(end <= latest, "seed {seed}: {end} s, at the latest {latest}: {rhythm:?}");
        }
    }
}
