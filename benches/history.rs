//! What clients that come back cost: `since` on a full history of 10,000 updates, and keeping it.

use bugzfeed::history::History;
use bugzfeed::hub::{Asked, Hub};
use bugzfeed::promise::Promise;
use bugzfeed::subscriptions::ClientId;
use bugzfeed::update::{BugId, Update, When};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

const UPDATES: i64 = 10_000;

const ASKED: Asked = Asked {
    at: UPDATES,
    may_wait: false,
    clients: 1,
    delay: None,
};

fn main() {
    divan::main();
}

/// One update per second, of a thousand bugs in turn.
fn update(at: i64) -> Update {
    Update {
        bug: BugId::new((at % 1_000) as u32 + 1).unwrap(),
        when: When::from_unix_seconds(at),
    }
}

fn history() -> History {
    let mut history = History::new(UPDATES as usize, 0);
    (1..=UPDATES).for_each(|at| history.push(update(at), i64::MAX));
    history
}

fn hub() -> Hub {
    let mut hub = Hub::new(history(), 10_000);
    hub.promise(Promise::After(0));
    hub
}

#[divan::bench]
fn push_and_evict(bencher: Bencher<'_, '_>) {
    let mut history = history();
    let mut at = UPDATES;
    bencher.bench_local(|| {
        at += 1;
        history.push(update(at), i64::MAX);
    });
}

/// A client with one bug comes back and has missed this many updates of all bugs.
#[divan::bench(args = [0, 100, 1_000, 10_000])]
fn subscribe_with_since(bencher: Bencher<'_, '_>, missed: i64) {
    let mut hub = hub();
    let since = When::from_unix_seconds(UPDATES - missed + 1);
    let message = format!(r#"{{"command":"subscribe","bugs":[7],"since":"{since}"}}"#);
    bencher.bench_local(|| {
        let mut bytes = 0;
        black_box(hub.handle(ClientId(1), message.as_bytes(), ASKED, |text| {
            bytes += text.len()
        }));
        black_box(bytes)
    });
}

/// So many clients come back one after the other, each with one of a thousand bugs, and have missed
/// all 10,000 updates: ten of each bug.
#[divan::bench(args = [100, 10_000])]
fn storm_with_since(bencher: Bencher<'_, '_>, clients: u32) {
    let mut hub = hub();
    let message = |client: u32| {
        format!(
            r#"{{"command":"subscribe","bugs":[{}],"since":"{}"}}"#,
            client % 1_000 + 1,
            When::from_unix_seconds(1)
        )
    };
    let messages: Vec<String> = (0..clients).map(message).collect();
    bencher.counter(ItemsCount::new(clients)).bench_local(|| {
        let mut bytes = 0;
        for (client, message) in messages.iter().enumerate() {
            black_box(
                hub.handle(ClientId(client as u32), message.as_bytes(), ASKED, |text| {
                    bytes += text.len()
                }),
            );
        }
        black_box(bytes)
    });
}

/// One with a thousand bugs.
#[divan::bench(args = [0, 100, 10_000])]
fn subscribe_to_a_thousand_with_since(bencher: Bencher<'_, '_>, missed: i64) {
    let mut hub = hub();
    let since = When::from_unix_seconds(UPDATES - missed + 1);
    let bugs: Vec<String> = (1..=1_000).map(|bug: u32| bug.to_string()).collect();
    let message = format!(
        r#"{{"command":"subscribe","bugs":[{}],"since":"{since}"}}"#,
        bugs.join(",")
    );
    bencher.bench_local(|| {
        let mut bytes = 0;
        black_box(hub.handle(ClientId(1), message.as_bytes(), ASKED, |text| {
            bytes += text.len()
        }));
        black_box(bytes)
    });
}
