//! The index of who wants what: its cost must not depend on how many others want the same bug.

use bugzfeed::subscriptions::{ClientId, Subscriptions};
use bugzfeed::update::BugId;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

fn bug(number: u32) -> BugId {
    BugId::new(number).unwrap()
}

fn all_want_one(clients: u32) -> Subscriptions {
    let mut subscriptions = Subscriptions::default();
    (0..clients).for_each(|client| subscriptions.subscribe(ClientId(client), &[bug(1)]));
    subscriptions
}

/// Per client, whose number must not matter.
#[divan::bench(args = [1_000, 15_000, 100_000])]
fn all_leave_one_bug(bencher: Bencher<'_, '_>, clients: u32) {
    bencher
        .counter(ItemsCount::new(clients))
        .with_inputs(|| all_want_one(clients))
        .bench_values(|mut subscriptions| {
            (0..clients).for_each(|client| subscriptions.leave(ClientId(client)));
            subscriptions
        });
}

/// Per client.
#[divan::bench(args = [1_000, 15_000, 100_000])]
fn all_subscribe_to_their_own(bencher: Bencher<'_, '_>, clients: u32) {
    bencher.counter(ItemsCount::new(clients)).bench_local(|| {
        let mut subscriptions = Subscriptions::default();
        (0..clients)
            .for_each(|client| subscriptions.subscribe(ClientId(client), &[bug(client + 1)]));
        subscriptions
    });
}

/// Per subscriber.
#[divan::bench(args = [1, 15_000, 100_000])]
fn who_wants_it(bencher: Bencher<'_, '_>, clients: u32) {
    let subscriptions = all_want_one(clients);
    bencher.counter(ItemsCount::new(clients)).bench_local(|| {
        subscriptions
            .subscribers(bug(1))
            .fold(0, |sum, client| sum ^ black_box(client.0))
    });
}

#[divan::bench]
fn nobody_wants_it(bencher: Bencher<'_, '_>) {
    let mut subscriptions = Subscriptions::default();
    (0..15_000).for_each(|client| subscriptions.subscribe(ClientId(client), &[bug(client + 1)]));
    bencher.bench_local(|| subscriptions.subscribers(black_box(bug(1_000_000))).count());
}

/// Per subscription, of one client.
#[divan::bench(args = [1, 100, 10_000])]
fn subscribe_and_leave(bencher: Bencher<'_, '_>, bugs: u32) {
    let mut subscriptions = all_want_one(15_000);
    let list: Vec<BugId> = (1..=bugs).map(bug).collect();
    bencher.counter(ItemsCount::new(bugs)).bench_local(|| {
        subscriptions.subscribe(ClientId(15_000), &list);
        subscriptions.leave(ClientId(15_000));
    });
}
