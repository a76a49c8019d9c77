//! Clients that get server-sent events. What each one wants is a `subscribe` that it cannot send by
//! itself: its request is read as one, and answered as any other. From then on it is a client like
//! all others, but that it says nothing.

use tungstenite::Bytes;

use super::Server;
use crate::connection::Stream;
use crate::http::{Entrance, Events, Newcomer, Refusal};
use crate::moment::Moment;
use crate::subscriptions::ClientId;
use crate::update::FeedId;

/// After how many milliseconds a browser comes back when the connection has ended, at least and at
/// most: random, so that not all come at once.
const RETRY_MIN: u32 = 1_000;
const RETRY_MAX: u32 = 6_000;

impl<S: Stream> Server<S> {
    /// Answers a request for the events of a feed that everybody may have.
    pub(super) fn answer_listener(
        &mut self,
        client: ClientId,
        feed: FeedId,
        events: &Events,
        now: Moment,
    ) {
        match self.refuses_events(feed, events) {
            Some(refusal) => self.refuse(client, refusal, now),
            None => {
                let unix_time = self.unix_time;
                self.reply(client, |response| events.write_head(response, unix_time));
                self.listen(client, feed, events, now);
            }
        }
    }

    /// Why a newcomer is refused, whoever that is.
    pub(super) fn refuses_entrance(&self, newcomer: &Newcomer) -> Option<Refusal> {
        match &newcomer.entrance {
            Entrance::WebSocket(_) | Entrance::Question => None,
            Entrance::Events(events) => self.refuses_events(newcomer.feed, events),
        }
    }

    /// A browser comes back after the end of a stream, but not after a refusal.
    fn refuses_events(&self, feed: FeedId, events: &Events) -> Option<Refusal> {
        let sees_all = !matches!(self.access, super::Access::Readers(_));
        let hub = &self.hubs[usize::from(feed.0)];
        let refused = hub.check_subscribe(&events.subscribe, sees_all).err();
        refused.map(Refusal::NotSubscribed)
    }

    /// Has a client get events from now on, after the head of the response.
    pub(super) fn listen(&mut self, client: ClientId, feed: FeedId, events: &Events, now: Moment) {
        let connection = &mut self.connections[client.index()];
        connection.listen(feed, now);
        // It answers no ping; the kernel at the other end answers for it.
        let patience = self.limits.ping.saturating_add(self.limits.pong);
        connection.stream.give_up_after(patience);
        self.listening += 1;
        self.note_open(client, feed, now);
        let retry = fastrand::u32(RETRY_MIN..RETRY_MAX);
        self.reply(client, |output| {
            output.extend_from_slice(format!("retry: {retry}\n\n").as_bytes());
        });
        let subscribe = Bytes::copy_from_slice(&events.subscribe);
        self.answer_message(client, subscribe, true, now);
    }
}
