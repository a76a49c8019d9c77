//! Queues and exchanges: which are made, what they keep, and when updates may be missing.

use ::log::Level;

use crate::WHEN;
use crate::feed::{Feed, until};
use crate::log;
use crate::support::pika::Pika;
use crate::support::rabbitmq::{self, Broker};

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_queue_with_a_label_keeps_what_is_published_while_nobody_reads_it() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("kept");
    let address = broker.url("guest", "kept") + "&queue=kept";
    let mut feed = Feed::open(&address);
    feed.gap();
    pika.publish("kept", 1, WHEN);
    assert_eq!(feed.bugs(1), [1]);
    feed.close();
    pika.publish("kept", 2, WHEN);
    let mut feed = Feed::open(&address);
    // That of a server without a history, and no other.
    feed.gap();
    assert_eq!(feed.bugs(1), [2]);
    assert_eq!(feed.gaps(), 0);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_queue_without_a_label_goes_with_its_connection_and_each_connection_is_a_known_gap() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("exchange/fleeting");
    let address = broker.url("pulse", "exchange/fleeting");
    let of_ours = || {
        broker
            .queues()
            .into_iter()
            .filter(|name| name.starts_with("queue/pulse/bugzfeed-"))
            .count()
    };
    for _ in 0..2 {
        let mut feed = Feed::open(&address);
        feed.gap();
        // The broker finds out about the end of the connection before by itself, and soon.
        until(|| of_ours() == 1);
        feed.close();
    }
    until(|| of_ours() == 0);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_deleted_queue_is_made_again_and_what_it_held_is_a_known_gap() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("deleted-queue");
    let mut feed = Feed::open(&(broker.url("guest", "deleted-queue") + "&queue=deleted"));
    feed.gap();
    pika.publish("deleted-queue", 1, WHEN);
    assert_eq!(feed.bugs(1), [1]);
    pika.delete_queue("queue/guest/deleted");
    feed.gap();
    pika.publish("deleted-queue", 2, WHEN);
    assert_eq!(feed.bugs(1), [2]);
    log::warned("=deleted-queue", "the queue was deleted");
    feed.close();
    pika.delete_queue("queue/guest/deleted");
    let mut feed = Feed::open(&(broker.url("guest", "deleted-queue") + "&queue=deleted"));
    feed.gap();
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_full_queue_is_a_known_gap() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("full");
    let address = broker.url("guest", "full") + "&queue=full&max_length=3";
    let mut feed = Feed::open(&address);
    feed.gap();
    pika.publish("full", 9, WHEN);
    assert_eq!(feed.bugs(1), [9]);
    feed.close();
    for bug in 1..=5 {
        pika.publish("full", bug, WHEN);
    }
    let mut feed = Feed::open(&address);
    feed.gap();
    assert_eq!(feed.bugs(3), [3, 4, 5]);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_exchange_of_others_is_waited_for_and_named_once() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut feed = Feed::open(&(broker.url("pulse", "exchange/others/late") + "&queue=late"));
    let missing = "the exchange exchange/others/late does not exist";
    log::said("exchange/others/late", Level::Debug, missing);
    assert_eq!(log::warned("exchange/others/late", missing).len(), 1);
    let mut pika = Pika::connect(broker.port);
    pika.declare("exchange/others/late");
    feed.gap();
    pika.publish("exchange/others/late", 1, WHEN);
    assert_eq!(feed.bugs(1), [1]);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_exchange_of_the_users_own_is_made() {
    let broker = rabbitmq::shared();
    let mut feed = Feed::open(&broker.url("pulse", "exchange/pulse/own"));
    feed.gap();
    let mut pika = Pika::connect(broker.port);
    // A topic exchange, durable: RabbitMQ refuses any other declaration now.
    pika.declare("exchange/pulse/own");
    pika.publish("exchange/pulse/own", 1, WHEN);
    assert_eq!(feed.bugs(1), [1]);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_exchange_that_was_made_again_while_nobody_looked_is_a_known_gap() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("exchange/others/again");
    let address = broker.url("pulse", "exchange/others/again") + "&queue=again";
    let mut feed = Feed::open(&address);
    feed.gap();
    pika.publish("exchange/others/again", 1, WHEN);
    assert_eq!(feed.bugs(1), [1]);
    feed.close();
    pika.delete_exchange("exchange/others/again");
    log::keep();
    let feed = Feed::open(&address);
    log::warned("exchange/others/again", "does not exist");
    feed.close();
    pika.declare("exchange/others/again");
    pika.publish("exchange/others/again", 2, WHEN);
    let mut feed = Feed::open(&address);
    feed.gap();
    pika.publish("exchange/others/again", 3, WHEN);
    assert_eq!(feed.bugs(1), [3]);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_exchange_that_is_deleted_under_a_quiet_feed_is_noticed() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("exchange/others/gone");
    let mut feed = Feed::open(&(broker.url("pulse", "exchange/others/gone") + "&queue=gone"));
    feed.gap();
    pika.delete_exchange("exchange/others/gone");
    log::keep();
    log::warned("exchange/others/gone", "does not exist");
    pika.declare("exchange/others/gone");
    feed.gap();
    pika.publish("exchange/others/gone", 1, WHEN);
    assert_eq!(feed.bugs(1), [1]);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn another_reader_in_between_is_a_known_gap_and_a_plain_restart_is_none() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("readers");
    let folder = tempfile::tempdir().unwrap();
    let address = broker.url("guest", "readers") + "&queue=readers";
    let open = |history: &str| Feed::open_with(&address, Some(&folder.path().join(history)));
    let mut feed = open("one");
    feed.gap();
    feed.close();
    feed = open("one");
    feed.whole();
    feed.close();
    let said = log::said("=readers", Level::Info, "reading updates");
    assert!(
        !said.iter().any(|line| line.contains("somebody else")),
        "{said:?}"
    );
    feed = open("two");
    feed.gap();
    pika.publish("readers", 1, WHEN);
    assert_eq!(feed.bugs(1), [1]);
    feed.close();
    feed = open("one");
    feed.gap();
    log::said("=readers", Level::Info, "somebody else has read the queue");
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_a_policy_lets_fall_out_of_the_queue_is_a_known_gap() {
    log::keep();
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("bounded");
    let address = broker.url("guest", "bounded") + "&queue=bounded";
    let mut feed = Feed::open(&address);
    feed.gap();
    feed.close();
    broker.ctl(&[
        "set_policy",
        "short",
        "^queue/guest/bounded$",
        r#"{"max-length":2}"#,
    ]);
    for bug in 1..=5 {
        pika.publish("bounded", bug, WHEN);
    }
    let mut feed = Feed::open(&address);
    feed.gap();
    assert_eq!(feed.bugs(2), [4, 5]);
    log::said(
        "=bounded",
        Level::Info,
        "messages have fallen out of the queue",
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_queue_that_has_another_length_than_asked_for_is_reported_with_the_command_that_ends_it() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("longer");
    let address = broker.url("guest", "longer") + "&queue=longer&max_length=";
    Feed::open(&format!("{address}3")).gap();
    let mut feed = Feed::open(&format!("{address}5"));
    feed.gap();
    let said = log::warned("=longer", "x-max-length");
    assert!(
        said.iter()
            .any(|line| line.contains("rabbitmqctl delete_queue queue/guest/longer ends it")),
        "{said:?}"
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_queue_that_does_not_say_what_falls_out_of_it_does_so_after_the_command_that_the_log_names() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("older");
    pika.declare_queue("queue/guest/older", "x-max-length", 3.into());
    let address = broker.url("guest", "older") + "&queue=older";
    let mut feed = Feed::open(&address);
    feed.gap();
    feed.close();
    let said = log::warned("=older", "rabbitmqctl set_policy");
    let (_, command) = said[0].split_once("falls out of it: rabbitmqctl ").unwrap();
    let words = words(command);
    broker.ctl(&words.iter().map(String::as_str).collect::<Vec<_>>());
    for bug in 1..=5 {
        pika.publish("older", bug, WHEN);
    }
    let mut feed = Feed::open(&address);
    feed.gap();
    assert_eq!(feed.bugs(3), [3, 4, 5]);
    let lost = "messages have fallen out of the queue";
    log::said("=older", Level::Info, lost);
}

/// The words of a command, as a shell reads them.
fn words(command: &str) -> Vec<String> {
    let print = format!("printf '%s\\n' {command}");
    let output = std::process::Command::new("sh")
        .args(["-c", &print])
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_exchange_from_which_nothing_comes_is_named() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare_of_type("direct", "direct");
    let _feed = Feed::open(&(broker.url("guest", "direct") + "&queue=direct"));
    log::warned(
        "=direct",
        "the exchange direct is of the type direct, from which nothing comes",
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_queue_that_others_read_as_well_is_named() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("single");
    pika.declare_queue(
        "queue/guest/single",
        "x-single-active-consumer",
        true.into(),
    );
    let _feed = Feed::open(&(broker.url("guest", "single") + "&queue=single"));
    log::warned("=single", "x-single-active-consumer");
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_server_takes_a_queue_over_as_soon_as_the_one_before_has_gone() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("rolling");
    let address = broker.url("guest", "rolling") + "&queue=rolling";
    let mut before = Feed::open(&address);
    before.gap();
    let mut after = Feed::open(&address);
    log::warned("=rolling", "another server reads from queue/guest/rolling");
    // Many pauses of a backoff that grows would be over by then.
    log::said("=rolling", Level::Debug, "still: another server reads");
    before.close();
    after.gap();
    pika.publish("rolling", 1, WHEN);
    assert_eq!(after.bugs(1), [1]);
}
