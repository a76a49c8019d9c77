//! What happens to a feed itself, and is told to those clients that have asked for it: whether its
//! source is read, and that updates may have been missed.

use super::Server;
use crate::connection::{Phase, Stream};
use crate::promise::Promise;
use crate::protocol::{self, FeedState};
use crate::subscriptions::ClientId;
use crate::update::FeedId;

impl<S: Stream> Server<S> {
    /// Sets what a feed can promise from now on.
    pub fn promise(&mut self, feed: FeedId, promise: Promise) {
        let Some(hub) = self.hubs.get_mut(usize::from(feed.0)) else {
            return;
        };
        let was_up = !hub.is_in_doubt();
        hub.promise(promise);
        let is_up = !hub.is_in_doubt();
        if was_up && !is_up {
            self.holds[usize::from(feed.0)].begin_doubt();
        }
        if was_up != is_up {
            self.tell_followers(feed, FeedState::of_source(is_up));
        }
    }

    /// Tells those who have asked for it what has happened to a feed.
    pub(super) fn tell_followers(&mut self, feed: FeedId, state: FeedState) {
        let mut text = Vec::new();
        protocol::write_feed(&mut text, state);
        let followers: Vec<ClientId> = self.hubs[usize::from(feed.0)].followers().collect();
        for client in followers {
            if self.connections[client.index()].phase == Phase::Open {
                let encoding = self.connections[client.index()].encoding();
                self.reply(client, |output| encoding.write(output, &text));
            }
        }
    }
}
