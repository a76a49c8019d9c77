//! Room for newcomers beyond the limit of connections. They are accepted to be answered: an upgrade
//! with a 503, a page or a post as ever. Owns who of them may be asked to go for the next one.

use super::Server;
use crate::connection::{CloseReason, Phase, Stream};
use crate::moment::Moment;
use crate::subscriptions::ClientId;

/// How many connections above the limit are accepted.
const BEYOND_MAX: usize = 32;

/// How many more there may be of those who post to a webhook and know its key.
const POSTING_MAX: usize = 32;

/// How long one of the others has its place for itself, in milliseconds: time for a request that is
/// sent at once, and for reading the answer. A silent one has it only until somebody else wants it.
const TURN: u32 = 250;

/// Those who were accepted beyond the limit.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    /// Those whose places are wanted by others.
    passing: Vec<ClientId>,
    /// Those who have a webhook's place, until they are gone or their connection is kept.
    posting: Vec<ClientId>,
}

impl<S: Stream> Server<S> {
    /// Whether another connection may be accepted, even if only to be refused with a 503.
    pub fn has_room(&self) -> bool {
        let most = self.connections_max().saturating_add(BEYOND_MAX);
        self.connections.len() - self.beyond.posting.len() < most
    }

    /// Notes a newcomer that has just been accepted, if it is beyond the limit.
    pub(super) fn note_beyond(&mut self, client: ClientId) {
        if self.connections.len() > self.connections_max() {
            self.beyond.passing.push(client);
        }
    }

    /// Gives a client that is beyond the limit, posts to a webhook and knows the key a place that
    /// nobody else can want, if one is left. Those who hold all of them leave the rest as it is: a
    /// post that comes at once has the time of its turn.
    pub(super) fn give_posting_place(&mut self, client: ClientId) {
        let Beyond { passing, posting } = &mut self.beyond;
        if posting.len() < POSTING_MAX
            && let Some(at) = passing.iter().position(|&other| other == client)
        {
            posting.push(passing.swap_remove(at));
        }
    }

    /// Takes a client from the lists: it has gone, or has an ordinary place.
    pub(super) fn except_beyond(&mut self, client: ClientId) {
        self.beyond.passing.retain(|&other| other != client);
        self.beyond.posting.retain(|&other| other != client);
    }

    /// Makes room for a newcomer where there is none: ends the connection beyond the limit that has
    /// had its turn for longest, if one has. Returns whether there is room. To be called when no
    /// event of the turn is left.
    pub fn make_room(&mut self, now: Moment) -> bool {
        let silent = |client: &ClientId| now.since(self.connections[client.index()].heard);
        let longest = self.passing().max_by_key(silent);
        if let Some(client) = longest.filter(|client| silent(client) >= TURN) {
            self.break_off(client, CloseReason::Gone);
            self.reap(now);
        }
        self.has_room()
    }

    /// The milliseconds until [`Server::make_room`] can make some, if only time can tell.
    pub fn until_room(&self, now: Moment) -> Option<u32> {
        self.passing()
            .map(|client| self.connections[client.index()].heard)
            .map(|heard| heard.plus(TURN).since(now))
            .min()
    }

    /// Those whose places others may have. Who speaks WebSocket, or waits for the answer to a post,
    /// may stay.
    fn passing(&self) -> impl Iterator<Item = ClientId> {
        let may_go = |client: &ClientId| match self.connections[client.index()].phase {
            Phase::Proxied
            | Phase::Handshaking
            | Phase::Kept
            | Phase::Lingering(_)
            | Phase::Leaving(_) => true,
            Phase::Presenting | Phase::Posting | Phase::Open | Phase::Ended(_) => false,
        };
        self.beyond.passing.iter().copied().filter(may_go)
    }
}
