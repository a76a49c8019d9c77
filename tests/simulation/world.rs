//! The world around the server: drives it turn by turn as the reactor does, lets things happen to
//! its clients, and looks at what each of them got.

use std::collections::VecDeque;
use std::sync::Arc;

use bugzfeed::history::History;
use bugzfeed::http::{Page, Site, Webhook};
use bugzfeed::hub::Hub;
use bugzfeed::moment::Moment;
use bugzfeed::post::{Answer, PostId};
use bugzfeed::promise::Promise;
use bugzfeed::server::{Limits, Server};
use bugzfeed::update::FeedId;
use fastrand::Rng;
use rustls::{ClientConfig, ClientConnection};

use crate::client::{Client, Fate, Kind};
use crate::feed::{Entry, Feed};
use crate::tally::Tally;
use crate::tls;
use crate::user::Known;
use crate::wire::SimStream;

/// How long an answer may be held, in milliseconds.
pub const HOLD: u32 = 5_000;

/// The least time between two reports of gaps to those who are connected, in milliseconds.
const GAP_INTERVAL: u32 = 600_000;

/// How long the server lets clients linger, and how long it waits for the answer to a post.
pub const LINGER: u32 = 2_000;
pub const POST: u32 = 10_000;

/// No deadline is met later than this.
pub const LATE: u32 = 1_100;

/// The time on the clock of Bugzilla's database when a run begins.
const FIRST_SECOND: i64 = 1_900_000_000;

/// Bugs are few, so that clients have them in common and updates fold.
pub const BUGS: std::ops::Range<u32> = 1..12;

pub const PATHS: [&str; 2] = ["/", "/dev/"];

pub enum Notice {
    Change { feed: usize, bug: u32, second: i64 },
    Gap { feed: usize },
    Doubt { feed: usize, is_in_doubt: bool },
    Answer { post: PostId },
}

/// Somebody with a connection after the other.
pub struct User {
    pub feed: usize,
    pub is_fast: bool,
    pub known: Known,
    pub is_connected: bool,
}

pub struct World {
    pub random: Rng,
    pub server: Server<SimStream>,
    pub site: Site,
    pub limits: Limits,
    pub subscriptions_max: usize,
    pub now: Moment,
    /// The database's clock.
    pub second: i64,
    pub feeds: Vec<Feed>,
    pub users: Vec<User>,
    pub clients: Vec<Client>,
    /// What the sources have sent.
    pub inbox: VecDeque<Notice>,
    /// What was posted to a webhook, and nobody has answered yet.
    pub posts: Vec<PostId>,
    /// The server is to go away in the next turn, within so many milliseconds.
    departure: Option<u32>,
    pub is_departing: bool,
    /// When the last gap of each feed was reported to those who were connected.
    pub gap_at: [Option<Moment>; PATHS.len()],
    /// Now and then, there is no memory for more than a few packets; nobody is fast then.
    pub is_short_of_memory: bool,
    /// How clients speak TLS, where some do.
    pub tls: Option<Arc<ClientConfig>>,
    pub is_traced: bool,
    pub tally: Tally,
}

pub fn site() -> Site {
    let page = Page::new("/", "text/plain", "0123456789".repeat(1_000));
    let webhook = Webhook {
        path: "/webhook".to_owned(),
        feed: FeedId(1),
        field: "X-Key".to_owned(),
        key: "open".to_owned(),
    };
    Site {
        feeds: PATHS.map(str::to_owned).into(),
        pages: vec![page],
        webhooks: vec![webhook],
        offers_events: true,
        ..Site::default()
    }
}

impl World {
    pub fn new(seed: u64, is_traced: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        // The server's departure draws from here.
        fastrand::seed(seed);
        let history_max = [0, 1, 5, 30, 1_000][random.usize(0..5)];
        let subscriptions_max = [6, 100][random.usize(0..2)];
        let connections_max = [3, 100][usize::from(random.u8(0..4) > 0)];
        let limits = Limits {
            connections_max,
            message_bytes_max: 256 * 1024,
            messages_per_second: 1_000,
            messages_burst: 1_000_000,
            handshake: [10_000, 60_000][random.usize(0..2)],
            message: 600_000,
            ping: [3_000, 30_000, 600_000][random.usize(0..3)],
            pong: [20_000, 60_000][random.usize(0..2)],
            stall: [20_000, 60_000][random.usize(0..2)],
        };
        let first_floor = FIRST_SECOND - random.i64(0..3);
        let hubs = PATHS
            .iter()
            .map(|_| {
                Hub::new(History::new(history_max, first_floor), subscriptions_max)
                    .with_firehose(true)
            })
            .collect();
        let mut server = Server::new(limits.clone(), site(), hubs);
        for feed in 0..PATHS.len() {
            server.promise(FeedId(feed as u8), Promise::After(first_floor));
        }
        let is_short_of_memory = random.u8(0..4) == 0;
        let tls = (random.u8(0..8) == 0).then(tls::config);
        if tls.is_some() {
            server.secure(tls::sessions());
        }
        let users = (0..random.usize(1..8)).map(|_| User {
            feed: random.usize(0..PATHS.len()),
            is_fast: random.bool() && !is_short_of_memory,
            known: Known::default(),
            is_connected: false,
        });
        Self {
            users: users.collect(),
            server,
            site: site(),
            limits,
            subscriptions_max,
            // Close to where it wraps around.
            now: Moment(u32::MAX - random.u32(0..600_000)),
            second: FIRST_SECOND,
            feeds: PATHS
                .iter()
                .map(|_| Feed::new(history_max, first_floor))
                .collect(),
            clients: Vec::new(),
            inbox: VecDeque::new(),
            posts: Vec::new(),
            departure: None,
            is_departing: false,
            gap_at: [None; PATHS.len()],
            is_short_of_memory,
            tls,
            is_traced,
            tally: Tally::default(),
            random,
        }
    }

    /// Somebody who connects; by TLS, now and then, where that can be.
    pub fn add(&mut self, mut client: Client) {
        if let Some(config) = self.tls.as_ref().filter(|_| self.random.bool()) {
            let connection = ClientConnection::new(Arc::clone(config), tls::name());
            client.secure(connection.unwrap());
            self.tally.secure += 1;
        }
        self.clients.push(client);
    }

    /// Lets things happen for a while.
    pub fn live(&mut self) {
        for _ in 0..self.random.usize(20..150) {
            for _ in 0..self.random.usize(0..6) {
                self.happen();
            }
            self.now = self.now.plus(self.random.u32(0..50));
            self.turn(false);
        }
    }

    /// Lets everybody have all there is, and then nothing happens for long: nothing may be left
    /// over.
    pub fn come_to_rest(&mut self) {
        self.settle();
        let Limits {
            handshake,
            ping,
            pong,
            stall,
            ..
        } = self.limits;
        self.pass(handshake + ping + pong + stall + POST + LINGER + 4 * LATE);
        let stay = self
            .clients
            .iter()
            .filter(|client| client.is_talking())
            .count();
        assert_eq!(
            self.server.len(),
            stay,
            "{:#?}",
            self.clients
                .iter()
                .map(|client| (&client.fate, &client.kind))
                .collect::<Vec<_>>()
        );
        assert_eq!(
            self.server.unfinished_len(),
            0,
            "somebody who is between two messages owns memory"
        );
        assert!(!self.server.has_left());
    }

    /// The server goes away, be it in the middle of everything.
    pub fn depart(&mut self) {
        let duration = self.random.u32(0..1_000);
        self.departure = Some(duration);
        for _ in 0..self.random.usize(0..20) {
            self.happen();
            self.turn(false);
        }
        self.turn(true);
        self.settle();
        self.pass(duration + LINGER + 4 * LATE);
        assert!(
            self.server.is_empty(),
            "{} clients keep the server",
            self.server.len()
        );
        assert!(self.clients.is_empty());
    }

    pub fn is_departing(&self) -> bool {
        self.is_departing || self.departure.is_some()
    }

    /// Has all that was said come, and all that was written taken.
    pub fn settle(&mut self) {
        self.clients
            .iter_mut()
            .filter_map(|client| client.trickle.map(|bytes| (client, bytes)))
            .for_each(|(client, bytes)| client.give_room(bytes));
        loop {
            for client in &mut self.clients {
                client.deliver(usize::MAX);
                if client.fate != Fate::IsStuck && client.trickle.is_none() {
                    client.give_room(100_000);
                }
            }
            (0..self.posts.len()).for_each(|_| self.answer_post());
            let has_events = self
                .clients
                .iter()
                .any(|client| client.id.is_none() || client.is_readable || client.is_writable);
            if !has_events
                && self.inbox.is_empty()
                && !self.server.has_left()
                && !self.server.is_held_up()
            {
                return;
            }
            self.turn(true);
        }
    }

    /// Nothing but time passes, and the server is woken when it asks to be.
    pub fn pass(&mut self, milliseconds: u32) {
        let end = self.now.plus(milliseconds);
        while end.since(self.now) > 0 {
            let until_tick = self.server.until_tick(self.now).unwrap_or(u32::MAX);
            self.now = self.now.plus(until_tick.min(end.since(self.now)));
            self.turn(true);
            self.settle();
        }
    }

    /// One turn, in the order of the reactor's. The server is notified of all that has happened
    /// only where `is_prompt`.
    pub fn turn(&mut self, is_prompt: bool) {
        let now = self.now;
        let acted_at: Vec<usize> = self.feeds.iter().map(|feed| feed.log.len()).collect();
        for client in &mut self.clients {
            if let Kind::Socket { session, user } = &mut client.kind {
                session.reach(client.reached_bytes, &self.feeds[self.users[*user].feed]);
            }
        }
        // Those who have their handshake before them may all come to speak WebSocket in this turn.
        let may_be_full = self.server.len() >= self.limits.connections_max || self.is_departing;
        self.clients.iter_mut().for_each(Client::notice_answers);
        if self.is_traced {
            println!(
                "{now:?}, {acted_at:?} entries, {} clients",
                self.server.len()
            );
        }
        self.tally.left += usize::from(self.server.has_left());
        self.server.resume(now);
        self.notify(is_prompt);
        self.posts.extend(
            self.server
                .take_posts()
                .into_iter()
                .map(|(_, post)| post.id),
        );
        if let Some(duration) = self.departure.take() {
            self.is_departing = true;
            self.server.drain(duration, now);
        }
        if self.is_departing {
            // The listeners are closed, and the kernel resets those who were not accepted.
            self.clients.retain(|client| client.id.is_some());
        }
        self.server.tick(now);
        if !(self.server.has_enough() && self.server.is_held_up()) {
            self.publish();
        }
        let is_short = self.is_short_of_memory && !is_prompt && self.random.bool();
        self.server.flush(
            if is_short {
                self.random.usize(0..4)
            } else {
                usize::MAX
            },
            now,
        );
        self.tally.held_up += usize::from(self.server.is_held_up());
        for id in self.server.take_refused() {
            self.tally.refused += 1;
            let client = self
                .clients
                .iter_mut()
                .find(|client| client.id == Some(id))
                .expect("a client that was refused bytes");
            client.watch_for_room();
        }
        self.server.reap(now);
        self.accept();
        self.server.check_invariants();
        assert!(self.server.open_len() <= self.limits.connections_max);
        self.look(&acted_at, may_be_full);
    }

    fn notify(&mut self, is_prompt: bool) {
        let mut order: Vec<usize> = (0..self.clients.len()).collect();
        self.random.shuffle(&mut order);
        for at in order {
            let client = &mut self.clients[at];
            let Some(id) = client.id else { continue };
            // The kernel may say more than has changed, and later.
            let is_hint = !is_prompt && self.random.u8(0..50) == 0;
            if (!is_prompt && self.random.u8(0..10) == 0)
                || !(client.is_readable || client.is_writable || is_hint)
            {
                continue;
            }
            let is_readable = std::mem::take(&mut client.is_readable) || is_hint;
            let is_writable = std::mem::take(&mut client.is_writable)
                || (client.is_watched_for_room && self.random.bool());
            let is_ended = client.handle.wire().is_client_done || client.handle.wire().is_reset;
            if is_writable {
                self.server.writable(id, self.now);
            }
            if is_readable {
                if client.handle.wire_mut().take_said() {
                    (client.heard, client.is_pinged) = (self.now, false);
                }
                self.server.readable(id, is_ended, self.now);
            }
        }
    }

    /// Those who are connected now must come back and ask.
    fn report_gap(&mut self, feed: usize) {
        self.server.gap(FeedId(feed as u8), self.now);
        if self.gap_at[feed].is_some_and(|at| self.now.since(at) < GAP_INTERVAL) {
            return;
        }
        self.gap_at[feed] = Some(self.now);
        let by = self.now.plus(self.clients.len() as u32 + LATE);
        for client in &mut self.clients {
            if let Kind::Socket { session, user } = &mut client.kind
                && self.users[*user].feed == feed
            {
                session.may_be_kept_from = true;
                if session.is_surely_subscribed() {
                    session.leaves_by = Some(by);
                }
            }
        }
    }

    /// The source of a feed says what it vouches for.
    fn promise(&mut self, feed: usize) {
        let promise = self.feeds[feed].promise(self.feeds[feed].log.len());
        self.server.promise(FeedId(feed as u8), promise);
    }

    fn publish(&mut self) {
        self.server.set_unix_time(self.second);
        while let Some(event) = self.inbox.pop_front() {
            match event {
                Notice::Change { feed, bug, second } => {
                    let update = self.feeds[feed].push(bug, second);
                    self.server.publish(FeedId(feed as u8), update, i64::MAX);
                }
                Notice::Gap { feed } => {
                    self.feeds[feed].gap(self.second);
                    self.promise(feed);
                    self.report_gap(feed);
                }
                Notice::Doubt { feed, is_in_doubt } => {
                    self.feeds[feed].log.push(Entry::Doubt { is_in_doubt });
                    self.promise(feed);
                }
                Notice::Answer { post } => self.server.answer(post, Answer::Kept, self.now),
            }
            if self.server.has_enough() {
                break;
            }
        }
    }

    fn accept(&mut self) {
        for at in 0..self.clients.len() {
            if self.clients[at].id.is_none() && self.server.has_room() {
                let handle = &self.clients[at].handle;
                let has_tls = handle.wire().tls.is_some();
                let session = has_tls.then(|| self.server.begin_session().unwrap());
                let stream = match session {
                    None => handle.stream(),
                    Some(session) => handle.secure_stream(session),
                };
                let id = self.server.accept(stream, self.now);
                let is_used =
                    |client: &Client| client.id == Some(id) && !client.handle.wire().is_dropped;
                assert!(
                    !self.clients.iter().any(is_used),
                    "{id:?} is given to two clients"
                );
                self.clients[at].id = Some(id);
                self.clients[at].is_readable = true;
                self.clients[at].heard = self.now;
            }
        }
    }
}
