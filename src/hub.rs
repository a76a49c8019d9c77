//! One feed: carries out its clients' commands and finds who gets an update. Owns the feed's
//! subscriptions and history. Knows no socket, no frame, no clock.

use crate::history::History;
use crate::protocol::{self, Command, ErrorReply};
use crate::subscriptions::{ClientId, Subscriptions};
use crate::update::{BugId, Update};

/// A feed's subscriptions and history.
#[derive(Debug)]
pub struct Hub {
    subscriptions: Subscriptions,
    history: History,
    /// How many a client may have.
    subscriptions_max: usize,
    /// Whether the source may still find a gap that the history does not know of.
    is_in_doubt: bool,
}

impl Hub {
    /// A feed without subscriptions, in which a client may have `subscriptions_max` of them.
    pub fn new(history: History, subscriptions_max: usize) -> Self {
        Self {
            subscriptions: Subscriptions::default(),
            history,
            subscriptions_max,
            is_in_doubt: false,
        }
    }

    /// Carries out the command in a message. Each text goes to `send`, in order: the reply, then
    /// the updates that the command asks for.
    pub fn handle(&mut self, client: ClientId, message: &[u8], mut send: impl FnMut(&[u8])) {
        let mut reply = Vec::with_capacity(128);
        match protocol::parse(message) {
            Ok(Command::Subscribe { bugs, since }) => {
                return self.subscribe(client, &bugs, since, send);
            }
            Ok(Command::Unsubscribe { bugs }) => {
                self.subscriptions.unsubscribe(client, &bugs);
                self.list(&mut reply, "unsubscribe", client, None);
            }
            Ok(Command::Subscriptions) => self.list(&mut reply, "subscriptions", client, None),
            Ok(Command::Version) => protocol::write_version(&mut reply),
            Err(error) => protocol::write_error(&mut reply, &error),
        }
        send(&reply);
    }

    fn subscribe(
        &mut self,
        client: ClientId,
        bugs: &[BugId],
        since: Option<i64>,
        mut send: impl FnMut(&[u8]),
    ) {
        let mut text = Vec::with_capacity(128);
        if self.subscriptions.count_with(client, bugs) > self.subscriptions_max {
            let error = ErrorReply::too_many_subscriptions(self.subscriptions_max);
            protocol::write_error(&mut text, &error);
            return send(&text);
        }
        self.subscriptions.subscribe(client, bugs);
        let complete = since.map(|since| !self.is_in_doubt && self.history.is_complete(since));
        self.list(&mut text, "subscribe", client, complete);
        send(&text);
        for missed in since
            .into_iter()
            .flat_map(|since| self.history.since(since))
        {
            if bugs.binary_search(&missed.bug).is_ok() {
                text.clear();
                protocol::write_update(&mut text, missed);
                send(&text);
            }
        }
    }

    /// Writes the reply that lists a client's subscriptions.
    fn list(&self, reply: &mut Vec<u8>, command: &str, client: ClientId, complete: Option<bool>) {
        protocol::write_bugs(reply, command, self.subscriptions.of(client), complete);
    }

    /// Remembers an update, and returns the clients that it must reach, in ascending order.
    pub fn publish(&mut self, update: Update) -> impl Iterator<Item = ClientId> {
        let bug = update.bug;
        self.history.push(update);
        self.subscriptions.sort(bug);
        self.subscriptions.subscribers(bug)
    }

    /// Records that updates up to `until` (Unix seconds) may have been missed.
    pub(crate) fn gap(&mut self, until: i64) {
        self.history.raise_floor(until);
    }

    /// Records whether it is unknown if updates are being missed. Meanwhile no reply says that
    /// nothing is missing.
    pub(crate) fn doubt(&mut self, is_in_doubt: bool) {
        self.is_in_doubt = is_in_doubt;
    }

    /// Whether a client wants a bug's updates.
    pub(crate) fn is_subscribed(&self, client: ClientId, bug: BugId) -> bool {
        self.subscriptions.contains(client, bug)
    }

    /// Ends all subscriptions of a client.
    pub(crate) fn leave(&mut self, client: ClientId) {
        self.subscriptions.leave(client);
    }

    /// Gives back memory that was needed for more clients than there are now.
    pub(crate) fn shrink(&mut self) {
        self.subscriptions.shrink();
    }

    /// Panics where the feed's state contradicts itself; for tests.
    pub fn check_invariants(&self) {
        self.subscriptions.check_invariants();
    }
}
