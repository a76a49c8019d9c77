//! Named cases: what the runs would meet too rarely to be sure of, each in the order in which it
//! must happen.

use std::ops::RangeInclusive;

use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::moment::Moment;
use bugzfeed::post::Answer;
use bugzfeed::promise::Promise;
use bugzfeed::server::{Limits, Server};
use bugzfeed::subscriptions::ClientId;
use bugzfeed::update::{BugId, FeedId, Update, When};

use crate::client::{UPGRADE, frame_of};
use crate::wire::{Handle, SimStream};
use crate::world::{LATE, LINGER, PATHS, POST, site};

const PING: u32 = 30_000;
const PONG: u32 = 20_000;
const MESSAGE: u32 = 40_000;
const MESSAGE_BYTES_MAX: usize = 40_000;

pub const POST_REQUEST: &str =
    "POST /webhook HTTP/1.1\r\nHost: a\r\nX-Key: open\r\nContent-Length: 4\r\n\r\nbody";

/// A server that is driven by hand.
pub struct Stage {
    pub server: Server<SimStream>,
    pub now: Moment,
}

/// One of its clients.
pub struct Actor {
    pub id: ClientId,
    pub handle: Handle,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(|| Hub::new(History::new(10, 0), 10))
    }

    pub fn with(hub: impl Fn() -> Hub) -> Self {
        Self::with_limits(Self::limits(), hub)
    }

    pub fn limits() -> Limits {
        Limits {
            connections_max: 10,
            message_bytes_max: MESSAGE_BYTES_MAX,
            messages_per_second: 1_000,
            messages_burst: 1_000,
            handshake: 60_000,
            message: MESSAGE,
            ping: PING,
            pong: PONG,
            stall: 60_000,
        }
    }

    pub fn with_limits(limits: Limits, hub: impl Fn() -> Hub) -> Self {
        let hubs = PATHS.map(|_| hub());
        let mut server = Server::new(limits, site(), hubs.into());
        for feed in 0..PATHS.len() {
            server.promise(FeedId(feed as u8), Promise::After(0));
        }
        Self {
            server,
            now: Moment(0),
        }
    }

    /// Somebody who connects, and has said nothing yet.
    pub fn connect(&mut self) -> Actor {
        let handle = Handle::default();
        handle.wire_mut().room = usize::MAX;
        let id = self.server.accept(handle.stream(), self.now);
        Actor { id, handle }
    }

    /// Somebody who speaks WebSocket.
    pub fn open(&mut self) -> Actor {
        let actor = self.connect();
        self.hear(&actor, UPGRADE.as_bytes());
        assert!(actor.takes().starts_with("HTTP/1.1 101 "));
        actor
    }

    /// Somebody who has posted something.
    pub fn post(&mut self) -> Actor {
        let actor = self.connect();
        self.hear(&actor, POST_REQUEST.as_bytes());
        actor
    }

    /// These bytes of a client arrive.
    pub fn hear(&mut self, actor: &Actor, bytes: &[u8]) {
        actor.handle.wire_mut().to_server.extend(bytes);
        self.server.readable(actor.id, false, self.now);
        self.turn();
    }

    /// These bugs change.
    pub fn change(&mut self, bugs: RangeInclusive<u32>) {
        for bug in bugs.filter_map(BugId::new) {
            let when = When::from_unix_seconds(1_000);
            self.server
                .publish(FeedId(0), Update { bug, when }, i64::MAX);
            if self.server.has_enough() {
                self.turn();
            }
        }
        self.turn();
    }

    /// Time passes, and the server is woken when it asks to be.
    pub fn pass(&mut self, milliseconds: u32) {
        let end = self.now.plus(milliseconds);
        while end.since(self.now) > 0 {
            let wait = self.server.until_tick(self.now).unwrap_or(u32::MAX);
            self.now = self.now.plus(wait.min(end.since(self.now)));
            self.turn();
        }
    }

    pub fn turn(&mut self) {
        self.server.tick(self.now);
        self.server.flush(usize::MAX, self.now);
        self.server.reap(self.now);
        self.server.check_invariants();
    }
}

impl Actor {
    /// What the client has got since it looked last.
    pub fn takes(&self) -> String {
        let written = std::mem::take(&mut self.handle.wire_mut().written);
        String::from_utf8_lossy(&written).into_owned()
    }

    pub fn is_closed(&self) -> bool {
        self.handle.wire().is_server_done || self.handle.wire().is_dropped
    }
}

#[test]
fn who_waits_for_what_is_held_up_is_not_given_up() {
    let mut stage = Stage::new();
    let client = stage.connect();
    let request = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n";
    client.handle.wire_mut().to_server.extend(request);
    stage.server.readable(client.id, false, stage.now);
    for _ in 0..20 {
        stage.server.flush(0, stage.now);
        stage.server.reap(stage.now);
        stage.now = stage.now.plus(LINGER);
        stage.server.tick(stage.now);
    }
    assert!(stage.server.is_held_up() && !client.handle.wire().is_dropped);
    stage.server.flush(usize::MAX, stage.now);
    assert!(client.takes().starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_client_that_is_pinged_has_all_the_time_of_the_pong_for_its_answer() {
    let mut stage = Stage::new();
    let client = stage.open();
    // What is due for others is no reason to look at it again too early.
    for _ in 0..3 {
        stage.pass(5_000);
        stage.open();
    }
    stage.pass(PING - 15_000 + LATE);
    assert_eq!(client.takes(), "\u{fffd}\0", "a ping");
    stage.pass(PONG - 2 * LATE);
    assert!(!client.is_closed(), "closed before the pong was due");
    stage.pass(2 * LATE);
    assert!(client.handle.wire().is_dropped, "still there, and silent");
}

#[test]
fn the_size_of_a_message_that_is_complete_does_not_count_for_the_next() {
    let mut stage = Stage::new();
    let client = stage.open();
    let half = MESSAGE_BYTES_MAX / 2;
    let mut text = r#"{"command":"version""#.to_owned();
    text.push_str(&" ".repeat(MESSAGE_BYTES_MAX - text.len() - 1));
    text.push('}');
    let (first, rest) = text.as_bytes().split_at(half);
    for _ in 0..3 {
        stage.hear(&client, &frame_of(0x01, first));
        stage.hear(&client, &frame_of(0x89, b"in between"));
        stage.hear(&client, &frame_of(0x80, rest));
        assert!(client.takes().contains(r#""result":"ok""#));
    }
    stage.hear(&client, &frame_of(0x81, text.as_bytes()));
    assert!(client.takes().contains(r#""result":"ok""#));
    stage.hear(&client, &frame_of(0x01, first));
    // Its header says already that the message is too large.
    stage.hear(&client, &frame_of(0x80, &vec![b' '; half + 1])[..8]);
    assert!(client.is_closed(), "more than the limit");
}

#[test]
fn a_message_must_be_complete_in_time_whatever_comes_in_between() {
    let mut stage = Stage::new();
    let (endless, slow) = (stage.open(), stage.open());
    stage.hear(&endless, &frame_of(0x01, b"{"));
    let (first, rest) = br#"{"command":"version"}"#.split_at(9);
    for _ in 0..2 {
        stage.hear(&slow, &frame_of(0x01, first));
        stage.pass(MESSAGE / 4);
        // More frames than are handled at once, so that some are left for the next turn.
        stage.hear(&endless, &frame_of(0x89, b"").repeat(40));
        while stage.server.has_left() {
            stage.server.resume(stage.now);
            stage.turn();
        }
        assert!(!endless.is_closed(), "closed before its time");
        stage.pass(MESSAGE / 4 - LATE);
        stage.hear(&slow, &frame_of(0x80, rest));
        assert!(slow.takes().contains(r#""result":"ok""#));
    }
    stage.pass(3 * LATE);
    assert!(endless.takes().contains("the message did not come in time"));
    assert!(endless.is_closed() && !slow.is_closed());
}

#[test]
fn when_memory_is_short_those_who_own_most_are_closed_and_nobody_who_owns_little() {
    let mut stage = Stage::new();
    let mut begin = |bytes: usize| {
        let client = stage.open();
        stage.hear(&client, &frame_of(0x01, &vec![b' '; bytes]));
        client
    };
    let (dear, dearest, cheap) = (begin(20_000), begin(30_000), begin(1_000));
    stage.server.close_dearest(1, stage.now);
    stage.turn();
    assert!(dearest.takes().contains("the server is short of memory"));
    assert!(dearest.is_closed() && !dear.is_closed());
    assert_eq!(stage.server.unfinished_len(), 2, "it owns nothing any more");
    stage.server.close_dearest(u64::MAX, stage.now);
    stage.turn();
    assert!(dear.is_closed() && !cheap.is_closed());
    stage.hear(&cheap, &frame_of(0x80, br#"{"command":"version"}"#));
    assert!(cheap.takes().contains(r#""result":"ok""#));
}

#[test]
fn who_is_in_its_handshake_when_the_server_departs_is_let_in_and_told_to_come_back() {
    let mut stage = Stage::new();
    let clients: Vec<_> = (0..10).map(|_| stage.connect()).collect();
    stage.server.drain(1_000, stage.now);
    // By now nearly all would have been closed: there is a millisecond for each.
    stage.pass(9);
    for client in &clients {
        stage.hear(client, UPGRADE.as_bytes());
        let answer = client.takes();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    }
    stage.pass(2);
    for client in &clients {
        assert!(client.takes().contains("the server is going away"));
    }
    let silent = stage.connect();
    stage.server.drain(0, stage.now);
    stage.turn();
    assert!(silent.is_closed(), "who says nothing keeps nobody waiting");
}

#[test]
fn an_answer_to_a_post_whose_client_has_gone_reaches_nobody_in_its_slot() {
    let mut stage = Stage::new();
    let gone = stage.post();
    let post = stage.server.take_posts().remove(0).1.id;
    gone.handle.wire_mut().is_reset = true;
    stage.server.readable(gone.id, true, stage.now);
    // A posting client is not read any more: the end of its patience removes it.
    stage.pass(POST + LINGER + 2 * LATE);
    assert!(gone.handle.wire().is_dropped);
    let other = stage.post();
    assert_eq!(other.id, gone.id, "the slot is used again");
    stage.server.answer(post, Answer::Kept, stage.now);
    stage.turn();
    assert_eq!(other.takes(), "", "it has another's answer");
    let post = stage.server.take_posts().remove(0).1.id;
    stage.server.answer(post, Answer::Kept, stage.now);
    stage.turn();
    assert!(other.takes().starts_with("HTTP/1.1 200 "));
}

#[test]
fn posts_on_one_connection_are_answered_in_order_until_it_is_idle_for_too_long() {
    let mut stage = Stage::new();
    let client = stage.post();
    // What comes before the answer waits, as does the end of the next request.
    let (next, rest) = POST_REQUEST.split_at(50);
    let pipelined = [POST_REQUEST, next].concat();
    client
        .handle
        .wire_mut()
        .to_server
        .extend(pipelined.as_bytes());
    stage.server.readable(client.id, false, stage.now);
    for _ in 0..2 {
        let posts = stage.server.take_posts();
        assert_eq!(posts.len(), 1, "one at a time");
        stage.server.answer(posts[0].1.id, Answer::Kept, stage.now);
        stage.turn();
        let answer = client.takes();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.contains("Connection"), "{answer}");
        stage.server.resume(stage.now);
        stage.turn();
    }
    stage.pass(59_000);
    stage.hear(&client, rest.as_bytes());
    let post = stage.server.take_posts().remove(0).1;
    assert_eq!(post.body, b"body");
    stage.server.answer(post.id, Answer::Kept, stage.now);
    stage.turn();
    assert!(client.takes().starts_with("HTTP/1.1 200 "));
    stage.server.resume(stage.now);
    stage.turn();
    assert_eq!(stage.server.unfinished_len(), 0);
    stage.pass(60_000 - LATE);
    assert!(!client.is_closed(), "closed before its time");
    stage.pass(2 * LATE);
    assert!(client.is_closed() && client.takes().is_empty());
}

#[test]
fn a_connection_is_not_kept_after_a_refusal_nor_beyond_the_limit_nor_at_the_end() {
    let mut stage = Stage::new();
    let answered = |stage: &mut Stage, answer: Answer| {
        let client = stage.post();
        let post = stage.server.take_posts().remove(0).1.id;
        stage.server.answer(post, answer, stage.now);
        stage.turn();
        assert_eq!(
            client.takes().contains("\r\nConnection: close\r\n"),
            client.is_closed()
        );
        client.is_closed()
    };
    assert!(answered(&mut stage, Answer::Unreadable));
    assert!(answered(&mut stage, Answer::NotKept));
    assert!(!answered(&mut stage, Answer::Kept));
    let _crowd: Vec<Actor> = (0..10).map(|_| stage.connect()).collect();
    assert!(answered(&mut stage, Answer::Kept));
    let mut stage = Stage::new();
    stage.server.drain(0, stage.now);
    assert!(answered(&mut stage, Answer::Kept));
}

#[test]
fn a_post_that_was_refused_since_nobody_saw_to_it_is_not_answered_again() {
    let mut stage = Stage::new();
    let client = stage.post();
    let post = stage.server.take_posts().remove(0).1.id;
    stage.pass(POST + LATE);
    assert!(client.takes().starts_with("HTTP/1.1 503 "));
    stage.server.answer(post, Answer::Kept, stage.now);
    stage.turn();
    assert_eq!(client.takes(), "");
}

#[test]
fn who_is_to_be_closed_since_updates_were_missed_is_closed_before_it_gets_a_newer_one() {
    let mut stage = Stage::new();
    let clients = [stage.open(), stage.open()];
    for (client, bug) in clients.iter().zip([1, 2]) {
        let subscribe = format!(r#"{{"command":"subscribe","bugs":{bug}}}"#);
        stage.hear(client, &frame_of(0x81, subscribe.as_bytes()));
        client.takes();
    }
    stage.change(1..=1);
    assert!(clients[0].takes().contains(r#""bug":1"#));
    stage.server.gap(FeedId(0), stage.now);
    stage.change(1..=1);
    let got = clients[0].takes();
    assert!(!got.contains(r#""bug":1"#), "{got}");
    assert!(got.contains("updates may have been missed"), "{got}");
    assert_eq!(clients[1].takes(), "", "who gets nothing can wait");
    stage.pass(100);
    assert!(clients[1].takes().contains("updates may have been missed"));
}

#[test]
fn who_has_asked_for_the_state_of_the_feed_is_told_and_stays_where_others_are_closed() {
    let mut stage = Stage::new();
    let (told, other) = (stage.open(), stage.open());
    for client in [&told, &other] {
        let subscribe = br#"{"command":"subscribe","bugs":1}"#;
        stage.hear(client, &frame_of(0x81, subscribe));
    }
    let status = br#"{"command":"status","feed":true}"#;
    stage.hear(&told, &frame_of(0x81, status));
    assert!(told.takes().contains(r#""clients":2,"feed":true}"#));
    other.takes();

    for (promise, expected) in [
        (Promise::InDoubt, r#"{"command":"feed","state":"down"}"#),
        (Promise::InDoubt, ""),
        (Promise::Nothing, r#"{"command":"feed","state":"up"}"#),
        (Promise::After(0), ""),
    ] {
        stage.server.promise(FeedId(0), promise);
        stage.turn();
        let got = told.takes();
        let is_right = got.ends_with(expected) && got.is_empty() == expected.is_empty();
        assert!(is_right, "{promise:?}: {got}");
    }
    stage.server.gap(FeedId(1), stage.now);
    stage.turn();
    assert_eq!(told.takes(), "", "it is another feed's");
    stage.server.gap(FeedId(0), stage.now);
    stage.change(1..=1);
    let got = told.takes();
    let at = |text: &str| got.find(text).unwrap_or_else(|| panic!("{text}: {got}"));
    assert!(at(r#""state":"gap""#) < at(r#""bug":1"#), "{got}");
    stage.pass(100);
    assert!(!told.is_closed());
    assert!(other.takes().contains("updates may have been missed"));

    stage.hear(
        &told,
        &frame_of(0x81, br#"{"command":"status","feed":false}"#),
    );
    assert!(told.takes().ends_with(r#""clients":2}"#));
    stage.server.promise(FeedId(0), Promise::InDoubt);
    stage.turn();
    assert_eq!(told.takes(), "");
}

/// Server-sent events are conflated like frames, in their own form, and a client that gets them is as
/// cheap as any other.
#[test]
fn who_gets_events_owns_nothing_while_it_waits_and_gets_the_newest_of_what_it_was_too_slow_for() {
    let mut stage = Stage::with(|| Hub::new(History::new(10, 0), 20_000));
    let (slow, quick, socket) = (stage.connect(), stage.connect(), stage.open());
    let bugs: Vec<String> = (1..=40).map(|bug| bug.to_string()).collect();
    let request = format!(
        "GET /events?bugs={} HTTP/1.1\r\nHost: a\r\n\r\n",
        bugs.join(",")
    );
    for client in [&slow, &quick] {
        stage.hear(client, request.as_bytes());
        assert!(client.takes().contains("event: subscribe\nid: "));
    }
    let subscribe = br#"{"command":"subscribe","bugs":[40]}"#;
    stage.hear(&socket, &frame_of(0x81, subscribe));
    socket.takes();
    assert_eq!(stage.server.unfinished_len(), 0);

    slow.handle.wire_mut().room = 10;
    for _ in 0..3 {
        stage.change(1..=40);
    }
    assert_eq!(stage.server.unfinished_len(), 1);
    assert_eq!(
        quick
            .takes()
            .matches("\ndata: {\"command\":\"update\"")
            .count(),
        120
    );
    assert_eq!(socket.takes().matches("\"bug\":40").count(), 3);
    slow.handle.wire_mut().room = usize::MAX;
    stage.server.writable(slow.id, stage.now);
    stage.turn();
    let got = slow.takes();
    let events: Vec<&str> = got.split_terminator("\n\n").collect();
    for event in &events {
        let is_whole =
            event.starts_with("id: 1970-01-01T00:16:40\ndata: {") && event.ends_with('}');
        assert!(is_whole, "{event:?}");
    }
    // The first change of each may have been on its way.
    assert!((40..=80).contains(&events.len()), "{}", events.len());
    assert_eq!(stage.server.unfinished_len(), 0);

    for _ in 0..3 {
        stage.pass(PING);
        assert_eq!(
            (slow.takes(), quick.takes()),
            (":\n\n".to_owned(), ":\n\n".to_owned())
        );
    }
    slow.handle.wire_mut().room = 0;
    stage.change(1..=1);
    stage.pass(60_000 + LINGER + 2 * LATE);
    assert!(
        slow.is_closed() && !quick.is_closed(),
        "one that takes nothing is given up"
    );
    stage.server.gap(FeedId(0), stage.now);
    stage.pass(100);
    assert!(
        quick
            .takes()
            .ends_with(": 1001 updates may have been missed\n\n")
    );
}

#[test]
fn who_wants_all_bugs_is_closed_when_more_than_ten_thousand_wait_and_nobody_else_is() {
    let mut stage = Stage::with(|| Hub::new(History::new(10, 0), 20_000).with_firehose(true));
    let (of_all, of_many) = (stage.open(), stage.open());
    let subscribe = |stage: &mut Stage, client: &Actor, bugs: &str| {
        let message = format!(r#"{{"command":"subscribe","bugs":{bugs}}}"#);
        stage.hear(client, &frame_of(0x81, message.as_bytes()));
        client.takes();
    };
    subscribe(&mut stage, &of_all, r#""*""#);
    for bugs in [1..=6_000, 6_001..=10_002] {
        let bugs: Vec<String> = bugs.map(|bug: u32| bug.to_string()).collect();
        subscribe(&mut stage, &of_many, &format!("[{}]", bugs.join(",")));
    }
    for client in [&of_all, &of_many] {
        client.handle.wire_mut().room = 0;
    }
    // The first one is on its way already: it does not wait.
    stage.change(1..=1);
    for _ in 0..3 {
        stage.change(2..=10_001);
    }
    assert_eq!(stage.server.open_len(), 2, "closed before its time");
    stage.change(10_002..=10_002);
    assert_eq!(stage.server.open_len(), 1);
    stage.change(10_003..=10_003);
    for client in [&of_all, &of_many] {
        client.handle.wire_mut().room = usize::MAX;
        stage.server.writable(client.id, stage.now);
        stage.turn();
    }
    let got = of_all.takes();
    // 1013, of whose second byte the text makes a replacement character.
    assert!(got.ends_with("\u{3}\u{fffd}too many bugs wait"));
    assert_eq!(got.matches("update").count(), 10_002);
    assert!(of_all.is_closed());
    assert!(!of_many.takes().contains("wait") && !of_many.is_closed());
}
