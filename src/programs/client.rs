//! The program `client`: its command line, and the way to its commands.

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::output::{Failure, print, tell};
use super::screen::on_terminal;
use super::session::{Session, Use};
use super::{OnTermination, begin, chat, configuration, every, ping, play, send, send_file, watch};
use crate::arguments::{Arguments, Command, Flag, Program};
use crate::escape::escape;
use crate::settings::Settings;
use crate::units::parse_duration;

/// How long `play` leaves between its moves.
const PACE: Duration = Duration::from_secs(1);

static PROGRAM: Program = Program {
    name: "client",
    about: "client: chats over a tcpkit server, alone in a terminal or in scripts.\n\n\
        Without a command: a chat; /help tells what it knows. Where stdin is no terminal, each of\n\
        its lines is a message, and all are confirmed before the program ends.\n\n\
        Exit codes: 0 done, 1 network, 2 usage or configuration, 3 connected but not delivered,\n\
        4 timed out, 130 ended by a second Ctrl-C. Results go to stdout, all else to stderr.",
    flags: &[
        Flag::value("server", "ADDR", "The server's address and port").setting("client.server"),
        Flag::value("name", "NAME", "The name that others see").setting("client.name"),
        Flag::value("token-file", "FILE", "The file that holds the server's access token")
            .setting("client.token_file"),
        Flag::value("config", "FILE", "Read this file instead of config.ini"),
        Flag::value("set", "SECTION.KEY=VALUE", "Change any setting").repeated(),
        Flag::switch("print-config", "Print every setting with where it came from, and end"),
        Flag::switch("help", "Print this help").short('h'),
        Flag::switch("version", "Print the version").short('V'),
    ],
    commands: &[
        Command {
            name: "send",
            takes: "[TEXT..]",
            help: "Send one message, the words joined by blanks, and confirm it",
            flags: &[
                Flag::switch("lines", "Send each line of stdin as a message"),
                Flag::switch("every", "Send it every client.data_interval; report each reply"),
                Flag::value("count", "N", "With --every: end after N messages"),
            ],
        },
        Command {
            name: "send-file",
            takes: "PATH..",
            help: "Send files, each stored whole before it ends; - is stdin",
            flags: &[
                Flag::value("name", "NAME", "What the content of stdin is called there"),
                Flag::switch("json", "Print what happens as lines of JSON"),
            ],
        },
        Command {
            name: "watch",
            takes: "",
            help: "Print messages as they come",
            flags: &[
                Flag::value("count", "N", "End after N messages; notices do not count"),
                Flag::value("wait", "DURATION", "End after this time (5, 0.5, 250ms, 2m)"),
                Flag::switch("json", "Print every event as a line of JSON; bytes in base64"),
            ],
        },
        Command {
            name: "play",
            takes: "",
            help: "On a server in mode turn: make the move NAME:NUMBER in each turn of its own",
            flags: &[
                Flag::value(
                    "start",
                    "N",
                    "The first number; by default how many are there when it comes",
                ),
                Flag::value(
                    "step",
                    "N",
                    "How far it goes on; by default the turns since its last move",
                ),
                Flag::value("every", "DURATION", "Move no sooner than this after the last; 1 s"),
                Flag::value("count", "N", "End after N moves, each confirmed"),
            ],
        },
        Command {
            name: "ping",
            takes: "",
            help: "Ask the server for a sign of life, without a name or token: exit code 0 or 1",
            flags: &[Flag::value("count", "N", "Ask N times, a second apart")],
        },
    ],
    settings: &["client", "reconnect", "heartbeat", "log"],
    examples: &[
        "client --name alice",
        "client send hello everyone",
        "printf 'one\\ntwo\\n' | client send --lines",
        "client send-file photo.jpg notes.txt",
        "tar c src | client --name alice send-file - --name src.tar",
        "client watch --json --count 1",
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
    if arguments.command == Some("ping") {
        return ping::run(&settings.client.server, count(arguments)?.unwrap_or(1));
    }
    let task = Task::new(arguments)?;
    let name = match task {
        Task::Chat => ask_for_name(settings)?,
        Task::Play(_) if settings.client.name.is_empty() => Some(configuration::host_name()),
        _ => Some(settings.client.name.clone()),
    };
    let Some(name) = name else { return Ok(()) };
    let purpose = match task {
        Task::Chat if on_terminal() => Use::Receive,
        Task::Watch(_) | Task::Play(play::Options { count: None, .. }) => Use::Receive,
        Task::Chat | Task::Play(_) => Use::Talk,
        Task::Send(_) | Task::SendLines | Task::SendEvery(_, Some(_)) | Task::SendFile(_) => {
            Use::Send
        }
        Task::SendEvery(_, None) => Use::SendOn,
    };
    let session = Arc::new(Session::open(settings, name, purpose)?);
    let given = session.connection.name();
    if !matches!(task, Task::Chat) && !session.wanted.is_empty() && given != session.wanted.trim() {
        tell(&format!("{} is taken; this client is {}", escape(&session.wanted), escape(&given)));
    }
    let outcome = match task {
        Task::Chat => chat::run(&session, settings.log.colour, on_termination),
        Task::Send(text) => send::text(&session, &text, on_termination),
        Task::SendEvery(text, count) => {
            let rhythm = (settings.client.data_interval, count);
            every::run(&session, &text, rhythm, on_termination)
        }
        Task::SendLines => {
            send::lines(&session, on_termination, |event| session.tell_of_connection(event))
        }
        Task::Play(options) => play::run(&session, &options, on_termination),
        Task::SendFile(options) => send_file::run(&session, &options, on_termination),
        Task::Watch(options) => watch::run(&session, &options, on_termination),
    };
    session.close();
    outcome
}

/// What to do with a connection.
#[derive(Debug)]
enum Task {
    Chat,
    Send(String),
    SendEvery(String, Option<u64>),
    SendLines,
    SendFile(send_file::Options),
    Watch(watch::Options),
    Play(play::Options),
}

impl Task {
    fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let text = arguments.positionals.join(" ");
        if arguments.command == Some("send") && arguments.has("count") && !arguments.has("every") {
            return Err(PROGRAM.error("--count goes with --every").into());
        }
        match arguments.command {
            Some("watch") => Ok(Self::Watch(watch::Options {
                count: count(arguments)?,
                wait: arguments.parsed("wait", parse_duration)?,
                json: arguments.has("json"),
            })),
            Some("send-file") => Self::send_file(arguments),
            Some("play") => Ok(Self::Play(play::Options {
                start: arguments.parsed("start", number)?,
                step: arguments.parsed("step", number)?,
                every: arguments.parsed("every", parse_duration)?.unwrap_or(PACE),
                count: count(arguments)?,
            })),
            None => Ok(Self::Chat),
            Some(_) => match (arguments.has("lines"), arguments.positionals.is_empty()) {
                (true, true) if arguments.has("every") => {
                    Err(PROGRAM.error("give --every or --lines, not both").into())
                }
                (true, true) => Ok(Self::SendLines),
                (false, false) if arguments.has("every") => {
                    Ok(Self::SendEvery(text, count(arguments)?))
                }
                (false, false) => Ok(Self::Send(text)),
                (true, false) => Err(PROGRAM.error("give TEXT or --lines, not both").into()),
                (false, true) => Err(PROGRAM
                    .error("nothing to send: give TEXT, or --lines to send those of stdin")
                    .into()),
            },
        }
    }
}

impl Task {
    fn send_file(arguments: &Arguments) -> Result<Self, Failure> {
        let paths = arguments.positionals.clone();
        let name = arguments.own_value("name");
        let problem = match (paths.iter().filter(|path| *path == "-").count(), name) {
            _ if paths.is_empty() => "nothing to send: give PATH, or - for stdin",
            (0, Some(_)) => {
                "--name behind send-file is for -, stdin; the client's own goes before send-file"
            }
            (1, None) => "what comes from stdin needs a name: send-file - --name NAME",
            (2.., _) => "- is stdin, which can be sent once",
            (_, name) => {
                let (name, json) = (name.unwrap_or_default().to_owned(), arguments.has("json"));
                return Ok(Self::SendFile(send_file::Options { paths, name, json }));
            }
        };
        Err(PROGRAM.error(problem).into())
    }
}

fn number(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "a whole number is needed")
}

fn count(arguments: &Arguments) -> Result<Option<u64>, Failure> {
    let form = |text: &str| match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of at least 1 is needed"),
        Ok(count) => Ok(count),
    };
    Ok(arguments.parsed("count", form)?)
}

/// The name to ask the server for; on a terminal the user is asked where none is set. `None`: the
/// user wants to leave.
fn ask_for_name(settings: &Settings) -> Result<Option<String>, Failure> {
    let name = settings.client.name.clone();
    if !name.is_empty() || !on_terminal() {
        return Ok(Some(name));
    }
    print("Your name (Enter for a guest name): ")?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return print("\n").map(|()| None);
    }
    Ok(Some(line.trim().to_owned()))
}
