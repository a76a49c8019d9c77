//! From a message to a WebSocket client, through the real server.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use bugzfeed::update::When;
use bugzfeed::work::unix_now;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::WHEN;
use crate::support::client::Client;
use crate::support::pika::Pika;
use crate::support::rabbitmq::{self, Broker};
use crate::support::server::{Server, wait_until};

/// What a client of the feed knows.
struct Seen {
    bugs: BTreeSet<u32>,
    newest: String,
}

impl Seen {
    /// Takes one update.
    fn hear(&mut self, client: &mut Client) {
        self.take(&client.hear());
    }

    fn take(&mut self, update: &str) {
        let update: Value = serde_json::from_str(update).unwrap();
        assert_eq!(update["command"], "update", "{update}");
        self.bugs.insert(update["bug"].as_u64().unwrap() as u32);
        let when = update["when"].as_str().unwrap();
        if when > self.newest.as_str() {
            when.clone_into(&mut self.newest);
        }
    }

    /// Subscribes on a new connection as one that was lost; returns it, and whether the server says
    /// that nothing is missing. One that learns of a gap at this moment says so by ending the
    /// connection, and another is opened.
    fn resume(&self, server: &Server, last: u32) -> (Client, bool) {
        let mut client = server.connect();
        let bugs: Vec<u32> = (1..=last).collect();
        let since = &self.newest;
        client.say(json!({"command": "subscribe", "bugs": bugs, "since": since}).to_string());
        let Some(reply) = hear_or_gap(&mut client) else {
            return (self.resume(server, last).0, false);
        };
        let reply: Value = serde_json::from_str(&reply).unwrap();
        assert_eq!(reply["result"], "ok", "{reply}");
        (client, reply["complete"].as_bool().unwrap())
    }

    /// Takes updates until it has all, over as many connections as there are gaps.
    fn hear_until_all(&mut self, mut client: Client, server: &Server, last: u32) {
        while self.bugs.len() < last as usize {
            match hear_or_gap(&mut client) {
                Some(update) => self.take(&update),
                None => client = self.resume(server, last).0,
            }
        }
    }
}

/// The next message; none where the server ends the connection since updates may have been missed.
fn hear_or_gap(client: &mut Client) -> Option<String> {
    client
        .hear_or_close()
        .inspect_err(|close| assert_eq!(close.payload[2..], *b"updates may have been missed"))
        .ok()
}

/// Starts a server whose feed is whole: what a first start does not know is proven ten minutes
/// later, which no test waits for.
fn start_whole(folder: &tempfile::TempDir, source: &str) -> Server {
    drop(start(folder, source));
    let history = rusqlite::Connection::open(folder.path().join("bugzfeed.db")).unwrap();
    let whole = "UPDATE history_feeds SET is_whole = 1, floor = 0";
    assert_eq!(history.execute(whole, []).unwrap(), 1);
    start(folder, source)
}

/// A client that has seen nothing, from now on, as soon as the server has a history of now.
fn begin(server: &Server, last: u32) -> (Seen, Client) {
    wait_until("the history is complete", || {
        let seen = Seen {
            bugs: BTreeSet::new(),
            newest: When::from_unix_seconds(unix_now()).to_string(),
        };
        let (client, is_complete) = seen.resume(server, last);
        is_complete.then_some((seen, client))
    })
}

fn start(folder: &tempfile::TempDir, source: &str) -> Server {
    let server = Server::start_in(folder.path(), &["--source", source]);
    server.program().wait_for_line("reading updates from");
    server
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn each_feed_gets_the_updates_of_its_own_exchange() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    let (main, dev) = ("exchange/feeds/simple", "exchange/feeds/simple/dev");
    pika.declare(main);
    let feed = format!("/dev/={}", broker.url("pulse", dev));
    let server = Server::start(&["--source", &broker.url("pulse", main), "--feed", &feed]);
    // The default feed runs while the other still waits for its exchange.
    server
        .program()
        .wait_for_line("the exchange exchange/feeds/simple/dev does not exist");
    server.program().wait_for_line("reading updates from");
    let update = |bug| format!(r#"{{"command":"update","bug":{bug},"when":"{WHEN}"}}"#);
    let subscribe = |path| {
        let mut client = Client::open(server.address, path);
        client.ask(r#"{"command":"subscribe","bugs":[1,2,3]}"#);
        client
    };
    let mut client_of_main = subscribe("/");
    pika.publish(main, 1, WHEN);
    assert_eq!(client_of_main.hear(), update(1));
    pika.declare(dev);
    server.program().wait_for_line(&format!(
        "reading updates from amqp://pulse@127.0.0.1:{}/%2F?exchange={dev}",
        broker.port
    ));
    let mut client_of_dev = subscribe("/dev");
    pika.publish(dev, 2, WHEN);
    assert_eq!(client_of_dev.hear(), update(2));
    pika.publish(main, 3, WHEN);
    assert_eq!(client_of_main.hear(), update(3));
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_server_that_is_killed_in_a_stream_of_updates_loses_none() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("stream");
    let source = broker.url("guest", "stream") + "&queue=stream";
    let folder = tempfile::tempdir().unwrap();
    let mut server = start_whole(&folder, &source);
    let last = 2_000;
    let (mut seen, mut client) = begin(&server, last);
    let publisher = thread::spawn(move || pika.stream("stream", 1..last + 1));
    for part in 1..=3 {
        while seen.bugs.len() < part * 400 {
            seen.hear(&mut client);
        }
        drop(server);
        server = start(&folder, &source);
        let resumed = seen.resume(&server, last);
        client = resumed.0;
        assert!(
            resumed.1,
            "nothing was lost, and the server does not know it"
        );
    }
    seen.hear_until_all(client, &server, last);
    publisher.join().unwrap();
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_that_is_killed_in_a_stream_of_confirmed_updates_loses_none() {
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("stream");
    let folder = tempfile::tempdir().unwrap();
    let server = start_whole(&folder, &(broker.url("guest", "stream") + "&queue=stream"));
    let last = 1_000;
    let (mut seen, mut client) = begin(&server, last);
    let publisher = thread::spawn(move || pika.stream("stream", 1..last + 1));
    while seen.bugs.len() < 300 {
        seen.hear(&mut client);
    }
    drop(client);
    broker.kill();
    server.program().wait_for_line("cannot connect to");
    // Nobody knows what will be missing when the broker comes back.
    assert!(!seen.resume(&server, last).1);
    broker.restart();
    server.program().wait_for_line("the broker was restarted");
    let (client, is_complete) = seen.resume(&server, last);
    // It may have held others that were not confirmed yet.
    assert!(!is_complete);
    seen.hear_until_all(client, &server, last);
    publisher.join().unwrap();
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_a_killed_broker_has_lost_is_known_to_be_missing() {
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("transient");
    let source = broker.url("guest", "transient") + "&queue=transient";
    let folder = tempfile::tempdir().unwrap();
    let server = start_whole(&folder, &source);
    let (seen, _) = begin(&server, 1);
    drop(server);
    pika.publish_transient("transient", 1);
    assert_eq!(pika.count("queue/guest/transient"), 1);
    broker.kill();
    broker.restart();
    // Nor does a server say that nothing is missing before it knows that.
    let server = Server::start_in(folder.path(), &["--source", &source]);
    assert!(!seen.resume(&server, 1).1);
    server.program().wait_for_line("reading updates from");
    assert!(!seen.resume(&server, 1).1);
    let mut pika = Pika::connect(broker.port);
    assert_eq!(pika.count("queue/guest/transient"), 0);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_a_deleted_queue_held_is_known_to_be_missing() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("forgotten");
    let folder = tempfile::tempdir().unwrap();
    let server = start_whole(
        &folder,
        &(broker.url("guest", "forgotten") + "&queue=forgotten"),
    );
    let (seen, _) = begin(&server, 1);
    pika.delete_queue("queue/guest/forgotten");
    server
        .program()
        .wait_for_line("up to now: the queue was deleted");
    assert!(!seen.resume(&server, 1).1);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_server_whose_broker_hangs_stops_at_once() {
    let broker = Broker::start();
    Pika::connect(broker.port).declare("hung");
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder, &broker.url("guest", "hung"));
    broker.pause();
    let asked = Instant::now();
    server.program().signal(Signal::TERM);
    assert!(server.wait().0.success());
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "stopping took {:?}",
        asked.elapsed()
    );
}
