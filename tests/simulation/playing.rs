//! What players do when it is their turn, and when it is not.

use tcpkit::client_session::ClientSession;
use tcpkit::event::Event as Told;

use crate::body::{self, Tag};
use crate::schedule::{STYLES, Style};
use crate::world::{Event, World};

/// The longest move.
const LONGEST: u64 = 100;
/// In a thousand: moves that the server's program refuses.
const REFUSED: u64 = 50;

impl World {
    /// What the machine tells its user of turns.
    pub(crate) fn take_turn_event(
        &mut self,
        client: usize,
        event: &Told,
        session: &mut ClientSession,
    ) {
        let go = &mut self.clients[client].seat.go;
        match event {
            Told::Go { turn, .. } => {
                *go = Some(*turn);
                self.play(client, *turn, session);
            }
            Told::TurnEnded { turn, .. } => {
                go.take_if(|own| *own <= *turn);
            }
            Told::Wait { .. } | Told::SessionLost { .. } => *go = None,
            _ => {}
        }
    }

    fn play(&mut self, client: usize, turn: u64, session: &mut ClientSession) {
        if self.is_calm {
            // In the end slowly, so that over the slowest network, too, there is a quiet moment.
            let is_late = self.now > self.plan.calm_at + self.recovery_time() / 2;
            let pause = if is_late { 40 * self.plan.unit } else { self.plan.unit / 4 };
            return self.soon(pause, Event::Play(client, turn));
        }
        let weights = self.plan.style_weights;
        let style = self.random.weighted(&weights).map_or(Style::Prompt, |index| STYLES[index]);
        match style {
            Style::Prompt => self.send_move(client, session, turn),
            Style::Old | Style::Twice => {
                let first = turn - u64::from(style == Style::Old);
                self.send_move(client, session, first);
                self.send_move(client, session, turn);
            }
            Style::Late => self.soon(4 * self.plan.unit, Event::Play(client, turn)),
            Style::Never => {}
        }
    }

    /// A player has thought about its move.
    pub(crate) fn play_late(&mut self, client: usize, turn: u64) {
        let it = &self.clients[client];
        let is_pending = |receipt: &u64| it.fates.turn_of(*receipt) == Some(turn);
        if it.seat.go != Some(turn) || it.fates.unsettled.iter().any(is_pending) {
            return;
        }
        self.converse(client, |world, session| world.send_move(client, session, turn));
    }

    /// Now all are to play, those included that did not feel like it.
    pub(crate) fn urge_players(&mut self) {
        for client in 0..self.clients.len() {
            if let Some(turn) = self.clients[client].seat.go {
                self.soon(self.plan.unit / 4, Event::Play(client, turn));
            }
        }
    }

    /// A move for whatever turn, mostly one that is not its own.
    pub(crate) fn move_at_random(&mut self, client: usize, session: &mut ClientSession) {
        let own = self.clients[client].seat.go.unwrap_or(self.random.below(10));
        let turn = self.random.pick(&[own, own + 1, own.saturating_sub(1), 0, u64::MAX]);
        self.send_move(client, session, turn);
    }

    fn send_move(&mut self, client: usize, session: &mut ClientSession, turn: u64) {
        let has_much = session.kept_bytes() + session.outgoing.len() > self.plan.queue;
        if has_much && !self.is_calm {
            return;
        }
        let most = self.plan.size.min(LONGEST);
        let size = self.random.between(body::LEAST as u64 + 1, most) as usize;
        let is_refused = !self.is_calm && self.random.chance(REFUSED);
        let receipt = self.clients[client].fates.messages.len() as u64 + 1;
        let text = body::make(Tag { client, receipt }, size, is_refused);
        let is_open = session.is_open();
        let Ok(given) = session.send_move(turn, &text) else { return };
        crate::trace!(self, ("client {client}"), "sends {receipt}: a move in turn {turn}");
        self.clients[client].fates.send(given, size, Some(turn), is_open);
    }
}
