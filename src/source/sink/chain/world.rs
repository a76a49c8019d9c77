//! The world of a run: who is in it, what happens to them second by second, and what must hold.

use fastrand::Rng;

use super::broker::{Broker, Relay};
use super::bugzilla::{Bugzilla, FIRST_SECOND};
use super::client::Client;
use super::server::{End, Server};
use crate::hub::Asked;
use crate::inbox::Notice;
use crate::subscriptions::ClientId;

/// How long an answer may be held, and how long a doubt may last while the source reads and
/// Bugzilla answers, in seconds.
const HOLD: i64 = 5;
const DOUBT_MAX: i64 = 60;

/// The least time between two reports of gaps to those who are connected, in seconds.
const GAP_INTERVAL: i64 = 600;

/// How often what has happened in all runs: a simulation in which nothing happens proves nothing.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: [usize; 6],
}

/// What is counted.
#[derive(Clone, Copy)]
enum Counted {
    Commits,
    Whole,
    Incomplete,
    Held,
    Gaps,
    Faults,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    pub(super) fn check_that_all_has_happened(&self) {
        assert!(self.counts.iter().all(|&count| count > 100), "{self:?}");
    }

    fn count(&mut self, what: Counted) {
        self.counts[what as usize] += 1;
    }
}

pub(super) struct World {
    random: Rng,
    now: i64,
    bugzilla: Bugzilla,
    relay: Relay,
    broker: Broker,
    servers: [Server; 2],
    /// When each server reported its last gap to its clients, and whether another one is due.
    gaps: [(Option<i64>, bool); 2],
    clients: Vec<Client>,
    /// Whether the servers ask Bugzilla.
    has_catch_up: bool,
    /// Since when Bugzilla answers.
    answers_since: i64,
    /// Until when a server may lack what nobody can know of.
    secret_until: i64,
    /// Whether clients stay, and come back at once.
    is_resting: bool,
    is_traced: bool,
    pub tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, is_traced: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let has_catch_up = random.bool();
        let bugzilla = Bugzilla::new(random.i64(-7_200..7_200));
        Self {
            now: FIRST_SECOND,
            bugzilla,
            relay: Relay::new(),
            broker: Broker::new(),
            servers: [0, 1].map(|number| Server::new(number, has_catch_up, &mut random)),
            gaps: [(None, false); 2],
            clients: (0..6)
                .map(|_| Client::new(&mut random))
                .map(|mut client| {
                    client.returns_at += FIRST_SECOND;
                    client
                })
                .collect(),
            has_catch_up,
            answers_since: FIRST_SECOND,
            secret_until: FIRST_SECOND,
            is_resting: false,
            is_traced,
            tally: Tally::default(),
            random,
        }
    }

    /// Lets faults happen for a while.
    pub(super) fn live(&mut self) {
        for _ in 0..self.random.usize(300..1_200) {
            if self.random.u8(0..30) == 0 {
                self.fault();
            }
            self.second();
        }
    }

    /// Ends all faults; then nobody may lack anything, soon.
    pub(super) fn come_to_rest(&mut self) {
        (self.relay.is_up, self.broker.is_up) = (true, true);
        self.answer();
        self.is_resting = true;
        let wait = if self.has_catch_up {
            62
        } else {
            GAP_INTERVAL + 60
        };
        for server in &mut self.servers {
            server.returns_at = self.now;
        }
        for _ in 0..10 {
            self.second();
        }
        for _ in 0..wait {
            self.second();
        }
        // What was committed in these seconds is on its way.
        for at in 0..self.clients.len() {
            self.check_what_is_lacking(at, "at the end");
        }
    }

    fn answer(&mut self) {
        if !self.bugzilla.answers {
            self.bugzilla.answers = true;
            self.answers_since = self.now;
        }
    }

    fn fault(&mut self) {
        self.tally.count(Counted::Faults);
        let number = self.random.usize(0..2);
        let which = self.random.u8(0..14);
        if self.is_traced {
            println!("{} fault {which} of {number}", self.now - FIRST_SECOND);
        }
        match which {
            0 => self.relay.is_up = !self.relay.is_up,
            1 => self.lose_broker(false),
            2 => self.broker.is_up = true,
            3 => self.lose_broker(true),
            4 => self.broker.queues[number] = Default::default(),
            5 | 6 => self.end(number, End::Killed),
            7 => self.end(number, End::Stopped),
            8 => self.servers[number].disconnect(self.now),
            9 => {
                self.bugzilla.answers = false;
            }
            10 => self.answer(),
            11 if self.has_catch_up => {
                let seconds = [-3_600, -10, 10, 3_600][self.random.usize(0..4)];
                self.bugzilla.lose_power(seconds);
            }
            _ if self.has_catch_up => self.secret_fault(number),
            _ => {}
        }
    }

    /// What no source can notice, or only later.
    fn secret_fault(&mut self, number: usize) {
        self.secret_until = self.now + 62;
        let messages = &mut self.broker.queues[number].messages;
        match self.random.u8(0..4) {
            0 => messages.clear(),
            1 => drop(messages.pop_front()),
            2 => self.random.shuffle(messages.make_contiguous()),
            _ => self.broker.delete_exchange(),
        }
    }

    fn lose_broker(&mut self, with_all: bool) {
        if with_all {
            self.broker.wipe();
        } else {
            self.broker.is_up = false;
        }
        for server in &mut self.servers {
            server.disconnect(self.now);
        }
    }

    fn end(&mut self, number: usize, end: End) {
        if self.servers[number].running.is_some() {
            self.servers[number].end(end, self.now, &mut self.random);
            self.gaps[number] = (None, false);
            self.close_clients_of(number);
        }
    }

    fn close_clients_of(&mut self, number: usize) {
        for (at, client) in self.clients.iter_mut().enumerate() {
            if client.server == Some(number) {
                client.leave(self.now + self.random.i64(1..6));
                if let Some(running) = &mut self.servers[number].running {
                    running.hub.leave(ClientId(at as u32));
                }
            }
        }
    }

    fn second(&mut self) {
        self.now += 1;
        for _ in 0..self.random.usize(0..2) {
            self.bugzilla.edit(self.now, &mut self.random);
        }
        for commit in self.bugzilla.commit(self.now) {
            self.tally.count(Counted::Commits);
            self.relay.rows.push_back(commit);
            let bug = self.bugzilla.commits[commit].bug;
            if self.is_traced {
                let commits = &self.bugzilla.commits;
                println!(
                    "{} commit {commit} {:?}",
                    self.now - FIRST_SECOND,
                    commits[commit]
                );
            }
            for client in &mut self.clients {
                if client.is_owed && client.bugs.contains(&bug) {
                    client.lacks.insert(commit);
                }
            }
        }
        self.relay.work(&mut self.broker, &mut self.random);
        for number in 0..self.servers.len() {
            self.serve(number);
        }
        for at in 0..self.clients.len() {
            self.live_as(at);
        }
    }

    fn serve(&mut self, number: usize) {
        let server = &mut self.servers[number];
        if server.running.is_none() && self.now >= server.returns_at {
            server.start(self.now);
        }
        let notices = server.work(self.now, &mut self.broker, &self.bugzilla, &mut self.random);
        let Some(running) = &mut server.running else {
            return;
        };
        for notice in notices {
            if self.is_traced {
                println!("{} server {number}: {notice:?}", self.now - FIRST_SECOND);
            }
            match notice {
                Notice::Updates {
                    updates,
                    credible_until,
                    ..
                } => {
                    for update in updates {
                        for client in running.hub.publish(update.clone(), credible_until) {
                            self.clients[client.0 as usize].receive(&update, &self.bugzilla);
                        }
                    }
                }
                Notice::Earlier { updates, .. } => running.hub.remember(updates),
                Notice::Promise { promise, .. } => running.hub.promise(promise),
                Notice::Gap { .. } => self.gaps[number].1 = true,
                Notice::Clock { ahead, .. } => running.hub.set_database_clock(ahead),
                Notice::Answer { .. } | Notice::Key { .. } => {}
            }
        }
        if let Some(since) = running.reads_since
            && running.hub.is_in_doubt()
            && (!self.has_catch_up || self.bugzilla.answers)
        {
            let since = since.max(running.doubt_since).max(self.answers_since);
            assert!(
                self.now - since <= DOUBT_MAX,
                "server {number} is in doubt for too long"
            );
        }
        let (last, is_due) = self.gaps[number];
        if is_due && last.is_none_or(|last| self.now - last >= GAP_INTERVAL) {
            self.tally.count(Counted::Gaps);
            self.gaps[number] = (Some(self.now), false);
            running.hub.close_gap();
            self.close_clients_of(number);
        }
    }

    /// What a client does in a second.
    fn live_as(&mut self, at: usize) {
        let id = ClientId(at as u32);
        let client = &mut self.clients[at];
        let Some(number) = client.server else {
            // Where a loss is secret, another server's order of updates may differ.
            let may_move = self.now > self.secret_until && self.random.bool();
            let number = if may_move {
                1 - client.was_at
            } else {
                client.was_at
            };
            if (self.is_resting || self.now >= client.returns_at)
                && self.servers[number].running.is_some()
            {
                (client.server, client.was_at) = (Some(number), number);
                client.asked_at = Some(self.now);
            }
            return;
        };
        let server = &mut self.servers[number];
        let Some(running) = &mut server.running else {
            return;
        };
        let Some(asked_at) = client.asked_at else {
            if !self.is_resting && self.random.u8(0..100) == 0 {
                running.hub.leave(id);
                client.leave(self.now + self.random.i64(1..120));
            }
            return;
        };
        let asked = Asked {
            at: self.now + server.ahead,
            may_wait: self.now - asked_at < HOLD,
        };
        let mut texts = Vec::new();
        let message = client.subscribe();
        if !running.hub.handle(id, message.as_bytes(), asked, |text| {
            texts.push(text.to_vec())
        }) {
            self.tally.count(Counted::Held);
            return;
        }
        let complete = client.answered(&texts, &self.bugzilla);
        if self.is_traced {
            println!(
                "{} {message} {complete:?}: {client:?}",
                self.now - FIRST_SECOND
            );
        }
        if complete == Some(true) {
            self.tally.count(Counted::Whole);
            self.check_what_is_lacking(at, "and was answered with true");
        } else if complete == Some(false) {
            self.tally.count(Counted::Incomplete);
        }
    }

    /// Panics where a client lacks what is not on its way to it.
    fn check_what_is_lacking(&self, at: usize, how: &str) {
        let client = &self.clients[at];
        if self.now <= self.secret_until {
            return;
        }
        let queue = &self.broker.queues[client.was_at].messages;
        for lacking in &client.lacks {
            let is_on_its_way = self.relay.rows.contains(lacking)
                || self.relay.backlog.contains(lacking)
                || queue.contains(lacking);
            assert!(
                is_on_its_way,
                "client {at} lacks {lacking} {:?} {how}, at second {} ({}): {client:?}",
                self.bugzilla.commits[*lacking],
                self.now - FIRST_SECOND,
                if self.has_catch_up {
                    "catch-up"
                } else {
                    "no catch-up"
                }
            );
        }
    }
}
