//! When a client that lost its server tries again: exponential, capped, with full jitter.
//!
//! Pure: openings and losses come in with their time, the next attempt goes out, or that there is
//! none. What counts as a loss, and what happens meanwhile, is left to the client's machine.
//!
//! The jitter is what keeps a server that comes up again alive: of ten thousand clients that lost
//! it in the same moment no two need come back in the same one. So the wait is capped first and
//! drawn after; drawn first, most of the long waits would lie at the cap. And a connection that
//! opens and dies at once ends no outage, or a server that takes connections and drops them would
//! be dialled at the pace of the first attempt for ever.

use std::time::{Duration, Instant};

use crate::settings::{ReconnectSettings, Settings};

/// How a connection that was lost is restored: the section `reconnect` of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconnectPolicy {
    /// The longest wait before the first attempt; doubled for each further one.
    pub first: Duration,
    /// The longest wait before any attempt, beside what the server asks for. A connection that has
    /// held for so long ends the outage: attempts and time are counted anew.
    pub most: Duration,
    /// After so many attempts without success it is given up; 0: never.
    pub attempts: u32,
    /// No attempt begins later than so long after the outage began; zero: no limit.
    pub give_up_after: Duration,
}

impl From<&ReconnectSettings> for ReconnectPolicy {
    fn from(settings: &ReconnectSettings) -> Self {
        Self {
            first: settings.first,
            most: settings.most,
            attempts: u32::try_from(settings.attempts).unwrap_or(u32::MAX),
            give_up_after: settings.give_up_after,
        }
    }
}

/// The defaults of the settings.
impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self::from(&Settings::default().reconnect)
    }
}

impl ReconnectPolicy {
    /// The longest wait before the attempt of that number, in nanoseconds; held at 584 years.
    fn longest_wait(&self, number: u32) -> u64 {
        let [first, most] = [self.first, self.most]
            .map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        let doublings = number.saturating_sub(1).min(63);
        if first > most >> doublings { most } else { first << doublings }
    }
}

/// An attempt that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// From 1 on, counted since the outage began.
    pub(crate) number: u32,
    pub(crate) wait: Duration,
    pub(crate) at: Instant,
}

/// One client's outages. See the [module](self).
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: ReconnectPolicy,
    /// The state of a small generator, splitmix64 (Steele, Lea, Flood: "Fast splittable
    /// pseudorandom number generators", 2014).
    random: u64,
    /// How many attempts were made, or are about to be, in this outage.
    attempts: u32,
    /// When the outage began.
    outage: Option<Instant>,
    /// Since when the connection is open.
    open_since: Option<Instant>,
}

impl Backoff {
    /// Without an outage. Clients with different seeds wait for different times.
    pub(crate) fn new(policy: ReconnectPolicy, seed: u64) -> Self {
        Self { policy, random: seed, attempts: 0, outage: None, open_since: None }
    }

    /// A connection is open.
    pub(crate) fn opened(&mut self, now: Instant) {
        self.open_since = Some(now);
    }

    /// The connection was lost, or an attempt failed: gives the next attempt, which comes no
    /// earlier than `retry_after`, or `None` when it is given up.
    pub(crate) fn next_attempt(&mut self, now: Instant, retry_after: Duration) -> Option<Attempt> {
        let ReconnectPolicy { most, attempts, give_up_after, .. } = self.policy;
        if self.open_since.take().is_some_and(|since| now.saturating_duration_since(since) >= most)
        {
            (self.attempts, self.outage) = (0, None);
        }
        let outage = *self.outage.get_or_insert(now);
        if attempts > 0 && self.attempts >= attempts {
            return None;
        }
        let number = self.attempts.saturating_add(1);
        let jitter = Duration::from_nanos(self.random_up_to(self.policy.longest_wait(number)));
        let wait = retry_after.saturating_add(jitter);
        let at = now.checked_add(wait)?; // a time that no clock reaches is never
        if !give_up_after.is_zero() && at.saturating_duration_since(outage) > give_up_after {
            return None;
        }
        self.attempts = number;
        Some(Attempt { number, wait, at })
    }

    /// A number from 0 to `most`, each as likely as any other.
    fn random_up_to(&mut self, most: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * (u128::from(most) + 1)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NEVER: Duration = Duration::ZERO;

    fn policy() -> ReconnectPolicy {
        let first = Duration::from_millis(200);
        ReconnectPolicy { first, most: 15 * SECOND, attempts: 0, give_up_after: NEVER }
    }

    /// The waits before the first `count` attempts, each of which fails as soon as it is made.
    fn waits(policy: ReconnectPolicy, seed: u64, count: usize) -> Vec<Duration> {
        let mut backoff = Backoff::new(policy, seed);
        let mut now = Instant::now();
        let attempts = std::iter::from_fn(|| {
            let attempt = backoff.next_attempt(now, Duration::ZERO)?;
            assert_eq!(attempt.at, now + attempt.wait);
            now = attempt.at;
            Some(attempt.wait)
        });
        attempts.take(count).collect()
    }

    #[test]
    fn the_defaults_are_those_of_the_settings() {
        assert_eq!(ReconnectPolicy::default(), policy());
    }

    #[test]
    fn waits_double_up_to_the_cap_and_are_drawn_from_the_whole_range() {
        const SEEDS: u64 = 2_000;
        let caps = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0].map(Duration::from_secs_f64);
        let mut drawn = vec![Vec::new(); caps.len()];
        for seed in 0..SEEDS {
            for (index, wait) in waits(policy(), seed, caps.len()).into_iter().enumerate() {
                assert!(wait <= caps[index], "seed {seed}: {wait:?} before attempt {}", index + 1);
                drawn[index].push(wait);
            }
        }
        for (cap, waits) in caps.iter().zip(drawn) {
            // Four quarters, each with a quarter of the draws, but for chance: 5 deviations.
            for quarter in 0..4 {
                let range = *cap * quarter / 4..*cap * (quarter + 1) / 4;
                let count = waits.iter().filter(|wait| range.contains(wait)).count();
                assert!((400..=600).contains(&count), "{count} of {SEEDS} in {range:?}");
            }
        }
    }

    #[test]
    fn the_server_says_how_long_to_wait_at_least() {
        for seed in 0..1_000 {
            let mut backoff = Backoff::new(policy(), seed);
            let attempt = backoff.next_attempt(Instant::now(), 7 * SECOND).expect("no limit");
            assert_eq!(attempt.wait, 7 * SECOND + waits(policy(), seed, 1)[0], "seed {seed}");
        }
    }

    #[test]
    fn gives_up_after_so_many_attempts() {
        let three = ReconnectPolicy { attempts: 3, ..policy() };
        assert_eq!(waits(three, 1, 10).len(), 3);
        assert_eq!(waits(policy(), 1, 1_000).len(), 1_000, "0 is no limit");
    }

    #[test]
    fn no_attempt_begins_later_than_the_limit() {
        for seed in 0..1_000 {
            let limited = ReconnectPolicy { give_up_after: 60 * SECOND, ..policy() };
            let within = waits(limited, seed, 1_000);
            let without = waits(policy(), seed, within.len() + 1);
            assert!(within.iter().sum::<Duration>() <= 60 * SECOND, "seed {seed}");
            assert_eq!(within, without[..within.len()], "seed {seed}");
            assert!(without.iter().sum::<Duration>() > 60 * SECOND, "seed {seed}: given up early");
        }
        let mut backoff = Backoff::new(ReconnectPolicy { give_up_after: SECOND, ..policy() }, 1);
        assert_eq!(
            backoff.next_attempt(Instant::now(), 2 * SECOND),
            None,
            "the server asks for it"
        );
    }

    #[test]
    fn only_a_connection_that_held_ends_the_outage() {
        let limited = ReconnectPolicy { give_up_after: 40 * SECOND, attempts: 4, ..policy() };
        let mut backoff = Backoff::new(limited, 1);
        let mut now = Instant::now();
        let mut numbers = Vec::new();
        for held in [0, 14, 14, 15, 14] {
            backoff.opened(now);
            now += held * SECOND;
            let attempt = backoff.next_attempt(now, Duration::ZERO).expect("within both limits");
            numbers.push(attempt.number);
        }
        assert_eq!(numbers, [1, 2, 3, 1, 2]);
        // The last outage began 14 s ago, so that this is 41 s after it.
        assert_eq!(backoff.next_attempt(now + 27 * SECOND, Duration::ZERO), None);
        backoff.opened(now);
        now += 15 * SECOND;
        assert_eq!(backoff.next_attempt(now, Duration::ZERO).expect("anew").number, 1);
        // A failure without an opening in between continues the count, however late it is.
        let late = backoff.next_attempt(now + 39 * SECOND, Duration::ZERO);
        assert_eq!(late.expect("in time").number, 2);
    }

    #[test]
    fn no_value_overflows() {
        let extremes = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
        for (first, most) in extremes.iter().flat_map(|a| extremes.iter().map(move |b| (*a, *b))) {
            let policy =
                ReconnectPolicy { first, most, attempts: u32::MAX, give_up_after: Duration::MAX };
            let mut backoff = Backoff::new(policy, u64::MAX);
            let now = Instant::now();
            for attempts in [0, 1, 62, 63, 64, 65, 1_000, u32::MAX - 1, u32::MAX] {
                backoff.attempts = attempts;
                for retry_after in extremes {
                    backoff.opened(now);
                    let _ = backoff.next_attempt(now, retry_after);
                }
            }
            let most = most.as_nanos().min(u128::from(u64::MAX));
            assert!(u128::from(policy.longest_wait(u32::MAX)) <= most);
        }
        let tiny = ReconnectPolicy { first: Duration::from_nanos(1), ..policy() };
        assert_eq!(tiny.longest_wait(11), 1 << 10);
        assert_eq!(tiny.longest_wait(u32::MAX), 15_000_000_000);
    }
}
