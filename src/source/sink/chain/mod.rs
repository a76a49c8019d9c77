//! The whole chain in hundreds of seeded runs: a Bugzilla whose clock may be wrong, a relay with a
//! backlog, with numbers and announcements or without, a broker with a queue for each of two servers, and clients that resume with `since` at
//! either. The servers' sinks, histories, promises and hubs are the real ones; what is around them
//! is modelled, without a socket or a thread.
//!
//! After each second it holds: no client that was answered with true lacks what is not on its way
//! to it, no answer is held for too long, and no server is in doubt for longer than a minute. At
//! the end of a run nobody lacks anything: with a catch-up within a minute of the last fault,
//! whatever was lost; without one where a source can notice a loss.
//!
//! A run that fails names its seed; `BUGZFEED_SEED=1234 cargo test --lib chain` plays it again.

mod broker;
mod bugzilla;
mod cases;
mod client;
mod relay;
mod server;
mod world;

use self::world::{Tally, World};

/// How many runs there are, in a few seconds.
const RUNS: u64 = 200;

/// Names the seed of a run that panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("play it again with BUGZFEED_SEED={}", self.0);
        }
    }
}

fn play(seed: u64, is_traced: bool) -> Tally {
    let seed = Seed(seed);
    let mut world = World::new(seed.0, is_traced);
    world.live();
    world.come_to_rest();
    world.tally
}

#[test]
fn true_is_never_said_of_what_is_lost_and_no_doubt_lasts() {
    if let Ok(seed) = std::env::var("BUGZFEED_SEED") {
        play(seed.parse().expect("BUGZFEED_SEED is a number"), true);
        return;
    }
    let mut tally = Tally::default();
    for seed in 0..RUNS {
        tally.add(&play(seed, false));
    }
    println!("{tally:?}");
    tally.check_that_all_has_happened();
}
