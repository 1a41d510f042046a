//! What both programs begin with: the command line, --help, --version, the configuration.

use std::ffi::OsString;
use std::process::ExitCode;

use super::configuration;
use super::output::{Failure, print};
use crate::arguments::{Arguments, Program};
use crate::settings::Settings;

/// Runs a program with the words of its command line, the first one (its own name) left out.
/// `command` does its work, unless all that is wanted is to be told something.
pub(super) fn run(
    program: &Program,
    words: impl IntoIterator<Item = OsString>,
    command: impl FnOnce(&Arguments, &Settings) -> Result<(), Failure>,
) -> ExitCode {
    let outcome = program.parse(words).map_err(Failure::from).and_then(|arguments| {
        if arguments.has("help") {
            return print(&program.to_string());
        }
        if arguments.has("version") {
            return print(&format!("{} {}\n", program.name, env!("CARGO_PKG_VERSION")));
        }
        let layers = configuration::load(&arguments)?;
        let settings = layers.settings()?;
        if arguments.has("print-config") {
            return print(&configuration::printed(&layers, &settings));
        }
        command(&arguments, &settings)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(program.name),
    }
}
