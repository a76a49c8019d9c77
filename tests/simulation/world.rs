//! The world around the server: drives it turn by turn as the reactor does, lets things happen to its clients, and looks at what each
//! of them got.

use std::collections::{BTreeSet, VecDeque};

use bugzfeed::handshake::{self, Hook, Outcome, Page, Site};
use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::moment::Moment;
use bugzfeed::post::Answer;
use bugzfeed::server::{Limits, Server};
use bugzfeed::update::FeedId;
use fastrand::Rng;

use crate::client::{Client, Fate, Kind};
use crate::feed::Feed;
use crate::session::{Said, Session};
use crate::tally::Tally;
use crate::user::Known;
use crate::wire::SimStream;

const HANDSHAKE: u32 = 10_000;
const PING: u32 = 30_000;
const PONG: u32 = 30_000;
const STALL: u32 = 60_000;

/// More than any deadline of the server's is ever late.
const PATIENCE: u32 = 2 * (PING + PONG + STALL);

/// The time on the clock of Bugzilla's database when a run begins.
const FIRST_SECOND: i64 = 1_900_000_000;

/// Bugs are few, so that clients have them in common and updates fold.
const BUGS: std::ops::Range<u32> = 1..12;

const PATHS: [&str; 2] = ["/", "/dev/"];

enum Event {
    Change { feed: usize, bug: u32, second: i64 },
    Gap { feed: usize },
    Answer { post: u64 },
}

/// Somebody with a connection after the other.
pub struct User {
    pub feed: usize,
    is_fast: bool,
    pub known: Known,
    pub is_connected: bool,
}

pub struct World {
    pub random: Rng,
    pub server: Server<SimStream>,
    site: Site,
    connections_max: usize,
    subscriptions_max: usize,
    now: Moment,
    /// The database's clock.
    second: i64,
    pub feeds: Vec<Feed>,
    pub users: Vec<User>,
    pub clients: Vec<Client>,
    /// What the sources have sent.
    inbox: VecDeque<Event>,
    /// What was posted to a hook, and nobody has answered yet.
    posts: Vec<u64>,
    pub is_departing: bool,
    pub is_traced: bool,
    pub tally: Tally,
}

fn site() -> Site {
    let page = Page { path: "/".to_owned(), content_type: "text/plain", body: "0123456789".repeat(1_000) };
    let hook = Hook { path: "/hook".to_owned(), feed: FeedId(1), field: "X-Key".to_owned(), key: "open".to_owned() };
    Site { feeds: PATHS.map(str::to_owned).into(), pages: vec![page], hooks: vec![hook], origins: Vec::new() }
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
            handshake: HANDSHAKE,
            ping: PING,
            pong: PONG,
            stall: STALL,
        };
        let first_floor = FIRST_SECOND - random.i64(0..3);
        let hubs = PATHS.iter().map(|_| Hub::new(History::new(history_max, first_floor), subscriptions_max)).collect();
        let users = (0..random.usize(1..8)).map(|_| User {
            feed: random.usize(0..PATHS.len()),
            is_fast: random.bool(),
            known: Known::default(),
            is_connected: false,
        });
        Self {
            users: users.collect(),
            server: Server::new(limits, site(), hubs),
            site: site(),
            connections_max,
            subscriptions_max,
            // Close to where it wraps around.
            now: Moment(u32::MAX - random.u32(0..600_000)),
            second: FIRST_SECOND,
            feeds: PATHS.iter().map(|_| Feed::new(history_max, first_floor)).collect(),
            clients: Vec::new(),
            inbox: VecDeque::new(),
            posts: Vec::new(),
            is_departing: false,
            is_traced,
            tally: Tally::default(),
            random,
        }
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

    /// Lets everybody have all there is, and then nothing happens for long: nothing may be left over.
    pub fn come_to_rest(&mut self) {
        self.settle();
        self.pass(PATIENCE);
        let stay = self.clients.iter().filter(|client| client.is_talking()).count();
        assert_eq!(self.server.len(), stay, "{:#?}", self.clients.iter().map(|client| (&client.fate, &client.kind)).collect::<Vec<_>>());
        assert_eq!(self.server.unfinished_len(), 0, "somebody who is between two messages owns memory");
        assert!(!self.server.has_left());
    }

    /// The server goes away.
    pub fn depart(&mut self) {
        let duration = self.random.u32(0..1_000);
        self.is_departing = true;
        self.server.depart(duration, self.now);
        self.turn(true);
        self.pass(duration + 10_000);
        assert!(self.server.is_empty(), "{} clients keep the server", self.server.len());
        assert!(self.clients.is_empty());
    }

    fn happen(&mut self) {
        match self.random.u8(0..100) {
            0..8 => self.connect_user(),
            8..12 => self.connect_stranger(),
            12..40 => self.say_something(),
            40..60 => self.each_some(|client, random| client.deliver(random.usize(1..300))),
            60..68 => self.each_some(|client, _| client.deliver(usize::MAX)),
            68..74 => self.each_some(|client, random| {
                if client.fate != Fate::IsStuck {
                    client.give_room(random.usize(1..1_500));
                }
            }),
            74..90 => self.change(),
            90 => self.lose_updates(),
            91..95 => self.end_somebody(),
            95 => self.see_to_post(),
            96 => {
                self.settle();
                let pause = self.random.u32(0..25_000);
                self.pass(pause);
            }
            97..100 => self.second += self.random.i64(0..3),
            _ => unreachable!(),
        }
    }

    fn each_some(&mut self, mut act: impl FnMut(&mut Client, &mut Rng)) {
        for client in &mut self.clients {
            if self.random.bool() {
                act(client, &mut self.random);
            }
        }
    }

    fn connect_user(&mut self) {
        let Some(number) = self.random.choice(0..self.users.len()).filter(|&number| !self.users[number].is_connected) else { return };
        let user = &mut self.users[number];
        user.is_connected = true;
        let comes_back = !user.known.owed_from.is_empty();
        let resuming = comes_back.then(|| user.known.clone());
        let session = Session::new(user.is_fast, self.subscriptions_max, resuming);
        let kind = Kind::Socket { session: Box::new(session), user: number };
        let path = PATHS[user.feed];
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut client = Client::new(kind, user.is_fast, &request, &mut self.random);
        if comes_back {
            let bugs = user.known.owed_from.keys().copied().collect();
            client.say(Said::Subscribe { bugs, since: user.known.newest }, &mut self.random);
            self.tally.resumed += usize::from(user.known.newest.is_some());
        }
        self.clients.push(client);
    }

    fn connect_stranger(&mut self) {
        let requests = [
            "GET / HTTP/1.0\r\n\r\n",
            "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
            "\x16\x03\x01",
            "GET / HTTP/1.1\r\nHo",
            "POST /hook HTTP/1.1\r\nHost: a\r\nX-Key: open\r\nContent-Length: 4\r\n\r\nbody",
        ];
        let request = requests[self.random.usize(0..requests.len())];
        let mut response = Vec::new();
        let kind = match handshake::answer(&self.site, request.as_bytes(), false, &mut response) {
            Outcome::Answered => Kind::Http { response },
            Outcome::Posted { .. } => {
                handshake::write_kept(&mut response);
                Kind::Http { response }
            }
            Outcome::Incomplete | Outcome::Upgraded { .. } => Kind::Silent,
        };
        let is_fast = self.random.bool();
        let mut client = Client::new(kind, is_fast, request, &mut self.random);
        if self.random.bool() {
            client.fate = Fate::HalfCloses;
        }
        self.clients.push(client);
    }

    fn say_something(&mut self) {
        let random = &mut self.random;
        let mut talking: Vec<&mut Client> = self.clients.iter_mut().filter(|client| client.is_talking()).collect();
        let Some(at) = random.choice(0..talking.len()) else { return };
        let client = &mut talking[at];
        let some_bugs = |random: &mut Rng| (0..random.usize(0..5)).map(|_| random.u32(BUGS)).collect::<BTreeSet<u32>>();
        let said = match random.u8(0..20) {
            0..9 => Said::Subscribe { bugs: some_bugs(random), since: None },
            9..11 => Said::Subscribe { bugs: some_bugs(random), since: Some(self.second - random.i64(0..8)) },
            11..14 => Said::Unsubscribe { bugs: some_bugs(random) },
            14 => Said::Subscriptions,
            15 => Said::Version,
            16 => Said::Nonsense { reply: r#"{"command":null,"result":"error","error":"invalid JSON"}"# },
            17 => return client.pong(random),
            _ => Said::Ping { payload: vec![b'p'; random.usize(0..=125)] },
        };
        client.say(said, random);
    }

    /// Bugs change: mostly now, some a while ago, since they were committed late.
    fn change(&mut self) {
        let count = if self.random.u8(0..40) == 0 { 200 } else { self.random.usize(1..6) };
        for _ in 0..count {
            let late = if self.random.u8(0..4) == 0 { self.random.i64(0..6) } else { 0 };
            let feed = self.random.usize(0..PATHS.len());
            self.inbox.push_back(Event::Change { feed, bug: self.random.u32(BUGS), second: self.second - late });
            self.second += i64::from(self.random.u8(0..4) == 0);
        }
    }

    fn lose_updates(&mut self) {
        self.inbox.push_back(Event::Gap { feed: self.random.usize(0..PATHS.len()) });
    }

    /// A source has seen to a post, or forgets it.
    fn see_to_post(&mut self) {
        if let Some(post) = self.posts.pop()
            && self.random.u8(0..8) > 0
        {
            self.inbox.push_back(Event::Answer { post });
        }
    }

    fn end_somebody(&mut self) {
        let random = &mut self.random;
        let mut talking: Vec<&mut Client> = self.clients.iter_mut().filter(|client| client.is_talking()).collect();
        let Some(at) = random.choice(0..talking.len()) else { return };
        let client = &mut talking[at];
        client.fate = match random.u8(0..8) {
            0 | 1 => {
                let code = [None, Some(1000), Some(1001), Some(4999)][random.usize(0..4)];
                client.say(Said::Close { code }, random);
                Fate::Closes(code)
            }
            2 | 3 => Fate::Closes(Some(client.break_rules(random))),
            4 => Fate::HalfCloses,
            5 if client.is_fast => Fate::IsDeaf,
            6 if !client.is_fast => {
                client.handle.wire_mut().room = 0;
                Fate::IsStuck
            }
            _ => {
                client.vanish(random.bool());
                Fate::Vanishes
            }
        };
        if let (Fate::Vanishes, Kind::Socket { session, user }) = (client.fate, &client.kind) {
            // What was on its way is lost.
            let cut = client.seen_bytes - random.usize(0..=client.seen_bytes.min(1_000));
            self.users[*user].known.learn(&session.effects, cut);
            self.users[*user].is_connected = false;
        }
    }

    /// Has all that was said come, and all that was written taken.
    fn settle(&mut self) {
        loop {
            for client in &mut self.clients {
                client.deliver(usize::MAX);
                if client.fate != Fate::IsStuck {
                    client.give_room(100_000);
                }
            }
            (0..self.posts.len()).for_each(|_| self.see_to_post());
            let has_events = self.clients.iter().any(|client| client.id.is_none() || client.is_readable || client.is_writable);
            if !has_events && self.inbox.is_empty() && !self.server.has_left() {
                return;
            }
            self.turn(true);
        }
    }

    /// Nothing but time passes, and the server is woken when it asks to be.
    fn pass(&mut self, milliseconds: u32) {
        let end = self.now.plus(milliseconds);
        while end.since(self.now) > 0 {
            let until_tick = self.server.until_tick(self.now).unwrap_or(u32::MAX);
            self.now = self.now.plus(until_tick.min(end.since(self.now)));
            self.turn(true);
            self.settle();
        }
    }

    /// One turn, in the order of the reactor's. All that has happened is told to the server only where `is_prompt`.
    fn turn(&mut self, is_prompt: bool) {
        let now = self.now;
        let acted_at: Vec<usize> = self.feeds.iter().map(|feed| feed.log.len()).collect();
        for client in &mut self.clients {
            if let Kind::Socket { session, user } = &mut client.kind {
                session.reach(client.reached_bytes, &self.feeds[self.users[*user].feed]);
            }
        }
        let is_full = self.server.len() > self.connections_max || self.is_departing;
        if self.is_traced {
            println!("{now:?}, {acted_at:?} entries, {} clients", self.server.len());
        }
        self.tally.left += usize::from(self.server.has_left());
        self.server.resume(now);
        self.tell_events(is_prompt);
        self.posts.extend(self.server.take_posts().into_iter().map(|(_, post)| post.number));
        self.server.tick(now);
        self.publish();
        self.server.flush(now);
        for id in self.server.take_refused() {
            self.tally.refused += 1;
            let client = self.clients.iter_mut().find(|client| client.id == Some(id));
            client.expect("a client that was refused bytes").watch_for_room();
        }
        self.server.reap(now);
        self.accept();
        self.server.check_invariants();
        self.look(&acted_at, is_full);
    }

    fn tell_events(&mut self, is_prompt: bool) {
        let mut order: Vec<usize> = (0..self.clients.len()).collect();
        self.random.shuffle(&mut order);
        for at in order {
            let client = &mut self.clients[at];
            let Some(id) = client.id else { continue };
            // The kernel may say more than has changed, and later.
            let is_hint = !is_prompt && self.random.u8(0..50) == 0;
            if (!is_prompt && self.random.u8(0..10) == 0) || !(client.is_readable || client.is_writable || is_hint) {
                continue;
            }
            let is_readable = std::mem::take(&mut client.is_readable) || is_hint;
            let is_writable = std::mem::take(&mut client.is_writable) || (client.is_watched_for_room && self.random.bool());
            let is_ended = client.handle.wire().is_client_done || client.handle.wire().is_reset;
            if is_writable {
                self.server.writable(id, self.now);
            }
            if is_readable {
                self.server.readable(id, is_ended, self.now);
            }
            if self.server.has_enough() {
                self.server.flush(self.now);
            }
        }
    }

    fn publish(&mut self) {
        while let Some(event) = self.inbox.pop_front() {
            match event {
                Event::Change { feed, bug, second } => self.server.publish(FeedId(feed as u8), self.feeds[feed].push(bug, second)),
                Event::Gap { feed } => {
                    self.feeds[feed].gap(self.second);
                    self.server.gap(FeedId(feed as u8), self.second);
                }
                Event::Answer { post } => self.server.answer(post, Answer::Kept, self.now),
            }
            if self.server.has_enough() {
                break;
            }
        }
    }

    fn accept(&mut self) {
        for at in 0..self.clients.len() {
            if self.clients[at].id.is_none() && self.server.has_room() {
                let id = self.server.accept(self.clients[at].handle.stream(), self.now);
                let is_used = |client: &Client| client.id == Some(id) && !client.handle.wire().is_dropped;
                assert!(!self.clients.iter().any(is_used), "{id:?} is given to two clients");
                self.clients[at].id = Some(id);
                self.clients[at].is_readable = true;
            }
        }
    }
}
