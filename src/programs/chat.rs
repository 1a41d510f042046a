//! `client` alone: the chat. On a terminal it takes commands and tells what became of each message;
//! piped input is sent line by line, and the program ends when all of it is confirmed.
//!
//! The main thread receives and shows. Another reads what is typed and sends it; it cannot be woken
//! from a read, so the program ends without it when the dialogue ends.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::OnTermination;
use super::game::Game;
use super::output::{Failure, NETWORK};
use super::people::People;
use super::screen::{Screen, Style};
use super::send::{self, refusal};
use super::session::Session;
use super::ticks::Ticks;
use super::typing;
use super::watch::is_message;
use crate::error::Error;
use crate::escape::escape;
use crate::event::Event;
use crate::message::Mode;
use crate::settings::Colour;

/// How long to wait for the server to tell who is there.
const GREETING: Duration = Duration::from_secs(5);

/// What the threads of a chat share.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) session: Arc<Session>,
    screen: Mutex<Screen>,
    people: Mutex<People>,
    ticks: Mutex<Ticks>,
    game: Mutex<Game>,
}

/// Chats until the user, the input or the server ends it.
pub(super) fn run(
    session: &Arc<Session>,
    colour: Colour,
    on_termination: OnTermination,
) -> Result<(), Failure> {
    let typed = io::stdin().is_terminal();
    let chat = Arc::new(Chat {
        session: Arc::clone(session),
        screen: Mutex::new(Screen::new(colour)),
        people: Mutex::new(People::new(&session.connection.name())),
        ticks: Mutex::new(Ticks::default()),
        game: Mutex::new(Game::new(&session.connection.name())),
    });
    chat.greet(if typed { " /help, /quit" } else { "" })?;
    if typed { chat_typed(&chat, on_termination) } else { chat_piped(&chat, on_termination) }
}

/// The chat of someone who types.
fn chat_typed(chat: &Arc<Chat>, on_termination: OnTermination) -> Result<(), Failure> {
    let session = &chat.session;
    session.on_interrupt(on_termination, || {})?;
    let outcome = typing::start(chat)?;
    let ended = loop {
        match session.connection.recv() {
            Ok(Some(event)) => chat.take(&event)?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(Failure::network(&error, &session.address)),
        }
    };
    if session.is_interrupted() {
        chat.leave();
        return Ok(());
    }
    if session.is_closing() {
        return lock(&outcome).take().unwrap_or(Ok(()));
    }
    if ended.is_ok() {
        chat.show(Style::Notice, &session.ending())?;
    }
    chat.leave();
    ended
}

/// The chat of a script: what comes is shown meanwhile, as long as someone takes it.
fn chat_piped(chat: &Chat, on_termination: OnTermination) -> Result<(), Failure> {
    let mut shown = Ok(());
    send::lines(&chat.session, on_termination, |event| {
        if shown.is_ok() {
            shown = chat.take(event);
        }
    })
}

impl Chat {
    /// Tells where one is, under which name, and with whom.
    fn greet(&self, advice: &str) -> Result<(), Failure> {
        let Session { connection, address, wanted, .. } = &*self.session;
        let mut first = None;
        let others = if connection.mode() == Mode::Echo {
            "each message comes back to its sender".to_owned()
        } else {
            match connection.recv_timeout(GREETING) {
                Ok(Some(event)) => first = Some(event),
                Ok(None) => return Err(Failure::new(NETWORK, self.session.ending())),
                Err(Error::Timeout(..)) => {}
                Err(error) => return Err(Failure::network(&error, address)),
            }
            let mut people = lock(&self.people);
            if let Some(event) = &first {
                people.note(event);
            }
            people.others()
        };
        let name = connection.name();
        let wanted = wanted.trim();
        let taken = if wanted.is_empty() || wanted == name {
            String::new()
        } else {
            format!(" ({} is taken)", escape(wanted))
        };
        let (address, name) = (escape(address), escape(&name));
        let line = format!("connected to {address} as {name}{taken}; {others}.{advice}");
        self.show(Style::Notice, &line)?;
        first.map_or(Ok(()), |event| self.take(&event))
    }

    /// Shows one event.
    fn take(&self, event: &Event) -> Result<(), Failure> {
        if matches!(event, Event::SessionLost { .. }) {
            let name = self.session.connection.name();
            lock(&self.people).rename(&name);
            lock(&self.game).begin_anew(&name);
        }
        lock(&self.people).note(event);
        let news = lock(&self.game).note(event, Instant::now());
        self.show_event(event)?;
        news.map_or(Ok(()), |line| self.show(Style::Notice, &line))
    }

    fn show_event(&self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Present { .. } | Event::Go { .. } | Event::Wait { .. } => Ok(()),
            Event::Accepted { receipt } => {
                let accepted = lock(&self.ticks).accept(*receipt);
                match accepted {
                    0 => Ok(()),
                    1 => self.show(Style::Good, "  ✓"),
                    many => self.show(Style::Good, &format!("  ✓ {many} messages")),
                }
            }
            Event::Refused { receipt, code, detail } => {
                lock(&self.ticks).refuse(*receipt);
                self.show(Style::Refused, &format!("  ✗ not sent: {}", refusal(*code, detail)))
            }
            Event::Reconnecting { .. } | Event::Resumed { .. } | Event::SessionLost { .. } => {
                if let Event::SessionLost { up_to, .. } = event {
                    lock(&self.ticks).lose(*up_to); // how many are unknown is part of the news
                }
                let news = self.session.news_of_connection(event);
                news.map_or(Ok(()), |news| self.show(Style::Notice, &news))
            }
            Event::Text { time, .. }
            | Event::Bytes { time, .. }
            | Event::Direct { time, .. }
            | Event::Joined { time, .. }
            | Event::Left { time, .. }
            | Event::Uploaded { time, .. }
            | Event::TurnEnded { time, .. } => {
                let style = if is_message(event) { Style::Message } else { Style::Notice };
                self.show(style, &format!("{} {event}", self.session.zone.hours_minutes(*time)))
            }
        }
    }

    /// Shows one line.
    pub(super) fn show(&self, style: Style, line: &str) -> Result<(), Failure> {
        lock(&self.screen).show(style, line)
    }

    /// Leaves a line that may be half-typed, so that what follows stands below it.
    fn leave(&self) {
        lock(&self.screen).leave();
    }

    /// Who is there.
    pub(super) fn people(&self) -> MutexGuard<'_, People> {
        lock(&self.people)
    }

    /// Whose turn it is; `None` where nobody takes turns.
    pub(super) fn game(&self) -> Option<MutexGuard<'_, Game>> {
        (self.session.connection.mode() == Mode::Turn).then(|| lock(&self.game))
    }
}

/// What another thread left behind is shown as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
