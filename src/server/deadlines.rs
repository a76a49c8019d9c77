//! All that happens by the clock: handshakes that take too long, pings, silent and stalled clients,
//! and the server's departure. A coarse sweep over all clients does what is due and finds the time
//! of the next; there is no timer per client.

use super::Server;
use crate::connection::{CloseReason, Connection, Phase, Stream};
use crate::frame;
use crate::http::Refusal;
use crate::hub::Hub;
use crate::moment::Moment;
use crate::subscriptions::ClientId;

/// How long a connection may take to end, in milliseconds, after it was told to.
pub const LINGER: u32 = 2_000;

/// How long a source may take to see to a post, in milliseconds.
const POST: u32 = 10_000;

/// How often the kernel is asked again, in milliseconds, whether it takes bytes that it has
/// refused. It tells when the client makes room, but not when it refused since the buffers of all
/// sockets together were too large (net.ipv4.tcp_mem; see tcp(7)).
pub(super) const RETRY: u32 = 2_000;

/// The least time between two sweeps, in milliseconds: deadlines are met that much late.
pub const SWEEP_INTERVAL: u32 = 500;

/// The server's departure: it closes its clients in random order, spread over some time, so that
/// they do not all come back at once.
#[derive(Debug)]
pub(super) struct Departure {
    began: Moment,
    /// Milliseconds.
    duration: u32,
    /// Those that are still to be closed.
    clients: Vec<ClientId>,
    clients_at_begin: usize,
}

/// What a client's deadlines say.
enum Due {
    In(u32),
    Retry { left: u32 },
    Ping,
    Timeout,
    NotKept,
    End(CloseReason),
    BreakOff(CloseReason),
}

impl<S: Stream> Server<S> {
    /// Does all that is due.
    pub fn tick(&mut self, now: Moment) {
        self.go_on_departing(now);
        if let Some(at) = self.sweep_at
            && at.since(now) == 0
        {
            self.sweep(now);
        }
    }

    /// The milliseconds until [`Server::tick`] has something to do; `None` while only an event can
    /// change that.
    pub fn until_tick(&self, now: Moment) -> Option<u32> {
        let until_sweep = self.sweep_at.map(|at| at.since(now));
        let until_close = self
            .departure
            .as_ref()
            .and_then(|departure| departure.until_next(now));
        until_sweep.into_iter().chain(until_close).min()
    }

    /// Makes sure that a sweep comes soon after `deadline`.
    pub(super) fn sweep_by(&mut self, deadline: Moment) {
        self.sweep_at = Some(self.sweep_at.map_or(deadline, |at| at.min(deadline)));
    }

    fn sweep(&mut self, now: Moment) {
        let mut next = None;
        let mut due = Vec::new();
        for (key, connection) in &self.connections {
            match self.due(connection, now) {
                Due::In(wait) => next = Some(next.unwrap_or(wait).min(wait)),
                action => due.push((ClientId(key as u32), action)),
            }
        }
        // Whoever is heard of in the meantime is due after `ping`, which may be sooner than what
        // was due before.
        self.sweep_at = next.map(|wait| now.plus(wait.min(self.limits.ping).max(SWEEP_INTERVAL)));
        for (client, action) in due {
            self.act_on(client, action, now);
        }
        if self.has_too_much_memory() {
            self.connections.shrink_to_fit();
            self.hubs.iter_mut().for_each(Hub::shrink);
        }
    }

    fn due(&self, connection: &Connection<S>, now: Moment) -> Due {
        if self.is_held_up() && connection.place > 0 {
            // It has not got yet what it is to answer, or what it waits for before it leaves.
            return Due::In(LINGER);
        }
        let limits = &self.limits;
        let silent = now.since(connection.heard);
        let left = |allowed: u32| allowed.checked_sub(silent).filter(|&left| left > 0);
        if let Some(stalled) = connection.stalled(now)
            && connection.phase == Phase::Open
        {
            return match limits.stall.checked_sub(stalled).filter(|&left| left > 0) {
                Some(left) => Due::Retry { left },
                // The close frame waits behind the rest; a client that wakes up in time gets it.
                None => Due::End(CloseReason::Stalled),
            };
        }
        match connection.phase {
            Phase::Handshaking => left(limits.handshake).map_or(Due::Timeout, Due::In),
            Phase::Posting => left(POST).map_or(Due::NotKept, Due::In),
            Phase::Open if connection.is_pinged => left(limits.ping.saturating_add(limits.pong))
                .map_or(Due::End(CloseReason::Silent), Due::In),
            Phase::Open => left(limits.ping).map_or(Due::Ping, Due::In),
            Phase::Lingering(reason) | Phase::Leaving(reason) => {
                left(LINGER).map_or(Due::BreakOff(reason), Due::In)
            }
            Phase::Ended(_) => Due::In(LINGER),
        }
    }

    fn act_on(&mut self, client: ClientId, action: Due, now: Moment) {
        let connection = &mut self.connections[client.index()];
        match action {
            Due::In(_) => {}
            Due::Retry { left } => {
                self.writable(client, now);
                self.sweep_by(now.plus(RETRY.min(left)));
            }
            Due::Ping => {
                connection.is_pinged = true;
                self.turn.begin_reply(client, &mut connection.place);
                frame::write_ping(self.turn.replies());
                self.turn.end_reply(connection.place);
                self.sweep_by(now.plus(self.limits.pong.min(self.limits.ping)));
            }
            Due::Timeout => self.refuse(client, Refusal::Timeout, now),
            Due::NotKept => self.refuse(client, Refusal::NotKept, now),
            Due::End(reason) => self.end(client, reason, now),
            Due::BreakOff(reason) => self.break_off(client, reason),
        }
    }

    fn refuse(&mut self, client: ClientId, refusal: Refusal, now: Moment) {
        let connection = &mut self.connections[client.index()];
        self.turn.begin_reply(client, &mut connection.place);
        refusal.write(self.turn.replies(), false);
        self.turn.end_reply(connection.place);
        self.end(client, CloseReason::Answered, now);
    }

    /// Begins to close all clients, spread over at most `duration` milliseconds and at a thousand
    /// per second at least; newcomers are refused from now on.
    pub fn depart(&mut self, duration: u32, now: Moment) {
        let mut clients: Vec<ClientId> = self
            .connections
            .iter()
            .map(|(key, _)| ClientId(key as u32))
            .collect();
        fastrand::shuffle(&mut clients);
        let duration = duration.min(clients.len() as u32);
        self.departure = Some(Departure {
            began: now,
            duration,
            clients_at_begin: clients.len(),
            clients,
        });
        self.go_on_departing(now);
    }

    fn go_on_departing(&mut self, now: Moment) {
        let Some(mut departure) = self.departure.take() else {
            return;
        };
        for client in departure.take_due(now) {
            if self.connections.contains(client.index()) {
                self.end(client, CloseReason::ShuttingDown, now);
            }
        }
        self.departure = Some(departure);
    }
}

impl Departure {
    fn take_due(&mut self, now: Moment) -> Vec<ClientId> {
        let passed = u64::from(now.since(self.began).min(self.duration));
        let left = match self.duration {
            0 => 0,
            duration => {
                self.clients_at_begin
                    - (self.clients_at_begin as u64 * passed / u64::from(duration)) as usize
            }
        };
        self.clients.split_off(left.min(self.clients.len()))
    }

    /// Milliseconds until the next client is to be closed.
    fn until_next(&self, now: Moment) -> Option<u32> {
        const STEP: u32 = 10;
        (!self.clients.is_empty()).then(|| self.began.plus(self.duration).since(now).min(STEP))
    }
}
