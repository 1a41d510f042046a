//! Messages from the command line or from lines of stdin, each confirmed before the program ends.
//!
//! One thread reads and sends without waiting, another asks for the fates in order: no line costs
//! a round trip, and about [`AHEAD`] are unconfirmed at most.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{SendError, SyncSender, sync_channel};
use std::thread;

use super::OnTermination;
use super::output::{Failure, NOT_DELIVERED, chain, plain, tell};
use super::session::Session;
use crate::error::Error;
use crate::escape::escape;
use crate::event::{Event, Fate, Receipt};
use crate::message::StatusCode;

/// How many messages may be sent ahead of their fates.
const AHEAD: usize = 1024;
/// The longest line that is read: the largest frame that a server can be set to take.
const LINE_MAX: u64 = 64 << 20;

/// What the reading thread has to say to the confirming one.
#[derive(Debug)]
enum Step {
    /// A line was sent.
    Sent(u64, Receipt),
    /// A line cannot be sent, and why; others can.
    Bad(u64, String),
    /// Nothing more can be sent, and why.
    Stop(String),
    /// All lines are sent.
    End,
}

/// How many messages there were, how many of them arrived, and what kept all others back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    messages: u64,
    accepted: u64,
    cause: Option<String>,
}

impl Tally {
    /// Success only if all were accepted.
    fn verdict(self) -> Result<(), Failure> {
        let Self { messages, accepted, cause } = self;
        if accepted == messages && cause.is_none() {
            return Ok(());
        }
        let cause = cause.map(|cause| format!("{cause}; ")).unwrap_or_default();
        let text =
            format!("not all is delivered: {cause}{accepted} of {messages} messages were accepted");
        Err(Failure::new(NOT_DELIVERED, text))
    }
}

/// Sends one message and waits for its fate.
pub(super) fn text(
    session: &Arc<Session>,
    text: &str,
    on_termination: OnTermination,
) -> Result<(), Failure> {
    session.on_interrupt(on_termination, || {})?;
    let fate = session.connection.send(text).and_then(|id| session.connection.confirm(id));
    let problem = match fate {
        Ok(Fate::Accepted) => return Ok(()),
        Ok(fate) => reason(&fate),
        Err(error) => chain(&error),
    };
    Err(Failure::new(NOT_DELIVERED, format!("not delivered: {problem}")))
}

/// Sends every line of stdin, and closes the connection when all are confirmed. `take` is given
/// what comes meanwhile.
///
/// The calling thread receives, so that the end of the connection is noticed at once. The one that
/// reads cannot be woken from that; the program ends without it.
pub(super) fn lines(
    session: &Arc<Session>,
    on_termination: OnTermination,
    mut take: impl FnMut(&Event),
) -> Result<(), Failure> {
    let (steps, taken) = sync_channel(AHEAD);
    let stop = steps.clone();
    session.on_interrupt(on_termination, move || {
        let _ = stop.send(Step::Stop("interrupted".into()));
    })?;
    let (reading, read) = (Arc::clone(session), steps.clone());
    thread::Builder::new().name("stdin".into()).spawn(move || {
        // Where nobody takes the steps any more, the program is about to end.
        let _ = read_lines(io::stdin().lock(), &read, |text| reading.connection.send(text));
    })?;
    let confirming = Arc::clone(session);
    let delivery = thread::Builder::new().name("delivery".into()).spawn(move || {
        let tally = deliver(taken, |receipt| confirming.connection.confirm(receipt), tell);
        confirming.close();
        tally
    })?;
    let cause = loop {
        match session.connection.recv() {
            Ok(Some(event)) => take(&event),
            Ok(None) => break session.ending(),
            Err(error) => break chain(&error),
        }
    };
    // Nobody takes this where it was the delivery that closed the connection, having all it needs.
    let _ = steps.send(Step::Stop(cause));
    let lost = |_| Err(Failure::new(NOT_DELIVERED, "not all is delivered"));
    delivery.join().map_or_else(lost, Tally::verdict)
}

/// Sends each line and says so, until the input or the connection ends, or nobody listens.
fn read_lines(
    mut input: impl BufRead,
    steps: &SyncSender<Step>,
    send: impl Fn(&str) -> Result<Receipt, Error>,
) -> Result<(), SendError<Step>> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        match input.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return steps.send(Step::Stop(format!("stdin: {}", plain(&error)))),
        }
        let too_long = line.len() as u64 > LINE_MAX && !line.ends_with(b"\n");
        if too_long && let Err(error) = input.skip_until(b'\n') {
            return steps.send(Step::Stop(format!("stdin: {}", plain(&error))));
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        steps.send(match str::from_utf8(text).map(&send) {
            _ if too_long => Step::Bad(number, format!("longer than {LINE_MAX} bytes")),
            Err(_) => Step::Bad(number, "not UTF-8".into()),
            Ok(Ok(receipt)) => Step::Sent(number, receipt),
            Ok(Err(error @ Error::TooLarge { .. })) => Step::Bad(number, chain(&error)),
            Ok(Err(error)) => return steps.send(Step::Stop(chain(&error))),
        })?;
    }
    steps.send(Step::End)
}

/// Waits for the fate of every message, and tells of each line that was refused.
fn deliver(
    taken: impl IntoIterator<Item = Step>,
    confirm: impl Fn(Receipt) -> Result<Fate, Error>,
    tell: impl Fn(&str),
) -> Tally {
    let mut tally = Tally::default();
    for step in taken {
        let (line, problem) = match step {
            Step::End => break,
            Step::Stop(cause) => {
                tally.cause = Some(cause);
                break;
            }
            Step::Bad(line, problem) => (line, problem),
            Step::Sent(line, receipt) => match confirm(receipt) {
                Ok(Fate::Accepted) => {
                    tally.messages += 1;
                    tally.accepted += 1;
                    continue;
                }
                Ok(fate @ Fate::Refused { .. }) => (line, reason(&fate)),
                // The same holds for all that follow: it is told once, at the end.
                lost => {
                    tally.messages += 1;
                    tally.cause.get_or_insert(
                        lost.map_or_else(|error| chain(&error), |fate| reason(&fate)),
                    );
                    continue;
                }
            },
        };
        tally.messages += 1;
        tell(&format!("line {line} is not delivered: {problem}"));
    }
    tally
}

/// A fate in a few words, safe to show.
pub(super) fn reason(fate: &Fate) -> String {
    match fate {
        Fate::Accepted => "accepted".into(),
        Fate::Refused { code, detail } => refusal(*code, detail),
        Fate::Unknown => "the connection ended before its fate was known".into(),
    }
}

/// Why a message was refused, in the server's words.
pub(super) fn refusal(code: StatusCode, detail: &str) -> String {
    if detail.is_empty() { code.to_string() } else { format!("{code} ({})", escape(detail)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// What was sent, the tally, and what was told, where message 2 is refused and the connection
    /// ends before message `limit + 1`.
    fn send(input: &[u8], limit: u64) -> (Vec<String>, Tally, Vec<String>) {
        let (steps, taken) = sync_channel(100);
        let (sent, told) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let accept = |text: &str| {
            let number = sent.borrow().len() as u64 + 1;
            if text == "large" {
                return Err(Error::TooLarge { size: 5, limit: 4 });
            } else if number > limit {
                return Err(Error::Lost);
            }
            sent.borrow_mut().push(text.to_owned());
            Ok(Receipt(number))
        };
        read_lines(input, &steps, accept).unwrap();
        drop(steps);
        let confirm = |receipt: Receipt| {
            let (code, detail) = (StatusCode::Refused, "no\n".to_owned());
            Ok(if receipt.number() == 2 { Fate::Refused { code, detail } } else { Fate::Accepted })
        };
        let tally = deliver(taken, confirm, |line| told.borrow_mut().push(line.to_owned()));
        (sent.into_inner(), tally, told.into_inner())
    }

    fn verdict(messages: u64, accepted: u64, cause: Option<&str>) -> Tally {
        Tally { messages, accepted, cause: cause.map(str::to_owned) }
    }

    #[test]
    fn every_line_is_a_message() {
        assert_eq!(send(b"", 9), (vec![], verdict(0, 0, None), vec![]));
        let (sent, tally, _) = send(b"one\r\n", 9);
        assert_eq!((sent, tally.verdict()), (vec!["one".into()], Ok(())));
        let (sent, tally, told) = send(b"one\n\n/three\nfour", 9);
        assert_eq!(sent, ["one", "", "/three", "four"]);
        assert_eq!(told, ["line 2 is not delivered: refused by the server's program (no\\n)"]);
        assert_eq!(tally, verdict(4, 3, None));
        let words = "not all is delivered: 3 of 4 messages were accepted";
        assert_eq!(tally.verdict(), Err(Failure::new(NOT_DELIVERED, words)));
    }

    #[test]
    fn a_line_that_cannot_be_sent_keeps_back_no_other() {
        let (sent, tally, told) = send(b"one\n\xff\nlarge\n", 9);
        assert_eq!((sent, tally), (vec!["one".into()], verdict(3, 1, None)));
        let large = "line 3 is not delivered: a message of 5 bytes, the server takes 4";
        assert_eq!(told, ["line 2 is not delivered: not UTF-8", large]);
    }

    #[test]
    fn the_end_of_the_connection_is_told_once() {
        let (sent, tally, told) = send(b"one\ntwo\nthree\nfour\n", 1);
        let cause = "the peer closed the connection without a goodbye";
        assert_eq!((sent, told), (vec!["one".into()], vec![]));
        assert_eq!(tally, verdict(1, 1, Some(cause)));
        let words = format!("not all is delivered: {cause}; 1 of 1 messages were accepted");
        assert_eq!(tally.verdict(), Err(Failure::new(NOT_DELIVERED, words)));

        let steps = [Step::Sent(1, Receipt(1)), Step::Sent(2, Receipt(2)), Step::End];
        let tally = deliver(steps, |_| Err(Error::Lost), |line| panic!("told of {line}"));
        assert_eq!(tally, verdict(2, 0, Some(cause)));
    }
}
