//! The settings: one table of every key, with its type, default, range and meaning.
//!
//! The table below is the only place where a setting is declared. From it come the [`Settings`]
//! with their defaults, the [`KEYS`] by which text becomes a setting and back, and the settings in
//! `--help`; `config.ini` and the README are held against it by tests.
//!
//! Pure values. How the file, the environment and the command line lie upon each other is the
//! business of [`layers`](Layers), how a text becomes a value that of `value.rs`.

mod layers;
mod origin;
mod value;

use std::time::Duration;

use crate::message::Mode;

pub use layers::Layers;
pub use origin::{ConfigError, Origin};
use value::{Address, Choice, Count, Form, Size, Text, Time, in_range};
pub use value::{Colour, Level, OnFull, OnTimeout, Sync};

/// One setting: what it is called, what it means, and its way from text and back.
#[derive(Debug)]
pub struct Key {
    /// The section of `config.ini`, such as `relay`.
    pub section: &'static str,
    /// The name in that section, such as `patience`.
    pub name: &'static str,
    /// What it means, with its range; one line.
    pub help: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
    get: fn(&Settings) -> String,
}

impl Key {
    /// `section.name`, as behind `--set`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The name in the environment: `TCPKIT_SECTION_NAME`.
    pub fn variable(&self) -> String {
        format!("TCPKIT_{}_{}", self.section, self.name).to_uppercase()
    }

    /// The value in `settings`, as it is written in `config.ini` (without quotes).
    pub fn get(&self, settings: &Settings) -> String {
        (self.get)(settings)
    }

    /// Puts the value that `text` means into `settings`.
    ///
    /// # Errors
    /// What is wrong with the text, and what would be right. Nothing is changed then.
    pub fn set(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        (self.set)(settings, text)
    }
}

/// `section.field: type as form = default, range;` makes a field, its default and its [`Key`].
macro_rules! settings {
    ($($(#[$about:meta])* $section:ident: $struct:ident {
        $(#[doc = $help:literal]
          $field:ident: $type:ty as $form:ident = $default:expr $(, $range:expr)?;)+
    })+) => {
        /// Every setting, by section. The default is that of `config.ini`.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Settings { $($(#[$about])* pub $section: $struct,)+ }

        $($(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $struct { $(#[doc = $help] pub $field: $type,)+ }

        impl Default for $struct {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        })+

        /// The sections, in the order of `config.ini`.
        pub static SECTIONS: &[&str] = &[$(stringify!($section)),+];

        /// Every setting, in the order of `config.ini`.
        pub static KEYS: &[Key] = &[$($(Key {
            section: stringify!($section),
            name: stringify!($field),
            help: $help.trim_ascii(),
            set: |settings, text| {
                let value: $type = $form::parse(text)?;
                $(in_range(&value, &$range, $form::format)?;)?
                settings.$section.$field = value;
                Ok(())
            },
            get: |settings| $form::format(&settings.$section.$field),
        },)+)+];
    };
}

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// The largest file that common file systems hold, and so the largest sensible size of one.
const FILE_MOST: u64 = 16 * TIB;
/// The most that a folder may be given.
const FOLDER_MOST: u64 = 1024 * TIB;
/// What the log holds beside two of the longest frames: the headers of records, and notices.
const LOG_SPARE: u64 = 4 * KIB;

settings! {
    /// What the server is and does.
    server: ServerSettings {
        /// The address and port to listen on; port 0 takes a free one.
        bind: String as Address = "127.0.0.1:5001".into();
        /// What clients do: relay has them chat, turn has them take turns, echo talk to themselves.
        mode: Mode as Choice = Mode::Relay;
        /// How long a shutdown waits for what is queued to leave; up to 1h.
        drain: Duration as Time = Duration::from_secs(10), Duration::ZERO..=HOUR;
    }
    /// What the client is and does.
    client: ClientSettings {
        /// The address and port of the server.
        server: String as Address = "127.0.0.1:5001".into();
        /// The name that others see; empty: the chat asks, play takes the host's, else a guest's.
        name: String as Text = String::new();
        /// The time zone that the server is told (IANA name or UTC+hh:mm); empty: this machine's.
        timezone: String as Text = String::new();
        /// A file whose first line is the access token; empty: none.
        token_file: String as Text = String::new();
        /// The time between the messages of client send --every; 1ms to 1d.
        data_interval: Duration as Time = Duration::from_secs(5), MILLISECOND..=24 * HOUR;
        /// How many bytes of messages may wait for their confirmation; 4KiB to 1GiB.
        queue: u64 as Size = 8 * MIB, 4 * KIB..=1 << 30;
        /// What sending does when they are more: block, or fail.
        on_full: OnFull as Choice = OnFull::Block;
    }
    /// How a silent peer is told from a dead one.
    heartbeat: HeartbeatSettings {
        /// Silence after which heartbeats begin; 0 to 1d, 0: they are always on.
        data_threshold: Duration as Time = Duration::from_secs(20), Duration::ZERO..=24 * HOUR;
        /// The time between heartbeats; 1ms to 1d.
        heart_beat_interval: Duration as Time = Duration::from_secs(5), MILLISECOND..=24 * HOUR;
        /// When a heartbeat that was not answered counts as missed; 1ms to 1d.
        heart_beat_threshold: Duration as Time = Duration::from_secs(10), MILLISECOND..=24 * HOUR;
        /// How many more are tried after a missed one; up to 100.
        heart_beat_additional_tries: usize as Count = 3, 0..=100;
    }
    /// How a client comes back after it lost the server.
    reconnect: ReconnectSettings {
        /// The longest wait before the first attempt; doubled for each further one; 1ms to 1h.
        first: Duration as Time = Duration::from_millis(200), MILLISECOND..=HOUR;
        /// The longest wait before any attempt; at least reconnect.first, up to 1d.
        most: Duration as Time = Duration::from_secs(15), MILLISECOND..=24 * HOUR;
        /// After so many attempts without success it is given up; 0: never.
        attempts: usize as Count = 0, 0..=1_000_000;
        /// After so long without success it is given up; up to 365d, 0: never (a script: 1m).
        give_up_after: Duration as Time = Duration::ZERO, Duration::ZERO..=365 * 24 * HOUR;
    }
    /// What the server keeps of a client that it lost.
    session: SessionSettings {
        /// For how long it may come back and go on; up to 1d, 0: not at all.
        grace: Duration as Time = Duration::from_secs(30), Duration::ZERO..=24 * HOUR;
        /// For how many at once; of more, those longest away are given up; up to 1000000.
        away: usize as Count = 10_000, 0..=1_000_000;
    }
    /// The log from which every client is served.
    relay: RelaySettings {
        /// How many of the latest records a newcomer is given; at most relay.records.
        history: usize as Count = 0;
        /// Who joins and leaves is told while at most so many sessions exist.
        announce: usize as Count = 1000;
        /// The memory for records; 12KiB to 1TiB, at least 2 x limits.frame + 4KiB.
        log: u64 as Size = 64 * MIB, 12 * KIB..=TIB;
        /// How many records the log holds at most; 1 to 1000000000.
        records: usize as Count = 1_000_000, 1..=1_000_000_000;
        /// How long in any minute one slow reader may make the senders wait; 1ms to 1m.
        patience: Duration as Time = Duration::from_secs(2), MILLISECOND..=MINUTE;
        /// How long a reader that others wait for may take nothing at all; 1ms to 1h.
        stall: Duration as Time = Duration::from_secs(5), MILLISECOND..=HOUR;
    }
    /// How clients take turns, in the mode turn.
    turn: TurnSettings {
        /// How long a player may take for its turn; up to 1d, 0: for ever.
        deadline: Duration as Time = Duration::ZERO, Duration::ZERO..=24 * HOUR;
        /// What happens to one that takes longer: skip (the next one's turn), or turn-out.
        on_timeout: OnTimeout as Choice = OnTimeout::Skip;
        /// With turn-out: it is turned out after so many such turns in a row; 1 to 1000.
        strikes: u32 as Count = 3, 1..=1000;
        /// No turn begins while fewer are there; 1 to 1000000.
        min_players: usize as Count = 2, 1..=1_000_000;
    }
    /// Where files of clients go, and how much of them.
    uploads: UploadSettings {
        /// The folder for what clients send, with one for each of them; empty: nothing is taken.
        folder: String as Text = "received".into();
        /// The largest file; up to 16TiB.
        file: u64 as Size = GIB, 0..=FILE_MOST;
        /// How much one client's folder may hold; up to 1024TiB.
        client: u64 as Size = 4 * GIB, 0..=FOLDER_MOST;
        /// How much the whole folder may hold; up to 1024TiB.
        total: u64 as Size = 16 * GIB, 0..=FOLDER_MOST;
        /// How many files one client may send at once; 1 to 1000.
        streams: usize as Count = 8, 1..=1000;
        /// How long one may stand still before it is given up; 1ms to 1d.
        idle_time: Duration as Time = MINUTE, MILLISECOND..=24 * HOUR;
        /// Whether a file is on the disk before it counts as stored: on, or off.
        sync: Sync as Choice = Sync::On;
    }
    /// What is asked of clients before they are trusted, and after.
    limits: LimitSettings {
        /// How many clients may be connected at once; 1 to 1000000.
        clients: usize as Count = 10_000, 1..=1_000_000;
        /// How many connections may be in the handshake at once; 1 to 1000000.
        handshaking: usize as Count = 1000, 1..=1_000_000;
        /// How long a handshake may take; 1ms to 1h.
        handshake_time: Duration as Time = Duration::from_secs(10), MILLISECOND..=HOUR;
        /// The longest frame, and so 1KiB more than the longest message; 4KiB to 64MiB.
        frame: u32 as Size = MIB as u32, 4096..=64 << 20;
        /// How long a frame that has begun may take to arrive whole; 1ms to 1h.
        frame_time: Duration as Time = Duration::from_secs(30), MILLISECOND..=HOUR;
        /// How long a client may send nothing but heartbeats; up to 365d, 0: for ever.
        idle_time: Duration as Time = Duration::ZERO, Duration::ZERO..=365 * 24 * HOUR;
    }
    /// Who may connect.
    access: AccessSettings {
        /// A file whose first line is the token that clients must show; empty: none is asked for.
        token_file: String as Text = String::new();
    }
    /// What is written to stderr, and how output looks.
    log: LogSettings {
        /// The least important that is written: error, warn, info or debug.
        level: Level as Choice = Level::Info;
        /// Colour: auto (on a terminal, unless NO_COLOR is set), always or never.
        colour: Colour as Choice = Colour::Auto;
    }
}

/// Two settings that are each in range, and do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Conflict {
    paths: [&'static str; 2],
    problem: String,
}

impl Settings {
    /// Checks every range, and what must hold between settings: for settings made by a program.
    /// Those of [`Layers`] are checked.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let mut copy = self.clone();
        for key in KEYS {
            let text = key.get(self);
            key.set(&mut copy, &text)
                .map_err(|problem| format!("{} = '{text}': {problem}", key.path()))?;
        }
        self.conflict().map_or(Ok(()), |conflict| Err(conflict.problem))
    }

    fn conflict(&self) -> Option<Conflict> {
        let RelaySettings { history, log, records, .. } = self.relay;
        let least = 2 * u64::from(self.limits.frame) + LOG_SPARE;
        let ReconnectSettings { first, most, .. } = self.reconnect;
        if first > most {
            let [first, most] = [first, most].map(crate::units::format_duration);
            let problem = format!("reconnect.first = {first} is above reconnect.most = {most}");
            return Some(Conflict { paths: ["reconnect.first", "reconnect.most"], problem });
        }
        if history > records {
            let problem = format!("relay.history = {history} is above relay.records = {records}");
            return Some(Conflict { paths: ["relay.history", "relay.records"], problem });
        }
        if log < least {
            let [log, frame, least] =
                [log, self.limits.frame.into(), least].map(crate::units::format_size);
            let problem = format!(
                "relay.log = {log} is too small for limits.frame = {frame}: \
                 2 x limits.frame + 4KiB = {least} is needed"
            );
            return Some(Conflict { paths: ["relay.log", "limits.frame"], problem });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> &'static Key {
        KEYS.iter().find(|key| key.path() == path).expect("a known key")
    }

    #[test]
    fn every_default_is_in_range_and_survives_its_text() {
        let mut settings = Settings::default();
        for key in KEYS {
            let text = key.get(&settings);
            assert_eq!(key.set(&mut settings, &text), Ok(()), "{}", key.path());
        }
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.check(), Ok(()));
    }

    #[test]
    fn config_ini_holds_every_key_in_order_with_its_default() {
        let text = include_str!("../../config.ini");
        let sections = crate::ini::parse(text.as_bytes()).expect("config.ini is INI");
        let in_file: Vec<_> = sections
            .iter()
            .flat_map(|section| section.entries.iter().map(move |entry| (section.name, entry)))
            .map(|(section, entry)| (section, entry.key, entry.value.clone().into_owned()))
            .collect();
        let defaults = Settings::default();
        let expected: Vec<_> =
            KEYS.iter().map(|key| (key.section, key.name, key.get(&defaults))).collect();
        assert_eq!(in_file, expected);

        let mut layers = Layers::new();
        layers.file("config.ini", text.as_bytes()).expect("config.ini is valid");
        assert_eq!(layers.settings(), Ok(defaults));
    }

    #[test]
    fn values_out_of_range_are_refused_and_change_nothing() {
        let mut settings = Settings::default();
        for (path, text, words) in [
            ("server.drain", "2h", "it must be between 0 and 1h"),
            ("relay.patience", "0", "it must be between 1ms and 60"),
            ("relay.stall", "-1", "a duration is seconds (5, 0.5) or has a unit (250ms, 2m, 1h)"),
            ("relay.log", "4096", "it must be between 12KiB and 1TiB"),
            ("relay.records", "0", "it must be between 1 and 1000000000"),
            ("relay.history", "-1", "a whole number is needed"),
            ("relay.history", "1.5", "a whole number is needed"),
            ("limits.clients", "0", "it must be between 1 and 1000000"),
            ("limits.frame", "4095", "it must be between 4KiB and 64MiB"),
            ("limits.frame", "65MiB", "it must be between 4KiB and 64MiB"),
            ("limits.frame", "5GiB", "it must be below 4GiB"),
            ("heartbeat.heart_beat_additional_tries", "101", "it must be between 0 and 100"),
            ("server.mode", "chat", "it must be relay, turn or echo"),
            ("turn.deadline", "25h", "it must be between 0 and 1d"),
            ("turn.on_timeout", "wait", "it must be skip or turn-out"),
            ("turn.strikes", "0", "it must be between 1 and 1000"),
            ("turn.min_players", "0", "it must be between 1 and 1000000"),
            ("log.level", "loud", "it must be error, warn, info or debug"),
            ("log.colour", "", "it must be auto, always or never"),
            ("uploads.sync", "yes", "it must be on or off"),
            ("uploads.streams", "0", "it must be between 1 and 1000"),
            ("uploads.file", "17TiB", "it must be between 0 and 16TiB"),
            (
                "uploads.client",
                "1PiB",
                "a size is bytes (4096) or has a unit (64KiB, 1.5MiB, 2GiB, 10MB)",
            ),
            ("uploads.idle_time", "0", "it must be between 1ms and 1d"),
            (
                "server.bind",
                "localhost",
                "an address is a host and a port up to 65535: 127.0.0.1:5001",
            ),
            (
                "client.server",
                "here:70000",
                "an address is a host and a port up to 65535: 127.0.0.1:5001",
            ),
            ("client.name", "a\nb", "control characters are not allowed"),
        ] {
            assert_eq!(key(path).set(&mut settings, text), Err(words.into()), "{path} = {text}");
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn values_of_each_form_are_taken() {
        let mut settings = Settings::default();
        for (path, text) in [
            ("server.bind", "[::1]:0"),
            ("server.mode", "Echo"),
            ("server.drain", "250ms"),
            ("client.name", "alice #1"),
            ("limits.frame", "64KiB"),
            ("turn.on_timeout", "turn-out"),
            ("log.level", "debug"),
        ] {
            assert_eq!(key(path).set(&mut settings, text), Ok(()), "{path} = {text}");
        }
        assert_eq!(settings.server.bind, "[::1]:0");
        assert_eq!(settings.server.mode, Mode::Echo);
        assert_eq!(settings.server.drain, Duration::from_millis(250));
        assert_eq!(settings.client.name, "alice #1");
        assert_eq!(settings.limits.frame, 65_536);
        assert_eq!(settings.turn.on_timeout, OnTimeout::TurnOut);
        assert!(settings.log.level > Level::Info);
    }

    #[test]
    fn settings_made_by_a_program_are_checked_too() {
        let mut settings = Settings::default();
        settings.limits.clients = 0;
        let words = "limits.clients = '0': it must be between 1 and 1000000";
        assert_eq!(settings.check(), Err(words.into()));

        let mut settings = Settings::default();
        settings.relay.history = settings.relay.records + 1;
        let words = "relay.history = 1000001 is above relay.records = 1000000";
        assert_eq!(settings.check(), Err(words.into()));

        let mut settings = Settings::default();
        settings.relay.log = MIB;
        let words = "relay.log = 1MiB is too small for limits.frame = 1MiB: \
                     2 x limits.frame + 4KiB = 2052KiB is needed";
        assert_eq!(settings.check(), Err(words.into()));
    }
}
