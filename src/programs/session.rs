//! A connection as the commands of `client` share it, and the way out of it by a signal.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::output::{Failure, KILLED, tell};
use super::{OnTermination, configuration, zone};
use crate::backoff::ReconnectPolicy;
use crate::connection::Connection;
use crate::end::End;
use crate::escape::escape;
use crate::event::Event;
use crate::heartbeat::Rhythm;
use crate::settings::Settings;
use crate::timezone::TimeZone;

/// For how long a command that has an end goes on trying to reach a server that it lost, where
/// `reconnect.give_up_after` sets no limit: a script should fail, not hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command does with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It receives until it is told to stop.
    Receive,
    /// It sends what there is, and ends.
    Send,
    /// It sends until it is told to stop.
    SendOn,
    /// It does both, and ends with what there is to send.
    Talk,
}

/// A connection with what the commands need beside it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) address: String,
    /// The name that was asked for; it may be empty.
    pub(super) wanted: String,
    pub(super) zone: TimeZone,
    interrupted: AtomicBool,
    closing: AtomicBool,
    /// The user was told that the connection is lost, and not yet that it is back.
    is_lost: AtomicBool,
}

impl Session {
    /// Connects as the settings say, a sender without taking what others say.
    pub(super) fn open(settings: &Settings, wanted: String, purpose: Use) -> Result<Self, Failure> {
        let address = settings.client.server.clone();
        let (timezone, zone) = zone::local(&settings.client.timezone)
            .map_err(|problem| Failure::usage(format!("client.timezone: {problem}")))?;
        let mut policy = ReconnectPolicy::from(&settings.reconnect);
        if matches!(purpose, Use::Send | Use::Talk) && policy.give_up_after.is_zero() {
            policy.give_up_after = PATIENCE;
        }
        let connection = Connection::builder()
            .name(&*wanted)
            .timezone(timezone)
            .token(configuration::token(&settings.client.token_file)?)
            .send_only(matches!(purpose, Use::Send | Use::SendOn))
            .delivery_events(true)
            .heartbeat(Rhythm::from(&settings.heartbeat))
            .reconnect(policy)
            .queue(usize::try_from(settings.client.queue).unwrap_or(usize::MAX))
            .on_full(settings.client.on_full)
            .connect(&address)
            .map_err(|error| Failure::network(&error, &address))?;
        let [interrupted, closing, is_lost] = [false, false, false].map(AtomicBool::new);
        Ok(Self { connection, address, wanted, zone, interrupted, closing, is_lost })
    }

    /// On a first SIGINT or SIGTERM says goodbye to the server, then calls `then`; a second one
    /// ends the program at once.
    pub(super) fn on_interrupt(
        self: &Arc<Self>,
        on_termination: OnTermination,
        then: impl Fn() + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let session = Arc::clone(self);
        let then = Arc::new(then);
        let callback = move |count| {
            if count > 1 {
                process::exit(KILLED.into());
            }
            let (session, then) = (session.clone(), then.clone());
            // In a thread of its own, since saying goodbye takes up to 5 s.
            let goodbye = move || {
                session.interrupted.store(true, Ordering::Release);
                session.close();
                then();
            };
            if thread::Builder::new().name("goodbye".into()).spawn(goodbye).is_err() {
                process::exit(KILLED.into());
            }
        };
        Ok(on_termination(Box::new(callback))?)
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// Says goodbye. What kept it from being heard is told by the fates of the messages.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let _ = self.connection.close();
    }

    /// Whether it is this side that ends the dialogue.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// A line about what became of the connection, if the event is about that and says something
    /// new: of an outage the beginning and the end, not each attempt.
    pub(super) fn news_of_connection(&self, event: &Event) -> Option<String> {
        match event {
            Event::Reconnecting { loss, .. } => {
                let was_lost = self.is_lost.swap(true, Ordering::AcqRel);
                (!was_lost).then(|| format!("connection lost ({loss}); reconnecting"))
            }
            Event::Resumed { .. } | Event::SessionLost { .. } => {
                self.is_lost.store(false, Ordering::Release);
                Some(event.to_string())
            }
            _ => None,
        }
    }

    /// Tells stderr such a line.
    pub(super) fn tell_of_connection(&self, event: &Event) {
        if let Some(news) = self.news_of_connection(event) {
            tell(&news);
        }
    }

    /// What to say when the dialogue ended in good order.
    pub(super) fn ending(&self) -> String {
        match self.connection.ended() {
            _ if self.is_interrupted() => "interrupted".into(),
            Some(End::Terminated { reason, detail, .. }) if detail.is_empty() => {
                format!("the server ended the dialogue: {reason}")
            }
            Some(End::Terminated { reason, detail, .. }) => {
                format!("the server ended the dialogue: {reason} ({})", escape(&detail))
            }
            _ => "the dialogue has ended".into(),
        }
    }
}
