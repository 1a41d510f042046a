//! A message at regular intervals, each with its reply reported: `client send --every`.
//!
//! Between the messages the connection's heartbeat has its turn, if they are further apart than
//! its `data_threshold`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::OnTermination;
use super::output::{Failure, NOT_DELIVERED, chain, print};
use super::send::reason;
use super::session::Session;
use crate::error::Error;
use crate::event::Fate;

/// Sends `text` every `interval`, `count` times or until a signal, and prints what became of each.
/// A refusal is reported, and the next one sent all the same.
pub(super) fn run(
    session: &Arc<Session>,
    text: &str,
    (interval, count): (Duration, Option<u64>),
    on_termination: OnTermination,
) -> Result<(), Failure> {
    session.on_interrupt(on_termination, || {})?;
    let (mut sent, mut accepted) = (0, 0);
    let mut next = Instant::now();
    while count.is_none_or(|count| sent < count) {
        let start = Instant::now();
        let fate = session.connection.send(text).and_then(|id| session.connection.confirm(id));
        let reply = match fate {
            Ok(Fate::Accepted) => format!("accepted in {:.2?}", start.elapsed()),
            Ok(fate) => format!("not accepted: {}", reason(&fate)),
            Err(Error::Closed) => break,
            Err(error) => return Err(Failure::new(NOT_DELIVERED, chain(&error))),
        };
        sent += 1;
        accepted += u64::from(reply.starts_with("accepted"));
        print(&format!("message {sent}: {reply}\n"))?;
        next += interval;
        if count == Some(sent) || !wait_until(session, next)? {
            break;
        }
    }
    if accepted == sent {
        return Ok(());
    }
    Err(Failure::new(NOT_DELIVERED, format!("{accepted} of {sent} messages were accepted")))
}

/// Lets time pass, receiving meanwhile. False if the dialogue was ended in order.
fn wait_until(session: &Session, next: Instant) -> Result<bool, Failure> {
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(true);
        }
        match session.connection.recv_timeout(left) {
            Ok(Some(event)) => session.tell_of_connection(&event),
            Err(Error::Timeout(..)) => {}
            Ok(None) => return Ok(false),
            Err(error) => return Err(Failure::new(NOT_DELIVERED, chain(&error))),
        }
    }
}
