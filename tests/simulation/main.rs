//! The server's core against a world of clients, in hundreds of seeded runs. Everything that may
//! happen in any order does: bytes come in any pieces, kernels refuse them, clocks advance, clients
//! come, leave, vanish and come back, updates arrive late. After every turn the server is compared
//! with a naive model, for safety (nothing wrong was sent) and for liveness (nothing is stuck).
//!
//! A run that fails names its seed; `BUGZFEED_SEED=1234 cargo test --test simulation` plays it
//! again.

mod cases;
mod client;
mod edges;
mod feed;
mod happen;
mod holds;
mod limits;
mod look;
mod room;
mod session;
mod spread;
mod tally;
mod tls;
mod tls_cases;
mod user;
mod wire;
mod world;

use tally::Tally;
use world::World;

/// How many runs there are, in a few seconds.
const RUNS: u64 = 400;

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
    world.depart();
    world.tally
}

#[test]
fn the_server_does_what_the_model_says_whatever_happens() {
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
