//! The layers of a configuration: defaults, below `config.ini`, below the environment, below the
//! command line; and for each setting, from which of them it came.
//!
//! Pure: the bytes of the file, the variables and the arguments are brought by the programs.

use std::ffi::OsString;
use std::fmt::Write;

use super::{ConfigError, KEYS, Key, Origin, SECTIONS, Settings};
use crate::escape::escape;
use crate::ini;
use crate::nearest::nearest;

/// In front of every variable of the environment that is a setting.
const PREFIX: &str = "TCPKIT_";
/// In front of the variables that steer the project's simulation tests.
const TEST_PREFIX: &str = "TCPKIT_SIM_";
/// The column of the comments in [`Layers::print_config`], at most.
const COMMENT_COLUMN: usize = 44;

/// Settings under construction: begin with the defaults, lay on what there is in the order
/// [`file`](Self::file), [`environment`](Self::environment), [`set`](Self::set) and
/// [`flag`](Self::flag), then take the [`settings`](Self::settings). What is laid on later wins.
#[derive(Debug)]
pub struct Layers {
    settings: Settings,
    /// Where each of [`KEYS`] came from.
    origins: Vec<Origin>,
    warnings: Vec<String>,
}

impl Default for Layers {
    fn default() -> Self {
        let origins = vec![Origin::Default; KEYS.len()];
        Self { settings: Settings::default(), origins, warnings: Vec::new() }
    }
}

impl Layers {
    /// The defaults, and nothing else yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays a configuration file on, given its name for messages and its content.
    ///
    /// # Errors
    /// The first fault: what is not INI, not known, or out of range.
    pub fn file(&mut self, name: &str, content: &[u8]) -> Result<(), ConfigError> {
        let origin = |line| Origin::File(name.to_owned(), line);
        let sections = ini::parse(content)
            .map_err(|error| ConfigError::new(&origin(error.line), &error.problem))?;
        for section in sections {
            if let Some(problem) = unknown_section(section.name) {
                return Err(ConfigError::new(&origin(section.line), &problem));
            }
            for entry in section.entries {
                self.put(section.name, entry.key, &entry.value, origin(entry.line))?;
            }
        }
        Ok(())
    }

    /// Lays the environment on: every variable that is named like a setting, such as
    /// `TCPKIT_RELAY_HISTORY`.
    ///
    /// A name with that prefix that is no setting, and a value that holds `://`, are ignored with
    /// a warning: Kubernetes injects both for a service whose name begins with `tcpkit`.
    ///
    /// # Errors
    /// A value that is not UTF-8, or out of range.
    pub fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        let mut ours: Vec<(String, OsString)> = variables
            .into_iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX))
            .collect();
        ours.sort();
        for (name, value) in ours {
            if value.to_string_lossy().contains("://") {
                self.warn(&format!("{name} is ignored: its value holds '://'"));
                continue;
            }
            let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
                self.warn(&unknown_variable(&name));
                continue;
            };
            let origin = Origin::Environment(name);
            let Some(value) = value.to_str() else {
                return Err(ConfigError::new(&origin, "the value is not UTF-8"));
            };
            self.put(key.section, key.name, value, origin)?;
        }
        Ok(())
    }

    /// Lays one `section.key=value` of the command line on.
    ///
    /// # Errors
    /// What has another form, is not known, or out of range.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let (path, value) = assignment.split_once('=').unwrap_or((assignment, ""));
        let origin = Origin::Set(path.to_owned());
        match path.split_once('.') {
            Some((section, name)) if assignment.contains('=') => {
                self.put(section, name, value, origin)
            }
            _ => Err(ConfigError::new(&origin, "write it as SECTION.KEY=VALUE")),
        }
    }

    /// Lays a flag of the command line on that stands for the setting `path`, such as `--bind` for
    /// `server.bind`.
    ///
    /// # Errors
    /// What is not known, or out of range.
    pub fn flag(&mut self, flag: &str, path: &str, value: &str) -> Result<(), ConfigError> {
        let (section, name) = path.split_once('.').unwrap_or(("", path));
        self.put(section, name, value, Origin::Flag(flag.to_owned()))
    }

    /// The settings, once all layers are laid on.
    ///
    /// # Errors
    /// Settings that do not go together; told at the one that was set last.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let Some(conflict) = self.settings.conflict() else {
            return Ok(self.settings.clone());
        };
        let at = |path: &str| KEYS.iter().position(|key| key.path() == path);
        let origins = conflict.paths.into_iter().filter_map(at).map(|index| &self.origins[index]);
        let last = origins.max().unwrap_or(&Origin::Default);
        Err(ConfigError::new(last, &conflict.problem))
    }

    /// What was ignored, and why; one line each, safe to show on a terminal.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Every setting with where it came from: a `config.ini` that gives the same settings again.
    pub fn print_config(&self) -> String {
        let line = |key: &Key| format!("{} = {}", key.name, ini::quote(&key.get(&self.settings)));
        let widest = KEYS.iter().map(|key| line(key).chars().count()).max().unwrap_or(0);
        let width = widest.min(COMMENT_COLUMN);
        let mut out = String::new();
        for section in SECTIONS {
            let gap = if out.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}[{section}]");
            for (key, origin) in KEYS.iter().zip(&self.origins) {
                if key.section == *section {
                    let _ = writeln!(out, "{:width$}  # {origin}", line(key));
                }
            }
        }
        out
    }

    fn put(
        &mut self,
        section: &str,
        name: &str,
        value: &str,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let known = |key: &Key| key.section == section && key.name == name;
        let Some(index) = KEYS.iter().position(known) else {
            return Err(ConfigError::new(&origin, &unknown_key(section, name)));
        };
        match KEYS[index].set(&mut self.settings, value) {
            Ok(()) => self.origins[index] = origin,
            Err(problem) => return Err(ConfigError::value(&origin, name, value, &problem)),
        }
        Ok(())
    }

    fn warn(&mut self, warning: &str) {
        self.warnings.push(escape(warning).to_string());
    }
}

/// What to say of a section that is not known; `None` if it is.
fn unknown_section(section: &str) -> Option<String> {
    if SECTIONS.contains(&section) {
        return None;
    }
    let advice = match nearest(section, SECTIONS.iter().copied()) {
        Some(known) => format!("did you mean [{known}]?"),
        None => format!("the sections are {}", SECTIONS.join(", ")),
    };
    Some(format!("unknown section [{section}]; {advice}"))
}

fn unknown_key(section: &str, name: &str) -> String {
    if let Some(problem) = unknown_section(section) {
        return problem;
    }
    let elsewhere = KEYS.iter().find(|key| key.name == name);
    let advice = match (elsewhere, nearest(name, names(section))) {
        (Some(key), _) => format!("it belongs to [{}]", key.section),
        (None, Some(known)) => format!("did you mean '{known}'?"),
        (None, None) => format!("there are {}", names(section).collect::<Vec<_>>().join(", ")),
    };
    format!("unknown key '{name}' in [{section}]; {advice}")
}

fn unknown_variable(variable: &str) -> String {
    let word = variable.trim_start_matches(PREFIX).to_lowercase();
    let known = SECTIONS.iter().find_map(|section| {
        let name = word.strip_prefix(section)?.strip_prefix('_')?;
        Some(format!("{PREFIX}{section}_{}", nearest(name, names(section))?))
    });
    let advice = known.map(|known| format!("; did you mean {}?", known.to_uppercase()));
    format!("{variable} is ignored: there is no such setting{}", advice.unwrap_or_default())
}

/// The names of the keys of a section.
fn names(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |key| key.section == section).map(|key| key.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn file_error(content: &[u8]) -> String {
        Layers::new().file("config.ini", content).expect_err("an error").to_string()
    }

    #[test]
    fn a_later_layer_wins_and_each_value_knows_its_origin() {
        let mut layers = Layers::new();
        let file = b"[relay]\nhistory = 1\nlog = 32MiB\nstall = 9\n[server]\nbind = a:1\n";
        layers.file("my.ini", file).expect("a file");
        let environment = [("TCPKIT_RELAY_HISTORY", "2"), ("TCPKIT_RELAY_LOG", "16MiB")];
        layers.environment(variables(&environment)).expect("variables");
        layers.set("relay.history=3").expect("an assignment");
        layers.flag("--bind", "server.bind", "b:2").expect("a flag");

        let settings = layers.settings().expect("settings");
        assert_eq!((settings.relay.history, settings.relay.log), (3, 16 << 20));
        assert_eq!(settings.server.bind, "b:2");
        assert_eq!(layers.warnings(), [""; 0]);
        let printed = layers.print_config();
        for line in [
            "history = 3 # --set relay.history",
            "log = 16MiB # environment TCPKIT_RELAY_LOG",
            "stall = 9 # my.ini:4",
            "bind = b:2 # --bind",
            "patience = 2 # default",
        ] {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(printed.lines().any(|printed| words(printed) == line), "{line}\n{printed}");
        }
    }

    #[test]
    fn what_is_printed_is_a_configuration_again() {
        let mut layers = Layers::new();
        for (path, value) in [
            ("client.name", " alice #1 \"the\" ;first "),
            ("client.token_file", "#"),
            ("access.token_file", "a very long name of a file/that goes beyond the comments"),
            ("server.drain", "250ms"),
            ("limits.frame", "65536"),
        ] {
            layers.set(&format!("{path}={value}")).expect(path);
        }
        let mut again = Layers::new();
        again.file("printed", layers.print_config().as_bytes()).expect("a configuration");
        assert_eq!(again.settings(), layers.settings());
        assert!(layers.print_config().starts_with("[server]\nbind = 127.0.0.1:5001"));
    }

    #[test]
    fn faults_of_a_file_are_told_with_their_line() {
        for (content, words) in [
            (
                "[relay]\nhistroy = 1",
                "config.ini:2: unknown key 'histroy' in [relay]; did you mean 'history'?",
            ),
            (
                "[server]\nhistory = 1",
                "config.ini:2: unknown key 'history' in [server]; it belongs to [relay]",
            ),
            (
                "[server]\nx.y = 1",
                "config.ini:2: unknown key 'x.y' in [server]; there are bind, mode, drain",
            ),
            ("\n[relai]", "config.ini:2: unknown section [relai]; did you mean [relay]?"),
            (
                "[stream]",
                "config.ini:1: unknown section [stream]; the sections are server, client, \
                 heartbeat, reconnect, session, relay, turn, uploads, limits, access, log",
            ),
            (
                "[relay]\n\nhistory = many # all",
                "config.ini:3: history = 'many': a whole number is needed",
            ),
            (
                "[limits]\nframe = 1GiB",
                "config.ini:2: frame = '1GiB': it must be between 4KiB and 64MiB",
            ),
            ("[log]\nlevel", "config.ini:2: neither a [section], nor key = value, nor a # comment"),
            (
                "[log]\n\u{1b}[2J = 1",
                "config.ini:2: unknown key '\\u{1b}[2J' in [log]; there are level, colour",
            ),
        ] {
            assert_eq!(file_error(content.as_bytes()), words);
        }
        let duplicate = b"[log]\nlevel = info\nlevel = warn";
        assert_eq!(
            file_error(duplicate),
            "config.ini:3: 'level' stands in [log] already, in line 2"
        );
        assert_eq!(
            file_error(b"[log]\r\nlevel = \xff\r\n"),
            "config.ini:2: not UTF-8; save the file as UTF-8"
        );
        let mut layers = Layers::new();
        layers.file("bom", b"\xEF\xBB\xBF[relay]\r\nhistory = 7\r\n").expect("BOM and CRLF");
        assert_eq!(layers.settings().map(|settings| settings.relay.history), Ok(7));
    }

    #[test]
    fn what_kubernetes_injects_is_ignored_with_a_warning() {
        let mut layers = Layers::new();
        let injected = [
            ("TCPKIT_SERVER_PORT", "tcp://10.0.0.1:5001"),
            ("TCPKIT_SERVER_BIND", "tcp://10.0.0.1:5001"),
            ("TCPKIT_SERVER_SERVICE_HOST", "10.0.0.1"),
            ("TCPKIT_SERVER_PORT_5001_TCP_PORT", "5001"),
            ("TCPKIT_RELAY_HISTROY", "1"),
            ("TCPKIT_\u{1b}", "1"),
            ("TCPKIT_SIM_SEED", "1"),
            ("tcpkit_relay_history", "1"),
            ("PATH", "/bin"),
        ];
        layers.environment(variables(&injected)).expect("warnings only");
        let no_setting = "is ignored: there is no such setting";
        let an_address = "is ignored: its value holds '://'";
        assert_eq!(
            layers.warnings(),
            [
                format!("TCPKIT_\\u{{1b}} {no_setting}"),
                format!("TCPKIT_RELAY_HISTROY {no_setting}; did you mean TCPKIT_RELAY_HISTORY?"),
                format!("TCPKIT_SERVER_BIND {an_address}"),
                format!("TCPKIT_SERVER_PORT {an_address}"),
                format!("TCPKIT_SERVER_PORT_5001_TCP_PORT {no_setting}"),
                format!("TCPKIT_SERVER_SERVICE_HOST {no_setting}"),
            ]
        );
        assert_eq!(layers.settings(), Ok(Settings::default()));
    }

    #[test]
    fn faults_of_the_environment_and_the_command_line() {
        let mut layers = Layers::new();
        let bad = variables(&[("TCPKIT_LIMITS_CLIENTS", "0")]);
        let told = layers.environment(bad).map_err(|error| error.to_string());
        let words = "environment TCPKIT_LIMITS_CLIENTS='0': it must be between 1 and 1000000";
        assert_eq!(told, Err(words.into()));
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt;
            let bad = [("TCPKIT_CLIENT_NAME".into(), OsString::from_vec(vec![0xff]))];
            let told = layers.environment(bad).map_err(|error| error.to_string());
            let words = "environment TCPKIT_CLIENT_NAME: the value is not UTF-8";
            assert_eq!(told, Err(words.into()));
        }
        for (assignment, words) in [
            ("relay.patience=0", "--set relay.patience='0': it must be between 1ms and 60"),
            ("relay.patience", "--set relay.patience: write it as SECTION.KEY=VALUE"),
            ("patience=1", "--set patience: write it as SECTION.KEY=VALUE"),
            (
                "relay.patence=1",
                "--set relay.patence: unknown key 'patence' in [relay]; did you mean 'patience'?",
            ),
            ("relai.log=1", "--set relai.log: unknown section [relai]; did you mean [relay]?"),
        ] {
            let told = layers.set(assignment).map_err(|error| error.to_string());
            assert_eq!(told, Err(words.into()));
        }
        let told = layers.flag("--bind", "server.bind", "here").expect_err("an error");
        assert_eq!(
            told.to_string(),
            "--bind 'here': an address is a host and a port up to 65535: 127.0.0.1:5001"
        );
    }

    #[test]
    fn settings_that_do_not_go_together_are_told_at_the_one_set_last() {
        let mut layers = Layers::new();
        layers.file("config.ini", b"[relay]\nhistory = 5\n").expect("a file");
        assert!(layers.settings().is_ok());
        layers.set("relay.records=4").expect("an assignment");
        let words = "--set relay.records: relay.history = 5 is above relay.records = 4";
        assert_eq!(layers.settings().map_err(|error| error.to_string()), Err(words.into()));

        let mut layers = Layers::new();
        layers.file("config.ini", b"\n[limits]\nframe = 64MiB\n").expect("a file");
        let told = layers.settings().expect_err("an error").to_string();
        assert!(told.starts_with("config.ini:3: relay.log = 64MiB is too small"), "{told}");
    }
}
