//! One feed: carries out its clients' commands and finds who gets an update. Owns the feed's
//! subscriptions and history. Knows no socket, no frame, no clock.

mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};

use crate::history::History;
use crate::metrics::{CommandCounts, CommandName};
use crate::promise::Promise;
use crate::protocol::{self, Bugs, Command, Error, ErrorReply};
use crate::subscriptions::{ClientId, Subscriptions};
use crate::update::{BugId, Update, When};

/// How far `since` may lie ahead of what is known of the database's clock, in seconds, and be
/// believed.
const AHEAD_SECONDS_MAX: i64 = 60;

/// How much older than `since` an update may be that a client has not got on another server, in
/// seconds: one that was committed late (600), and lost there less than ten minutes after the gap
/// before, so that the server could not tell its clients at once (600 and 60), or in the minute
/// before the next catch-up.
const MARGIN_SECONDS: i64 = 1_320;

/// The circumstances under which a message arrived.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// This machine's time, in Unix seconds.
    pub at: i64,
    /// Whether the client can still be made to wait.
    pub may_wait: bool,
    /// How many clients the server has.
    pub clients: usize,
    /// How long after its change the feed's latest update came, in seconds by the database's clock.
    pub delay: Option<i64>,
}

/// What one client may see, where not everybody may see all.
pub trait Sight {
    /// Whether the client sees a bug; with `is_due`, an update of it is to be shown. `None` where that
    /// is not known yet.
    fn sees(&self, bug: BugId, is_due: bool) -> Option<bool>;

    /// Whether it was known last that the client sees a bug.
    fn saw(&self, bug: BugId) -> bool;
}

/// What a client asks for by `subscribe`.
struct Subscribe {
    bugs: Bugs,
    /// In Unix seconds.
    since: Option<i64>,
    wants_watermark: bool,
}

/// A feed's subscriptions and history.
#[derive(Debug)]
pub struct Hub {
    subscriptions: Subscriptions,
    history: History,
    /// How many a client may have.
    subscriptions_max: usize,
    /// Whether a client may subscribe to all bugs.
    offers_all: bool,
    /// What the source has proven. A new feed is in doubt.
    promise: Promise,
    /// How far the database's clock is ahead of this machine's, in seconds, if that is known.
    database_ahead: Option<i64>,
    /// Those who are told of the feed's own state.
    followers: BTreeSet<ClientId>,
    commands: CommandCounts,
}

impl Hub {
    /// A feed without subscriptions, in which a client may have `subscriptions_max` of them.
    pub fn new(history: History, subscriptions_max: usize) -> Self {
        Self {
            subscriptions: Subscriptions::default(),
            history,
            subscriptions_max,
            offers_all: false,
            promise: Promise::InDoubt,
            database_ahead: None,
            followers: BTreeSet::new(),
            commands: CommandCounts::default(),
        }
    }

    /// Lets clients subscribe to `"*"`, all bugs, if `offers_all`.
    #[must_use]
    pub fn with_firehose(self, offers_all: bool) -> Self {
        Self { offers_all, ..self }
    }

    /// Sets how many subscriptions a client may have, and whether all bugs may be one; those that
    /// it has stay.
    pub(crate) fn set_terms(&mut self, subscriptions_max: usize, offers_all: bool) {
        self.subscriptions_max = subscriptions_max;
        self.offers_all = offers_all;
    }

    /// Whether a `subscribe` of somebody who has no subscription would be carried out; one who does not
    /// see all bugs cannot subscribe to all.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_subscribe(&self, message: &[u8], sees_all: bool) -> Result<(), Error> {
        let command = protocol::parse(message, self.offers_all && sees_all);
        let count = match command.map_err(|error| error.error())? {
            Command::Subscribe {
                bugs: Bugs::These(bugs),
                ..
            } => bugs.len(),
            _ => 1,
        };
        let limit = self.subscriptions_max;
        match count > limit {
            true => Err(Error::TooManySubscriptions { limit }),
            false => Ok(()),
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
        send: impl FnMut(&[u8]),
    ) -> bool {
        self.handle_seeing(client, message, asked, None, send)
    }

    /// The same, for a client that sees what `sight` says, or all.
    #[must_use]
    pub fn handle_seeing(
        &mut self,
        client: ClientId,
        message: &[u8],
        asked: Asked,
        sight: Option<&dyn Sight>,
        mut send: impl FnMut(&[u8]),
    ) -> bool {
        let mut reply = Vec::with_capacity(128);
        let offers_all = self.offers_all && sight.is_none();
        match protocol::parse(message, offers_all) {
            Ok(Command::Subscribe { since: Some(_), .. })
                if asked.may_wait && self.promise == Promise::InDoubt =>
            {
                return false;
            }
            Ok(Command::Subscribe {
                bugs,
                since,
                watermark,
            }) => {
                let wish = Subscribe {
                    bugs,
                    since,
                    wants_watermark: watermark,
                };
                return self.subscribe(client, wish, asked.at, sight, send);
            }
            Ok(Command::Unsubscribe { bugs }) => {
                match bugs {
                    Bugs::These(bugs) => self.subscriptions.unsubscribe(client, &bugs),
                    Bugs::All => self.subscriptions.unsubscribe_from_all(client),
                }
                self.commands.count(CommandName::Unsubscribe, true);
                self.list(&mut reply, "unsubscribe", client, sight, &[], None);
            }
            Ok(Command::Subscriptions) => {
                self.commands.count(CommandName::Subscriptions, true);
                self.list(&mut reply, "subscriptions", client, sight, &[], None);
            }
            Ok(Command::Version) => {
                self.commands.count(CommandName::Version, true);
                protocol::write_version(&mut reply);
            }
            Ok(Command::Status { feed }) => {
                self.commands.count(CommandName::Status, true);
                self.follow(client, feed);
                protocol::write_status(&mut reply, &self.status(client, asked, sight));
            }
            Err(error) => {
                self.commands.count(CommandName::Unknown, false);
                protocol::write_error(&mut reply, &error);
            }
        }
        send(&reply);
        true
    }

    /// Subscribes a client; returns false where it is not known yet what the client sees, and nothing
    /// has been done.
    fn subscribe(
        &mut self,
        client: ClientId,
        wish: Subscribe,
        now: i64,
        sight: Option<&dyn Sight>,
        mut send: impl FnMut(&[u8]),
    ) -> bool {
        let Subscribe {
            bugs,
            since,
            wants_watermark,
        } = wish;
        let mut text = Vec::with_capacity(128);
        let count = match &bugs {
            Bugs::These(bugs) => self.subscriptions.count_with(client, bugs),
            Bugs::All => self.subscriptions.count_with_all(client),
        };
        if count > self.subscriptions_max {
            let error = ErrorReply::too_many_subscriptions(self.subscriptions_max);
            protocol::write_error(&mut text, &error);
            send(&text);
            self.commands.count(CommandName::Subscribe, false);
            return true;
        }
        let ahead = self.credible_until(now, sight.is_some());
        let complete = since.map(|since| since <= ahead && self.is_complete(since));
        let since = since.map(|since| if since <= ahead { since } else { i64::MIN });
        let Some((bugs, denied)) = self.sort_out(bugs, since, sight) else {
            return false;
        };
        self.commands.count(CommandName::Subscribe, true);
        match &bugs {
            Bugs::These(bugs) => self.subscriptions.subscribe(client, bugs),
            Bugs::All => self.subscriptions.subscribe_to_all(client),
        }
        self.list(&mut text, "subscribe", client, sight, &denied, complete);
        if wants_watermark {
            protocol::add_watermark(&mut text, self.watermark(sight).as_ref());
        }
        send(&text);
        for update in self.replayed(&bugs, since, sight.is_some()) {
            text.clear();
            protocol::write_update(&mut text, update);
            send(&text);
        }
        true
    }

    /// Where the feed stands: whoever subscribes now and comes back with this time as `since` gets
    /// all that arrived in between. None while nothing has arrived, and for who sees some bugs only:
    /// it would tell that another one has changed.
    fn watermark(&self, sight: Option<&dyn Sight>) -> Option<When> {
        let watermark = self.history.watermark();
        let is_told = sight.is_none() && watermark > i64::MIN;
        is_told.then(|| When::from_unix_seconds(watermark))
    }

    /// Tells those of the bugs that a client sees from those that it does not; `None` where that is
    /// not known yet. All are asked about, so that the answers can come together.
    fn sort_out(
        &self,
        bugs: Bugs,
        since: Option<i64>,
        sight: Option<&dyn Sight>,
    ) -> Option<(Bugs, Vec<BugId>)> {
        let (Some(sight), Bugs::These(list)) = (sight, &bugs) else {
            return Some((bugs, Vec::new()));
        };
        let due: HashSet<BugId> = self
            .replayed(&bugs, since, true)
            .map(|update| update.bug)
            .collect();
        let sees = list.iter().map(|bug| sight.sees(*bug, due.contains(bug)));
        let sees: Vec<Option<bool>> = sees.collect();
        let sees: Vec<bool> = sees.into_iter().collect::<Option<_>>()?;
        let (seen, denied): (Vec<_>, Vec<_>) =
            list.iter().copied().zip(sees).partition(|(_, sees)| *sees);
        let numbers = |bugs: Vec<(BugId, bool)>| bugs.into_iter().map(|(bug, _)| bug).collect();
        Some((Bugs::These(numbers(seen)), numbers(denied)))
    }

    /// The updates that a client gets who resumes from `since` (Unix seconds). What one gets who sees
    /// `some` bugs only says nothing about others: not even that one has changed since.
    fn replayed<'a>(
        &'a self,
        bugs: &'a Bugs,
        since: Option<i64>,
        some: bool,
    ) -> impl Iterator<Item = &'a Update> {
        since.into_iter().flat_map(move |since| {
            let missed = self.history.since(since);
            let missed = missed.filter(|update| bugs.contains(update.bug));
            self.margin(since, bugs, some).into_iter().chain(missed)
        })
    }

    /// What a client may lack that has seen `since` (Unix seconds) on a server which had lost
    /// something older, without knowing it: the newest update of each bug, a little before `since`.
    ///
    /// Where nothing as new as `since` has arrived, nothing is sent, as the original did.
    fn margin(&self, since: i64, bugs: &Bugs, some: bool) -> Vec<&Update> {
        if !some && since > self.history.watermark() {
            return Vec::new();
        }
        let from = since.saturating_sub(MARGIN_SECONDS);
        match bugs {
            Bugs::These(bugs) => self.history.before(since, from, bugs),
            Bugs::All => self.history.all_before(since, from),
        }
    }

    /// The largest `since` (Unix seconds) that a client can have seen: one that lies further ahead
    /// says nothing about what its owner knows. Where the database's clock is known, a time ahead of
    /// it that this feed has not seen is from before that clock was put back. For who sees `some` bugs
    /// only, what it has seen does not count: the answer would tell that another one has changed.
    fn credible_until(&self, now: i64, some: bool) -> i64 {
        let seen = match some {
            true => i64::MIN,
            false => self.history.watermark(),
        };
        match self.database_ahead {
            Some(ahead) => seen.max(now.saturating_add(ahead + AHEAD_SECONDS_MAX)),
            None => seen.max(now).saturating_add(AHEAD_SECONDS_MAX),
        }
    }

    /// Writes the reply that lists a client's subscriptions, as far as it sees the bugs, and those that
    /// it was denied.
    fn list(
        &self,
        reply: &mut Vec<u8>,
        command: &str,
        client: ClientId,
        sight: Option<&dyn Sight>,
        denied: &[BugId],
        complete: Option<bool>,
    ) {
        let bugs = self.subscriptions.of(client);
        let bugs = bugs.filter(|bug| sight.is_none_or(|sight| sight.saw(*bug)));
        let wants_all = self.subscriptions.wants_all(client);
        protocol::write_bugs(reply, command, bugs, wants_all, denied, complete);
    }

    /// Whether nothing is missing for a client whose newest update was at `since` (Unix seconds).
    fn is_complete(&self, since: i64) -> bool {
        matches!(self.promise, Promise::After(_)) && self.history.is_complete(since)
    }

    /// Remembers an update, and returns the clients that it must reach, in ascending order, those
    /// who want all bugs behind the others. Times after `credible_until` (Unix seconds) are not to be believed.
    pub fn publish(
        &mut self,
        update: Update,
        credible_until: i64,
    ) -> impl Iterator<Item = ClientId> {
        let bug = update.bug;
        self.history.push(update, credible_until);
        self.subscriptions.sort(bug);
        self.subscriptions.wanting(bug)
    }

    /// Remembers updates from before, each with its watermark (Unix seconds), in this order.
    pub(crate) fn remember(&mut self, updates: Vec<(i64, Update)>) {
        for (watermark, update) in updates {
            self.history.restore(watermark, update);
        }
    }

    /// Sets how far the database's clock is ahead of this machine's, in seconds.
    pub fn set_database_clock(&mut self, ahead: i64) {
        self.database_ahead = Some(ahead);
    }

    /// Whether a client has any subscription.
    pub(crate) fn has_subscriptions(&self, client: ClientId) -> bool {
        self.subscriptions.count(client) > 0
    }

    /// How many subscriptions a client has.
    pub(crate) fn subscriptions_of(&self, client: ClientId) -> usize {
        self.subscriptions.count(client)
    }

    /// Whether a client wants the updates of all bugs.
    pub(crate) fn wants_all(&self, client: ClientId) -> bool {
        self.subscriptions.wants_all(client)
    }

    /// Whether a client wants a bug's updates.
    pub(crate) fn is_subscribed(&self, client: ClientId, bug: BugId) -> bool {
        self.subscriptions.contains(client, bug)
    }

    /// How far the database's clock is ahead of this machine's, in seconds, as far as is known.
    pub(crate) fn database_ahead(&self) -> i64 {
        self.database_ahead.unwrap_or_default()
    }

    /// The feed's subscriptions.
    pub(crate) fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// The feed's history.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// The commands of its clients.
    pub(crate) fn commands(&self) -> &CommandCounts {
        &self.commands
    }

    /// Ends all subscriptions of a client.
    pub(crate) fn leave(&mut self, client: ClientId) {
        self.subscriptions.leave(client);
        self.followers.remove(&client);
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
