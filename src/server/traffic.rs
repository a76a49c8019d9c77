//! Since when each client is connected, and how many bytes it has sent and got, where somebody wants to
//! know what became of those who have gone. Where nobody does, there is none of this, and a client
//! costs nothing for it.

use super::Server;
use crate::connection::Stream;
use crate::metrics::Passed;
use crate::subscriptions::ClientId;

/// What has gone by at one client: 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    /// Unix seconds.
    since: i64,
    received: u64,
    sent: u64,
}

/// That of all clients.
#[derive(Debug, Default)]
pub(super) struct AllTraffic {
    /// By client.
    clients: Vec<Traffic>,
}

impl AllTraffic {
    fn of(&mut self, client: ClientId) -> &mut Traffic {
        if self.clients.len() <= client.index() {
            self.clients.resize(client.index() + 1, Traffic::default());
        }
        &mut self.clients[client.index()]
    }

    /// A client is connected since `now`, in Unix seconds.
    pub(super) fn begin(&mut self, client: ClientId, now: i64) {
        *self.of(client) = Traffic {
            since: now,
            ..Traffic::default()
        };
    }

    /// A client has sent bytes.
    pub(super) fn received(&mut self, client: ClientId, bytes: usize) {
        self.of(client).received += bytes as u64;
    }

    /// The kernel has taken bytes for a client.
    pub(super) fn sent(&mut self, client: ClientId, bytes: usize) {
        self.of(client).sent += bytes as u64;
    }

    /// What has gone by until `now`, in Unix seconds.
    pub(super) fn end(&mut self, client: ClientId, now: i64) -> Passed {
        let Traffic {
            since,
            received,
            sent,
        } = std::mem::take(self.of(client));
        Passed {
            seconds: (now - since).max(0).cast_unsigned(),
            received,
            sent,
        }
    }

    /// Gives back memory that was needed for more clients than there may be in so many slots.
    pub(super) fn shrink(&mut self, slots: usize) {
        self.clients.truncate(slots);
        self.clients.shrink_to_fit();
    }
}

impl<S: Stream> Server<S> {
    /// Notes from now on what goes by at each client. To be called before the first is accepted.
    pub(crate) fn measure_traffic(&mut self) {
        self.traffic = Some(Box::default());
    }
}

#[cfg(test)]
mod tests {
    use super::super::deadlines;
    use super::super::tests::{Actor, Stage};
    use super::*;

    #[test]
    fn a_client_takes_for_it_what_the_setting_says() {
        assert_eq!(size_of::<Traffic>(), 24);
    }

    #[test]
    fn a_place_that_is_used_again_begins_anew() {
        let (mut all, client) = (AllTraffic::default(), ClientId(2));
        all.begin(client, 1_000);
        all.received(client, usize::MAX >> 1);
        all.sent(client, 9);
        let passed = all.end(client, 1_060);
        assert_eq!(
            (passed.seconds, passed.received, passed.sent),
            (60, u64::MAX >> 1, 9)
        );
        all.begin(client, 2_000);
        // A clock that is put back makes nobody younger than new.
        let passed = all.end(client, 1_999);
        assert_eq!((passed.seconds, passed.received, passed.sent), (0, 0, 0));
    }

    #[test]
    fn there_is_no_more_of_it_than_there_are_slots_once_clients_have_left() {
        let mut all = AllTraffic::default();
        all.begin(ClientId(5_000), 1_000);
        all.shrink(10);
        assert_eq!((all.clients.len(), all.clients.capacity()), (10, 10));
    }

    #[test]
    fn a_crowd_that_has_left_takes_none_of_it() {
        let mut stage = Stage::new();
        stage.server.measure_traffic();
        let crowd: Vec<Actor> = (0..1_100).map(|_| stage.connect("192.0.2.7")).collect();
        crowd.iter().for_each(|actor| stage.reset(actor));
        stage.pass(deadlines::SWEEP_INTERVAL);
        assert_eq!(stage.server.traffic.unwrap().clients.capacity(), 0);
    }
}
