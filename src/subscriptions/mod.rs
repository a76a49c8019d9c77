//! Who wants which bug. Owns the two-way index, in which subscribing, unsubscribing and leaving
//! cost as much as the client's own subscriptions, however many others wait for the same bug. Knows
//! no socket and no update.
//!
//! Each bug lists its subscribers, ascending when an update is to go to them; each client lists its
//! bugs, ascending, with the client's position in each bug's list. When a client leaves a list, the
//! last subscriber moves into the gap, and its own list gets the new position. Most clients have
//! one bug and most bugs have one client, so both of those are stored inline: 20 bytes for a client
//! with a bug of its own. Those few who want all bugs stand beside, so that nobody else pays for
//! them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use slab::Slab;

use crate::update::BugId;

/// A connected client: its key in the server's slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u32);

impl ClientId {
    /// The client's position in any list that is indexed by client.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The two-way index between bugs and clients. Ids come from clients, so the hash is keyed.
#[derive(Debug, Default)]
pub struct Subscriptions {
    subscribers: HashMap<BugId, Subscribers, RandomState>,
    /// The lists of those bugs that several clients want.
    crowds: Slab<Crowd>,
    /// By client.
    own: Vec<Own>,
    /// The lists of those clients that want several bugs.
    lists: Slab<Vec<Subscription>>,
    /// The clients that want all bugs, whatever they want besides.
    of_all: BTreeSet<ClientId>,
    /// How many subscriptions to single bugs all clients have together.
    named: usize,
}

/// The clients that want a bug: two or more.
#[derive(Debug, Default)]
struct Crowd {
    clients: Vec<ClientId>,
    /// Whether they are not known to be ascending.
    is_mixed: bool,
}

/// One client or a key of `crowds`, in four bytes.
#[derive(Clone, Copy, Debug)]
struct Subscribers(u32);

impl Subscribers {
    const CROWD: u32 = 1 << 31;

    fn one(client: ClientId) -> Self {
        debug_assert!(client.0 < Self::CROWD);
        Self(client.0)
    }

    fn crowd(key: usize) -> Self {
        Self(key as u32 | Self::CROWD)
    }

    fn crowd_key(self) -> Option<usize> {
        (self.0 & Self::CROWD != 0).then_some((self.0 & !Self::CROWD) as usize)
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum Own {
    #[default]
    Nothing,
    One(Subscription),
    /// A key of `lists`.
    Several(u32),
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    bug: BugId,
    /// The client's position in the list of the bug's subscribers.
    position: u32,
}

impl Subscriptions {
    /// The bugs that a client is subscribed to, ascending.
    pub(crate) fn of(&self, client: ClientId) -> impl Iterator<Item = BugId> {
        self.list(client)
            .iter()
            .map(|subscription| subscription.bug)
    }

    /// How many subscriptions all clients have together, and how many bugs they name.
    pub(crate) fn totals(&self) -> (usize, usize) {
        (self.named + self.of_all.len(), self.subscribers.len())
    }

    /// How many subscriptions a client has: one for each bug, and one for all of them together.
    pub(crate) fn count(&self, client: ClientId) -> usize {
        self.list(client).len() + usize::from(self.wants_all(client))
    }

    /// How many subscriptions a client would have after subscribing to `bugs` (ascending, each
    /// once).
    pub(crate) fn count_with(&self, client: ClientId, bugs: &[BugId]) -> usize {
        let list = self.list(client);
        let known = bugs
            .iter()
            .filter(|bug| list.binary_search_by_key(bug, |own| &own.bug).is_ok())
            .count();
        self.count(client) + bugs.len() - known
    }

    /// How many subscriptions a client would have after subscribing to all bugs.
    pub(crate) fn count_with_all(&self, client: ClientId) -> usize {
        self.list(client).len() + 1
    }

    /// Whether a client wants the updates of a bug.
    pub(crate) fn contains(&self, client: ClientId, bug: BugId) -> bool {
        self.names(client, bug) || self.wants_all(client)
    }

    /// Whether a client is subscribed to all bugs.
    pub(crate) fn wants_all(&self, client: ClientId) -> bool {
        self.of_all.contains(&client)
    }

    /// Whether a client is subscribed to a bug by its number.
    fn names(&self, client: ClientId, bug: BugId) -> bool {
        self.list(client)
            .binary_search_by_key(&bug, |own| own.bug)
            .is_ok()
    }

    /// Puts the subscribers of a bug in ascending order. That is mostly the order in which they
    /// connected, and so the order of their sockets in the kernel's memory: writing to them in that
    /// order suits the caches better than the order of their subscriptions.
    pub(crate) fn sort(&mut self, bug: BugId) {
        let Some(key) = self
            .subscribers
            .get(&bug)
            .and_then(|entry| entry.crowd_key())
        else {
            return;
        };
        let crowd = &mut self.crowds[key];
        if !std::mem::take(&mut crowd.is_mixed) {
            return;
        }
        crowd.clients.sort_unstable();
        let clients = std::mem::take(&mut crowd.clients);
        for (position, &client) in clients.iter().enumerate() {
            self.set_position(client, bug, position as u32);
        }
        self.crowds[key].clients = clients;
    }

    /// The clients that are to get a bug's updates, each once: those that are subscribed to it, then
    /// those others that are subscribed to all bugs.
    pub(crate) fn wanting(&self, bug: BugId) -> impl Iterator<Item = ClientId> {
        let others = self.of_all.iter().copied();
        self.subscribers(bug)
            .chain(others.filter(move |&client| !self.names(client, bug)))
    }

    /// The clients that are subscribed to a bug by its number, each once; ascending after
    /// `Subscriptions::sort`.
    pub fn subscribers(&self, bug: BugId) -> impl Iterator<Item = ClientId> {
        let (one, crowd) = match self.subscribers.get(&bug) {
            None => (None, [].as_slice()),
            Some(entry) => match entry.crowd_key() {
                None => (Some(ClientId(entry.0)), [].as_slice()),
                Some(key) => (None, self.crowds[key].clients.as_slice()),
            },
        };
        one.into_iter().chain(crowd.iter().copied())
    }

    /// Subscribes a client to `bugs` (ascending, each once); those it has already stay.
    pub fn subscribe(&mut self, client: ClientId, bugs: &[BugId]) {
        if self.own.len() <= client.index() {
            self.own.resize(client.index() + 1, Own::Nothing);
        }
        let before = self.take_list(client);
        let mut list = Vec::with_capacity(before.len() + bugs.len());
        let mut before = before.into_iter().peekable();
        for &bug in bugs {
            while let Some(own) = before.next_if(|own| own.bug < bug) {
                list.push(own);
            }
            let own = before.next_if(|own| own.bug == bug);
            list.push(own.unwrap_or_else(|| Subscription {
                bug,
                position: self.join(bug, client),
            }));
        }
        list.extend(before);
        self.put_list(client, list);
    }

    /// Subscribes a client to all bugs.
    pub(crate) fn subscribe_to_all(&mut self, client: ClientId) {
        self.of_all.insert(client);
    }

    /// Ends a client's subscription to all bugs; those to single ones stay.
    pub(crate) fn unsubscribe_from_all(&mut self, client: ClientId) {
        self.of_all.remove(&client);
    }

    /// Ends a client's subscriptions to `bugs` (ascending, each once); those it does not have are
    /// passed over.
    pub(crate) fn unsubscribe(&mut self, client: ClientId, bugs: &[BugId]) {
        let mut list = self.take_list(client);
        list.retain(|own| {
            let stays = bugs.binary_search(&own.bug).is_err();
            if !stays {
                self.quit(own);
            }
            stays
        });
        self.put_list(client, list);
    }

    /// Ends all subscriptions of a client.
    pub fn leave(&mut self, client: ClientId) {
        for own in self.take_list(client) {
            self.quit(&own);
        }
        self.of_all.remove(&client);
    }

    /// Gives back memory that was needed for more clients and bugs than there are now. The cost is
    /// proportional to the earlier size.
    pub(crate) fn shrink(&mut self) {
        while let Some(Own::Nothing) = self.own.last() {
            self.own.pop();
        }
        self.own.shrink_to_fit();
        self.subscribers.shrink_to_fit();
        self.crowds.shrink_to_fit();
        self.lists.shrink_to_fit();
    }

    /// How much there is room for: 0 of each where nothing is owned.
    #[cfg(test)]
    pub(crate) fn capacities(&self) -> [usize; 4] {
        [
            self.own.capacity(),
            self.subscribers.capacity(),
            self.crowds.capacity(),
            self.lists.capacity(),
        ]
    }

    fn list(&self, client: ClientId) -> &[Subscription] {
        match self.own.get(client.index()) {
            None | Some(Own::Nothing) => &[],
            Some(Own::One(own)) => std::slice::from_ref(own),
            Some(Own::Several(key)) => &self.lists[*key as usize],
        }
    }

    fn take_list(&mut self, client: ClientId) -> Vec<Subscription> {
        match self.own.get_mut(client.index()).map(std::mem::take) {
            None | Some(Own::Nothing) => Vec::new(),
            Some(Own::One(own)) => vec![own],
            Some(Own::Several(key)) => self.lists.remove(key as usize),
        }
    }

    fn put_list(&mut self, client: ClientId, mut list: Vec<Subscription>) {
        let own = match list[..] {
            [] => return,
            [own] => Own::One(own),
            _ => {
                list.shrink_to_fit();
                Own::Several(self.lists.insert(list) as u32)
            }
        };
        self.own[client.index()] = own;
    }

    /// Adds a client to a bug's list and returns its position there.
    fn join(&mut self, bug: BugId, client: ClientId) -> u32 {
        self.named += 1;
        let crowds = &mut self.crowds;
        let mut position = 0;
        self.subscribers
            .entry(bug)
            .and_modify(|entry| {
                let alone = || Crowd {
                    clients: vec![ClientId(entry.0)],
                    is_mixed: false,
                };
                let key = entry.crowd_key().unwrap_or_else(|| crowds.insert(alone()));
                let crowd = &mut crowds[key];
                position = crowd.clients.len() as u32;
                crowd.is_mixed |= crowd.clients.last().is_some_and(|&last| last > client);
                crowd.clients.push(client);
                *entry = Subscribers::crowd(key);
            })
            .or_insert(Subscribers::one(client));
        position
    }

    /// Removes a client from a bug's list, given the entry of the client's own list.
    fn quit(&mut self, own: &Subscription) {
        self.named -= 1;
        let Some(entry) = self.subscribers.get_mut(&own.bug) else {
            return;
        };
        let Some(key) = entry.crowd_key() else {
            self.subscribers.remove(&own.bug);
            return;
        };
        let crowd = &mut self.crowds[key];
        crowd.clients.swap_remove(own.position as usize);
        let moved = crowd.clients.get(own.position as usize).copied();
        crowd.is_mixed |= moved.is_some();
        if let [last] = crowd.clients[..] {
            *entry = Subscribers::one(last);
            self.crowds.remove(key);
        } else if crowd.clients.len() < crowd.clients.capacity() / 4 {
            crowd.clients.shrink_to(crowd.clients.len() * 2);
        }
        if let Some(moved) = moved {
            self.set_position(moved, own.bug, own.position);
        }
    }

    fn set_position(&mut self, client: ClientId, bug: BugId, position: u32) {
        let list = match &mut self.own[client.index()] {
            Own::Nothing => return,
            Own::One(own) => std::slice::from_mut(own),
            Own::Several(key) => &mut self.lists[*key as usize],
        };
        if let Ok(at) = list.binary_search_by_key(&bug, |own| own.bug) {
            list[at].position = position;
        }
    }

    /// Panics where the two directions of the index disagree; for tests.
    pub(crate) fn check_invariants(&self) {
        let mut subscriptions = 0;
        for index in 0..self.own.len() {
            let client = ClientId(index as u32);
            let list = self.list(client);
            assert!(
                list.is_sorted_by(|a, b| a.bug < b.bug),
                "{client:?}: {list:?}"
            );
            for own in list {
                assert_eq!(
                    self.subscribers(own.bug).nth(own.position as usize),
                    Some(client),
                    "{own:?}"
                );
            }
            subscriptions += list.len();
        }
        assert_eq!(self.named, subscriptions);
        assert_eq!(
            self.subscribers
                .keys()
                .map(|&bug| self.subscribers(bug).count())
                .sum::<usize>(),
            subscriptions
        );
        assert!(self.crowds.iter().all(|(_, crowd)| crowd.clients.len() > 1));
        assert!(
            self.crowds
                .iter()
                .all(|(_, crowd)| crowd.is_mixed || crowd.clients.is_sorted())
        );
        assert!(self.lists.iter().all(|(_, list)| list.len() > 1));
    }
}
