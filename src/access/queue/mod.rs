//! What Bugzilla is still to be asked, in which order, and who waits for it. Addresses take turns, so
//! that one that asks much delays no other; those who are known come before newcomers. Knows no
//! answer and no clock.

#[cfg(test)]
mod tests;

use core::net::IpAddr;
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::ReaderId;
use crate::subscriptions::ClientId;
use crate::update::BugId;

/// How much may wait for one address: twice what a client may subscribe to by default.
const ADDRESS_ITEMS_MAX: usize = 20_000;

/// How many newcomers may wait for one address.
const ADDRESS_NEWCOMERS_MAX: usize = 1_000;

/// How much may wait for all.
const ITEMS_MAX: usize = 200_000;

/// An address of clients, or what stands for several that are likely one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressId(pub u64);

impl From<Option<IpAddr>> for AddressId {
    /// Of IPv6, the first half is one's own; all who have no address have one in common.
    fn from(address: Option<IpAddr>) -> Self {
        Self(match address {
            None => 0,
            Some(IpAddr::V4(address)) => address.to_bits().into(),
            Some(IpAddr::V6(address)) => (address.to_bits() >> 64) as u64,
        })
    }
}

/// For whom Bugzilla is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// Nobody in particular: what everybody sees.
    Nobody,
    /// Somebody who shows a credential.
    Reader(ReaderId),
}

/// Whose wish it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Somebody whom Bugzilla knows, or an update that is due.
    Known,
    /// Anybody.
    New,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub who: Who,
    /// Whether it is seen; without one, whether `who` is anybody.
    pub bug: Option<BugId>,
}

/// What is asked in one request, each with the address that it is asked for.
#[derive(Debug)]
pub(super) struct Batch {
    pub who: Who,
    pub items: Vec<(AddressId, Option<BugId>)>,
}

/// What is to be asked.
#[derive(Debug, Default)]
pub(super) struct Queue {
    known: Line,
    new: Line,
    /// All that waits or is being asked.
    waiting: HashMap<Item, Waiting, RandomState>,
    /// How many batches were taken.
    taken: u8,
}

#[derive(Debug)]
struct Waiting {
    rank: Rank,
    is_asked: bool,
    /// Those who wait for the answer; some may have left.
    clients: Vec<ClientId>,
}

/// Those of one rank.
#[derive(Debug, Default)]
struct Line {
    /// Those for whom something waits, in the order of their turns.
    order: VecDeque<AddressId>,
    desks: HashMap<AddressId, Desk, RandomState>,
}

/// What waits for one address.
#[derive(Debug, Default)]
struct Desk {
    lots: VecDeque<(Who, VecDeque<Option<BugId>>)>,
    len: usize,
}

impl Queue {
    /// How much waits or is being asked.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits and nothing is being asked.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a wish, or joins it to one that is there. Returns false where too much waits already.
    pub(super) fn add(
        &mut self,
        item: Item,
        address: AddressId,
        rank: Rank,
        client: Option<ClientId>,
    ) -> bool {
        if let Some(waiting) = self.waiting.get_mut(&item) {
            waiting.clients.extend(client);
            let rises = rank == Rank::Known && waiting.rank == Rank::New && !waiting.is_asked;
            if rises {
                // What stands in the other line is passed over there.
                waiting.rank = Rank::Known;
                self.known.push(address, item);
            }
            return true;
        }
        let address_max = match item.bug {
            Some(_) => ADDRESS_ITEMS_MAX,
            None => ADDRESS_NEWCOMERS_MAX,
        };
        if self.line(rank).len_of(address) >= address_max || self.waiting.len() >= ITEMS_MAX {
            return false;
        }
        self.line(rank).push(address, item);
        let waiting = Waiting {
            rank,
            is_asked: false,
            clients: client.into_iter().collect(),
        };
        self.waiting.insert(item, waiting);
        true
    }

    /// What is to be asked next: up to `items_max` wishes for one and the same, whoever wants to
    /// know. Of four times, newcomers come first once.
    pub(super) fn take(&mut self, items_max: usize) -> Option<Batch> {
        self.taken = self.taken.wrapping_add(1);
        let Self {
            known,
            new,
            waiting,
            taken,
        } = self;
        let lines = match *taken % 4 {
            0 => [(new, Rank::New), (known, Rank::Known)],
            _ => [(known, Rank::Known), (new, Rank::New)],
        };
        let mut batch: Option<Batch> = None;
        for (line, rank) in lines {
            let mut counts = |item: Item| {
                let waiting = waiting.get_mut(&item);
                let waiting = waiting.filter(|it| it.rank == rank && !it.is_asked);
                waiting.map(|it| it.is_asked = true).is_some()
            };
            if batch.is_none() {
                batch = line.take_next(&mut counts);
            }
            if let Some(batch) = &mut batch {
                line.take_more(batch, items_max, &mut counts);
            }
        }
        batch
    }

    /// Ends the wishes of a batch that was answered; returns who has waited for one of them.
    pub(super) fn end(&mut self, batch: &Batch) -> Vec<ClientId> {
        let items = batch.items.iter().map(|&(_, bug)| Item {
            who: batch.who,
            bug,
        });
        let ended = items.filter_map(|item| self.waiting.remove(&item));
        let mut clients: Vec<ClientId> = ended.flat_map(|waiting| waiting.clients).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    /// Puts back a batch that was not answered.
    pub(super) fn put_back(&mut self, batch: Batch) {
        for (address, bug) in batch.items {
            let who = batch.who;
            let item = Item { who, bug };
            if let Some(waiting) = self.waiting.get_mut(&item) {
                waiting.is_asked = false;
                match waiting.rank {
                    Rank::Known => self.known.push(address, item),
                    Rank::New => self.new.push(address, item),
                }
            }
        }
    }

    /// Forgets what was to be asked for those for whom it need not be any more; returns who has
    /// waited for any of it.
    pub(super) fn retain(&mut self, is_needed: impl Fn(Who) -> bool) -> Vec<ClientId> {
        let mut clients = Vec::new();
        self.waiting.retain(|item, waiting| {
            let stays = is_needed(item.who);
            if !stays {
                clients.append(&mut waiting.clients);
            }
            stays
        });
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    fn line(&mut self, rank: Rank) -> &mut Line {
        match rank {
            Rank::Known => &mut self.known,
            Rank::New => &mut self.new,
        }
    }
}

impl Line {
    fn len_of(&self, address: AddressId) -> usize {
        self.desks.get(&address).map_or(0, |desk| desk.len)
    }

    fn push(&mut self, address: AddressId, item: Item) {
        let order = &mut self.order;
        let desk = self.desks.entry(address).or_insert_with(|| {
            order.push_back(address);
            Desk::default()
        });
        desk.len += 1;
        match desk.lots.back_mut() {
            Some((who, bugs)) if *who == item.who => bugs.push_back(item.bug),
            _ => desk.lots.push_back((item.who, VecDeque::from([item.bug]))),
        }
    }

    /// Takes the first wish that `counts` of the address whose turn it is.
    fn take_next(&mut self, counts: &mut impl FnMut(Item) -> bool) -> Option<Batch> {
        while let Some(address) = self.order.pop_front() {
            let found = self
                .desks
                .get_mut(&address)
                .and_then(|desk| std::iter::from_fn(|| desk.pop()).find(|item| counts(*item)));
            self.tidy(address, true);
            if let Some(Item { who, bug }) = found {
                let items = vec![(address, bug)];
                return Some(Batch { who, items });
            }
        }
        None
    }

    /// Adds to a batch what else waits for the same, in turns.
    fn take_more(
        &mut self,
        batch: &mut Batch,
        items_max: usize,
        counts: &mut impl FnMut(Item) -> bool,
    ) {
        let who = batch.who;
        let has_some = |address: &AddressId| {
            let desk = self.desks.get(address);
            desk.is_some_and(|desk| desk.lots.iter().any(|(own, _)| *own == who))
        };
        let mut left: Vec<AddressId> = self.order.iter().copied().filter(has_some).collect();
        while !left.is_empty() && batch.items.len() < items_max {
            left.retain(|&address| {
                let has_room = batch.items.len() < items_max;
                let desk = self.desks.get_mut(&address).filter(|_| has_room);
                let bug = desk.and_then(|desk| desk.pop_of(who));
                if let Some(bug) = bug
                    && counts(Item { who, bug })
                {
                    batch.items.push((address, bug));
                }
                self.tidy(address, false);
                bug.is_some()
            });
        }
    }

    /// Ends the turns of an address for which nothing waits; those of another go on when its turn
    /// `has_passed`.
    fn tidy(&mut self, address: AddressId, has_passed: bool) {
        let is_empty = self.desks.get(&address).is_none_or(|desk| desk.len == 0);
        if is_empty {
            self.desks.remove(&address);
            self.order.retain(|&other| other != address);
        } else if has_passed {
            self.order.push_back(address);
        }
    }
}

impl Desk {
    fn pop(&mut self) -> Option<Item> {
        let who = self.lots.front()?.0;
        let bug = self.pop_of(who)?;
        Some(Item { who, bug })
    }

    fn pop_of(&mut self, who: Who) -> Option<Option<BugId>> {
        let at = self.lots.iter().position(|(own, _)| *own == who)?;
        let (_, bugs) = self.lots.get_mut(at)?;
        let bug = bugs.pop_front();
        if bugs.is_empty() {
            self.lots.remove(at);
        }
        self.len -= usize::from(bug.is_some());
        bug
    }
}
