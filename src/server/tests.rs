//! A server that is driven by hand, for what only the program itself sets: who the clients are, what
//! is known of those who have gone, its terms. All else is in `tests/simulation`.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use core::net::IpAddr;

use super::{AddressRules, Limits, Server, Terms, deadlines};
use crate::connection::Stream;
use crate::history::History;
use crate::http::{Page, Site};
use crate::hub::Hub;
use crate::moment::Moment;
use crate::promise::Promise;
use crate::secure::SessionId;
use crate::subscriptions::ClientId;
use crate::update::{BugId, FeedId, Update, When};

pub(super) const HANDSHAKE: u32 = 60_000;
pub(super) const SUBSCRIBE: &str = r#"{"command":"subscribe","bugs":[1,2]}"#;

/// A head that asks for a WebSocket.
pub(super) const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What the kernel knows of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    to_server: Vec<u8>,
    /// What the client has not looked at yet.
    pub(super) written: Vec<u8>,
    /// How many bytes the kernel has taken.
    pub(super) taken: usize,
    /// How many bytes more the kernel takes.
    pub(super) room: usize,
    pub(super) peer: Option<IpAddr>,
    /// The client sends no more.
    is_done: bool,
    is_reset: bool,
    is_dropped: bool,
    /// For how many milliseconds the kernel tries in vain, where that was set.
    patience: Option<u32>,
}

/// The server's end of a connection.
#[derive(Debug)]
pub(super) struct End(Rc<RefCell<Wire>>, Option<SessionId>);

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        if wire.is_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let bytes = wire.to_server.as_slice().read(buffer)?;
        wire.to_server.drain(..bytes);
        if bytes == 0 && !wire.is_done {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(bytes)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        let taken = bytes.len().min(wire.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.room -= taken;
        wire.taken += taken;
        wire.written.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for End {
    fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn peer(&self) -> Option<IpAddr> {
        self.0.borrow().peer
    }

    fn give_up_after(&self, milliseconds: u32) {
        self.0.borrow_mut().patience = Some(milliseconds);
    }

    fn session(&self) -> Option<SessionId> {
        self.1
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.borrow_mut().is_dropped = true;
    }
}

/// A server that is driven by hand.
pub(super) struct Stage {
    pub(super) server: Server<End>,
    pub(super) now: Moment,
}

/// One of its clients.
pub(super) struct Actor {
    pub(super) id: ClientId,
    pub(super) wire: Rc<RefCell<Wire>>,
}

fn limits() -> Limits {
    Limits {
        connections_max: 100_000,
        message_bytes_max: 10_000,
        messages_per_second: 1_000,
        messages_burst: 1_000,
        handshake: HANDSHAKE,
        message: 60_000,
        ping: 600_000,
        pong: 60_000,
        stall: 60_000,
    }
}

fn site() -> Site {
    Site {
        feeds: vec!["/".to_owned(), "/dev/".to_owned()],
        offers_events: true,
        ..Site::default()
    }
}

impl Stage {
    pub(super) fn new() -> Self {
        let hubs = (0..2).map(|_| Hub::new(History::new(10, 0), 10));
        let mut server = Server::new(limits(), site(), hubs.collect());
        server.promise(FeedId(0), Promise::After(0));
        Self {
            server,
            now: Moment(0),
        }
    }

    /// A server that knows addresses by these rules.
    pub(super) fn with(rules: AddressRules) -> Self {
        let mut stage = Self::new();
        stage.server.know_addresses(Some(rules));
        stage
    }

    /// Somebody who connects from here, and has said nothing yet.
    pub(super) fn connect(&mut self, peer: &str) -> Actor {
        let session = self.server.begin_session();
        self.connect_by(peer, session)
    }

    pub(super) fn connect_by(&mut self, peer: &str, session: Option<SessionId>) -> Actor {
        let peer = peer.parse().ok();
        let wire = Rc::new(RefCell::new(Wire {
            to_server: Vec::new(),
            written: Vec::new(),
            taken: 0,
            room: usize::MAX,
            peer,
            is_done: false,
            is_reset: false,
            is_dropped: false,
            patience: None,
        }));
        let id = self.server.accept(End(Rc::clone(&wire), session), self.now);
        self.server.introduce(id, peer, self.now);
        self.server.check_invariants();
        Actor { id, wire }
    }

    /// Somebody from here who speaks WebSocket.
    pub(super) fn open(&mut self, peer: &str) -> Actor {
        let actor = self.connect(peer);
        let answer = self.ask(&actor, UPGRADE);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        actor
    }

    /// These bytes of a client arrive; what it is sent in the same turn.
    pub(super) fn ask(&mut self, actor: &Actor, bytes: &str) -> String {
        self.hear(actor, bytes.as_bytes());
        actor.takes()
    }

    /// A client says this by WebSocket.
    pub(super) fn say(&mut self, actor: &Actor, text: &str) -> String {
        self.hear(actor, &frame(0x81, text.as_bytes()));
        actor.takes()
    }

    pub(super) fn hear(&mut self, actor: &Actor, bytes: &[u8]) {
        actor.wire.borrow_mut().to_server.extend(bytes);
        self.server.readable(actor.id, false, self.now);
        self.turn();
    }

    /// A client says no more.
    pub(super) fn leave(&mut self, actor: &Actor) {
        actor.wire.borrow_mut().is_done = true;
        self.server.readable(actor.id, true, self.now);
        self.turn();
    }

    /// A client's connection is reset.
    pub(super) fn reset(&mut self, actor: &Actor) {
        actor.wire.borrow_mut().is_reset = true;
        self.server.readable(actor.id, true, self.now);
        self.turn();
    }

    /// A bug of the first feed changes.
    pub(super) fn change(&mut self, bug: u32) {
        let bug = BugId::new(bug).unwrap();
        let when = When::from_unix_seconds(1_000);
        self.server
            .publish(FeedId(0), Update { bug, when }, i64::MAX);
        self.turn();
    }

    pub(super) fn turn(&mut self) {
        self.server.tick(self.now);
        self.server.flush(usize::MAX, self.now);
        self.server.reap(self.now);
        self.server.check_invariants();
    }

    /// Time passes, and the server is woken when it asks to be.
    pub(super) fn pass(&mut self, milliseconds: u32) {
        let end = self.now.plus(milliseconds);
        while end.since(self.now) > 0 {
            let wait = self.server.until_tick(self.now).unwrap_or(u32::MAX);
            self.now = self.now.plus(wait.min(end.since(self.now)));
            self.turn();
        }
    }
}

impl Actor {
    /// What the client has got since it looked last.
    pub(super) fn takes(&self) -> String {
        let written = std::mem::take(&mut self.wire.borrow_mut().written);
        String::from_utf8_lossy(&written).into_owned()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.wire.borrow().is_dropped
    }
}

/// A short frame of a client, with a mask that changes nothing.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

const HERE: &str = "192.0.2.7";

fn page(stage: &mut Stage) -> String {
    let visitor = stage.connect(HERE);
    stage.ask(&visitor, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn changed_terms_hold_from_now_on_and_disconnect_nobody() {
    const ALL: &str = r#"{"command":"subscribe","bugs":"*"}"#;
    let mut stage = Stage::new();
    let client = stage.open(HERE);
    assert!(stage.say(&client, SUBSCRIBE).contains(r#""bugs":[1,2]"#));
    assert!(stage.say(&client, ALL).contains(r#""result":"error""#));
    assert!(page(&mut stage).starts_with("HTTP/1.1 404 "));
    assert_eq!(stage.server.connections_max(), 100_000);

    let changed = Terms {
        limits: Limits {
            connections_max: 1,
            ..limits()
        },
        subscriptions_max: 1,
        offers_all: true,
        pages: vec![Page::new("/", "text/plain", "the page".to_owned())],
        origins: vec!["https://bugzilla.example".parse().unwrap()],
        head_bytes_max: UPGRADE.len() + 50,
        addresses: Some(AddressRules::default()),
    };
    stage.server.change(changed, stage.now);
    assert_eq!(stage.server.connections_max(), 1);
    assert_eq!(stage.server.address_of(client.id), HERE.parse().ok());
    assert!(page(&mut stage).ends_with("the page"));
    let mut status = |field: &str| {
        let other = stage.connect(HERE);
        let request = UPGRADE.replacen("\r\n", &format!("\r\n{field}\r\n"), 1);
        stage.ask(&other, &request)[9..12].to_owned()
    };
    assert_eq!(status("Origin: https://bugzilla.example"), "503");
    assert_eq!(status("Origin: https://other.example"), "403");
    assert_eq!(status(&format!("X: {}", "y".repeat(60))), "431");
    assert!(stage.say(&client, SUBSCRIBE).contains("the limit is 1"));
    let other = r#"{"command":"unsubscribe","bugs":[1,2]}"#;
    assert!(stage.say(&client, other).contains(r#""bugs":[]"#));
    assert!(stage.say(&client, ALL).contains(r#""all":true"#));
}

#[test]
fn a_deadline_that_is_sooner_by_the_new_terms_is_met_at_once() {
    let mut stage = Stage::new();
    let client = stage.open(HERE);
    // Whatever was to be looked at before is over.
    stage.pass(300_000);
    let site = site();
    let sooner = Terms {
        limits: Limits {
            ping: 5_000,
            ..limits()
        },
        subscriptions_max: 10,
        offers_all: false,
        pages: site.pages,
        origins: site.origins,
        head_bytes_max: site.head_bytes_max,
        addresses: None,
    };
    stage.server.change(sooner, stage.now);
    stage.pass(deadlines::SWEEP_INTERVAL);
    assert_eq!(client.takes(), "\u{fffd}\0", "a ping");
}

#[test]
fn memory_for_fewer_connections_than_the_limit_is_the_limit() {
    let mut stage = Stage::new();
    stage.server.allow(1);
    stage.open(HERE);
    let refused = stage.connect(HERE);
    assert!(stage.ask(&refused, UPGRADE).starts_with("HTTP/1.1 503 "));
    stage.server.allow(usize::MAX);
    stage.open(HERE);
}

#[test]
fn who_gets_events_and_takes_none_is_given_up_when_a_ping_and_its_answer_are_due() {
    let mut stage = Stage::new();
    let listener = stage.connect(HERE);
    let request = "GET /dev/events?bugs=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = stage.ask(&listener, request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(listener.wire.borrow().patience, Some(660_000));
    let clients = stage.server.feed_counts().iter().map(|it| it.clients);
    assert_eq!(clients.collect::<Vec<_>>(), [0, 1]);
    assert_eq!(stage.open(HERE).wire.borrow().patience, None);
}

#[test]
fn what_is_remembered_from_before_is_sent_to_whoever_asks_for_it() {
    let mut stage = Stage::new();
    let client = stage.open(HERE);
    stage.say(&client, SUBSCRIBE);
    let update = |bug| {
        let bug = BugId::new(bug).unwrap();
        let when = When::from_unix_seconds(1_000);
        (1_000, Update { bug, when })
    };
    stage.server.remember(FeedId(0), vec![update(1), update(3)]);
    stage.turn();
    assert_eq!(client.takes(), "");
    let since = r#"{"command":"subscribe","bugs":1,"since":"1970-01-01T00:00:01"}"#;
    let answer = stage.say(&client, since);
    let sent = answer.matches(r#""command":"update","bug":1"#).count();
    assert_eq!(sent, 1, "{answer}");
}

#[test]
fn what_happens_is_counted_once() {
    let mut stage = Stage::new();
    stage.server.set_unix_time(1_010);
    stage.server.set_database_clock(FeedId(0), 5);
    let (quick, slow) = (stage.open(HERE), stage.open(HERE));
    for client in [&quick, &slow] {
        stage.say(client, SUBSCRIBE);
    }
    slow.wire.borrow_mut().room = 5;
    for _ in 0..4 {
        stage.change(1);
        stage.change(2);
    }
    let counts = stage.server.counts();
    assert_eq!((counts.accepted, counts.unsent_clients), (2, 1));
    // The first update is on its way, and the newest of each bug waits.
    assert_eq!((counts.deliveries, counts.conflated), (16, 5));
    slow.wire.borrow_mut().room = usize::MAX;
    stage.server.writable(slow.id, stage.now);
    stage.turn();
    let taken = quick.wire.borrow().taken + slow.wire.borrow().taken;
    let counts = stage.server.counts();
    assert_eq!(counts.sent_bytes, taken as u64);
    assert_eq!(counts.unsent_clients, 0);
    let silent = stage.connect(HERE);
    stage.pass(HANDSHAKE);
    assert!(silent.takes().starts_with("HTTP/1.1 408 "));
    page(&mut stage);
    let refused = &stage.server.counts().refused;
    assert_eq!(*refused, [("not_found", 1), ("timeout", 1)].into());
    stage.server.gap(FeedId(1), stage.now);
    stage.server.gap(FeedId(1), stage.now);
    let [first, second] = stage.server.feed_counts() else {
        panic!("there are two feeds");
    };
    assert_eq!((first.clients, first.updates, first.gaps), (2, 8, 0));
    assert_eq!((first.last_update, first.lag), (Some(1_010), 15));
    assert_eq!((second.clients, second.updates, second.gaps), (0, 0, 2));
    assert_eq!(second.last_update, None);
}

#[test]
fn a_crowd_that_has_left_leaves_no_memory_behind() {
    const CROWD: usize = 1_100;
    let mut stage = Stage::new();
    stage.server.measure_traffic();
    let crowd: Vec<Actor> = (0..CROWD).map(|_| stage.open(HERE)).collect();
    for actor in &crowd {
        stage.say(actor, SUBSCRIBE);
    }
    crowd.iter().for_each(|actor| stage.reset(actor));
    let owned = |stage: &Stage| stage.server.hubs[0].subscriptions().capacities();
    assert!(owned(&stage)[0] >= CROWD);
    stage.pass(deadlines::SWEEP_INTERVAL);
    assert_eq!(owned(&stage), [0; 4]);
    assert_eq!(stage.server.connections.capacity(), 0);
    assert_eq!(stage.server.until_tick(stage.now), None);
}

#[test]
fn who_the_poll_cannot_watch_is_gone_with_the_turn() {
    let mut stage = Stage::new();
    let (watched, unwatched) = (stage.open(HERE), stage.open(HERE));
    stage.server.abandon(unwatched.id);
    stage.turn();
    assert!(unwatched.is_gone() && !watched.is_gone());
    stage.server.abandon(unwatched.id);
    stage.turn();
    assert_eq!(stage.server.counts().closed, [("gone", 1)].into());
}
