//! Brokers: accounts, exchanges, queues, bindings and clocks.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use serde_json::json;

use crate::support::pika::Pika;
use crate::support::rabbitmq::{self, Broker};
use crate::{Findings, doctor};

/// Asks about a source, and the management API where there is one.
fn ask(source: &str, management: Option<SocketAddr>) -> Findings {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), "guest").unwrap();
    let management =
        management.map(|address| format!("http://guest@{address}/#password_file=password"));
    let mut arguments = Vec::new();
    if let Some(management) = &management {
        arguments.extend(["--management", management]);
    }
    arguments.extend(["--", "--source", source]);
    doctor(folder.path(), &arguments)
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn accounts_exchanges_and_rights_that_are_wrong_are_found() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    let guest = broker.url("guest", "doctor");
    ask(&guest.replace(":guest@", ":wrong@"), None).expect(
        "broker",
        "refused to log in 'guest'",
        "rabbitmqctl authenticate_user guest",
    );
    ask(&guest, None).expect(
        "exchange",
        "there is no exchange doctor",
        "?exchange=doctor'",
    );
    pika.declare("doctor");
    ask(&format!("{guest}&queue=new"), None).expect_well();
    ask(&broker.url("pulse", "doctor"), None).expect(
        "permissions",
        "does not permit it",
        "rabbitmqctl set_permissions -p / pulse '^(queue/pulse/.*",
    );
    pika.declare_of_type("doctor-direct", "direct");
    ask(&broker.url("guest", "doctor-direct"), None).expect(
        "exchange",
        "is of the type direct",
        "rabbitmqadmin delete exchange name=doctor-direct",
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_queue_that_nobody_reads_is_found_before_it_is_full() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("doctor-full");
    let queue = "queue/guest/doctor-full";
    pika.declare_queue(queue, "x-max-length", json!(10));
    for _ in 0..8 {
        pika.put(queue, "{}");
    }
    let url = broker.url("guest", "doctor-full");
    let source = format!("{url}&queue=doctor-full&max_length=10");
    ask(&source, None).expect(
        "queue",
        "queue/guest/doctor-full holds 8 of 10 messages",
        "rabbitmqctl delete_queue queue/guest/doctor-full",
    );
    assert_eq!(pika.count(queue), 8, "it takes none");
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_queue_that_lost_its_binding_is_found_by_the_management_api() {
    let broker = Broker::start_managed();
    let mut pika = Pika::connect(broker.port);
    pika.declare("doctor");
    pika.declare_queue("queue/guest/one", "x-max-length", json!(100_000));
    let source = format!("{}&queue=one", broker.url("guest", "doctor"));
    let management = Some(SocketAddr::from(([127, 0, 0, 1], broker.management_port)));
    let found = ask(&source, management);
    found.expect(
        "bindings",
        "nothing comes into the queue from doctor",
        "systemctl restart bugzfeed",
    );
    found.expect_ok("clock");
    pika.bind("queue/guest/one", "doctor");
    ask(&source, management).expect_well();
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_whose_clock_is_wrong_or_whose_disk_is_full_is_found() {
    let broker = rabbitmq::shared();
    Pika::connect(broker.port).declare("doctor-clock");
    let management = stand_in("Thu, 01 Jan 2026 00:00:00 GMT");
    let found = ask(&broker.url("guest", "doctor-clock"), Some(management));
    found.expect(
        "clock",
        "s behind this machine's",
        "timedatectl set-ntp true",
    );
    found.expect("broker", "one is short of disk", "df -h /var/lib/rabbitmq");
}

/// Something that answers like the management API at this time. It ends with the test.
fn stand_in(date: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = BufReader::new(stream.try_clone().unwrap());
            let lines = request.lines().map_while(Result::ok);
            let _ = lines.take_while(|line| !line.is_empty()).count();
            let nodes = r#"[{"name":"one","disk_free_alarm":true}]"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nDate: {date}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{nodes}",
                nodes.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}
