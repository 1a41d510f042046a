//! The help of a [`Program`], made from the same table by which its command line is parsed.

use std::fmt;

use super::{Flag, Program};
use crate::settings::{KEYS, Settings};

/// The widest line, in characters.
const WIDTH: usize = 100;
/// The widest left column; what is longer has a line of its own.
const LEFT: usize = 28;

/// The help: at most 100 columns wide, ending with a line end.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = if self.commands.is_empty() { "" } else { " [COMMAND]" };
        writeln!(f, "{}\n\nUsage: {} [OPTIONS]{command}", self.about, self.name)?;
        let mut rows = Vec::new();
        for command in self.commands {
            let left = format!("{} {}", command.name, command.takes).trim_end().to_owned();
            rows.push((left, command.help.to_owned()));
            let of_flag = |flag| (format!("  {}", usage(flag)), flag.help.to_owned());
            rows.extend(command.flags.iter().map(of_flag));
        }
        block(f, "Commands", &rows)?;

        let rows: Vec<_> =
            self.flags.iter().map(|flag| (usage(flag), flag.help.to_owned())).collect();
        block(f, "Options", &rows)?;

        let defaults = Settings::default();
        let rows: Vec<_> = KEYS
            .iter()
            .filter(|key| self.settings.contains(&key.section))
            .map(|key| (format!("{} = {}", key.path(), key.get(&defaults)), key.help.into()))
            .collect();
        let title =
            "Settings and defaults (--set, TCPKIT_SECTION_KEY in the environment, config.ini)";
        block(f, title, &rows)?;

        writeln!(f, "\nExamples:")?;
        self.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
    }
}

/// `-h, --help` or `--config FILE`, and `..` behind what may be repeated.
fn usage(flag: &Flag) -> String {
    let short = flag.short.map(|short| format!("-{short}, ")).unwrap_or_default();
    let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
    let more = if flag.repeated { ".." } else { "" };
    format!("{short}--{}{value}{more}", flag.long)
}

/// A title and its rows: two columns, the right one wrapped.
fn block(f: &mut fmt::Formatter<'_>, title: &str, rows: &[(String, String)]) -> fmt::Result {
    let lefts = rows.iter().map(|(left, _)| left.chars().count());
    let Some(column) = lefts.filter(|width| *width <= LEFT).max() else {
        return Ok(());
    };
    writeln!(f, "\n{title}:")?;
    for (left, right) in rows {
        let mut line = format!("  {left:column$}  ");
        if left.chars().count() > column {
            writeln!(f, "  {left}")?;
            line = " ".repeat(column + 4);
        }
        for word in right.split_whitespace() {
            if line.chars().count() + word.chars().count() > WIDTH {
                writeln!(f, "{}", line.trim_end())?;
                line = " ".repeat(column + 4);
            }
            line.push_str(word);
            line.push(' ');
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;

    const PROGRAM: Program = Program {
        name: "client",
        about: "Talks to a tcpkit server.",
        flags: &[
            Flag::value("set", "SECTION.KEY=VALUE", "Change a setting").repeated(),
            Flag::switch("help", "Print this help").short('h'),
        ],
        commands: &[Command {
            name: "send",
            takes: "[TEXT..]",
            help: "Send messages, and wait until all of them are accepted or refused, which the \
                   exit code tells",
            flags: &[Flag::switch("lines", "Send each line of standard input")],
        }],
        settings: &["log"],
        examples: &["client send hello"],
    };

    #[test]
    fn the_help_is_aligned_and_wrapped() {
        let expected = "\
Talks to a tcpkit server.

Usage: client [OPTIONS] [COMMAND]

Commands:
  send [TEXT..]  Send messages, and wait until all of them are accepted or refused, which the exit
                 code tells
    --lines      Send each line of standard input

Options:
  --set SECTION.KEY=VALUE..  Change a setting
  -h, --help                 Print this help

Settings and defaults (--set, TCPKIT_SECTION_KEY in the environment, config.ini):
  log.level = info   The least important that is written: error, warn, info or debug.
  log.colour = auto  Colour: auto (on a terminal, unless NO_COLOR is set), always or never.

Examples:
  client send hello
";
        assert_eq!(PROGRAM.to_string(), expected);
    }

    #[test]
    fn every_setting_fits() {
        let help = Program { settings: crate::settings::SECTIONS, ..PROGRAM }.to_string();
        for key in KEYS {
            assert!(help.contains(&key.path()), "{}", key.path());
        }
        for line in help.lines() {
            assert!(line.chars().count() <= WIDTH && line.trim_end() == line, "{line}");
        }
    }
}
