//! Destinations `amqp:`, with real brokers.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::program::{Place, terminate};
use crate::support::client::Client;
use crate::support::pika::Pika;
use crate::support::rabbitmq::{self, Broker};
use crate::support::server::{Server, wait_until};

/// All that has arrived in a queue, once something has.
fn arrived(pika: &mut Pika, queue: &str, count: usize) -> Vec<u32> {
    let mut bugs = Vec::new();
    wait_until(&format!("{count} messages in {queue}"), || {
        bugs.extend(pika.drain(queue));
        (bugs.len() >= count).then_some(())
    });
    bugs
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_change_is_published_as_pulse_wants_it() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("relayed");
    pika.listen("relayed");
    let place = Place::new();
    let relay = place.relay(&[&broker.url("guest", "relayed")]);
    place.table().record([1234]);
    let message = pika.get();
    let around = json!({"routing_key": "1234", "content_type": "application/json", "delivery_mode": 2, "body": message["body"], "message_id": message["message_id"]});
    assert_eq!(message, around);
    let id = message["message_id"].as_str().unwrap();
    assert_eq!(id.split_once('/').unwrap().1, "1/2014-04-03T21:13:45");
    let body: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
    let meta = json!({"exchange": "relayed", "routing_key": "1234", "serializer": "json", "sent": body["_meta"]["sent"]});
    assert_eq!(
        body,
        json!({"payload": {"id": 1234, "delta_ts": "2014-04-03T21:13:45"}, "_meta": meta})
    );
    place.drained();
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn the_users_own_exchange_is_made_and_that_of_another_is_waited_for() {
    let broker = rabbitmq::shared();
    let place = Place::new();
    let (own, others) = (
        broker.url("pulse", "exchange/pulse/made"),
        broker.url("pulse", "exchange/relays/theirs"),
    );
    let relay = place.relay(&[&own, &others]);
    place.table().record([1]);
    relay.wait_for_line("exchange/relays/theirs does not exist, and 'pulse' may not make it");
    let mut pika = Pika::connect(broker.port);
    wait_until("the exchange is made", || {
        let made = broker.ctl(&["list_exchanges", "name", "type", "durable"]);
        made.contains("exchange/pulse/made\ttopic\ttrue")
            .then_some(())
    });
    pika.keep("made", "exchange/pulse/made");
    pika.declare("exchange/relays/theirs");
    pika.keep("theirs", "exchange/relays/theirs");
    // It exists now, but 'pulse' may not write to it.
    relay.wait_for_line("the broker does not permit it");
    broker.ctl(&[
        "set_permissions",
        "pulse",
        "^(queue/pulse/.*|exchange/pulse/.*)",
        ".*",
        "^(queue/pulse/.*|exchange/.*)",
    ]);
    place.drained();
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn the_exchange_is_there_before_the_first_change_and_nobody_who_listens_is_waited_for_a_while() {
    let broker = rabbitmq::shared();
    let address = broker.url("guest", "early");
    let server = Server::start(&["--source", &address]);
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":[1,2,3]}"#);
    server.program().wait_for_line("does not exist");
    let place = Place::new();
    let relay = place.relay(&[
        &address,
        &(broker.url("guest", "unheard-of") + "&patience=2s"),
    ]);
    server.program().wait_for_line("reading updates from");
    for bug in [1, 2, 3] {
        place.table().record([bug]);
        assert_eq!(
            client.hear(),
            format!(r#"{{"command":"update","bug":{bug},"when":"2014-04-03T21:13:45"}}"#)
        );
    }
    place.drained();
    let log = terminate(relay);
    let said =
        "unheard-of: no queue is bound to the exchange, so that nobody gets what is sent there";
    for then in ["; trying again", "; changes are not kept any longer"] {
        let said = format!(
            "[WARN] amqp://guest@127.0.0.1:{}/%2F?exchange={said}{then}",
            broker.port
        );
        assert_eq!(log.matches(&said).count(), 1, "{said}: {log}");
    }
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_that_was_away_while_nothing_waited_is_tried_at_the_first_change() {
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("away");
    pika.keep("away", "away");
    broker.kill();
    let place = Place::new();
    let relay = place.relay_with(&["--retry", "1h"], &[&broker.url("guest", "away")]);
    relay.wait_for_line("Connection refused (os error 111); trying again until it works");
    wait_until("the status says why", || {
        place.status().contains("Connection refused").then_some(())
    });
    broker.restart();
    place.table().record([1]);
    place.drained();
    assert!(terminate(relay).contains("works again"));
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn many_changes_arrive_in_order() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("many");
    pika.keep("many", "many");
    let place = Place::new();
    let bugs: Vec<u32> = (1..=5_000).collect();
    place.table().record(bugs.clone());
    let relay = place.relay(&[&broker.url("guest", "many")]);
    place.drained();
    assert_eq!(arrived(&mut pika, "many", bugs.len()), bugs);
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_message_that_the_broker_refuses_for_good_blocks_no_other() {
    let broker = Broker::start();
    // The message of a bug with a long number is larger than this.
    broker.ctl(&[
        "eval",
        "application:set_env(rabbit, max_message_size, 160).",
    ]);
    let mut pika = Pika::connect(broker.port);
    pika.declare("small");
    pika.keep("small", "small");
    let place = Place::new();
    place
        .table()
        .record([1, 2, 2_000_000_000, 3, 2_000_000_001, 4]);
    let relay = place.relay_with(&["--retry", "1h"], &[&broker.url("guest", "small")]);
    place.drained();
    assert_eq!(
        in_order_of_first_arrival(&arrived(&mut pika, "small", 4)),
        [1, 2, 3, 4]
    );
    let log = terminate(relay);
    for bug in ["2000000000", "2000000001"] {
        let said = format!(
            "refuses bug {bug}, 2014-04-03T21:13:45, for good, which it will not get (relay --refused shows it): PRECONDITION_FAILED - message size"
        );
        assert!(log.contains(&said), "{log}");
    }
}

/// Without repetitions.
fn in_order_of_first_arrival(bugs: &[u32]) -> Vec<u32> {
    let mut seen = std::collections::HashSet::new();
    bugs.iter()
        .copied()
        .filter(|&bug| seen.insert(bug))
        .collect()
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_message_that_the_broker_cannot_store_for_now_comes_again() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("full");
    pika.keep_few("full", "full", 3);
    let place = Place::new();
    let bugs: Vec<u32> = (1..=20).collect();
    place.table().record(bugs.clone());
    let relay = place.relay(&[&broker.url("guest", "full")]);
    relay.wait_for_line("a queue refuses the message, or cannot store it");
    assert!(place.status().contains("a queue refuses the message"));
    let mut seen = Vec::new();
    wait_until("the backlog is empty", || {
        seen.extend(pika.drain("full"));
        (place.depth() == 0).then_some(())
    });
    seen.extend(pika.drain("full"));
    // What was on its way behind a message that came too early for the queue comes again behind it.
    seen.reverse();
    assert!(
        in_order_of_first_arrival(&seen).into_iter().rev().eq(bugs),
        "{seen:?}"
    );
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_that_is_short_of_memory_is_waited_for() {
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("short");
    pika.keep("short", "short");
    broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let place = Place::new();
    place.table().record([1, 2]);
    let to = broker.url("guest", "short");
    let relay = place.relay_with(&["--retry", "1h"], &[&to, "jsonl:up"]);
    relay.wait_for_line("the broker takes no messages now: low on memory; waiting until it works");
    place.table().record([3]);
    place.expect_lines("up", &[1, 2, 3]);
    let status = place.status();
    assert!(
        status.contains("waiting:       3\n")
            && status.contains("last error:    the broker takes no messages now"),
        "{status}"
    );
    broker.ctl(&["set_vm_memory_high_watermark", "0.9"]);
    assert_eq!(arrived(&mut pika, "short", 3), [1, 2, 3]);
    place.drained();
    let log = terminate(relay);
    assert!(
        log.contains("works again") && !log.contains("trying again"),
        "{log}"
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_that_is_down_all_the_time_costs_the_others_nothing_and_gets_everything_when_it_is_back()
{
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("down");
    pika.keep("down", "down");
    broker.kill();
    let place = Place::new();
    let relay = place.relay(&[&broker.url("guest", "down"), "jsonl:up"]);
    for bug in 1..=20 {
        place.table().record([bug]);
        place.expect_lines("up", &(1..=bug).collect::<Vec<_>>());
    }
    broker.restart();
    place.drained();
    let mut pika = Pika::connect(broker.port);
    assert_eq!(arrived(&mut pika, "down", 20), (1..=20).collect::<Vec<_>>());
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_connection_that_ended_while_nothing_was_sent_and_an_exchange_that_goes_lose_nothing() {
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("idle");
    pika.keep("idle", "idle");
    let place = Place::new();
    let relay = place.relay_with(&["--retry", "1h"], &[&broker.url("guest", "idle")]);
    place.table().record([1]);
    place.drained();
    broker.kill();
    broker.restart();
    place.table().record([2]);
    place.drained();
    // The exchange may go as well: it is made again.
    let mut pika = Pika::connect(broker.port);
    pika.delete_exchange("idle");
    place.table().record([3]);
    relay.wait_for_line("no queue is bound to the exchange");
    pika.keep("idle", "idle");
    place.table().record([4]);
    place.drained();
    assert_eq!(
        in_order_of_first_arrival(&arrived(&mut pika, "idle", 4)),
        [1, 2, 3, 4]
    );
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_relay_that_starts_before_its_servers_and_a_broker_that_is_wiped_lose_nothing() {
    let broker = Broker::start();
    let address = broker.url("guest", "exchange/guest/early");
    let place = Place::new();
    place.table().record(1..=20);
    let relay = place.relay(&[&address]);
    relay.wait_for_line("no queue is bound to the exchange");
    // The client answers no ping while the broker is wiped.
    let source = format!("{address}&queue=late");
    let server = Server::start(&["--source", &source, "--ping", "1h"]);
    let subscribe = || {
        let mut client = server.connect();
        let bugs: Vec<u32> = (1..=40).collect();
        client.ask(&json!({"command": "subscribe", "bugs": bugs}).to_string());
        client
    };
    let hear = |client: &mut Client, bugs: std::ops::RangeInclusive<u32>| {
        for bug in bugs {
            assert_eq!(
                client.hear(),
                format!(r#"{{"command":"update","bug":{bug},"when":"2014-04-03T21:13:45"}}"#)
            );
        }
    };
    let mut client = subscribe();
    hear(&mut client, 1..=20);
    for command in ["stop_app", "reset", "start_app"] {
        broker.ctl(&[command]);
    }
    // What the broker held is not known, so clients come back and ask.
    client.expect_close(Some(1001));
    let mut client = subscribe();
    place.table().record(21..=40);
    hear(&mut client, 21..=40);
    place.drained();
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_change_that_a_full_queue_refuses_is_kept_for_a_while_only() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("refused");
    pika.keep_few("refused", "refused", 1);
    let place = Place::new();
    place.table().record([1, 2, 3]);
    let relay = place.relay(&[&(broker.url("guest", "refused") + "&patience=1s")]);
    relay.wait_for_line("a queue refuses the message, or cannot store it: is it full, with overflow=reject-publish?; trying");
    relay.wait_for_line("changes are not kept any longer");
    place.drained();
    assert_eq!(pika.drain("refused"), [1]);
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn three_servers_behind_one_broker_all_tell_their_clients_everything() {
    let broker = rabbitmq::shared();
    let address = broker.url("guest", "exchange/guest/three");
    let servers: Vec<Server> = ["one", "two", "three"]
        .map(|label| Server::start(&["--source", &format!("{address}&queue={label}")]))
        .into();
    let place = Place::new();
    let relay = place.relay(&[&address]);
    let bugs: Vec<u32> = (1..=300).collect();
    let mut clients: Vec<_> = servers
        .iter()
        .flat_map(|server| [server.connect(), server.connect(), server.connect()])
        .collect();
    for client in &mut clients {
        client.ask(&json!({"command": "subscribe", "bugs": bugs}).to_string());
    }
    for server in &servers {
        server.program().wait_for_line("reading updates from amqp");
    }
    for chunk in bugs.chunks(7) {
        place.table().record(chunk.iter().copied());
    }
    for client in &mut clients {
        for bug in &bugs {
            assert_eq!(
                client.hear(),
                format!(r#"{{"command":"update","bug":{bug},"when":"2014-04-03T21:13:45"}}"#)
            );
        }
    }
    place.drained();
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_relay_that_is_asked_to_stop_sends_nothing_twice_and_says_goodbye() {
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("stopped");
    pika.keep("stopped", "stopped");
    let place = Place::new();
    let bugs: Vec<u32> = (1..=10_000).collect();
    place.table().record(bugs.clone());
    for round in 1..5 {
        let relay = place.relay(&[&broker.url("guest", "stopped")]);
        wait_until("some have arrived", || {
            (pika.count("stopped") > round * 1_000).then_some(())
        });
        terminate(relay);
    }
    assert!(pika.count("stopped") < 10_000, "it was not asked in time");
    let relay = place.relay(&[&broker.url("guest", "stopped")]);
    place.drained();
    terminate(relay);
    assert_eq!(pika.drain("stopped"), bugs);
    assert!(
        !broker
            .log()
            .contains("client unexpectedly closed TCP connection")
    );
}

/// What was on its way when the broker went may come again, from the relay, which had no
/// confirmation, and from the queue, which had no acknowledgement. Nothing is missing, and clients
/// are told so.
#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_clean_restart_of_the_broker_in_a_stream_of_changes_loses_nothing_and_is_no_gap() {
    const LAST: u64 = 5_000;
    let broker = Broker::start();
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let source = broker.url("guest", "clean") + "&queue=clean";
    let start = || Server::start_in(folder.path(), &["--source", &source]);
    let is_complete = |server: &Server| {
        let question = r#"{"command":"subscribe","bugs":1,"since":"2014-04-03T21:13:46"}"#;
        let answer = server.connect().ask(question);
        answer.contains(r#""complete":true"#)
    };
    let server = start();
    let relay = place.relay(&[&broker.url("guest", "clean")]);
    server.program().wait_for_line("reading updates from");
    place.table().record([1]);
    place.drained();
    let history = rusqlite::Connection::open(folder.path().join("bugzfeed.db")).unwrap();
    // What its relay has not announced yet, a server cannot know to be whole.
    wait_until("the relay has announced how far it is", || {
        let find = "SELECT EXISTS (SELECT 1 FROM history_notes WHERE value LIKE '%\"is_announced\":true%')";
        let is_announced = history.query_row(find, [], |row| row.get::<_, bool>(0));
        is_announced.unwrap().then_some(())
    });
    server.end(Signal::TERM);
    let server = wait_until("a server that knows of no gap", || {
        // As if those of the first start were ten minutes ago.
        let set = "UPDATE history_feeds SET is_whole = 1, floor = 0";
        assert_eq!(history.execute(set, []).unwrap(), 1);
        let server = start();
        if is_complete(&server) {
            return Some(server);
        }
        server.end(Signal::TERM);
        None
    });
    let mut client = server.connect();
    let bugs: Vec<u64> = (2..=LAST).collect();
    client.ask(&json!({"command": "subscribe", "bugs": bugs}).to_string());
    place.table().record(2..=LAST as u32);
    let mut seen = BTreeSet::new();
    while seen.len() < bugs.len() {
        let update: Value = serde_json::from_str(&client.hear()).unwrap();
        if seen.insert(update["bug"].as_u64().unwrap()) && seen.len() == 100 {
            broker.ctl(&["stop_app"]);
            broker.ctl(&["start_app"]);
        }
    }
    place.drained();
    wait_until("clients are told that nothing is missing", || {
        is_complete(&server).then_some(())
    });
    terminate(relay);
}
