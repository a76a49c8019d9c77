//! The end of the server: newcomers are refused, and the clients are closed.

use super::Server;
use crate::connection::{CloseReason, Stream};
use crate::moment::Moment;
use crate::subscriptions::ClientId;

/// Closes the clients in random order, spread over some time, so that they do not all come back at
/// once.
#[derive(Debug)]
pub(super) struct Drain {
    began: Moment,
    /// Milliseconds.
    duration: u32,
    /// Those that are still to be closed.
    clients: Vec<ClientId>,
    clients_at_begin: usize,
}

impl<S: Stream> Server<S> {
    /// Begins to close all clients, spread over at most `duration` milliseconds and at a thousand
    /// per second at least; newcomers are refused from now on.
    pub fn drain(&mut self, duration: u32, now: Moment) {
        let mut clients: Vec<ClientId> = self
            .connections
            .iter()
            .map(|(key, _)| ClientId(key as u32))
            .collect();
        fastrand::shuffle(&mut clients);
        let duration = duration.min(clients.len() as u32);
        self.drain = Some(Drain {
            began: now,
            duration,
            clients_at_begin: clients.len(),
            clients,
        });
        self.continue_drain(now);
    }

    /// Closes those clients whose time has come.
    pub(super) fn continue_drain(&mut self, now: Moment) {
        let Some(drain) = &mut self.drain else {
            return;
        };
        for client in drain.take_due(now) {
            if self.connections.contains(client.index()) {
                self.end(client, CloseReason::ShuttingDown, now);
            }
        }
    }
}

impl Drain {
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
    pub(super) fn until_next(&self, now: Moment) -> Option<u32> {
        const STEP: u32 = 10;
        (!self.clients.is_empty()).then(|| self.began.plus(self.duration).since(now).min(STEP))
    }
}
