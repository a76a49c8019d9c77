//! The connections that ended last, for whoever wants to know what became of one. Kept only where
//! somebody can ask; a client that is connected costs nothing for it.

use std::collections::{HashMap, VecDeque};

use core::net::IpAddr;

use super::Server;
use crate::connection::{CloseReason, Connection, Phase, Stream};
use crate::metrics::{Counts, Ended, FeedCounts};
use crate::subscriptions::ClientId;

/// How many of them are known.
const ENDED_MAX: usize = 1_000;

/// The connections that ended last.
#[derive(Debug, Default)]
pub(super) struct Closed {
    ended: VecDeque<Ended>,
    /// The addresses of those that are being ended. When the end has come, the kernel often knows
    /// them no more.
    ending: HashMap<ClientId, IpAddr>,
}

impl<S: Stream> Server<S> {
    /// Has the connections known that end from now on.
    pub(crate) fn remember_closed(&mut self) {
        self.closed = Some(Box::default());
    }

    /// The connections that ended last, the latest first.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &Ended> {
        self.closed
            .iter()
            .flat_map(|closed| closed.ended.iter().rev())
    }

    /// What has happened to all clients.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What has happened to each feed.
    pub(crate) fn feed_counts(&self) -> &[FeedCounts] {
        &self.feed_counts
    }

    /// To be called before a connection gets the first phase of its end.
    pub(super) fn begin_end(&mut self, client: ClientId) {
        let known = self.address_of(client);
        let connection = &self.connections[client.index()];
        match connection.phase {
            Phase::Lingering(_) | Phase::Leaving(_) | Phase::Ended(_) => return,
            Phase::Proxied
            | Phase::Handshaking
            | Phase::Presenting
            | Phase::Posting
            | Phase::Kept => {}
            Phase::Open => {
                self.open -= 1;
                self.listening -= usize::from(connection.listens());
                if let Some(feed) = connection.feed() {
                    self.feed_counts[usize::from(feed.0)].clients -= 1;
                }
            }
        }
        self.counts.ending += 1;
        if let Some(closed) = &mut self.closed
            && let Some(address) = known.or_else(|| connection.stream.peer())
            && !address.is_unspecified()
        {
            closed.ending.insert(client, address);
        }
    }

    /// To be called with a connection that was removed, while its subscriptions are still known.
    pub(super) fn note_closed(
        &mut self,
        client: ClientId,
        connection: &Connection<S>,
        reason: CloseReason,
    ) {
        self.counts.ending -= 1;
        self.counts.unsent_clients -= u64::from(connection.unfinished.has_unsent());
        *self.counts.closed.entry(reason.word()).or_default() += 1;
        let (traffic, now) = (self.traffic.as_mut(), self.unix_time);
        let passed = traffic.map(|it| it.end(client, now));
        let Some(closed) = &mut self.closed else {
            return;
        };
        if closed.ended.len() == ENDED_MAX {
            closed.ended.pop_front();
        }
        let feed = connection.feed();
        closed.ended.push_back(Ended {
            at: self.unix_time,
            reason: reason.word(),
            feed: feed.map(|feed| feed.0),
            address: closed.ending.remove(&client),
            subscriptions: feed.map_or(0, |feed| {
                self.hubs[usize::from(feed.0)].subscriptions_of(client)
            }),
            passed,
        });
    }
}
