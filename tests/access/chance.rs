//! `--access bugzilla` in seeded runs: rights come and go, logins end, Bugzilla is slow or away, readers
//! come, subscribe, resume and leave, all in any order. Never is a doubt decided in favour of showing;
//! and in the end, everybody hears of all that they see.
//!
//! A run that fails names its seed; `BUGZFEED_SEED=1234 cargo test --test access chance` plays it again.

use std::collections::{BTreeMap, BTreeSet};

use bugzfeed::moment::Moment;
use fastrand::Rng;
use serde_json::Value;

use crate::world::{Reader, World};

const RUNS: u64 = 100;
const STEPS: usize = 120;
const KEYS: [&str; 4] = ["", "alice", "bob", "carol"];
const BUGS: std::ops::Range<u32> = 1..8;

/// How long a right that was lost may count, in milliseconds: for an update, and in a reply.
const SHOWN_AGE_MAX: u32 = 60_000;
const TOLD_AGE_MAX: u32 = 3_600_000;

/// Names the seed of a run that panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("play it again with BUGZFEED_SEED={}", self.0);
        }
    }
}

/// Somebody who is there, or was.
struct Guest {
    key: &'static str,
    reader: Reader,
    is_in: bool,
}

/// How often what must happen in some run has happened.
#[derive(Debug, Default)]
struct Tally {
    shown: usize,
    denied: usize,
    lost_and_shown: usize,
    ended: BTreeMap<String, usize>,
}

struct Game {
    world: World,
    random: Rng,
    guests: Vec<Guest>,
    /// When a key has lost the sight of a bug.
    lost: BTreeMap<(&'static str, u32), Moment>,
    tally: Tally,
}

impl Game {
    fn new(seed: u64) -> Self {
        let mut world = World::new(false);
        world.bugzilla.public = [1, 2].into();
        for own in world.bugzilla.readers.values_mut() {
            *own = BUGS.collect();
        }
        Self {
            world,
            random: Rng::with_seed(seed),
            guests: Vec::new(),
            lost: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    fn sees(&self, key: &str, bug: u32) -> bool {
        let bugzilla = &self.world.bugzilla;
        let own = bugzilla.readers.get(key);
        bugzilla.public.contains(&bug) || own.is_some_and(|own| own.contains(&bug))
    }

    /// Changes who sees what, and remembers who has lost what.
    fn change_rights(&mut self, change: impl FnOnce(&mut World, &mut Rng)) {
        let all: Vec<_> = KEYS
            .iter()
            .flat_map(|key| BUGS.map(move |bug| (*key, bug)))
            .collect();
        let before: BTreeSet<_> = all.iter().filter(|it| self.sees(it.0, it.1)).collect();
        change(&mut self.world, &mut self.random);
        for it in &before {
            if !self.sees(it.0, it.1) {
                self.lost.insert(**it, self.world.now);
            }
        }
    }

    /// Lets time pass, and looks at each moment what everybody hears.
    fn pass(&mut self, milliseconds: u32) {
        let end = self.world.now.plus(milliseconds);
        loop {
            let left = end.since(self.world.now);
            self.world
                .pass(left.min(if left > 60_000 { 1_000 } else { 250 }));
            self.look();
            if left == 0 {
                return;
            }
        }
    }

    fn look(&mut self) {
        for at in 0..self.guests.len() {
            if !self.guests[at].is_in {
                let status = self.guests[at].reader.status();
                self.guests[at].is_in = status == "101";
                continue;
            }
            for text in self.guests[at].reader.heard() {
                self.check(self.guests[at].key, &text);
            }
        }
    }

    fn check(&mut self, key: &'static str, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        if message.is_number() {
            *self.tally.ended.entry(text.to_owned()).or_default() += 1;
        } else if message["command"] == "update" {
            let bug = message["bug"].as_u64().unwrap() as u32;
            self.tally.shown += 1;
            self.check_sight(key, bug, SHOWN_AGE_MAX, text);
        } else if let Some(bugs) = message["bugs"].as_array() {
            self.tally.denied += usize::from(!message["denied"].is_null());
            for bug in bugs {
                self.check_sight(key, bug.as_u64().unwrap() as u32, TOLD_AGE_MAX, text);
            }
        }
    }

    /// Who hears of a bug sees it, or has seen it so little time ago.
    fn check_sight(&mut self, key: &'static str, bug: u32, age_max: u32, text: &str) {
        if self.sees(key, bug) {
            return;
        }
        let age = self
            .lost
            .get(&(key, bug))
            .map(|at| self.world.now.since(*at));
        assert!(
            age.is_some_and(|age| age <= age_max),
            "{key:?} is told of {bug}, {age:?} after it was lost: {text}"
        );
        self.tally.lost_and_shown += 1;
    }

    fn some_bugs(&mut self) -> String {
        let count = self.random.usize(1..6);
        let bugs: Vec<String> = (0..count)
            .map(|_| self.random.u32(BUGS).to_string())
            .collect();
        format!("[{}]", bugs.join(","))
    }

    fn step(&mut self) {
        match self.random.u32(0..24) {
            0..6 => {
                let bug = self.random.u32(BUGS);
                self.world.change(bug);
            }
            6..8 => self.change_rights(|world, random| {
                let bug = random.u32(BUGS);
                if !world.bugzilla.public.remove(&bug) {
                    world.bugzilla.public.insert(bug);
                }
            }),
            8..11 => self.change_rights(|world, random| {
                let (key, bug) = (random.usize(1..KEYS.len()), random.u32(BUGS));
                if let Some(own) = world.bugzilla.readers.get_mut(KEYS[key])
                    && !own.remove(&bug)
                {
                    own.insert(bug);
                }
            }),
            11 => self.change_rights(|world, random| {
                let key = KEYS[random.usize(1..KEYS.len())];
                if world.bugzilla.readers.remove(key).is_none() {
                    let own = BUGS.filter(|_| random.bool()).collect();
                    world.bugzilla.readers.insert(key.to_owned(), own);
                }
            }),
            12 => self.world.bugzilla.is_away = self.random.u32(0..4) == 0,
            13 => self.world.bugzilla.latency = *self.pick(&[0, 0, 0, 800, 5_000, 40_000]),
            14..17 => self.come(),
            17..20 => self.say(),
            20 if !self.guests.is_empty() => {
                let at = self.random.usize(0..self.guests.len());
                let Guest { reader, .. } = self.guests.swap_remove(at);
                self.world.leave(&reader);
            }
            _ => {
                let pause = *self.pick(&[0, 1_000, 10_000, 50_000, 62_000, 70_000, 1_200_000]);
                self.pass(pause);
            }
        }
        self.look();
    }

    fn pick<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.random.usize(0..some.len())]
    }

    fn come(&mut self) {
        let key = KEYS[self.random.usize(0..KEYS.len())];
        let fields = match key {
            "" => String::new(),
            key => format!("Authorization: Bearer {key}\r\n"),
        };
        let reader = self.world.connect(&fields);
        let is_in = false;
        self.guests.push(Guest { key, reader, is_in });
    }

    fn say(&mut self) {
        let since = *self.pick(&["", "", "2014-01-01T00:00:00", "2023-11-14T22:13:40"]);
        let bugs = self.some_bugs();
        let subscribe = format!(r#"{{"command":"subscribe","bugs":{bugs},"since":"{since}"}}"#);
        let unsubscribe = format!(r#"{{"command":"unsubscribe","bugs":{bugs}}}"#);
        let others = [
            unsubscribe,
            r#"{"command":"subscriptions"}"#.to_owned(),
            r#"{"command":"status"}"#.to_owned(),
        ];
        let message = match self.random.u32(0..4) {
            0 => self.pick(&others).clone(),
            _ => subscribe,
        };
        let guests = self.guests.iter().filter(|guest| guest.is_in);
        let count = guests.clone().count();
        if count > 0 {
            let at = self.random.usize(0..count);
            let guest = guests.clone().nth(at).unwrap();
            self.world.say(&guest.reader, &message);
        }
    }

    /// In the end, whoever is there hears of each bug that they list and see, and of no other.
    fn come_to_rest(&mut self) {
        self.world.bugzilla.is_away = false;
        self.world.bugzilla.latency = 0;
        self.pass(300_000);
        let mut hears = Vec::new();
        for guest in self.guests.iter().filter(|guest| guest.is_in) {
            let list = self
                .world
                .ask(&guest.reader, r#"{"command":"subscriptions"}"#);
            let list: Option<Value> = list.first().and_then(|it| serde_json::from_str(it).ok());
            let list = list.and_then(|list| list["bugs"].as_array().cloned());
            let Some(list) = list else { continue };
            let list = list.iter().map(|bug| bug.as_u64().unwrap() as u32);
            let seen: BTreeSet<u32> = list.filter(|bug| self.sees(guest.key, *bug)).collect();
            hears.push((guest, seen));
        }
        for bug in BUGS {
            self.world.change(bug);
        }
        self.world.pass(120_000);
        for (guest, seen) in hears {
            let heard = guest.reader.updates();
            if heard.iter().any(|it| it.len() == 4) {
                assert!(!self.world.bugzilla.readers.contains_key(guest.key));
                continue;
            }
            let heard: BTreeSet<u32> = heard.iter().filter_map(|it| it.parse().ok()).collect();
            assert!(
                seen.is_subset(&heard),
                "{:?}: {heard:?} of {seen:?}",
                guest.key
            );
            let is_right = |bug: &u32| self.sees(guest.key, *bug);
            assert!(heard.iter().all(is_right), "{:?}: {heard:?}", guest.key);
        }
    }
}

fn play(seed: u64) -> Tally {
    let seed = Seed(seed);
    let mut game = Game::new(seed.0);
    for _ in 0..STEPS {
        game.step();
    }
    game.come_to_rest();
    game.tally
}

#[test]
fn never_is_a_doubt_decided_in_favour_of_showing() {
    if let Ok(seed) = std::env::var("BUGZFEED_SEED") {
        play(seed.parse().expect("BUGZFEED_SEED is a number"));
        return;
    }
    let mut sum = Tally::default();
    for seed in 0..RUNS {
        let tally = play(seed);
        sum.shown += tally.shown;
        sum.denied += tally.denied;
        sum.lost_and_shown += tally.lost_and_shown;
        for (code, count) in tally.ended {
            *sum.ended.entry(code).or_default() += count;
        }
    }
    println!("{sum:?}");
    assert!(sum.shown > 300 && sum.denied > 150 && sum.lost_and_shown > 50);
    assert!(sum.ended.contains_key("1008") && sum.ended.contains_key("1013"));
}
