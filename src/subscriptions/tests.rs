//! The index against a naive model, and what it costs.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn bugs(numbers: &[u32]) -> Vec<BugId> {
    numbers
        .iter()
        .map(|&number| BugId::new(number).unwrap())
        .collect()
}

#[test]
fn a_client_with_a_bug_of_its_own_costs_twenty_bytes() {
    assert_eq!(size_of::<Own>() + size_of::<(BugId, Subscribers)>(), 20);
}

#[test]
fn what_a_client_has_is_ascending_and_each_once() {
    let mut subscriptions = Subscriptions::default();
    subscriptions.subscribe(ClientId(3), &bugs(&[5, 9]));
    assert_eq!(subscriptions.count_with(ClientId(3), &bugs(&[1, 5, 7])), 4);
    subscriptions.subscribe(ClientId(3), &bugs(&[1, 5, 7]));
    assert_eq!(
        subscriptions.of(ClientId(3)).collect::<Vec<_>>(),
        bugs(&[1, 5, 7, 9])
    );
    subscriptions.unsubscribe(ClientId(3), &bugs(&[5, 6]));
    assert_eq!(
        subscriptions.of(ClientId(3)).collect::<Vec<_>>(),
        bugs(&[1, 7, 9])
    );
    assert_eq!(subscriptions.of(ClientId(4)).count(), 0);
    subscriptions.check_invariants();
}

#[test]
fn the_index_agrees_with_a_naive_model() {
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut subscriptions = Subscriptions::default();
        let mut model = Model::default();
        for _ in 0..200 {
            let client = ClientId(random.u32(0..8));
            let chosen: BTreeSet<BugId> = (0..random.usize(0..6))
                .map(|_| BugId::new(random.u32(1..10)).unwrap())
                .collect();
            let list: Vec<BugId> = chosen.iter().copied().collect();
            let expected = model.bugs.entry(client).or_default();
            match random.u8(0..7) {
                0..=2 => {
                    assert_eq!(
                        subscriptions.count_with(client, &list),
                        expected.union(&chosen).count()
                            + usize::from(model.of_all.contains(&client))
                    );
                    subscriptions.subscribe(client, &list);
                    expected.extend(chosen);
                }
                3 => {
                    subscriptions.shrink();
                    subscriptions.unsubscribe(client, &list);
                    expected.retain(|bug| !chosen.contains(bug));
                }
                4 => {
                    assert_eq!(subscriptions.count_with_all(client), expected.len() + 1);
                    subscriptions.subscribe_to_all(client);
                    model.of_all.insert(client);
                }
                5 => {
                    subscriptions.unsubscribe_from_all(client);
                    model.of_all.remove(&client);
                }
                _ => {
                    subscriptions.leave(client);
                    expected.clear();
                    model.of_all.remove(&client);
                }
            }
            let sorted = BugId::new(random.u32(1..10)).unwrap();
            subscriptions.sort(sorted);
            assert!(subscriptions.subscribers(sorted).is_sorted(), "seed {seed}");
            subscriptions.check_invariants();
            model.check(&subscriptions, seed);
        }
    }
}

#[test]
fn a_subscription_to_all_bugs_counts_as_one_and_names_none() {
    let mut subscriptions = Subscriptions::default();
    subscriptions.subscribe(ClientId(1), &bugs(&[5, 9]));
    subscriptions.subscribe(ClientId(2), &bugs(&[9]));
    subscriptions.subscribe_to_all(ClientId(2));
    assert_eq!(subscriptions.totals(), (4, 2));
}

#[test]
fn a_storm_of_clients_that_has_passed_costs_nothing() {
    let mut subscriptions = Subscriptions::default();
    for client in (0..1_000).map(ClientId) {
        // A bug of its own, one that two want, and one that all want.
        subscriptions.subscribe(client, &bugs(&[1, client.0 + 10, client.0 / 2 + 2_000]));
    }
    for client in (0..1_000).map(ClientId) {
        subscriptions.leave(client);
    }
    subscriptions.shrink();
    assert_eq!(subscriptions.capacities(), [0; 4]);
}

#[test]
fn a_bug_that_many_wanted_costs_what_those_few_do_who_still_want_it() {
    let mut subscriptions = Subscriptions::default();
    for client in (0..1_000).map(ClientId) {
        subscriptions.subscribe(client, &bugs(&[1]));
    }
    let crowd_of = |subscriptions: &Subscriptions| {
        let (_, crowd) = subscriptions.crowds.iter().next().unwrap();
        (crowd.clients.len(), crowd.clients.capacity())
    };
    for client in (300..1_000).map(ClientId) {
        subscriptions.unsubscribe(client, &bugs(&[1]));
    }
    let (len, capacity) = crowd_of(&subscriptions);
    assert_eq!(len, 300);
    assert!(capacity >= 1_000, "not with each one who goes");
    for client in (10..300).map(ClientId) {
        subscriptions.unsubscribe(client, &bugs(&[1]));
    }
    let (len, capacity) = crowd_of(&subscriptions);
    assert_eq!(len, 10);
    assert!(capacity < 100);
    subscriptions.check_invariants();
}

#[test]
fn a_client_that_wanted_many_bugs_costs_what_those_few_do_that_it_still_wants() {
    let mut subscriptions = Subscriptions::default();
    let numbers: Vec<u32> = (1..1_000).collect();
    subscriptions.subscribe(ClientId(0), &bugs(&numbers));
    subscriptions.unsubscribe(ClientId(0), &bugs(&numbers[2..]));
    let (_, list) = subscriptions.lists.iter().next().unwrap();
    assert_eq!(list.capacity(), 2);
}

#[derive(Default)]
struct Model {
    bugs: BTreeMap<ClientId, BTreeSet<BugId>>,
    of_all: BTreeSet<ClientId>,
}

impl Model {
    fn check(&self, subscriptions: &Subscriptions, seed: u64) {
        for (&client, bugs) in &self.bugs {
            assert!(subscriptions.of(client).eq(bugs.iter().copied()));
            let wants_all = self.of_all.contains(&client);
            assert_eq!(subscriptions.wants_all(client), wants_all, "seed {seed}");
            assert_eq!(
                subscriptions.count(client),
                bugs.len() + usize::from(wants_all),
                "seed {seed}"
            );
        }
        for bug in (1..10).filter_map(BugId::new) {
            let mut wanting: Vec<ClientId> = subscriptions.wanting(bug).collect();
            wanting.sort_unstable();
            let wants = |client: &ClientId| {
                let bugs = self.bugs.get(client);
                self.of_all.contains(client) || bugs.is_some_and(|bugs| bugs.contains(&bug))
            };
            assert!(
                wanting
                    .iter()
                    .copied()
                    .eq((0..8).map(ClientId).filter(wants)),
                "seed {seed}"
            );
        }
    }
}
