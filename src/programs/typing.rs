//! What is typed in a chat: lines to send, and commands.

use std::io::{self, BufRead};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::chat::Chat;
use super::chat_file::Files;
use super::output::{Failure, NOT_DELIVERED, chain};
use super::screen::Style;
use crate::error::Error;
use crate::escape::escape;
use crate::event::Receipt;
use crate::nearest::nearest;

/// How long the end of the chat waits for the fates of the last messages.
const LAST_FATES: Duration = Duration::from_secs(5);
/// A terminal keeps so many bytes of a line and drops the rest without a word (Linux, `N_TTY` in
/// canonical mode): a line of that size is most likely only a part of what was pasted.
const TERMINAL_LINE: usize = 4095;
/// How long `/ping` waits.
const PONG: Duration = Duration::from_secs(5);

const CUT: &str = "  ✗ not sent: a terminal cuts a line at 4095 bytes; client send --lines < FILE \
                   takes any";

const TURN_HELP: &str = "\
a line is your move, when it is your turn
/say TEXT       a message to all, whosever turn it is";

const HELP: &str = "\
/who            who is there
/msg NAME TEXT  a message to one alone
/file PATH      a file to the server; the others are told
/ping           the way to the server and back
/help           this help
/quit           leave; so does Ctrl-D
//text          a message that begins with a slash";

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
enum Input<'a> {
    Nothing,
    /// A message to all, or a move where turns are taken.
    Line(&'a str),
    Say(&'a str),
    Message(&'a str),
    File(&'a str),
    Who,
    Ping,
    Help,
    Quit,
    Unknown(&'a str),
}

impl<'a> Input<'a> {
    fn new(line: &'a str) -> Self {
        let Some(command) = line.strip_prefix('/') else {
            return if line.is_empty() { Self::Nothing } else { Self::Line(line) };
        };
        if command.starts_with('/') {
            return Self::Line(command);
        }
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        match name {
            "file" => Self::File(rest.trim()),
            "say" => Self::Say(rest),
            "msg" => Self::Message(rest.trim_start()),
            "who" => Self::Who,
            "ping" => Self::Ping,
            "help" => Self::Help,
            "quit" => Self::Quit,
            _ => Self::Unknown(name),
        }
    }
}

/// How the typing ended, once it has.
pub(super) type Outcome = Arc<Mutex<Option<Result<(), Failure>>>>;

/// Begins to take lines from stdin in a thread of its own. At `/quit` and at the end of the input
/// it waits for the last fates, leaves the outcome, and closes the connection.
pub(super) fn start(chat: &Arc<Chat>) -> Result<Outcome, Failure> {
    let outcome = Outcome::default();
    let (chat, told) = (Arc::clone(chat), Arc::clone(&outcome));
    let take = move || {
        let taken = take_lines(&chat);
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        chat.session.close();
    };
    thread::Builder::new().name("typing".into()).spawn(take)?;
    Ok(outcome)
}

fn take_lines(chat: &Arc<Chat>) -> Result<(), Failure> {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    let mut files = Files::default();
    while stdin.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let typed = line.strip_suffix(b"\n").unwrap_or(&line);
        match str::from_utf8(typed) {
            Ok(typed) if Input::new(typed) == Input::Quit => break,
            Ok(typed) if typed.len() >= TERMINAL_LINE => chat.show(Style::Refused, CUT)?,
            Ok(typed) => match Input::new(typed) {
                Input::File(path) => files.send(chat, path)?,
                input => obey(chat, &input)?,
            },
            Err(_) => chat.show(Style::Refused, "  ✗ not sent: it is not UTF-8")?,
        }
        line.clear();
    }
    files.finish(chat)?;
    chat.session.connection.flush_timeout(LAST_FATES).map_err(|error| {
        let text = format!("the last messages may not have arrived: {}", chain(&error));
        Failure::new(NOT_DELIVERED, text)
    })
}

fn obey(chat: &Chat, input: &Input<'_>) -> Result<(), Failure> {
    let connection = &chat.session.connection;
    match input {
        Input::Nothing | Input::Quit | Input::File(_) => Ok(()),
        Input::Line(text) => play(chat, text),
        Input::Say("") => chat.show(Style::Notice, "write it as /say TEXT"),
        Input::Say(text) => told(chat, connection.send(text)),
        Input::Message(line) => {
            let parted = chat.people().recipient(line);
            match parted {
                Some((name, text)) => told(chat, connection.send_to(name, text)),
                None => chat.show(Style::Notice, "write it as /msg NAME TEXT"),
            }
        }
        Input::Who => {
            let all = chat.people().all();
            chat.show(Style::Notice, &all)
        }
        Input::Ping => match connection.ping_timeout(PONG) {
            Ok(time) => {
                let milliseconds = time.as_secs_f64() * 1000.0;
                chat.show(Style::Notice, &format!("pong in {milliseconds:.2} ms"))
            }
            Err(error) => chat.show(Style::Refused, &chain(&error)),
        },
        Input::Help => {
            let first = chat.game().map_or("", |_| TURN_HELP);
            let mut lines = first.lines().chain(HELP.lines());
            lines.try_for_each(|line| chat.show(Style::Notice, line))
        }
        Input::Unknown(name) => {
            let known = nearest(name, ["who", "say", "msg", "file", "ping", "help", "quit"]);
            let advice = match known {
                Some(known) => format!("did you mean /{known}?"),
                None => "/help tells which there are, // sends a slash".into(),
            };
            chat.show(Style::Notice, &format!("unknown command /{}; {advice}", escape(name)))
        }
    }
}

/// A line: a message to all, or, where turns are taken, a move.
fn play(chat: &Chat, text: &str) -> Result<(), Failure> {
    let connection = &chat.session.connection;
    let Some(mut game) = chat.game() else {
        return told(chat, connection.send(text));
    };
    let Some(turn) = game.take() else {
        let line = format!("  ✗ not sent: {}; /say TEXT sends a message", game.whose());
        drop(game);
        return chat.show(Style::Refused, &line);
    };
    drop(game);
    let sent = connection.play(turn, text);
    if let (Some(mut game), Ok(receipt)) = (chat.game(), &sent) {
        game.moved(turn, *receipt);
    }
    told(chat, sent)
}

/// Tells at once of a message that could not even be sent; the fate of others is an event.
fn told(chat: &Chat, sent: Result<Receipt, Error>) -> Result<(), Failure> {
    match sent {
        Ok(_) => Ok(()),
        Err(error) => chat.show(Style::Refused, &format!("  ✗ not sent: {}", chain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_begins_a_command_and_two_a_message() {
        for (line, input) in [
            ("", Input::Nothing),
            ("hi /who", Input::Line("hi /who")),
            (" /who", Input::Line(" /who")),
            ("//who", Input::Line("/who")),
            ("///", Input::Line("//")),
            ("/say hi  there", Input::Say("hi  there")),
            ("/", Input::Unknown("")),
            ("/who", Input::Who),
            ("/who is there", Input::Who),
            ("/whom", Input::Unknown("whom")),
            ("/msg  bob hi  there", Input::Message("bob hi  there")),
            ("/msg", Input::Message("")),
            ("/file  my photo.jpg ", Input::File("my photo.jpg")),
            ("/file", Input::File("")),
            ("/ping", Input::Ping),
            ("/help", Input::Help),
            ("/quit", Input::Quit),
        ] {
            assert_eq!(Input::new(line), input, "{line}");
        }
    }
}
