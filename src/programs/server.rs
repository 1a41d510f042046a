//! The program `server`: its command line, its ready line, its log.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::{self, ExitCode};
use std::sync::mpsc;
use std::time::SystemTime;

use super::output::{Failure, KILLED, NETWORK, chain, print, tell};
use super::{OnTermination, begin, configuration};
use crate::arguments::{Arguments, Flag, Program};
use crate::clock::rfc3339;
use crate::error::Error;
use crate::escape::escape;
use crate::message::Mode;
use crate::report::Report;
use crate::server::{Server, ServerHandle};
use crate::settings::{Colour, Level, Settings};

static PROGRAM: Program = Program {
    name: "server",
    about: "server: relays messages between the clients that connect to it.\n\n\
        The first line on stdout says where it listens, once it does. The log goes to stderr.\n\
        SIGINT and SIGTERM let the clients finish (server.drain), a second one ends at once.\n\n\
        Exit codes: 0 done, 1 network, 2 usage or configuration, 130 ended by a second signal.",
    flags: &[
        Flag::value("bind", "ADDR", "Listen on this address and port; port 0 takes a free one")
            .setting("server.bind"),
        Flag::value(
            "mode",
            "MODE",
            "relay: to all others; turn: in turns; echo: back to the sender",
        )
        .setting("server.mode"),
        Flag::value("log-level", "LEVEL", "error, warn, info or debug").setting("log.level"),
        Flag::value("config", "FILE", "Read this file instead of config.ini"),
        Flag::value("set", "SECTION.KEY=VALUE", "Change any setting").repeated(),
        Flag::switch("check-config", "Check the configuration, and end"),
        Flag::switch("print-config", "Print every setting with where it came from, and end"),
        Flag::switch("help", "Print this help").short('h'),
        Flag::switch("version", "Print the version").short('V'),
    ],
    commands: &[],
    settings: &[
        "server",
        "relay",
        "turn",
        "session",
        "uploads",
        "limits",
        "access",
        "log",
        "heartbeat",
    ],
    examples: &[
        "server",
        "server --bind 0.0.0.0:5001 --set access.token_file=token",
        "server --bind 127.0.0.1:0 --set relay.history=20",
        "server --mode turn --set turn.deadline=30",
    ],
};

/// Runs the program with the words of its command line, the first one (its own name) left out.
pub fn run(words: impl IntoIterator<Item = OsString>, on_termination: OnTermination) -> ExitCode {
    begin::run(&PROGRAM, words, |arguments, settings| {
        run_command(arguments, settings, on_termination)
    })
}

fn run_command(
    arguments: &Arguments,
    settings: &Settings,
    on_termination: OnTermination,
) -> Result<(), Failure> {
    let token = configuration::token(&settings.access.token_file)?;
    if arguments.has("check-config") {
        return print("the configuration is good\n");
    }
    let (stop, stopped) = mpsc::channel();
    on_termination(Box::new(move |count| {
        if count > 1 {
            process::exit(i32::from(KILLED));
        }
        let _ = stop.send(());
    }))
    .map_err(|error| Failure::new(NETWORK, format!("cannot watch for signals: {error}")))?;
    let open = !token.is_empty();
    let handle = start(settings, token)?;
    let file = configuration::file(arguments);
    // Whoever started the server may not care for its stdout: it serves all the same.
    let _ = print(&ready_text(handle.addr(), settings, file.as_deref(), open));
    let _ = stopped.recv();
    let log = Log::new(settings);
    log.write(Level::Info, "stopping reason=signal");
    let in_time = handle.shutdown(settings.server.drain);
    let end = if in_time { "stopped" } else { "stopped clients=\"some were cut off\"" };
    log.write(Level::Info, end);
    Ok(())
}

fn start(settings: &Settings, token: String) -> Result<ServerHandle, Failure> {
    let log = Log::new(settings);
    let server = Server::builder().settings(settings.clone()).token(token);
    let server = server.on_report(move |report: &Report| {
        if log.takes(report.level()) {
            log.write(report.level(), &report.to_string());
        }
    });
    server.bind(&settings.server.bind).and_then(Server::spawn).map_err(|error| cannot_start(&error))
}

fn cannot_start(error: &Error) -> Failure {
    let advice = match error {
        Error::Bind { source, .. } => match source.kind() {
            io::ErrorKind::AddrInUse => {
                "Is a server running there already? Choose another port: --bind 127.0.0.1:0"
            }
            io::ErrorKind::PermissionDenied => "Ports below 1024 need privileges; choose another.",
            io::ErrorKind::AddrNotAvailable => {
                "This machine does not have that address; 0.0.0.0 stands for all that it has."
            }
            _ => "An address is a host and a port, as in 127.0.0.1:5001.",
        },
        _ => "",
    };
    Failure::new(NETWORK, format!("{}.\n{advice}", chain(error)).trim_end())
}

/// The ready line, and what a newcomer wants to know next.
fn ready_text(addr: SocketAddr, settings: &Settings, file: Option<&str>, guarded: bool) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let config = file.unwrap_or("defaults");
    let mut text = format!("tcpkit {version} listening on {addr}\n");
    let silence = configuration::shown_duration(settings.heartbeat.data_threshold);
    let mode = settings.server.mode.to_string();
    let _ = writeln!(
        text,
        "  mode    {mode:<11} config  {config} (heartbeat after {silence} of silence)"
    );
    let mut options = if addr.port() == 5001 { String::new() } else { format!("--server {addr} ") };
    if guarded {
        options += "--token-file FILE ";
    }
    let task = if settings.server.mode == Mode::Turn { "play" } else { "--name alice" };
    let files = match &*settings.uploads.folder {
        "" => "not taken".to_owned(),
        folder => format!("{}/", escape(folder.trim_end_matches('/'))),
    };
    let _ =
        writeln!(text, "  files   {files:<11} try     cargo run --bin client -- {options}{task}");
    let _ = match (addr.ip().is_loopback(), guarded) {
        (true, _) => {
            let port = addr.port();
            writeln!(text, "  this machine only; --bind 0.0.0.0:{port} lets others in")
        }
        (false, true) => writeln!(text, "  open to the network, for those who have the token"),
        (false, false) => writeln!(
            text,
            "  open to the network, for everyone; --set access.token_file=FILE asks for a token"
        ),
    };
    text
}

/// The log on stderr: time, level, then what happened.
struct Log {
    level: Level,
    colour: bool,
}

impl Log {
    fn new(settings: &Settings) -> Self {
        let colour = match settings.log.colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                io::stderr().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Self { level: settings.log.level, colour }
    }

    fn takes(&self, level: Level) -> bool {
        level <= self.level
    }

    fn write(&self, level: Level, text: &str) {
        if !self.takes(level) {
            return;
        }
        let (word, colour) = match level {
            Level::Error => ("error", "31"),
            Level::Warn => ("warn", "33"),
            Level::Info => ("info", "32"),
            Level::Debug => ("debug", "2"),
        };
        let time = rfc3339(SystemTime::now());
        if self.colour {
            tell(&format!("{time} \u{1b}[{colour}m{word}\u{1b}[0m {text}"));
        } else {
            tell(&format!("{time} {word} {text}"));
        }
    }
}
