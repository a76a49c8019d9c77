//! What clients have posted to a webhook: handed to the feed's source, and answered when the source
//! has dealt with it.

use std::collections::HashMap;

use log::warn;

use super::Server;
use super::seldom::Seldom;
use crate::connection::{CloseReason, Phase, Stream};
use crate::http::{self, Refusal};
use crate::moment::Moment;
use crate::post::{Answer, Post, PostId};
use crate::subscriptions::ClientId;
use crate::update::FeedId;

/// The posts that are not answered yet.
#[derive(Debug)]
pub(super) struct Posts {
    /// Not yet handed over.
    new: Vec<(FeedId, Post)>,
    /// Who waits for the answer to which post, and whether its connection may be kept then.
    unanswered: HashMap<PostId, (ClientId, bool)>,
    next: PostId,
    /// Posts whose key was missing or wrong.
    unauthorized: Seldom,
}

impl Posts {
    pub(super) fn new() -> Self {
        Self {
            new: Vec::new(),
            unanswered: HashMap::new(),
            next: PostId(0),
            unauthorized: Seldom::default(),
        }
    }

    pub(super) fn add(
        &mut self,
        client: ClientId,
        feed: FeedId,
        body: Vec<u8>,
        keeps_connection: bool,
    ) {
        let id = self.next;
        self.next = PostId(id.0 + 1);
        self.unanswered.insert(id, (client, keeps_connection));
        self.new.push((feed, Post { id, body }));
    }

    pub(super) fn forget(&mut self, client: ClientId) {
        // Few clients post at all, and those who do wait for a moment only.
        if !self.unanswered.is_empty() {
            self.unanswered.retain(|_, (waiting, _)| *waiting != client);
        }
    }
}

impl<S: Stream> Server<S> {
    /// What clients have posted since the last call, to be handed to the source of the feed.
    pub fn take_posts(&mut self) -> Vec<(FeedId, Post)> {
        std::mem::take(&mut self.posts.new)
    }

    /// Takes posts for a feed that carry this key, and no others.
    pub fn set_webhook_key(&mut self, feed: FeedId, key: &str) {
        let webhooks = self.site.webhooks.iter_mut();
        for webhook in webhooks.filter(|webhook| webhook.feed == feed) {
            key.clone_into(&mut webhook.key);
        }
    }

    /// A request was refused.
    pub(super) fn note_refusal(&mut self, refusal: Refusal) {
        *self.counts.refused.entry(refusal.word()).or_default() += 1;
        if let Refusal::Unauthorized(feed) = refusal {
            self.note_unauthorized(feed);
        }
    }

    /// A post was refused for its key. The first is logged, and then the tenth, the hundredth …:
    /// anybody can send them by the thousand.
    fn note_unauthorized(&mut self, feed: FeedId) {
        let Some(number) = self.posts.unauthorized.note() else {
            return;
        };
        let mut webhooks = self.site.webhooks.iter();
        if let Some(webhook) = webhooks.find(|webhook| webhook.feed == feed) {
            warn!(
                "a post to {} is refused, the number {number} of its kind: its header field {} has no key, or a wrong one",
                webhook.path, webhook.field
            );
        }
    }

    /// Answers a client that has posted something, if it is still there. Where the post was kept
    /// and places are left, the connection is kept, too.
    pub fn answer(&mut self, post: PostId, answer: Answer, now: Moment) {
        let Some((client, keeps_connection)) = self.posts.unanswered.remove(&post) else {
            return;
        };
        if self.connections[client.index()].phase != Phase::Posting {
            return;
        }
        let unix_time = self.unix_time;
        let is_beyond = self.connections.len() > self.connections_max() || self.drain.is_some();
        let keeps = keeps_connection && answer == Answer::Kept && !is_beyond;
        self.reply(client, |response| match answer {
            Answer::Kept => http::write_kept(response, keeps, unix_time),
            Answer::Unreadable => Refusal::Unreadable.write(response, false, unix_time),
            Answer::NotKept => Refusal::NotKept.write(response, false, unix_time),
        });
        if !keeps {
            return self.end(client, CloseReason::Answered, now);
        }
        let connection = &mut self.connections[client.index()];
        connection.phase = Phase::Kept;
        connection.heard = now;
        self.except_beyond(client);
        self.sweep_by(now.plus(self.limits.handshake));
        // What came meanwhile was not read, and there may be no other event for it.
        self.leave_input(client);
    }
}
