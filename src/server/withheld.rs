//! Updates that wait until it is known whether their client sees the bug. Those of one client wait in
//! order. Only the updates of bugs that the client was told nothing of when they changed before wait
//! beside the others, where they delay nothing: else who may not see a bug any more could tell by the
//! time that replies take that it has changed. Knows no right.

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;

use crate::moment::Moment;
use crate::subscriptions::ClientId;
use crate::update::{BugId, FeedId, Update};

/// What waits, by client.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    /// What comes behind these waits, too: nobody may have seen a newer time than that of an update
    /// that may be lacking.
    lines: HashMap<ClientId, Line, RandomState>,
    /// The subscriptions of which Bugzilla has said, when the bug changed, that the client does not
    /// see it.
    lapsed: HashMap<ClientId, HashSet<BugId, RandomState>, RandomState>,
    /// Updates of those, which nothing waits for.
    hoped: HashMap<ClientId, Line, RandomState>,
}

/// The updates that wait for one client.
#[derive(Debug)]
struct Line {
    feed: FeedId,
    /// When the first one came.
    since: Moment,
    /// In order of arrival, each bug once.
    updates: VecDeque<Update>,
}

impl Line {
    fn new(feed: FeedId, since: Moment) -> Self {
        let updates = VecDeque::new();
        Self {
            feed,
            since,
            updates,
        }
    }

    /// Adds an update; the newest of a bug stands for all of it.
    fn add(&mut self, mut update: Update) {
        let same = self.updates.iter().position(|it| it.bug == update.bug);
        if let Some(at) = same
            && let Some(before) = self.updates.remove(at)
            && before.when.unix_seconds() > update.when.unix_seconds()
        {
            update.when = before.when;
        }
        self.updates.push_back(update);
    }
}

impl Withheld {
    /// Whether anything waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.lines.is_empty() || !self.hoped.is_empty()
    }

    /// Whether updates wait for a client in order: its messages do, then, too.
    pub(super) fn blocks(&self, client: ClientId) -> bool {
        self.lines.contains_key(&client)
    }

    /// Has an update wait behind the others for the same client.
    pub(super) fn add(&mut self, client: ClientId, feed: FeedId, update: Update, now: Moment) {
        let line = self.lines.entry(client);
        line.or_insert_with(|| Line::new(feed, now)).add(update);
    }

    /// The bug of the update that waits first for a client.
    pub(super) fn first(&self, client: ClientId) -> Option<BugId> {
        Some(self.lines.get(&client)?.updates.front()?.bug)
    }

    /// Takes the update that waits first for a client.
    pub(super) fn take_first(&mut self, client: ClientId) -> Option<(FeedId, Update)> {
        let line = self.lines.get_mut(&client)?;
        let first = (line.feed, line.updates.pop_front()?);
        if line.updates.is_empty() {
            self.lines.remove(&client);
        }
        Some(first)
    }

    /// A bug has changed that its client does not see.
    pub(super) fn lapse(&mut self, client: ClientId, bug: BugId) {
        self.lapsed.entry(client).or_default().insert(bug);
    }

    /// Whether a bug that the client did not see has changed before.
    pub(super) fn has_lapsed(&self, client: ClientId, bug: BugId) -> bool {
        let lapsed = self.lapsed.get(&client);
        lapsed.is_some_and(|lapsed| lapsed.contains(&bug))
    }

    /// Has an update wait that is likely for nobody.
    pub(super) fn hope(&mut self, client: ClientId, feed: FeedId, update: Update, now: Moment) {
        let line = self.hoped.entry(client);
        line.or_insert_with(|| Line::new(feed, now)).add(update);
    }

    /// The bugs of the updates that are likely for nobody, and wait for a client.
    pub(super) fn hoped(&self, client: ClientId) -> Vec<BugId> {
        let updates = self.hoped.get(&client).map(|line| line.updates.iter());
        updates.into_iter().flatten().map(|it| it.bug).collect()
    }

    /// Takes one of those updates.
    pub(super) fn take_hoped(&mut self, client: ClientId, bug: BugId) -> Option<(FeedId, Update)> {
        let line = self.hoped.get_mut(&client)?;
        let at = line.updates.iter().position(|it| it.bug == bug)?;
        let taken = (line.feed, line.updates.remove(at)?);
        if line.updates.is_empty() {
            self.hoped.remove(&client);
        }
        Some(taken)
    }

    /// The clients for which something waits for too long. What is likely for nobody is forgotten.
    pub(super) fn take_over(&mut self, is_over: impl Fn(Moment) -> bool) -> Vec<ClientId> {
        self.hoped.retain(|_, line| !is_over(line.since));
        let over = self.lines.iter().filter(|(_, line)| is_over(line.since));
        over.map(|(client, _)| *client).collect()
    }

    /// A client has gone.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.lines.remove(&client);
        self.lapsed.remove(&client);
        self.hoped.remove(&client);
    }

    /// Gives back memory that was needed for more.
    pub(super) fn shrink(&mut self) {
        self.lines.shrink_to_fit();
        self.lapsed.shrink_to_fit();
        self.hoped.shrink_to_fit();
    }
}
