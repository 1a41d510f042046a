//! Turns for an embedding program: its own ones as an iterator, and the moves that it makes.

use std::time::{Duration, Instant};

use super::Connection;
use crate::error::Error;
use crate::event::{Event, Receipt};

impl Connection {
    /// The turns of this client from now on, each when it comes, up to the end of the connection;
    /// an end that is not orderly is the last item. For a server in [`Mode::Turn`]: with another
    /// one no turn ever comes, and none to a [`send_only`](crate::Builder::send_only) connection.
    ///
    /// Other events are passed over. A program that wants them too takes them with
    /// [`recv`](Self::recv) instead, and answers [`Event::Go`] with [`play`](Self::play).
    ///
    /// ```
    /// use tcpkit::Connection;
    /// use tcpkit::message::Frame;
    ///
    /// let (connection, mut server) = Connection::memory();
    /// server.send(&Frame::Wait { turn: 1, holder: "bob" })?;
    /// server.send(&Frame::Go { turn: 2, deadline_ms: 30_000 })?;
    ///
    /// for turn in connection.turns() {
    ///     let turn = turn?;
    ///     assert_eq!(turn.number(), 2);
    ///     assert!(turn.time_left().is_some_and(|left| left.as_secs() <= 30));
    ///     turn.play("e4")?;
    ///     break; // the far end of this one plays no further
    /// }
    /// assert_eq!(server.accept()?, Some(Frame::Move { id: 1, turn: 2, body: b"e4" }));
    /// # Ok::<(), tcpkit::Error>(())
    /// ```
    ///
    /// [`Mode::Turn`]: crate::message::Mode::Turn
    pub fn turns(&self) -> OwnTurns<'_> {
        OwnTurns { connection: self, is_over: false }
    }

    /// Makes a move in the turn of that number: that of an [`Event::Go`]. As [`send`](Self::send):
    /// it returns once the move is on its way, and the receipt can be
    /// [confirmed](Self::confirm). Accepted, it has passed the turn on, and all others are told it.
    ///
    /// Refused with [`NotYourTurn`], it came too late, and changed nothing. With another code (the
    /// server's own rules do not allow the move) the turn stays, and another move can be made.
    /// Where the server has forgotten the session, the game is another one too: a move that was
    /// kept for it until then is refused with [`NotYourTurn`], and never sent.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// [`NotYourTurn`]: crate::message::StatusCode::NotYourTurn
    pub fn play(&self, turn: u64, text: &str) -> Result<Receipt, Error> {
        self.core.send_with(|session| session.send_move(turn, text))
    }
}

/// One turn of this client. See [`Connection::turns`].
#[derive(Debug)]
pub struct Turn<'a> {
    connection: &'a Connection,
    number: u64,
    deadline: Option<Instant>,
}

impl Turn<'_> {
    /// The turn's number: 1 for the first one of a game, and then one more for each, whosever.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the turn passes to the next one, as [`Event::Go`] has it; `None`: there is no limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How long that is from now; `None`: there is no limit.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Makes a move: see [`Connection::play`].
    ///
    /// # Errors
    /// As [`Connection::play`].
    pub fn play(&self, text: &str) -> Result<Receipt, Error> {
        self.connection.play(self.number, text)
    }
}

/// The turns of a client. See [`Connection::turns`].
#[derive(Debug)]
pub struct OwnTurns<'a> {
    connection: &'a Connection,
    is_over: bool,
}

impl<'a> Iterator for OwnTurns<'a> {
    type Item = Result<Turn<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            let connection = self.connection;
            match connection.recv() {
                Ok(Some(Event::Go { turn, deadline })) => {
                    return Some(Ok(Turn { connection, number: turn, deadline }));
                }
                Ok(Some(_)) => {}
                Ok(None) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
