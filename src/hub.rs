//! One feed: carries out its clients' commands and finds who gets an update. Owns the feed's
//! subscriptions and history. Knows no socket, no frame, no clock.

use crate::history::History;
use crate::promise::Promise;
use crate::protocol::{self, Command, ErrorReply};
use crate::subscriptions::{ClientId, Subscriptions};
use crate::update::{BugId, Update};

/// How far `since` may lie ahead of our clock and of all updates, in seconds, and be believed.
const AHEAD_SECONDS_MAX: i64 = 60;

/// The circumstances under which a message arrived.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// This machine's time, in Unix seconds.
    pub at: i64,
    /// Whether the client can still be made to wait.
    pub may_wait: bool,
}

/// A feed's subscriptions and history.
#[derive(Debug)]
pub struct Hub {
    subscriptions: Subscriptions,
    history: History,
    /// How many a client may have.
    subscriptions_max: usize,
    /// What the source has proven. A new feed is in doubt.
    promise: Promise,
}

impl Hub {
    /// A feed without subscriptions, in which a client may have `subscriptions_max` of them.
    pub fn new(history: History, subscriptions_max: usize) -> Self {
        Self {
            subscriptions: Subscriptions::default(),
            history,
            subscriptions_max,
            promise: Promise::InDoubt,
        }
    }

    /// Carries out the command in a message. Each text goes to `send`, in order: the reply, then
    /// the updates that the command asks for. `asked` says when.
    ///
    /// Returns false where the answer would be better a little later, and nothing has been done.
    #[must_use]
    pub fn handle(
        &mut self,
        client: ClientId,
        message: &[u8],
        asked: Asked,
        mut send: impl FnMut(&[u8]),
    ) -> bool {
        let mut reply = Vec::with_capacity(128);
        match protocol::parse(message) {
            Ok(Command::Subscribe { since: Some(_), .. })
                if asked.may_wait && self.promise == Promise::InDoubt =>
            {
                return false;
            }
            Ok(Command::Subscribe { bugs, since }) => {
                self.subscribe(client, &bugs, since, asked.at, send);
                return true;
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
        true
    }

    fn subscribe(
        &mut self,
        client: ClientId,
        bugs: &[BugId],
        since: Option<i64>,
        now: i64,
        mut send: impl FnMut(&[u8]),
    ) {
        let mut text = Vec::with_capacity(128);
        if self.subscriptions.count_with(client, bugs) > self.subscriptions_max {
            let error = ErrorReply::too_many_subscriptions(self.subscriptions_max);
            protocol::write_error(&mut text, &error);
            return send(&text);
        }
        self.subscriptions.subscribe(client, bugs);
        // A time that lies ahead says nothing about what its owner has seen.
        let ahead = self
            .history
            .watermark()
            .max(now)
            .saturating_add(AHEAD_SECONDS_MAX);
        let complete = since.map(|since| since <= ahead && self.is_complete(since));
        let since = since.map(|since| if since <= ahead { since } else { i64::MIN });
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

    /// Whether nothing is missing for a client whose newest update was at `since` (Unix seconds).
    fn is_complete(&self, since: i64) -> bool {
        matches!(self.promise, Promise::After(_)) && self.history.is_complete(since)
    }

    /// Remembers an update, and returns the clients that it must reach, in ascending order. Times
    /// after `credible_until` (Unix seconds) are not to be believed.
    pub fn publish(
        &mut self,
        update: Update,
        credible_until: i64,
    ) -> impl Iterator<Item = ClientId> {
        let bug = update.bug;
        self.history.push(update, credible_until);
        self.subscriptions.sort(bug);
        self.subscriptions.subscribers(bug)
    }

    /// Remembers updates from before, each with its watermark (Unix seconds), in this order.
    pub(crate) fn remember(&mut self, updates: Vec<(i64, Update)>) {
        for (watermark, update) in updates {
            self.history.restore(watermark, update);
        }
    }

    /// Sets what the feed can promise from now on.
    pub fn promise(&mut self, promise: Promise) {
        self.promise = promise;
        if let Promise::After(floor) = promise {
            self.history.raise_floor(floor);
        }
    }

    /// Whether it will be known soon if updates are missing.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.promise == Promise::InDoubt
    }

    /// Whether a client has any subscription.
    pub(crate) fn has_subscriptions(&self, client: ClientId) -> bool {
        self.subscriptions.of(client).next().is_some()
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
