//! Puts the configuration of a program together: defaults, file, environment, command line.

use std::io::ErrorKind;
use std::time::Duration;
use std::{env, fs};

use super::output::{Failure, plain, tell};
use crate::arguments::Arguments;
use crate::escape::escape;
use crate::heartbeat::Rhythm;
use crate::name;
use crate::settings::{Layers, Settings};
use crate::units::format_duration;

/// Read from the folder in which a program is started, if it is there.
const DEFAULT_FILE: &str = "config.ini";

/// All layers, in their order; warnings go to stderr.
pub(super) fn load(arguments: &Arguments) -> Result<Layers, Failure> {
    let mut layers = Layers::new();
    let chosen = arguments.value("config");
    let file = chosen.unwrap_or(DEFAULT_FILE);
    match fs::read(file) {
        Ok(content) => layers.file(file, &content)?,
        Err(error) if error.kind() == ErrorKind::NotFound && chosen.is_none() => {}
        Err(error) => {
            let problem = format!("cannot read {}: {}", escape(file), plain(&error));
            return Err(Failure::usage(problem));
        }
    }
    layers.environment(env::vars_os())?;
    arguments.apply(&mut layers)?;
    for warning in layers.warnings() {
        tell(&format!("warning: {warning}"));
    }
    Ok(layers)
}

/// What `--print-config` prints: every setting, and what the heartbeat's four come to.
pub(super) fn printed(layers: &Layers, settings: &Settings) -> String {
    let latest = shown_duration(Rhythm::from(&settings.heartbeat).worst_case());
    let mut text = layers.print_config();
    let line = format!("# a dead peer is noticed after {latest} at the latest\n");
    let section = text.find("[heartbeat]").unwrap_or(text.len());
    let end = text[section..].find("\n[").map_or(text.len(), |end| section + end);
    text.insert_str(end, &line);
    text
}

/// A duration for people: with a unit also where `config.ini` needs none.
pub(super) fn shown_duration(duration: Duration) -> String {
    let text = format_duration(duration);
    let unit = if text.ends_with(|last: char| last.is_ascii_digit()) { "s" } else { "" };
    text + unit
}

/// The file that [`load`] reads, if there is one.
pub(super) fn file(arguments: &Arguments) -> Option<String> {
    let chosen = arguments.value("config").map(str::to_owned);
    chosen.or_else(|| {
        fs::exists(DEFAULT_FILE).is_ok_and(|exists| exists).then(|| DEFAULT_FILE.into())
    })
}

/// The access token: the first line of a file, without blanks around it; empty without a file.
pub(super) fn token(file: &str) -> Result<String, Failure> {
    if file.is_empty() {
        return Ok(String::new());
    }
    let content = fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("cannot read the token in {}: {}", escape(file), plain(&error)))
    })?;
    match content.lines().next().map(str::trim) {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => Err(Failure::usage(format!(
            "the first line of {} is no token: it is empty",
            escape(file)
        ))),
    }
}

/// The name of this machine, such as that of a pod; empty where it is not found, or is no name that
/// a server takes.
pub(super) fn host_name() -> String {
    // `std` cannot ask the system; where there is no /proc, a shell or a container has exported it.
    let told = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let told = told.or_else(|| env::var("HOSTNAME").ok());
    told.as_deref().and_then(|name| name::check(name).ok()).unwrap_or_default().to_owned()
}
