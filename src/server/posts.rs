//! What clients have posted to a hook: handed to the feed's source, and answered when that has seen
//! to it.

use std::collections::HashMap;

use super::Server;
use crate::connection::{CloseReason, Phase, Stream};
use crate::http::{self, Refusal};
use crate::moment::Moment;
use crate::post::{Answer, Post};
use crate::subscriptions::ClientId;
use crate::update::FeedId;

/// Posts on their way.
#[derive(Debug, Default)]
pub(super) struct Posts {
    /// Not yet handed over.
    new: Vec<(FeedId, Post)>,
    /// Who waits for the answer to which post. Numbers are never used again, so an answer that
    /// comes late reaches nobody else.
    waiting: HashMap<u64, ClientId>,
    last_number: u64,
}

impl Posts {
    pub(super) fn ask(&mut self, client: ClientId, feed: FeedId, body: Vec<u8>) {
        self.last_number += 1;
        self.waiting.insert(self.last_number, client);
        self.new.push((
            feed,
            Post {
                number: self.last_number,
                body,
            },
        ));
    }

    pub(super) fn forget(&mut self, client: ClientId) {
        // Few clients post at all, and those who do wait for a moment only.
        if !self.waiting.is_empty() {
            self.waiting.retain(|_, waiting| *waiting != client);
        }
    }
}

impl<S: Stream> Server<S> {
    /// What clients have posted since the last call, to be handed to the source of the feed.
    pub fn take_posts(&mut self) -> Vec<(FeedId, Post)> {
        std::mem::take(&mut self.posts.new)
    }

    /// Answers a client that has posted something, if it is still there.
    pub fn answer(&mut self, post: u64, answer: Answer, now: Moment) {
        let Some(client) = self.posts.waiting.remove(&post) else {
            return;
        };
        let connection = &mut self.connections[client.index()];
        if connection.phase != Phase::Posting {
            return;
        }
        self.turn.begin_reply(client, &mut connection.place);
        let response = self.turn.replies();
        match answer {
            Answer::Kept => http::write_kept(response),
            Answer::Unreadable => {
                Refusal::BadRequest("The body is no message of Bugzilla about a bug.")
                    .write(response, false)
            }
            Answer::NotKept => Refusal::NotKept.write(response, false),
        }
        self.turn.end_reply(connection.place);
        self.end(client, CloseReason::Answered, now);
    }
}
