//! Named cases of clients with TLS: handshakes that wait for their turn, go on too long, or take
//! memory that is short; and what waits to be sealed.

use std::io::{Read, Write};
use std::sync::Arc;

use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::moment::Moment;
use bugzfeed::server::{Limits, Server};
use bugzfeed::subscriptions::ClientId;
use bugzfeed::update::{BugId, FeedId, Update, When};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::client::{UPGRADE, frame_of};
use crate::tls::{config, sessions};
use crate::wire::{Handle, SimStream};
use crate::world::{PATHS, site};

const HANDSHAKE: u32 = 10_000;

/// More than may begin in a turn.
const CROWD: usize = 60;

/// A server that is driven by hand.
struct Stage {
    server: Server<SimStream>,
    now: Moment,
}

/// One of its clients, with a connection of TLS.
struct Actor {
    id: ClientId,
    handle: Handle,
    tls: ClientConnection,
    plain: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let limits = Limits {
            connections_max: 1_000,
            message_bytes_max: 40_000,
            messages_per_second: 1_000,
            messages_burst: 1_000,
            handshake: HANDSHAKE,
            message: 60_000,
            ping: 600_000,
            pong: 600_000,
            stall: 600_000,
        };
        let hubs = PATHS.map(|_| Hub::new(History::new(10, 0), 10_000));
        let mut server = Server::new(limits, site(), hubs.into());
        server.secure(sessions());
        Self {
            server,
            now: Moment(0),
        }
    }

    /// So many connect, and each has said its hello.
    fn crowd(&mut self, count: usize) -> Vec<Actor> {
        let config = config();
        let mut crowd: Vec<Actor> = (0..count)
            .map(|_| {
                let handle = Handle::default();
                handle.wire_mut().room = usize::MAX;
                let stream = handle.secure_stream(self.server.begin_session().unwrap());
                let name = ServerName::try_from("localhost").unwrap();
                let mut tls = ClientConnection::new(Arc::clone(&config), name).unwrap();
                tls.writer().write_all(UPGRADE.as_bytes()).unwrap();
                Actor {
                    id: self.server.accept(stream, self.now),
                    handle,
                    tls,
                    plain: Vec::new(),
                }
            })
            .collect();
        crowd.iter_mut().for_each(Actor::speak);
        for actor in &crowd {
            self.server.readable(actor.id, false, self.now);
        }
        self.end_turn();
        crowd
    }

    fn end_turn(&mut self) {
        self.server.tick(self.now);
        self.server.flush(usize::MAX, self.now);
        self.server.reap(self.now);
        self.server.check_invariants();
    }

    /// Lets a time pass in which the loop does nothing, and then one turn.
    fn pass(&mut self, milliseconds: u32) {
        self.now = self.now.plus(milliseconds);
        self.server.resume(self.now);
        self.end_turn();
    }

    /// Turns until nobody waits, in each of which everybody answers what has come.
    fn go_on(&mut self, crowd: &mut [Actor]) {
        for _ in 0..CROWD {
            self.server.resume(self.now);
            for actor in crowd.iter_mut().filter(|actor| actor.is_there()) {
                actor.hear();
                actor.speak();
                self.server.readable(actor.id, false, self.now);
            }
            self.end_turn();
        }
    }
}

impl Actor {
    fn speak(&mut self) {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        self.handle.wire_mut().to_server.extend(bytes);
    }

    fn hear(&mut self) {
        let written = std::mem::take(&mut self.handle.wire_mut().written);
        let mut rest = written.as_slice();
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest).unwrap();
            self.tls.process_new_packets().unwrap();
            // WouldBlock says that there is nothing more.
            let _ = self.tls.reader().read_to_end(&mut self.plain);
        }
    }

    fn say(&mut self, text: &str) {
        let frame = frame_of(0x81, text.as_bytes());
        self.tls.writer().write_all(&frame).unwrap();
    }

    /// What it has got and not looked at.
    fn take_plain(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.plain)).into_owned()
    }

    fn is_there(&self) -> bool {
        !self.handle.wire().is_dropped
    }

    fn is_read(&self) -> bool {
        self.handle.wire().read_bytes > 0
    }
}

fn count(crowd: &[Actor], holds: fn(&Actor) -> bool) -> usize {
    crowd.iter().filter(|actor| holds(actor)).count()
}

#[test]
fn the_time_of_a_handshake_counts_from_when_the_server_begins_with_it() {
    let mut stage = Stage::new();
    let mut crowd = stage.crowd(CROWD);
    let begun = count(&crowd, Actor::is_read);
    assert!(0 < begun && begun < CROWD, "{begun} have begun");
    // The loop is busy elsewhere, for longer than a handshake may take.
    stage.pass(HANDSHAKE + 1_000);
    stage.go_on(&mut crowd);
    assert_eq!(stage.server.open_len(), CROWD - begun);
}

#[test]
fn a_handshake_that_does_not_go_on_ends_with_its_time() {
    let mut stage = Stage::new();
    let crowd = stage.crowd(CROWD);
    (0..CROWD).for_each(|_| stage.pass(1));
    assert_eq!(count(&crowd, Actor::is_read), CROWD);
    stage.pass(HANDSHAKE);
    stage.pass(3_000);
    assert_eq!(count(&crowd, Actor::is_there), 0);
}

#[test]
fn who_leaves_while_its_hello_waits_costs_no_handshake() {
    let mut stage = Stage::new();
    let crowd = stage.crowd(CROWD);
    let waiting: Vec<&Actor> = crowd.iter().filter(|actor| !actor.is_read()).collect();
    for actor in &waiting {
        actor.handle.wire_mut().is_client_done = true;
        stage.server.readable(actor.id, true, stage.now);
    }
    stage.end_turn();
    (0..CROWD).for_each(|_| stage.pass(1));
    assert!(
        waiting
            .iter()
            .all(|actor| !actor.is_there() && !actor.is_read())
    );
}

#[test]
fn while_memory_is_short_few_handshakes_are_under_way_and_all_get_in() {
    let mut stage = Stage::new();
    stage.server.allow_handshakes(0);
    let mut crowd = stage.crowd(CROWD);
    (0..CROWD).for_each(|_| stage.pass(1));
    assert!(count(&crowd, Actor::is_read) <= 16);
    stage.go_on(&mut crowd);
    assert_eq!(stage.server.open_len(), CROWD);
}

#[test]
fn what_waits_is_sealed_when_it_goes_out_so_that_a_newer_update_can_stand_for_it() {
    const UPDATES: i64 = 2_000;
    let mut stage = Stage::new();
    let mut crowd = stage.crowd(1);
    stage.go_on(&mut crowd);
    crowd[0].say(r#"{"command":"subscribe","bugs":[1]}"#);
    stage.go_on(&mut crowd);
    crowd[0].take_plain();
    // The kernel takes a part of the first record, and no more.
    crowd[0].handle.wire_mut().room = 10;
    for second in 0..UPDATES {
        let update = Update {
            bug: BugId::new(1).unwrap(),
            when: When::from_unix_seconds(second),
        };
        stage.server.publish(FeedId(0), update, i64::MAX);
        stage.end_turn();
    }
    crowd[0].handle.wire_mut().room = usize::MAX;
    stage.server.writable(crowd[0].id, stage.now);
    crowd[0].hear();
    let plain = crowd[0].take_plain();
    let seen: Vec<&str> = plain.matches("1970-01-01T00:").collect();
    assert_eq!(seen.len(), 2, "{plain}");
    assert!(
        plain.contains("T00:00:00") && plain.contains("T00:33:19"),
        "{plain}"
    );
}

#[test]
fn a_handshake_that_takes_memory_that_is_short_is_ended() {
    let mut stage = Stage::new();
    let crowd = stage.crowd(CROWD);
    (0..CROWD).for_each(|_| stage.pass(1));
    stage.server.close_dearest(15_000, stage.now);
    (0..3).for_each(|_| stage.pass(3_000));
    assert_eq!(count(&crowd, Actor::is_there), CROWD - 2);
}

#[test]
fn an_answer_of_several_records_comes_whole_whether_the_kernel_takes_it_at_once_or_not() {
    let mut stage = Stage::new();
    let mut crowd = stage.crowd(2);
    stage.go_on(&mut crowd);
    let bugs: Vec<String> = (2_000..9_000).map(|bug| bug.to_string()).collect();
    let bugs = bugs.join(",");
    crowd[1].handle.wire_mut().room = 20_000;
    for actor in &mut crowd {
        actor.take_plain();
        actor.say(&format!(r#"{{"command":"subscribe","bugs":[{bugs}]}}"#));
        actor.speak();
        stage.server.readable(actor.id, false, stage.now);
    }
    stage.end_turn();
    crowd[0].hear();
    let answer = crowd[0].take_plain();
    assert!(answer.ends_with(&format!(r#""bugs":[{bugs}]}}"#)));
    crowd[1].hear();
    let begun = crowd[1].take_plain();
    assert!(!begun.is_empty() && begun.len() < answer.len());
    crowd[1].handle.wire_mut().room = usize::MAX;
    stage.server.writable(crowd[1].id, stage.now);
    stage.end_turn();
    crowd[1].hear();
    assert_eq!(begun + &crowd[1].take_plain(), answer);
}

#[test]
fn who_speaks_http_where_tls_is_spoken_is_told_so() {
    let mut stage = Stage::new();
    let crowd = stage.crowd(1);
    let handle = Handle::default();
    handle.wire_mut().room = usize::MAX;
    let session = stage.server.begin_session().unwrap();
    let id = stage
        .server
        .accept(handle.secure_stream(session), stage.now);
    handle.wire_mut().to_server.extend(UPGRADE.as_bytes());
    stage.server.readable(id, false, stage.now);
    stage.end_turn();
    let answer = String::from_utf8(handle.wire().written.clone()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("Here is TLS: the address begins with https:// or wss://.\n"));
    assert!(handle.wire().is_server_done);
    assert!(crowd[0].is_there());
}

#[test]
fn who_ends_its_tls_is_answered_before_it_goes() {
    let mut stage = Stage::new();
    let mut crowd = stage.crowd(1);
    stage.go_on(&mut crowd);
    let actor = &mut crowd[0];
    actor.take_plain();
    // As long as it is not known whether updates are missing, that waits.
    actor.say(r#"{"command":"subscribe","bugs":1,"since":"2026-01-01T00:00:00"}"#);
    actor.tls.send_close_notify();
    actor.speak();
    stage.server.readable(actor.id, false, stage.now);
    stage.end_turn();
    actor.hear();
    assert!(actor.take_plain().contains(r#""result":"ok""#));
    assert!(!actor.is_there());
}

#[test]
fn while_a_hello_waits_and_may_have_its_turn_the_loop_does_not_sleep() {
    let mut stage = Stage::new();
    stage.server.allow_handshakes(0);
    let mut crowd = stage.crowd(CROWD);
    assert!(stage.server.has_left(), "there is room for more");
    stage.pass(1);
    let is_first = crowd.iter().map(Actor::is_read).is_sorted_by(|a, b| a >= b);
    assert!(is_first, "who came first is not first");
    (0..CROWD).for_each(|_| stage.pass(1));
    assert!(!stage.server.has_left(), "nobody can begin");
    stage.go_on(&mut crowd);
    assert!(!stage.server.has_left(), "nobody waits");
}
