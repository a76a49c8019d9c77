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

    /// For how much there is room: 0 where nothing is owned.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.lines.capacity() + self.lapsed.capacity() + self.hoped.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::When;

    const FEED: FeedId = FeedId(0);

    fn bug(number: u32) -> BugId {
        BugId::new(number).unwrap()
    }

    fn update(number: u32, second: i64) -> Update {
        let when = When::from_unix_seconds(second);
        Update {
            bug: bug(number),
            when,
        }
    }

    fn times(withheld: &mut Withheld, client: ClientId) -> Vec<(u32, i64)> {
        let first = || Some(withheld.take_first(client)?.1);
        let time = |it: Update| (it.bug.get(), it.when.unix_seconds());
        std::iter::from_fn(first).map(time).collect()
    }

    #[test]
    fn what_waits_in_order_goes_in_order_and_the_newest_time_of_a_bug_stands_for_all_of_it() {
        let (mut withheld, client, now) = (Withheld::default(), ClientId(1), Moment(0));
        for (number, second) in [(1, 100), (2, 100), (1, 90), (3, 100), (2, 110)] {
            withheld.add(client, FEED, update(number, second), now);
        }
        assert_eq!(withheld.first(client), Some(bug(1)));
        assert!(withheld.blocks(client) && !withheld.blocks(ClientId(2)));
        let expected = [(1, 100), (3, 100), (2, 110)];
        assert_eq!(times(&mut withheld, client), expected);
        assert!(!withheld.blocks(client) && !withheld.is_waiting());
    }

    #[test]
    fn of_two_times_in_the_same_second_the_latest_stands_as_it_was_written() {
        let (mut withheld, client) = (Withheld::default(), ClientId(1));
        for text in ["2026-01-01T00:00:00.9", "2026-01-01T00:00:00.1"] {
            let when = text.parse().unwrap();
            let update = Update { bug: bug(1), when };
            withheld.add(client, FEED, update, Moment(0));
        }
        let (_, update) = withheld.take_first(client).unwrap();
        assert_eq!(update.when.to_string(), "2026-01-01T00:00:00.1");
    }

    #[test]
    fn what_is_likely_for_nobody_waits_beside_the_rest_and_is_taken_one_by_one() {
        let (mut withheld, client, now) = (Withheld::default(), ClientId(1), Moment(0));
        assert!(!withheld.is_waiting());
        withheld.hope(client, FEED, update(1, 100), now);
        withheld.hope(client, FEED, update(2, 100), now);
        assert!(withheld.is_waiting() && !withheld.blocks(client));
        assert_eq!(withheld.hoped(client), [bug(1), bug(2)]);
        assert_eq!(withheld.take_hoped(client, bug(3)), None);
        let taken = withheld.take_hoped(client, bug(1));
        assert_eq!(taken, Some((FEED, update(1, 100))));
        assert_eq!(withheld.hoped(client), [bug(2)]);
        withheld.take_hoped(client, bug(2));
        assert!(!withheld.is_waiting());
        withheld.add(client, FEED, update(1, 100), now);
        assert!(withheld.is_waiting());
    }

    #[test]
    fn too_long_a_wait_is_told_for_what_waits_in_order_and_ends_what_is_likely_for_nobody() {
        let mut withheld = Withheld::default();
        let (early, late) = (ClientId(1), ClientId(2));
        for (client, since) in [(early, 0), (late, 10)] {
            withheld.add(client, FEED, update(1, 100), Moment(since));
            withheld.hope(client, FEED, update(2, 100), Moment(since));
        }
        assert_eq!(withheld.take_over(|since| since.0 < 10), [early]);
        assert!(withheld.hoped(early).is_empty());
        assert_eq!(withheld.hoped(late), [bug(2)]);
    }

    #[test]
    fn a_client_that_has_gone_leaves_nothing_behind() {
        let (mut withheld, client, now) = (Withheld::default(), ClientId(1), Moment(0));
        withheld.add(client, FEED, update(1, 100), now);
        withheld.hope(client, FEED, update(2, 100), now);
        withheld.lapse(client, bug(3));
        assert!(withheld.has_lapsed(client, bug(3)));
        assert!(!withheld.has_lapsed(client, bug(1)));
        assert!(!withheld.has_lapsed(ClientId(2), bug(3)));
        withheld.forget(client);
        assert!(!withheld.is_waiting() && !withheld.has_lapsed(client, bug(3)));
        withheld.shrink();
        assert_eq!(withheld.capacity(), 0);
    }
}
