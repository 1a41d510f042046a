//! `client watch`: messages to stdout as they come, notices to stderr, or all of it as JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::OnTermination;
use super::json;
use super::output::{Failure, NETWORK, TIMED_OUT, print, tell};
use super::session::Session;
use crate::error::Error;
use crate::event::Event;
use crate::message::Outcome;

/// How much is gathered before it is written, while more is there at once.
const GATHERED: usize = 64 * 1024;

/// When to stop, and how to show.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) count: Option<u64>,
    pub(super) wait: Option<Duration>,
    pub(super) json: bool,
}

/// Shows what comes until there were enough messages, the time is over, or the dialogue ends.
pub(super) fn run(
    session: &Arc<Session>,
    options: &Options,
    on_termination: OnTermination,
) -> Result<(), Failure> {
    session.on_interrupt(on_termination, || {})?;
    let deadline = options.wait.and_then(|wait| Instant::now().checked_add(wait));
    let mut messages = 0;
    let mut out = String::new();
    let missing = |code, messages: u64, why: &str| match options.count {
        Some(count) => {
            Err(Failure::new(code, format!("{why}: {messages} of {count} messages have come")))
        }
        None => Ok(()),
    };
    while options.count.is_none_or(|count| messages < count) {
        let event = match next(session, deadline, &mut out)? {
            Next::Event(event) => event,
            Next::TimeOver => return missing(TIMED_OUT, messages, "the time is over"),
            Next::End if session.is_interrupted() => {
                return missing(TIMED_OUT, messages, "interrupted");
            }
            Next::End => {
                tell(&session.ending());
                return missing(NETWORK, messages, "the server has gone");
            }
        };
        messages += u64::from(is_message(&event));
        if options.json {
            out += &json::line(&event);
        } else if is_message(&event) {
            out += &event.to_string();
        } else {
            tell_notice(session, &event);
            continue;
        }
        out.push('\n');
    }
    print(&out)
}

fn tell_notice(session: &Session, event: &Event) {
    match event {
        Event::Accepted { .. } | Event::Refused { .. } => {}
        Event::Reconnecting { .. } | Event::Resumed { .. } | Event::SessionLost { .. } => {
            session.tell_of_connection(event);
        }
        notice => tell(&notice.to_string()),
    }
}

/// Whether an event is a message, or a move; the others are notices.
pub(super) fn is_message(event: &Event) -> bool {
    matches!(
        event,
        Event::Text { .. }
            | Event::Bytes { .. }
            | Event::Direct { .. }
            | Event::TurnEnded { outcome: Outcome::Moved, .. }
    )
}

enum Next {
    Event(Event),
    TimeOver,
    End,
}

/// The next event. What was gathered is written before it waits.
fn next(session: &Session, deadline: Option<Instant>, out: &mut String) -> Result<Next, Failure> {
    let connection = &session.connection;
    let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let mut event = connection.try_recv();
    if out.len() >= GATHERED || !matches!(event, Ok(Some(_))) {
        print(out)?;
        out.clear();
    }
    if matches!(event, Err(Error::Timeout(..))) {
        event = match left() {
            Some(left) => connection.recv_timeout(left),
            None => connection.recv(),
        };
    }
    match event {
        Ok(Some(_)) if left() == Some(Duration::ZERO) => Ok(Next::TimeOver),
        Ok(Some(event)) => Ok(Next::Event(event)),
        Ok(None) => Ok(Next::End),
        Err(Error::Timeout(..)) => Ok(Next::TimeOver),
        Err(error) => Err(Failure::network(&error, &session.address)),
    }
}
