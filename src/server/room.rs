//! Room for newcomers beyond the limit of connections. They are accepted to be answered: an upgrade
//! with a 503, a page or a post as ever. Owns who of them may be asked to go for the next one.

use super::Server;
use crate::connection::{CloseReason, Phase, Stream};
use crate::moment::Moment;
use crate::subscriptions::ClientId;

/// How many connections above the limit are accepted.
const BEYOND_MAX: usize = 32;

/// How long one of them has its place for itself, in milliseconds: time for a request that is sent
/// at once, and for reading the answer. A silent one has it only until somebody else wants it.
const TURN: u32 = 250;

/// Those who were accepted beyond the limit.
#[derive(Debug, Default)]
pub(super) struct Beyond(Vec<ClientId>);

impl<S: Stream> Server<S> {
    /// Whether another connection may be accepted, even if only to be refused with a 503.
    pub fn has_room(&self) -> bool {
        self.connections.len() < self.connections_max().saturating_add(BEYOND_MAX)
    }

    /// Notes a newcomer that has just been accepted, if it is beyond the limit.
    pub(super) fn note_beyond(&mut self, client: ClientId) {
        if self.connections.len() > self.connections_max() {
            self.beyond.0.push(client);
        }
    }

    /// Takes a client from the list: it has gone, or it sends a post and knows the key, and may stay
    /// until the body is there.
    pub(super) fn except_beyond(&mut self, client: ClientId) {
        self.beyond.0.retain(|&other| other != client);
    }

    /// Makes room for a newcomer where there is none: ends the connection beyond the limit that has
    /// had its turn for longest, if one has. Returns whether there is room. To be called when no
    /// event of the turn is left.
    pub fn make_room(&mut self, now: Moment) -> bool {
        self.forget_beyond();
        let silent = |client: &ClientId| now.since(self.connections[client.index()].heard);
        let longest = self.beyond.0.iter().copied().max_by_key(silent);
        if let Some(client) = longest.filter(|client| silent(client) >= TURN) {
            self.break_off(client, CloseReason::Gone);
            self.reap(now);
        }
        self.has_room()
    }

    /// The milliseconds until [`Server::make_room`] can make some, if only time can tell.
    pub(crate) fn until_room(&self, now: Moment) -> Option<u32> {
        let connections = self.beyond.0.iter();
        connections
            .map(|client| self.connections[client.index()].heard)
            .map(|heard| heard.plus(TURN).since(now))
            .min()
    }

    /// Forgets those who may stay: they speak WebSocket, or wait for the answer to a post.
    fn forget_beyond(&mut self) {
        let connections = &self.connections;
        self.beyond
            .0
            .retain(|client| match connections[client.index()].phase {
                Phase::Handshaking | Phase::Lingering(_) | Phase::Leaving(_) => true,
                Phase::Posting | Phase::Kept | Phase::Open | Phase::Ended(_) => false,
            });
    }
}
