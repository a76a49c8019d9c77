//! The world of a run: who is in it, what happens to them second by second, and what must hold.

use fastrand::Rng;

use super::broker::Broker;
use super::bugzilla::{Bugzilla, FIRST_SECOND};
use super::client::Client;
use super::relay::Relay;
use super::server::{End, Server};
use crate::hub::Asked;
use crate::inbox::Notice;
use crate::subscriptions::ClientId;

/// How long an answer may be held, and how long a doubt may last while the source reads and
/// Bugzilla answers, in seconds.
const HOLD: i64 = 5;
const DOUBT_MAX: i64 = 60;

/// The same where the relay's numbers are waited for as well: a minute without any message of those
/// that were announced, two seconds until that was announced, and Bugzilla's answer behind it.
const DOUBT_BY_NUMBERS_MAX: i64 = 70;

/// How long a loss may be a secret, in seconds, where it shows by the relay's numbers: until the
/// queue is looked at, bound again, and the relay has announced its number twice.
const SECRET_BY_NUMBERS: i64 = 16;

/// The least time between two reports of gaps to those who are connected, in seconds.
const GAP_INTERVAL: i64 = 600;

/// How long after its gap a server may not have told some of its clients, in seconds.
const LOST_LATELY: i64 = GAP_INTERVAL + 100;

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
    /// Whether the relay numbers its messages.
    has_numbers: bool,
    /// How seldom somebody edits a bug, in seconds.
    edit_every: usize,
    /// When the last fault happened.
    faulted_at: i64,
    /// When each server has reported its last gap to the loop.
    lost_at: [i64; 2],
    /// Since when Bugzilla answers.
    answers_since: i64,
    /// Until when each server may lack what nobody can know of.
    secret_until: [i64; 2],
    /// Whether clients stay, and come back at once.
    is_resting: bool,
    is_traced: bool,
    pub tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, is_traced: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let has_catch_up = random.bool();
        let has_numbers = random.u8(0..3) > 0;
        let bugzilla = Bugzilla::new(random.i64(-7_200..7_200));
        Self {
            now: FIRST_SECOND,
            bugzilla,
            relay: Relay::new(has_numbers),
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
            has_numbers,
            edit_every: [2, 10, 40][random.usize(0..3)],
            faulted_at: FIRST_SECOND,
            lost_at: [i64::MIN; 2],
            answers_since: FIRST_SECOND,
            secret_until: [FIRST_SECOND; 2],
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
        self.faulted_at = self.now;
        self.answer();
        self.is_resting = true;
        let wait = if self.has_catch_up && self.has_numbers {
            // More than a history holds is told when the numbers leave no doubt any more.
            DOUBT_BY_NUMBERS_MAX + 12
        } else if self.has_catch_up {
            62
        } else {
            // What was announced may be on its way for a minute.
            GAP_INTERVAL + 60 + 70
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
        // Who was closed a moment ago comes back and asks.
        for _ in 0..2 * HOLD {
            if self.clients.iter().any(Client::is_away) {
                self.second();
            }
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
        self.faulted_at = self.now;
        let number = self.random.usize(0..2);
        let which = self.random.u8(0..16);
        if self.is_traced {
            println!("{} fault {which} of {number}", self.now - FIRST_SECOND);
        }
        match which {
            0 if self.relay.is_up && self.random.bool() => self.relay.stop(&mut self.broker),
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
            12 if self.has_numbers => {
                self.relay.skip_number();
            }
            _ if self.has_catch_up || self.has_numbers => self.secret_fault(number),
            _ => {}
        }
    }

    /// What no source can notice, or only later.
    fn secret_fault(&mut self, number: usize) {
        let secret = match self.has_catch_up {
            true => 62,
            false => SECRET_BY_NUMBERS,
        };
        let kind = self.random.u8(0..5);
        for (of, until) in self.secret_until.iter_mut().enumerate() {
            // The others concern both servers.
            if kind > 2 || of == number {
                *until = (*until).max(self.now + secret);
            }
        }
        let messages = &mut self.broker.queues[number].messages;
        match kind {
            0 => messages.clear(),
            1 => drop(messages.pop_front()),
            2 => self.random.shuffle(messages.make_contiguous()),
            3 => self.relay.lose_backlog(),
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
        if self.random.usize(0..self.edit_every) == 0 {
            self.bugzilla.edit(self.now, &mut self.random);
        }
        for commit in self.bugzilla.commit(self.now) {
            self.tally.count(Counted::Commits);
            self.relay.rows.push(commit);
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
        self.relay
            .work(self.now, &mut self.broker, &self.bugzilla, &mut self.random);
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
        for notice in notices {
            self.take(number, notice);
        }
        self.check_doubt(number);
        self.tell_of_gap(number);
    }

    /// What the loop does with what a source says.
    fn take(&mut self, number: usize, notice: Notice) {
        if self.is_traced {
            println!("{} server {number}: {notice:?}", self.now - FIRST_SECOND);
        }
        let Some(running) = &mut self.servers[number].running else {
            return;
        };
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
            Notice::Gap { .. } => {
                self.gaps[number].1 = true;
                self.lost_at[number] = self.now;
                self.tell_of_gap(number);
            }
            Notice::Clock { ahead, .. } => running.hub.set_database_clock(ahead),
            Notice::Access(_)
            | Notice::Reloaded(_)
            | Notice::Refused { .. }
            | Notice::Key { .. }
            | Notice::Source { .. }
            | Notice::Keeping { .. }
            | Notice::Answer { .. } => {}
        }
    }

    fn check_doubt(&self, number: usize) {
        let Some(running) = &self.servers[number].running else {
            return;
        };
        if let Some(since) = running.reads_since
            && running.hub.is_in_doubt()
            && (!self.has_catch_up || self.bugzilla.answers)
        {
            let since = since.max(running.doubt_since).max(self.answers_since);
            let (since, max) = match self.has_numbers {
                true => (since.max(self.faulted_at), DOUBT_BY_NUMBERS_MAX),
                false => (since, DOUBT_MAX),
            };
            assert!(
                !self.relay.is_up || self.now - since <= max,
                "server {number} is in doubt for too long"
            );
        }
    }

    /// Closes who is connected, if a gap is to be told. Nothing newer reaches them before.
    fn tell_of_gap(&mut self, number: usize) {
        let (last, is_due) = self.gaps[number];
        if is_due && last.is_none_or(|last| self.now - last >= GAP_INTERVAL) {
            self.tally.count(Counted::Gaps);
            self.gaps[number] = (Some(self.now), false);
            self.close_clients_of(number);
        }
    }

    /// What a client does in a second.
    fn live_as(&mut self, at: usize) {
        let id = ClientId(at as u32);
        let client = &mut self.clients[at];
        let Some(number) = client.server else {
            // What both servers have lost, one of them may not have told yet.
            let lost_lately = |at: &i64| self.now.saturating_sub(*at) < LOST_LATELY;
            let may_move = self.random.bool() && !self.lost_at.iter().all(lost_lately);
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
            clients: 1,
            delay: None,
        };
        // A server that is behind does not know what its clients have seen elsewhere.
        let is_behind = Some(running.newest) < client.newest;
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
            if !is_behind {
                self.check_what_is_lacking(at, "and was answered with true");
            }
        } else if complete == Some(false) {
            self.tally.count(Counted::Incomplete);
        }
    }

    /// Panics where a client lacks what is not on its way to it.
    fn check_what_is_lacking(&self, at: usize, how: &str) {
        let client = &self.clients[at];
        if self.now <= self.secret_until[client.was_at] {
            return;
        }
        let queue = &self.broker.queues[client.was_at];
        for lacking in &client.lacks {
            let is_on_its_way = self.relay.contains(*lacking) || queue.contains(*lacking);
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
