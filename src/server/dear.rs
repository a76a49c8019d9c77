//! What clients own beyond a slot: unfinished input, unsent output, subscriptions, handshakes of TLS. Owns who is closed
//! when the memory for all of it is short. Knows no limit of a single client.

use log::warn;

use super::Server;
use crate::connection::{CloseReason, Connection, Phase, Stream};
use crate::moment::Moment;
use crate::subscriptions::ClientId;

/// Who owns less, in bytes, is never closed for it.
const DEAR: usize = 16 * 1024;

/// The same for who has not got in yet: it misses nothing.
const DEAR_NEWCOMER: usize = 4 * 1024;

/// What a subscription costs, in bytes, when it costs much.
const SUBSCRIPTION_BYTES: usize = 24;

impl<S: Stream> Server<S> {
    /// How many bytes have come since the last call from clients that had something unfinished then.
    pub(crate) fn take_grown(&mut self) -> usize {
        std::mem::take(&mut self.grown)
    }

    /// Closes those who own most, until what they owned is `bytes` or nobody is left who owns much.
    pub fn close_dearest(&mut self, bytes: u64, now: Moment) {
        let mut dear: Vec<(usize, ClientId)> = self
            .connections
            .iter()
            .filter_map(|(key, connection)| {
                let client = ClientId(key as u32);
                let owned = self.owned(client, connection);
                (owned >= dear_in(connection.phase)).then_some((owned, client))
            })
            .collect();
        dear.sort_unstable_by_key(|(owned, _)| std::cmp::Reverse(*owned));
        let (mut freed, mut closed) = (0, 0);
        for (owned, client) in dear {
            if freed >= bytes {
                break;
            }
            freed += owned as u64;
            closed += 1;
            self.connections[client.index()].unfinished.discard_input();
            self.end(client, CloseReason::TooDear, now);
        }
        if closed > 0 {
            warn!("memory is short: closing {closed} clients that own {freed} bytes together");
        }
    }

    /// What a client owns, in bytes.
    fn owned(&self, client: ClientId, connection: &Connection<S>) -> usize {
        let subscriptions = connection.feed().map_or(0, |feed| {
            self.hubs[usize::from(feed.0)].subscriptions_of(client)
        });
        let by_tls = connection
            .stream
            .session()
            .map_or(0, |session| self.owned_by_session(session));
        connection.unfinished.bytes() + SUBSCRIPTION_BYTES * subscriptions + by_tls
    }
}

/// From how many bytes on a client in this phase may be closed for what it owns.
fn dear_in(phase: Phase) -> usize {
    match phase {
        Phase::Open => DEAR,
        Phase::Proxied | Phase::Handshaking | Phase::Kept => DEAR_NEWCOMER,
        Phase::Presenting
        | Phase::Posting
        | Phase::Lingering(_)
        | Phase::Leaving(_)
        | Phase::Ended(_) => usize::MAX,
    }
}
