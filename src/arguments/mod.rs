//! The command line: words in, flags and values out, and the help from the same table.
//!
//! A program declares itself as a [`Program`] with its [`Flag`]s and [`Command`]s. Flags are
//! `--name`, `--name VALUE`, `--name=VALUE` or `-n`; `--` ends them; those of the program stand
//! before or behind the command, those of a command behind it, where they stand for what they mean
//! to it, should the program have one of that name. The first word that is no flag is
//! the command; further ones are positionals, in order.
//!
//! Pure syntax: what values mean is judged by [`crate::settings`] and by the programs, which also
//! print the help and choose the exit code. On purpose there are no grouped short flags (`-hV`),
//! and a value that begins with a dash is given as `--name=-value`: most often it is the next flag.

mod help;

use std::ffi::OsString;
use std::fmt;

use crate::escape::escape;
use crate::nearest::nearest;
use crate::settings::{ConfigError, Layers};

/// A flag, with or without a value.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    long: &'static str,
    short: Option<char>,
    value: Option<&'static str>,
    help: &'static str,
    setting: Option<&'static str>,
    repeated: bool,
}

impl Flag {
    /// A flag without value, such as `--json`.
    pub const fn switch(long: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: None, help, setting: None, repeated: false }
    }

    /// A flag with a value, such as `--config FILE`; `placeholder` is its name in the help.
    pub const fn value(long: &'static str, placeholder: &'static str, help: &'static str) -> Self {
        Self { value: Some(placeholder), ..Self::switch(long, help) }
    }

    /// Gives it a short form.
    #[must_use]
    pub const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    /// Makes it stand for the setting `section.key`; see [`Arguments::apply`].
    #[must_use]
    pub const fn setting(self, path: &'static str) -> Self {
        Self { setting: Some(path), ..self }
    }

    /// Allows it more than once.
    #[must_use]
    pub const fn repeated(self) -> Self {
        Self { repeated: true, ..self }
    }

    /// Whether `name`, with its dashes, is this flag.
    fn is(&self, name: &str) -> bool {
        match name.strip_prefix("--") {
            Some(long) => long == self.long,
            None => self.short.is_some_and(|short| name.chars().eq(['-', short])),
        }
    }
}

/// A subcommand, such as `send`.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// The word that chooses it.
    pub name: &'static str,
    /// What positionals it takes, as in the help (`[TEXT..]`); empty: none.
    pub takes: &'static str,
    /// What it does, in a few words.
    pub help: &'static str,
    /// Its own flags.
    pub flags: &'static [Flag],
}

/// A whole program; its `Display` is its help. Positionals are taken by commands only.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name under which it is called.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// The flags that hold everywhere.
    pub flags: &'static [Flag],
    /// The subcommands; may be empty.
    pub commands: &'static [Command],
    /// The sections of the settings that it reads, for its help.
    pub settings: &'static [&'static str],
    /// Examples, for its help.
    pub examples: &'static [&'static str],
}

/// A command line that cannot be understood. Its `Display` is two lines: what is wrong, and where
/// help is; safe to show on a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    program: &'static str,
    problem: String,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nTry '{} --help'.", escape(&self.problem), self.program)
    }
}

impl std::error::Error for UsageError {}

impl Program {
    /// An error about this program's command line: for what only the program can judge, such as
    /// "nothing to send: give TEXT or --lines".
    pub fn error(&self, problem: impl Into<String>) -> UsageError {
        UsageError { program: self.name, problem: problem.into() }
    }

    /// Takes the words of a command line apart, without the first, which is the program itself.
    ///
    /// # Errors
    /// The first word that is not UTF-8, no known flag or command, or out of place; a value that is
    /// missing, or given to a flag that takes none; a flag given twice that may not be.
    pub fn parse(
        &self,
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<Arguments, UsageError> {
        let mut arguments =
            Arguments { command: None, positionals: Vec::new(), program: *self, given: Vec::new() };
        let mut words = words.into_iter().map(|word| {
            let not_utf8 = |word: OsString| format!("'{}' is not UTF-8", word.to_string_lossy());
            word.into_string().map_err(|word| self.error(not_utf8(word)))
        });
        let mut flags_ended = false;
        while let Some(word) = words.next().transpose()? {
            if flags_ended || !is_flag(&word) {
                self.take_plain(&mut arguments, word, flags_ended)?;
            } else if word == "--" {
                flags_ended = true;
            } else {
                self.take_flag(&mut arguments, &word, || words.next().transpose())?;
            }
        }
        Ok(arguments)
    }

    /// A word that is no flag: the command, or a positional.
    fn take_plain(
        &self,
        arguments: &mut Arguments,
        word: String,
        flags_ended: bool,
    ) -> Result<(), UsageError> {
        match self.command(arguments.command) {
            Some(command) if !command.takes.is_empty() => arguments.positionals.push(word),
            None if !self.commands.is_empty() && !flags_ended => {
                let Some(command) = self.command(Some(&word)) else {
                    let known = nearest(&word, self.commands.iter().map(|command| command.name));
                    let advice = did_you_mean("", known);
                    return Err(self.error(format!("unknown command '{word}'{advice}")));
                };
                arguments.command = Some(command.name);
            }
            _ => return Err(self.error(format!("'{word}' is not expected here"))),
        }
        Ok(())
    }

    /// A flag, with its value from the same word or from the `next`.
    fn take_flag(
        &self,
        arguments: &mut Arguments,
        word: &str,
        next: impl FnOnce() -> Result<Option<String>, UsageError>,
    ) -> Result<(), UsageError> {
        let (name, inline) = word.split_once('=').unzip();
        let name = name.unwrap_or(word);
        let flag = self.flag(arguments.command, name)?;
        let is_given = arguments.given.iter().any(|(other, _)| std::ptr::eq(*other, flag));
        if !flag.repeated && is_given {
            return Err(self.error(format!("{name} is given twice")));
        }
        let value = match (flag.value, inline) {
            (None, None) => String::new(),
            (None, Some(_)) => return Err(self.error(format!("{name} takes no value"))),
            (Some(_), Some(value)) => value.to_owned(),
            (Some(placeholder), None) => next()?
                .filter(|value| !is_flag(value))
                .ok_or_else(|| self.error(format!("{name} needs a value: {name}={placeholder}")))?,
        };
        arguments.given.push((flag, value));
        Ok(())
    }

    fn command(&self, name: Option<&str>) -> Option<&'static Command> {
        self.commands.iter().find(|command| Some(command.name) == name)
    }

    /// The flag that is written as `name`, with its dashes, where `command` was given.
    fn flag(&self, command: Option<&str>, name: &str) -> Result<&'static Flag, UsageError> {
        let of_command = self.command(command).map_or(&[][..], |command| command.flags);
        let allowed = || of_command.iter().chain(self.flags);
        if let Some(flag) = allowed().find(|flag| flag.is(name)) {
            return Ok(flag);
        }
        let owns = |command: &&Command| command.flags.iter().any(|flag| flag.is(name));
        let advice = match self.commands.iter().find(owns) {
            Some(owner) => format!("; it belongs behind the command '{}'", owner.name),
            None => did_you_mean(
                "--",
                nearest(name.trim_start_matches('-'), allowed().map(|flag| flag.long)),
            ),
        };
        Err(self.error(format!("unknown option '{name}'{advice}")))
    }
}

/// A lone dash is none: it often stands for standard input.
fn is_flag(word: &str) -> bool {
    word.starts_with('-') && word != "-"
}

fn did_you_mean(dashes: &str, known: Option<&str>) -> String {
    known.map(|known| format!("; did you mean '{dashes}{known}'?")).unwrap_or_default()
}

/// What was asked for on the command line.
#[derive(Debug)]
pub struct Arguments {
    /// The name of the command, if one was given.
    pub command: Option<&'static str>,
    /// The words that are neither flags nor the command.
    pub positionals: Vec<String>,
    program: Program,
    given: Vec<(&'static Flag, String)>,
}

impl Arguments {
    /// Whether a flag was given, by its long name.
    pub fn has(&self, long: &str) -> bool {
        self.value(long).is_some()
    }

    /// The value of a flag; the first if it was given more than once.
    pub fn value(&self, long: &str) -> Option<&str> {
        self.values(long).next()
    }

    /// The value of a flag that belongs to the command, where the program has one of that name
    /// too, which stands for a setting.
    pub fn own_value(&self, long: &str) -> Option<&str> {
        let mut own = self.given.iter().filter(|(flag, _)| flag.setting.is_none());
        own.find(|(flag, _)| flag.long == long).map(|(_, value)| &**value)
    }

    /// Every value of a flag, in order.
    pub fn values(&self, long: &str) -> impl Iterator<Item = &str> {
        self.given.iter().filter(move |(flag, _)| flag.long == long).map(|(_, value)| &**value)
    }

    /// The value of a flag, turned into what it means: `parsed("count", str::parse::<u64>)`.
    ///
    /// # Errors
    /// What `form` says of the value.
    pub fn parsed<T, E: fmt::Display>(
        &self,
        long: &str,
        form: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, UsageError> {
        let Some(value) = self.value(long) else {
            return Ok(None);
        };
        let told = |error| self.program.error(format!("--{long} '{value}': {error}"));
        form(value).map(Some).map_err(told)
    }

    /// Lays what `--set` gave, then each flag that stands for a setting, on the layers.
    ///
    /// # Errors
    /// As those of [`Layers::set`] and [`Layers::flag`].
    pub fn apply(&self, layers: &mut Layers) -> Result<(), ConfigError> {
        self.values("set").try_for_each(|assignment| layers.set(assignment))?;
        for (flag, value) in &self.given {
            if let Some(path) = flag.setting {
                layers.flag(&format!("--{}", flag.long), path, value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::parse_duration;

    const CLIENT: Program = Program {
        name: "client",
        about: "Talks.",
        flags: &[
            Flag::value("server", "ADDR", "Connect to this address").setting("client.server"),
            Flag::value("set", "SECTION.KEY=VALUE", "Change a setting").repeated(),
            Flag::switch("json", "Print JSON"),
            Flag::switch("help", "Print this").short('h'),
        ],
        commands: &[
            Command {
                name: "send",
                takes: "[TEXT..]",
                help: "Send",
                flags: &[Flag::switch("lines", "Send the lines of stdin")],
            },
            Command {
                name: "watch",
                takes: "",
                help: "Print what comes",
                flags: &[
                    Flag::value("count", "N", "End after so many"),
                    Flag::value("wait", "DURATION", "End after so long"),
                ],
            },
        ],
        settings: &["client"],
        examples: &["client send hello"],
    };

    fn parse(line: &str) -> Result<Arguments, UsageError> {
        CLIENT.parse(line.split(' ').filter(|word| !word.is_empty()).map(OsString::from))
    }

    fn problem(line: &str) -> String {
        let told = parse(line).expect_err(line).to_string();
        told.strip_suffix("\nTry 'client --help'.").expect("the way to help").to_owned()
    }

    #[test]
    fn flags_stand_on_both_sides_of_the_command() {
        for line in [
            "--json --server a:1 watch --count 3 --wait=2m",
            "watch --wait 2m --count=3 --server=a:1 --json",
        ] {
            let arguments = parse(line).expect(line);
            assert_eq!(arguments.command, Some("watch"));
            assert_eq!(arguments.value("server"), Some("a:1"));
            assert!(arguments.has("json") && !arguments.has("help"));
            assert_eq!(arguments.parsed("count", str::parse), Ok(Some(3)));
            let minutes = Some(std::time::Duration::from_secs(120));
            assert_eq!(arguments.parsed("wait", parse_duration), Ok(minutes));
            assert_eq!(arguments.parsed("absent", str::parse::<u8>), Ok(None));
        }
        assert!(parse("-h").expect("short").has("help"));
        assert_eq!(parse("").expect("nothing").command, None);
    }

    #[test]
    fn positionals_keep_their_order_and_may_look_like_flags() {
        let arguments = parse("send one --json two - -- --three send").expect("words");
        assert_eq!(arguments.positionals, ["one", "two", "-", "--three", "send"]);
    }

    #[test]
    fn values_may_hold_an_equals_sign_be_empty_or_repeat() {
        let arguments = parse("--set a.b=c --set=d.e=f=g --server=").expect("values");
        assert_eq!(arguments.values("set").collect::<Vec<_>>(), ["a.b=c", "d.e=f=g"]);
        assert_eq!(arguments.value("server"), Some(""));
        assert_eq!(parse("--server -").expect("a dash").value("server"), Some("-"));
    }

    #[test]
    fn what_is_not_understood_is_told_in_two_lines() {
        for (line, words) in [
            ("--sever a", "unknown option '--sever'; did you mean '--server'?"),
            ("--xyzzy=5", "unknown option '--xyzzy'"),
            ("-j", "unknown option '-j'"),
            ("-hj", "unknown option '-hj'"),
            ("--count 1", "unknown option '--count'; it belongs behind the command 'watch'"),
            ("watch --lines", "unknown option '--lines'; it belongs behind the command 'send'"),
            ("wach", "unknown command 'wach'; did you mean 'watch'?"),
            ("\u{1b}[2J", "unknown command '\\u{1b}[2J'"),
            ("watch more", "'more' is not expected here"),
            ("-- send", "'send' is not expected here"),
            ("--server", "--server needs a value: --server=ADDR"),
            ("--server --json", "--server needs a value: --server=ADDR"),
            ("--json=yes", "--json takes no value"),
            ("--server a --server b", "--server is given twice"),
        ] {
            assert_eq!(problem(line), words);
        }
        let many = parse("watch --count many").expect("a text").parsed("count", str::parse::<u64>);
        let told = many.expect_err("no number").to_string();
        assert!(told.starts_with("--count 'many': invalid digit"), "{told}");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt;
            let told = CLIENT.parse([OsString::from_vec(b"--server=\xff".to_vec())]);
            let words = "'--server=\u{fffd}' is not UTF-8\nTry 'client --help'.";
            assert_eq!(told.map_err(|error| error.to_string()).err(), Some(words.into()));
        }
    }

    #[test]
    fn flags_win_over_set_and_set_in_its_order() {
        let line = "--server b:2 --set client.server=a:1 --set client.name=x --set client.name=y";
        let mut layers = Layers::new();
        parse(line).expect(line).apply(&mut layers).expect("settings");
        let settings = layers.settings().expect("settings");
        assert_eq!(settings.client.server, "b:2");
        assert_eq!(settings.client.name, "y");
        let told = parse("--server nowhere").expect("a text").apply(&mut Layers::new());
        assert!(told.is_err_and(|error| error.to_string().starts_with("--server 'nowhere': ")));
    }
}
