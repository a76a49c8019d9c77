//! A real server at the edges of size and time: as many feeds as there can be and more, places and
//! times at their ends, and a million changes that wait when it starts.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use rustix::process::Signal;
use support::client::Client;
use support::is_long;
use support::server::{Program, Server, wait_until, wait_within};

const TABLE: &str = "CREATE TABLE push_notify (id INTEGER PRIMARY KEY AUTOINCREMENT, bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL)";

fn table(folder: &Path) -> Connection {
    let table = Connection::open(folder.join("bugzfeed.db")).unwrap();
    table.busy_timeout(Duration::from_secs(30)).unwrap();
    table
}

#[test]
fn there_are_254_feeds_besides_the_first_and_ten_thousand_are_refused_with_that_number() {
    let refused = |count: u32| {
        let feeds = (0..count).map(|feed| format!("--feed=/{feed}/=sqlite:{feed}.db"));
        let mut serve = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
        let folder = tempfile::tempdir().unwrap();
        let ended = serve.arg("serve").args(feeds).current_dir(folder.path());
        let ended = ended.output().unwrap();
        assert_eq!(ended.status.code(), Some(2));
        let said = String::from_utf8(ended.stderr).unwrap();
        let sentence = format!("--feed is given {count} times; accepted is up to 254.");
        assert!(said.contains(&sentence), "{said}");
    };
    refused(255);
    refused(10_000);
    let feeds: Vec<String> = (0..254)
        .map(|feed| format!("--feed=/{feed}/=sqlite:feed{feed}.db?poll=1s"))
        .collect();
    let feeds: Vec<&str> = feeds.iter().map(String::as_str).collect();
    let server = Server::start(&feeds);
    for feed in [0, 253] {
        let mut client = Client::open(server.address, &format!("/{feed}/"));
        let answer = client.ask(r#"{"command":"subscribe","bugs":7}"#);
        assert!(answer.contains(r#""bugs":[7]"#), "{answer}");
    }
}

#[test]
fn what_stands_at_the_last_place_a_table_has_is_read_and_deleted_as_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    table.execute_batch(TABLE).unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":[1,2147483647]}"#);
    let rows = [
        (1_i64, 1, "1970-01-01T00:00:00"),
        (i64::MAX - 1, 2_147_483_647, "2038-01-19T03:14:08"),
        (i64::MAX, 1, "9999-12-31T23:59:59"),
    ];
    for (place, bug, when) in rows {
        let insert = "INSERT INTO push_notify VALUES (?1, ?2, ?3)";
        table.execute(insert, params![place, bug, when]).unwrap();
        let update = format!(r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#);
        assert_eq!(client.hear(), update);
    }
    let all_but_the_last = || (waiting(&table) == 1).then_some(());
    wait_until("all rows but the bookmark are deleted", all_but_the_last);
    // The next start reads what was kept.
    server.end(Signal::TERM);
    let server = Server::start_in(folder.path(), &[]);
    let mut client = server.connect();
    client.say(r#"{"command":"subscribe","bugs":[1],"since":"2038-01-19T03:14:08"}"#);
    while !client.hear().contains("9999-12-31T23:59:59") {}
}

fn waiting(table: &Connection) -> u32 {
    let count = "SELECT count(*) FROM push_notify";
    table.query_row(count, [], |row| row.get(0)).unwrap()
}

/// The answer to a command; updates may come before it.
fn answer(client: &mut Client, command: &str) {
    client.say(command);
    while !client.hear().contains(r#""result":"ok""#) {}
}

/// What a process has in memory, in MiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

/// Prints how long it takes and what memory.
#[test]
fn a_million_changes_that_wait_at_the_start_are_read_while_clients_are_served_and_kept() {
    const CHANGES: u32 = 1_000_000;
    if !is_long("a million changes that wait at the start") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    table.execute_batch(TABLE).unwrap();
    let fill = |first: u32| {
        let fill = "WITH RECURSIVE n (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < ?1 + ?2)
            INSERT INTO push_notify (bug_id, delta_ts)
            SELECT n, strftime('%Y-%m-%dT%H:%M:%S', 1700000000 + n, 'unixepoch') FROM n";
        table.execute(fill, [first, CHANGES]).unwrap();
    };
    fill(1);
    let options = ["--history-size", "2000000", "--message-burst", "1000000"];
    let begun = Instant::now();
    let server = Server::start_in(folder.path(), &options);
    let mut client = server.connect();
    let (mut slowest, mut asked) = (Duration::ZERO, 0);
    wait_within(Duration::from_secs(900), "all are read", || {
        let asks = Instant::now();
        answer(&mut client, r#"{"command":"version"}"#);
        slowest = slowest.max(asks.elapsed());
        asked += 1;
        (waiting(&table) == 1).then_some(())
    });
    let (taken, memory) = (begun.elapsed(), resident(server.program().id()));
    println!(
        "{CHANGES} rows in {taken:?}, {memory} MiB; {asked} questions meanwhile, the slowest answer after {slowest:?}"
    );
    // The oldest and the newest of the history.
    client.say(r#"{"command":"subscribe","bugs":[1,1000000],"since":"2023-11-14T22:13:21"}"#);
    for update in [
        r#"{"command":"update","bug":1,"when":"2023-11-14T22:13:21"}"#,
        r#"{"command":"update","bug":1000000,"when":"2023-11-26T12:00:00"}"#,
    ] {
        while client.hear() != update {}
    }
    drop(client);
    server.end(Signal::KILL);
    // As many wait again, beside those of the history.
    fill(CHANGES + 1);
    let begun = Instant::now();
    let source = "sqlite:bugzfeed.db?poll=5ms";
    let more = ["serve", "--listen", "127.0.0.1:0", "--source", source];
    let again = Program::start(folder.path(), &[&more[..], &options].concat());
    let line = wait_within(Duration::from_secs(900), "it listens again", || {
        let log = again.log();
        log.lines()
            .find(|line| line.contains(" listens on "))
            .map(str::to_owned)
    });
    let address = line.split("ws://").nth(1).unwrap();
    let address = address.split('/').next().unwrap().parse().unwrap();
    println!(
        "killed, and there again after {:?} with {} MiB",
        begun.elapsed(),
        resident(again.id())
    );
    let mut client = Client::open(address, "/");
    wait_within(Duration::from_secs(900), "the others are read, too", || {
        answer(&mut client, r#"{"command":"version"}"#);
        (waiting(&table) == 1).then_some(())
    });
    println!(
        "all read after {:?}, {} MiB",
        begun.elapsed(),
        resident(again.id())
    );
    let bugs = "[1,1000000,1000001,2000000]";
    client.say(format!(
        r#"{{"command":"subscribe","bugs":{bugs},"since":"2023-11-14T22:13:21"}}"#
    ));
    for update in [
        r#"{"command":"update","bug":1,"when":"2023-11-14T22:13:21"}"#,
        r#"{"command":"update","bug":1000000,"when":"2023-11-26T12:00:00"}"#,
        r#"{"command":"update","bug":1000001,"when":"2023-11-26T12:00:01"}"#,
        r#"{"command":"update","bug":2000000,"when":"2023-12-08T01:46:40"}"#,
    ] {
        while client.hear() != update {}
    }
}
