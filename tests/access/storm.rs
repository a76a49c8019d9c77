//! `--access bugzilla` by its real server, when Bugzilla does not answer and thousands come.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bugzilla::{bearer, connect, open, start};
use crate::support::client::{Client, UPGRADE, text};
use crate::support::is_long;
use crate::support::server::{Server, wait_until};
use crate::support::stock::{ALICE_KEY, BOB_KEY, Manner, Stock};

const NEWCOMERS: usize = 5_000;
const ADDRESSES: usize = 50;

/// Newcomers from many addresses, each with a key of its own and a wish for a secret bug right behind it.
fn storm(server: &Server, number: usize) -> Vec<Client> {
    (0..NEWCOMERS)
        .map(|at| {
            let address = Ipv4Addr::new(127, 0, 1, 1 + (at % ADDRESSES) as u8);
            let from = SocketAddr::from((address, 0));
            let mut client = Client::connect_from(from, server.address);
            let fields = format!(
                "Host: localhost\r\n{}",
                bearer(&format!("key{number}x{at}"))
            );
            let mut request = UPGRADE.replace("Host: localhost\r\n", &fields).into_bytes();
            request.extend(text(r#"{"command":"subscribe","bugs":[5,6]}"#));
            client.send(request);
            client
        })
        .collect()
}

/// All are told to come back later, but for those of whom Bugzilla has said that it does not know them;
/// returns how many these are.
fn check_refused(newcomers: Vec<Client>) -> usize {
    let mut strangers = 0;
    for mut newcomer in newcomers {
        let head = newcomer.head();
        if head.starts_with("HTTP/1.1 401 ") {
            strangers += 1;
        } else {
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
            assert!(head.contains("\r\nRetry-After: "), "{head}");
        }
        let rest = String::from_utf8(newcomer.rest()).unwrap();
        assert!(!rest.contains("bugs"), "{rest}");
    }
    strangers
}

/// This process needs a file for each newcomer, as the server does.
fn lift_file_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// A storm while Bugzilla treats its askers like this; returns how often it was asked, and how long that
/// took.
fn check_storm(manner: Manner) -> (usize, Duration) {
    lift_file_limit();
    let stock = Stock::start();
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &stock.url, "bugzilla");
    let mut alice = open(&server, &bearer(ALICE_KEY));
    let mut nobody = open(&server, "");
    for reader in [&mut alice, &mut nobody] {
        reader.ask(r#"{"command":"subscribe","bugs":[5,6]}"#);
    }
    stock.treat(manner);
    stock.asked();
    let began = Instant::now();
    let newcomers = storm(&server, 1);
    // Who is in keeps what was answered a moment ago.
    server.record(&[(6, "2026-04-03 21:13:45"), (5, "2026-04-03 21:13:46")]);
    assert!(alice.hear().contains(r#""bug":6"#));
    assert!(alice.hear().contains(r#""bug":5"#));
    assert!(nobody.hear().contains(r#""bug":5"#));
    let strangers = check_refused(newcomers);
    let (asked, time) = (stock.asked().len(), began.elapsed());
    assert!(strangers <= asked, "{strangers} of {asked}");
    assert!(nobody.ask(r#"{"command":"version"}"#).contains("version"));

    // Others come in as soon as it answers again, however many have waited.
    stock.treat(Manner::Answers);
    let mut bob = wait_until("bob comes in", || {
        let (head, client) = connect(&server, &bearer(BOB_KEY));
        head.starts_with("HTTP/1.1 101 ").then_some(client)
    });
    let told = bob.ask(r#"{"command":"subscribe","bugs":[5,6]}"#);
    assert!(told.contains(r#""denied":[6]"#), "{told}");
    (asked, time)
}

#[test]
fn thousands_of_newcomers_are_told_to_come_back_while_bugzilla_is_gone() {
    let (asked, time) = check_storm(Manner::Gone);
    // The pauses double, from a second on.
    assert!(asked <= 3 + time.as_secs() as usize, "{asked} in {time:?}");
}

#[test]
fn thousands_of_newcomers_are_told_to_come_back_while_bugzilla_hangs_or_is_slow() {
    if !is_long("a storm while Bugzilla hangs or is slow") {
        return;
    }
    // One question at a time; who asks gives up after ten seconds.
    for (manner, seconds) in [
        (Manner::Hangs, 10),
        (Manner::Slow(Duration::from_secs(2)), 2),
    ] {
        let (asked, time) = check_storm(manner);
        let most = 2 + time.as_secs() as usize / seconds;
        assert!(asked <= most, "{manner:?}: {asked} in {time:?}");
    }
}
