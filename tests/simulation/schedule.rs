//! What a seed makes of a schedule: the settings, how the network is, and how often what happens.
//!
//! Each kind of action and of fault has a weight that is drawn too, often 0: where everything
//! happens all the time, much is never seen by itself.

use std::time::Duration;

use tcpkit::ReconnectPolicy;
use tcpkit::heartbeat::Rhythm;
use tcpkit::hub::Rules;
use tcpkit::settings::{OnTimeout, Settings};
use tcpkit::turns::TurnRules;

use crate::network::Time;
use crate::random::Random;

/// What the user of a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Text,
    Bytes,
    Direct,
    /// A message that the server's program refuses.
    Shout,
    /// Text that is no UTF-8, as a program of somebody else may send it.
    NotUtf8,
    /// A body that is too large, in a legal frame.
    TooLarge,
    Burst,
    /// So many refusals that the server asks whether they have arrived.
    ManyRefused,
    Ping,
    /// A Pong that nobody asked for.
    StrayPong,
    /// A message once more that was sent before, as a client that is not sure may do.
    Repeat,
    /// A move in a turn of any number.
    Move,
    Close,
}

pub(crate) const ACTIONS: [Action; 13] = [
    Action::Text,
    Action::Bytes,
    Action::Direct,
    Action::Shout,
    Action::NotUtf8,
    Action::TooLarge,
    Action::Burst,
    Action::ManyRefused,
    Action::Ping,
    Action::StrayPong,
    Action::Repeat,
    Action::Move,
    Action::Close,
];

/// What happens to the network and to the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A connection is cut, at any byte; each side may see an end, a reset or nothing.
    Cut,
    /// Bytes vanish in one direction or both, without a word.
    Silence,
    /// Nothing arrives for a while.
    Stall,
    /// A client does nothing for a while.
    Freeze,
    /// The server does nothing for a while.
    FreezeServer,
    /// A client is gone without a word, for ever.
    Vanish,
    Shutdown,
    Crash,
    /// For a while no connection comes about.
    Unreachable,
    /// The same, without an answer.
    Unanswered,
    /// A new client comes.
    Join,
}

pub(crate) const FAULTS: [Fault; 11] = [
    Fault::Cut,
    Fault::Silence,
    Fault::Stall,
    Fault::Freeze,
    Fault::FreezeServer,
    Fault::Vanish,
    Fault::Shutdown,
    Fault::Crash,
    Fault::Unreachable,
    Fault::Unanswered,
    Fault::Join,
];

/// A network that carries a thousand refusals in good time.
const MANY_CAPACITY: usize = 8_000;

/// What a player does that is given a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Prompt,
    /// A move with the number of a turn that is over, then the right one.
    Old,
    Twice,
    Late,
    Never,
}

pub(crate) const STYLES: [Style; 5] =
    [Style::Prompt, Style::Old, Style::Twice, Style::Late, Style::Never];

/// The longest grace with turns, in tenths of a unit: a turn may be stuck for so long.
const TURN_GRACE: u64 = 200;

pub(crate) struct Plan {
    pub(crate) rules: Rules,
    /// The server lets its clients take turns.
    pub(crate) has_turns: bool,
    pub(crate) style_weights: [u64; STYLES.len()],
    /// Records are committed later, in groups.
    pub(crate) commits_later: bool,
    pub(crate) clients: usize,
    pub(crate) client_rhythm: Rhythm,
    pub(crate) policy: ReconnectPolicy,
    /// Clients in a thousand that do not come back.
    pub(crate) without_policy: u64,
    /// A time that suits the rhythm; all others are multiples of it.
    pub(crate) unit: Time,
    /// When the faults stop.
    pub(crate) calm_at: Time,
    pub(crate) action_every: Time,
    pub(crate) fault_every: Time,
    pub(crate) action_weights: [u64; ACTIONS.len()],
    pub(crate) fault_weights: [u64; FAULTS.len()],
    /// How many bytes a socket holds.
    pub(crate) capacity: usize,
    pub(crate) delay: Time,
    /// The most bytes that one read gives; 0: all that is there, 1: any number.
    pub(crate) torn_reads: usize,
    /// Reads leave room in the buffer, so that it stays small.
    pub(crate) is_modest: bool,
    /// In a thousand: writes of the server that are carried out later than they were ordered.
    pub(crate) late_writes: u64,
    /// In a thousand: connections that are cut after so many bytes.
    pub(crate) fuses: u64,
    /// In a thousand: helpers that cannot be had, and clients that are handed over to one.
    pub(crate) missing_helpers: u64,
    pub(crate) handed_over: u64,
    /// The longest body of an ordinary message.
    pub(crate) size: u64,
    pub(crate) connect_limit: Time,
    pub(crate) handshake_limit: Time,
    /// How many bytes of messages a client keeps before its user stops to send.
    pub(crate) queue: usize,
}

pub(crate) fn nanoseconds(duration: Duration) -> Time {
    duration.as_nanos() as u64
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let unit = random.pick(&[50_000_000, 200_000_000, 1_000_000_000, 5_000_000_000]);
        let capacity = random.pick(&[150, 600, 2_000, 8_000, 64_000]);
        let weight = |random: &mut Random| random.pick(&[0, 0, 1, 2, 5, 10]);
        let mut action_weights = ACTIONS.map(|_| weight(random));
        let mut fault_weights = FAULTS.map(|_| weight(random));
        action_weights[Action::Text as usize] += 3;
        // Repeated to a client that comes back, they must get through before it counts as dead.
        let is_many = random.chance(40) && capacity >= MANY_CAPACITY;
        action_weights[Action::ManyRefused as usize] = 2 * u64::from(is_many);
        action_weights[Action::Close as usize] /= 5;
        fault_weights[Fault::Cut as usize] += 2;
        for rare in [Fault::Vanish, Fault::Shutdown, Fault::Crash] {
            fault_weights[rare as usize] /= 3;
        }
        let rhythm = rhythm(random, unit);
        let same = random.chance(700);
        let mut rules = rules(random, rhythm, unit);
        let has_turns = random.chance(333);
        let commits_later = random.chance(if has_turns { 500 } else { 250 });
        if has_turns {
            rules.turns = turn_rules(random, unit);
            rules.grace = rules.grace.min(times(unit, TURN_GRACE));
        }
        if has_turns && !commits_later {
            // The oracle must find in the log what one call has put there.
            (rules.log_bytes, rules.log_records) = (100 * rules.log_bytes, 1_000_000);
        }
        Self {
            has_turns,
            style_weights: STYLES.map(|_| random.pick(&[0, 1, 5])),
            commits_later,
            clients: random.between(2, 8).min(random.between(2, 8)) as usize,
            client_rhythm: if same { rhythm } else { self::rhythm(random, unit) },
            policy: policy(random, unit, rules.idle_time),
            without_policy: random.pick(&[0, 0, 0, 200]),
            unit,
            calm_at: unit * random.between(10, 40),
            action_every: unit * random.pick(&[1, 2, 4, 8, 16]) / 2,
            fault_every: unit * random.pick(&[1, 2, 4, 8, 16]),
            action_weights,
            fault_weights,
            capacity,
            delay: random.pick(&[1, unit / 1000, unit / 100, unit / 16]),
            // Much that is read in small pieces only takes long.
            torn_reads: random.pick(&[0, 0, 1, 1, 1, if capacity > 2_000 { 1 } else { 16 }]),
            is_modest: random.chance(900),
            late_writes: random.pick(&[0, 0, 50, 400]),
            fuses: random.pick(&[0, 0, 100, 400]),
            missing_helpers: random.pick(&[0, 0, 0, 100]),
            handed_over: random.pick(&[0, 0, 20]),
            size: random.pick(&[20, 60, 200, 1000]),
            connect_limit: unit * random.between(2, 10),
            handshake_limit: unit * random.between(2, 10),
            queue: random.pick(&[500, 3_000, 12_000]),
            rules,
        }
    }
}

fn times(unit: Time, tenths: u64) -> Duration {
    Duration::from_nanos(unit / 10 * tenths)
}

fn rhythm(random: &mut Random, unit: Time) -> Rhythm {
    let data = random.pick(&[0, 10, 20, 30]);
    Rhythm {
        data_threshold: times(unit, data),
        interval: times(unit, random.between(5, 20)),
        threshold: times(unit, random.between(5, 20)),
        additional_tries: random.below(4) as u32,
    }
}

fn turn_rules(random: &mut Random, unit: Time) -> TurnRules {
    TurnRules {
        deadline: times(unit, random.pick(&[0, 0, 10, 15, 30, 100])),
        on_timeout: random.pick(&[OnTimeout::Skip, OnTimeout::TurnOut]),
        strikes: random.between(1, 4) as u32,
        min_players: random.pick(&[1, 2, 2, 3]),
    }
}

fn policy(random: &mut Random, unit: Time, idle_time: Duration) -> ReconnectPolicy {
    let first = times(unit, random.between(1, 10));
    let most = first * random.pick(&[1, 2, 8, 30]);
    // Where who is idle is sent away, all are there at once only if they come back much faster.
    let most = if idle_time.is_zero() { most } else { most.min(idle_time / 16).max(first) };
    ReconnectPolicy {
        first,
        most,
        attempts: random.pick(&[0, 0, 0, 8]),
        give_up_after: times(unit, random.pick(&[0, 0, 0, 300])),
    }
}

fn rules(random: &mut Random, rhythm: Rhythm, unit: Time) -> Rules {
    let frame_max = random.pick(&[4096, 4096, 10_000, 65_536]);
    let least_log = 2 * u64::from(frame_max) + 4096;
    Rules {
        clients: random.pick(&[100, 100, 100, 3]),
        handshaking: random.pick(&[100, 100, 2]),
        handshake_time: times(unit, random.between(20, 100)),
        frame_max,
        frame_time: times(unit, 100_000),
        idle_time: times(unit, random.pick(&[0, 0, 0, 0, 0, 0, 100, 300])),
        grace: times(unit, random.pick(&[0, 10, 50, 200, 1000])),
        away: random.pick(&[1, 2, 100, 100]),
        history: random.pick(&[0, 0, 3, 20]),
        announce: random.pick(&[1000, 1000, 3, 0]),
        log_bytes: least_log * random.pick(&[1, 1, 2, 100]),
        log_records: random.pick(&[8, 40, 1_000_000, 1_000_000]),
        patience: times(unit, random.between(5, 30)),
        stall: times(unit, random.between(5, 50)),
        rhythm,
        ..Rules::from(&Settings::default())
    }
}
