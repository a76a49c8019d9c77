//! How the server behaves at its limits and at its end, over real sockets: rates, pings, too many
//! connections, no files left, signals.

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::{CLOSE, Client, FIN, Frame, PING, PONG, TEXT, UPGRADE, frame, text};
use support::server::{Server, wait_until};

const SUBSCRIPTIONS: &str = r#"{"command":"subscriptions"}"#;
const NONE_SUBSCRIBED: &str = r#"{"command":"subscriptions","result":"ok","bugs":[]}"#;

/// A handshake that may be refused: the status, and the client.
fn try_to_open(server: &Server) -> (String, Client) {
    let mut client = Client::connect(server.address);
    client.send(UPGRADE);
    let head = client.head();
    (
        head.trim_start_matches("HTTP/1.1 ")
            .split("\r\n")
            .next()
            .unwrap()
            .to_owned(),
        client,
    )
}

/// Tries until the server accepts a client again.
fn open_again(server: &Server) -> Client {
    wait_until("a place for another client", || {
        let (status, client) = try_to_open(server);
        status.starts_with("101 ").then_some(client)
    })
}

/// All that the server says to a request, until it ends the connection.
fn answer_to(server: &Server, request: &str) -> String {
    let mut client = Client::connect(server.address);
    client.send(request);
    String::from_utf8(client.rest()).unwrap()
}

fn code_of(close: &Frame) -> u16 {
    assert_eq!(close.first, FIN | CLOSE, "{close:?}");
    u16::from_be_bytes(close.payload[..2].try_into().unwrap())
}

#[test]
fn more_messages_than_allowed_end_the_connection_after_the_answers_to_the_others() {
    let server = Server::start(&["--message-rate", "1", "--message-burst", "50"]);
    let mut client = server.connect();
    client.send(text(SUBSCRIPTIONS).repeat(1_000));
    let frames = client.rest_of_frames();
    let (close, replies) = frames.split_last().unwrap();
    assert_eq!(code_of(close), 1008);
    // A second may have passed meanwhile, or several.
    assert!((50..999).contains(&replies.len()), "{}", replies.len());
    assert!(replies.iter().all(|reply| *reply
        == Frame {
            first: FIN | TEXT,
            payload: NONE_SUBSCRIBED.into()
        }));
}

#[test]
fn a_client_within_the_rate_is_left_alone() {
    let server = Server::start(&["--message-rate", "1000", "--message-burst", "2"]);
    let mut client = server.connect();
    for _ in 0..100 {
        // Two at once, and then the time that each of them costs.
        client.send(text(SUBSCRIPTIONS).repeat(2));
        assert_eq!(
            (client.hear(), client.hear()),
            (NONE_SUBSCRIBED.to_owned(), NONE_SUBSCRIBED.to_owned())
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_highest_rate_is_a_limit_too() {
    let server = Server::start(&["--message-rate", "1000", "--message-burst", "10"]);
    let mut client = server.connect();
    client.send(frame(FIN | PONG, b"").repeat(10_000));
    client.expect_close(Some(1008));
}

#[test]
fn a_silent_client_is_pinged_and_stays_as_long_as_it_answers() {
    let server = Server::start(&["--ping", "100ms", "--pong", "1h"]);
    let mut client = server.connect();
    let ping = Frame {
        first: FIN | PING,
        payload: Vec::new(),
    };
    for _ in 0..3 {
        assert_eq!(client.frame(), ping);
        client.send(frame(FIN | PONG, b""));
    }
    // Any message is as good as a pong, be it not complete.
    assert_eq!(client.frame(), ping);
    client.send(&text(SUBSCRIPTIONS)[..1]);
    assert_eq!(client.frame(), ping);
    client.send(&text(SUBSCRIPTIONS)[1..]);
    assert_eq!(client.hear(), NONE_SUBSCRIBED);
}

#[test]
fn a_client_that_does_not_answer_a_ping_is_closed() {
    let server = Server::start(&["--ping", "100ms", "--pong", "100ms"]);
    let mut client = server.connect();
    let frames = client.rest_of_frames();
    let [ping, close] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!((ping.first, code_of(close)), (FIN | PING, 1008));
}

#[test]
fn a_client_that_does_not_finish_its_message_is_closed() {
    let server = Server::start(&["--message-timeout", "300ms"]);
    let (mut fragment, mut frame_part) = (server.connect(), server.connect());
    fragment.send(frame(TEXT, b"half a mess"));
    frame_part.send(&text(SUBSCRIPTIONS)[..9]);
    fragment.expect_close(Some(1008));
    frame_part.expect_close(Some(1008));
    assert_eq!(server.connect().ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
}

#[test]
fn replies_wait_for_a_client_that_does_not_read_and_all_come_in_order() {
    let server = Server::start(&["--stall", "1h", "--message-burst", "10000"]);
    let mut client = server.connect();
    let list = (1..=10_000)
        .map(|id| id.to_string())
        .collect::<Vec<_>>()
        .join(",");
    client.ask(&format!(r#"{{"command":"subscribe","bugs":[{list}]}}"#));
    let mut other = server.connect();
    // 25 MB of replies are more than any socket's buffers hold.
    let questions: Vec<u8> = (0..500)
        .flat_map(|at| [text(SUBSCRIPTIONS), text(format!(r#"{{"command":{at}}}"#))].concat())
        .collect();
    client.send(questions);
    assert_eq!(other.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
    let reply = format!(r#"{{"command":"subscriptions","result":"ok","bugs":[{list}]}}"#);
    for at in 0..500 {
        assert!(client.hear() == reply, "reply {at} is another");
        assert_eq!(
            client.hear(),
            format!(r#"{{"command":{at},"result":"error","error":"invalid command"}}"#)
        );
    }
}

#[test]
fn a_client_that_takes_nothing_for_too_long_is_given_up() {
    let server = Server::start(&[
        "--stall",
        "300ms",
        "--ping",
        "1h",
        "--message-burst",
        "10000",
        "--log",
        "debug",
    ]);
    let mut client = server.connect();
    let list = (1..=10_000)
        .map(|id| id.to_string())
        .collect::<Vec<_>>()
        .join(",");
    client.ask(&format!(r#"{{"command":"subscribe","bugs":[{list}]}}"#));
    client.send(text(SUBSCRIPTIONS).repeat(500));
    server.program().wait_for_line("Ended(Stalled)");
    assert_eq!(server.connect().ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
}

#[test]
fn beyond_the_limit_of_connections_newcomers_are_told_when_to_come_back() {
    let server = Server::start(&["--connections", "2"]);
    let mut first = server.connect();
    let second = server.connect();
    let response = answer_to(&server, UPGRADE);
    assert!(
        response.starts_with("HTTP/1.1 503 ") && response.contains("\r\nRetry-After: "),
        "{response}"
    );
    let response = answer_to(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        response.starts_with("HTTP/1.1 200 "),
        "a page takes nobody's place: {response}"
    );
    assert_eq!(first.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
    drop(second);
    assert_eq!(open_again(&server).ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
    assert_eq!(first.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
}

#[test]
fn with_too_little_memory_left_newcomers_are_told_when_to_come_back() {
    let more_than_any_machine_has = (1u64 << 50).to_string();
    let server = Server::start(&["--memory-reserve", &more_than_any_machine_has]);
    let response = answer_to(&server, UPGRADE);
    assert!(
        response.starts_with("HTTP/1.1 503 ") && response.contains("\r\nRetry-After: "),
        "{response}"
    );
    server.program().wait_for_line("memory is short: ");
}

#[test]
fn a_crowd_that_only_connects_keeps_nobody_out_for_ever() {
    let server = Server::start(&["--connections", "1", "--handshake-timeout", "300ms"]);
    let mut first = server.connect();
    let crowd: Vec<Client> = (0..40).map(|_| Client::connect(server.address)).collect();
    let response = answer_to(&server, UPGRADE);
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert_eq!(first.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
    drop((crowd, first));
    open_again(&server);
}

#[test]
fn without_files_left_the_server_waits_and_then_goes_on() {
    let server = Server::start(&[]);
    let program = server.program();
    let mut client = server.connect();
    let files_before = program.limit_files(program.open_files() as u64);
    let (began, ticks) = (Instant::now(), program.processor_ticks());
    let mut newcomers: Vec<Client> = (0..10).map(|_| Client::connect(server.address)).collect();
    newcomers
        .iter_mut()
        .for_each(|newcomer| newcomer.send(UPGRADE));
    let message = "cannot accept connections for the moment";
    let tries = || program.log().matches(message).count();
    wait_until("several tries to accept", || (tries() >= 4).then_some(()));
    assert_eq!(client.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
    // One that spins would try thousands of times, and use all the time that has passed.
    assert!(
        tries() <= 4 + began.elapsed().as_millis() as usize / 200,
        "{} tries in {:?}",
        tries(),
        began.elapsed()
    );
    let used = Duration::from_millis(10) * (program.processor_ticks() - ticks) as u32;
    assert!(
        used < began.elapsed() / 2,
        "{used:?} of {:?}",
        began.elapsed()
    );
    program.limit_files(files_before);
    for mut newcomer in newcomers {
        newcomer.head();
        assert_eq!(newcomer.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
    }
}

#[test]
fn an_idle_server_uses_no_processor() {
    let server = Server::start(&["--source", "sqlite:bugzfeed.db?poll=1h"]);
    let mut client = server.connect();
    assert_eq!(client.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
    let ticks = server.program().processor_ticks();
    std::thread::sleep(Duration::from_millis(500));
    let used = server.program().processor_ticks() - ticks;
    assert!(used < 10, "{used} ticks of 50");
}

#[test]
fn sigterm_closes_all_with_1001_and_the_end_is_a_success() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&[]);
        let address = server.address;
        let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        let mut half = Client::connect(address);
        half.send("GET / HTT");
        let mut slow = server.connect();
        slow.send(frame(TEXT, b"half a mess"));
        clients.push(slow);
        server.program().signal(signal);
        for mut client in clients {
            client.expect_close(Some(1001));
        }
        assert_eq!(half.rest(), b"");
        drop(half);
        let (status, log) = server.wait();
        assert_eq!(
            (
                status.code(),
                log.contains("stopping: closing 22 connections")
            ),
            (Some(0), true),
            "{log}"
        );
    }
}

#[test]
fn a_departure_may_be_spread() {
    let server = Server::start(&["--drain", "300ms"]);
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    server.program().signal(Signal::TERM);
    clients
        .iter_mut()
        .for_each(|client| client.expect_close(Some(1001)));
    drop(clients);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_client_that_ignores_the_close_does_not_keep_the_server() {
    let server = Server::start(&[]);
    let client = server.connect();
    server.program().signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
    drop(client);
}

#[test]
fn a_second_signal_stops_at_once() {
    let server = Server::start(&["--drain", "1h"]);
    let clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    server.program().signal(Signal::TERM);
    server
        .program()
        .wait_for_line("a second signal stops at once");
    server.program().signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(
        (status.code(), log.contains("stopping at once")),
        (Some(0), true),
        "{log}"
    );
    drop(clients);
}

#[test]
fn a_server_without_clients_ends_with_the_first_signal() {
    let server = Server::start(&["--drain", "1h"]);
    server.program().signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_history_that_another_process_has_locked_holds_up_no_update() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--history", "h.db", "--catch-up", "none"];
    let server = Server::start_in(folder.path(), &options);
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":[1]}"#);
    server.record(&[(1, "2014-04-03T21:13:45")]);
    assert!(client.hear().contains("2014-04-03T21:13:45"));
    let other = rusqlite::Connection::open(folder.path().join("h.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for time in ["2014-04-03T21:13:46", "2014-04-03T21:13:47"] {
        server.record(&[(1, time)]);
        assert!(client.hear().contains(time));
    }
    server.program().wait_for_line("database is locked");
    other.execute_batch("ROLLBACK").unwrap();
    server.record(&[(1, "2014-04-03T21:13:48")]);
    assert!(client.hear().contains("2014-04-03T21:13:48"));
    server.program().wait_for_line("works again");
    assert!(server.end(Signal::TERM).success());
}

/// What the kernel holds for the other end of a client's connection, in bytes.
fn held_by_kernel(server: &Server, client: &Client) -> usize {
    let ports = format!(":{:04X} ", server.address.port());
    let peer = format!(":{:04X} ", client.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| {
        let mut fields = line
            .split_whitespace()
            .skip(1)
            .map(|field| format!("{field} "));
        fields.next().is_some_and(|local| local.ends_with(&ports))
            && fields.next().is_some_and(|remote| remote.ends_with(&peer))
    });
    let queues = line.unwrap().split_whitespace().nth(4).unwrap();
    usize::from_str_radix(queues.split(':').next().unwrap(), 16).unwrap()
}

#[test]
fn the_kernel_takes_little_for_a_client_that_does_not_read() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let bugs: Vec<String> = (1_000_000..1_010_000).map(|bug| bug.to_string()).collect();
    client.ask(&format!(
        r#"{{"command":"subscribe","bugs":[{}]}}"#,
        bugs.join(",")
    ));
    client.send(text(SUBSCRIPTIONS).repeat(100));
    wait_until("the client is sent more than it takes", || {
        (held_by_kernel(&server, &client) > 32 * 1024).then_some(())
    });
    let mut other = server.connect();
    for _ in 0..100 {
        // Each answer is another turn of the loop, in which the first client could be sent more.
        assert_eq!(other.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
    }
    let held = held_by_kernel(&server, &client);
    assert!(held <= 192 * 1024, "{held}");
}
