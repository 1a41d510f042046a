//! That nobody stays silent unnoticed, and that all comes to rest once the faults have stopped.

use tcpkit::client_session::ClientSession;
use tcpkit::hub::Taken;

use super::heart::SLACK;
use crate::network::Time;
use crate::schedule::nanoseconds;
use crate::server::worst_case;
use crate::trace;
use crate::world::{Event, World};

/// What a client is owed beside the log, at the most; and one more frame, of a refusal.
const DEBT_MAX: usize = 64 * 1024 + 512;
/// A grace that is longer than so many units is not waited for.
const LONG_GRACE: Time = 50;

impl World {
    /// Looks at everything, from time to time. True once the schedule is at its end.
    pub(crate) fn inspect(&mut self) -> bool {
        self.check_silence();
        self.check_debts();
        self.check_graces();
        if self.plan.has_turns && self.server.hub.is_some() {
            self.check_deadline();
            self.check_knowledge();
        }
        if self.is_calm {
            let unrest = self.unrest();
            let Some(unrest) = unrest else { return self.rest() };
            let end = self.plan.calm_at + self.recovery_time();
            assert!(self.now < end, "all should be well by now: {unrest}");
        }
        let every = self.plan.unit;
        self.push(self.now + every, Event::Inspect);
        false
    }

    /// An open side has heard something within the worst case of its rhythm.
    fn check_silence(&mut self) {
        let dead_clients = worst_case(&self.plan.rules) + SLACK;
        let dead_servers = nanoseconds(self.plan.client_rhythm.worst_case()) + SLACK;
        let server_is_up = self.server.hub.is_some() && !self.server.is_leaving;
        for (index, wire) in self.wires.iter().enumerate() {
            let session = wire.session.map(|session| &self.oracle.sessions[session]);
            let is_taken = wire.server.taken == Taken::All && !wire.server.is_closed;
            let is_current = session.is_some_and(|it| it.wire == Some(index) && !it.has_ended);
            if server_is_up && is_taken && is_current {
                let until = wire.server_heard.max(self.server.frozen_until) + dead_clients;
                assert!(self.now <= until, "wire {index}: a dead client was not noticed");
                wire.server_heart.check_overdue(self.now);
            }
            let client = &self.clients[wire.client];
            let is_open = client.session.as_deref().is_some_and(ClientSession::is_open);
            if client.wire == Some(index) && is_open {
                let until = wire.client_heard.max(client.frozen_until) + dead_servers;
                assert!(self.now <= until, "wire {index}: a dead server was not noticed");
                wire.client_heart.check_overdue(self.now);
            }
        }
    }

    fn check_debts(&self) {
        let Some(hub) = &self.server.hub else { return };
        for wire in &self.wires {
            let debt = wire.server.link.map_or(0, |id| hub.debt(id));
            assert!(wire.server.is_closed || debt <= DEBT_MAX, "{debt} bytes are owed to a client");
        }
    }

    /// Nobody is away for longer than the grace.
    fn check_graces(&self) {
        let grace = nanoseconds(self.plan.rules.grace);
        let late = self.server_late();
        for session in &self.oracle.sessions {
            if let (Some(since), false) = (session.away_since, session.has_ended) {
                assert!(self.now <= since + grace + late, "{} is still away", session.name);
            }
        }
    }

    /// What is not yet as it must be at the end.
    fn unrest(&mut self) -> Option<String> {
        let Some(hub) = &self.server.hub else { return Some("no server".to_owned()) };
        let living: Vec<_> =
            (0..self.clients.len()).filter(|client| self.clients[*client].is_living()).collect();
        if hub.connected() != living.len() || hub.links() != living.len() {
            let (connected, links) = (hub.connected(), hub.links());
            return Some(format!("{} live, {connected} of {links} connected", living.len()));
        }
        let is_long = nanoseconds(self.plan.rules.grace) > LONG_GRACE * self.plan.unit;
        if !is_long && hub.sessions() != living.len() {
            return Some(format!("{} sessions of {}", hub.sessions(), living.len()));
        }
        let head = hub.log().last_seq();
        if let Some(client) = self.without_turn().filter(|_| self.plan.has_turns) {
            self.urge_players();
            return Some(format!("client {client} gets no turn"));
        }
        for client in living {
            let it = &self.clients[client];
            let Some(session) = &it.session else { continue };
            let fates = &it.fates;
            let is_open = session.is_open() && session.outgoing.is_empty();
            let owned = fates
                .session
                .map_or(u64::MAX, |session| self.count_for(session, fates.cursor, head + 1));
            if !is_open || owned > 0 || !fates.unsettled.is_empty() || session.kept_bytes() > 0 {
                let unsettled = &fates.unsettled;
                return Some(format!(
                    "client {client}: {session:?}, {owned} records, {unsettled:?} unsettled"
                ));
            }
            if self.plan.has_turns && !self.is_quiet(client) {
                return Some(format!("client {client} has not got everything"));
            }
        }
        None
    }

    /// All is well: a last look.
    fn rest(&mut self) -> bool {
        trace!(self, ("world"), "all is well");
        for client in 0..self.clients.len() {
            if let Some(session) = self.clients[client].session.take() {
                self.check_all_fates(client, &session);
            }
        }
        true
    }
}
