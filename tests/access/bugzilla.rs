//! `--access bugzilla` by its real server: the same things against a stand-in, and against the real
//! Bugzilla at `BUGZILLA_URL`, if there is one with the readers and bugs of the stand-in.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;

use crate::support::client::{Client, UPGRADE};
use crate::support::not_tested;
use crate::support::server::{Program, Server, wait_until};
use crate::support::stock::{ALICE_COOKIES, ALICE_KEY, BOB_KEY, Stock};

/// Whoever plays with a real Bugzilla: what one changes there is none of the other's business.
pub static REAL: Mutex<()> = Mutex::new(());

pub fn start(folder: &Path, url: &str, access: &str) -> Server {
    let options = ["--access", access, "--bugzilla", url];
    let more = ["--access-interval", "20ms", "--log", "debug"];
    // Clients that listen only are not pinged.
    let quiet = ["--ping", "10m"];
    Server::start_in(folder, &[&options[..], &more, &quiet].concat())
}

/// The head of the answer to a request for a WebSocket with these fields, and the client.
pub fn connect(server: &Server, fields: &str) -> (String, Client) {
    let mut client = Client::connect(server.address);
    client.send(UPGRADE.replace(
        "Host: localhost\r\n",
        &format!("Host: localhost\r\n{fields}"),
    ));
    (client.head(), client)
}

pub fn open(server: &Server, fields: &str) -> Client {
    let (head, client) = connect(server, fields);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client
}

/// What one who shows a key says.
pub fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

/// What a page of Bugzilla's says.
pub fn login(url: &str, cookies: &str) -> String {
    let origin = url.trim_end_matches('/');
    format!("Origin: {origin}\r\nCookie: other=1; {cookies}\r\n")
}

const SUBSCRIBE: &str = r#"{"command":"subscribe","bugs":[5,6,9999]}"#;
const SOME: &str = r#"{"command":"subscribe","result":"ok","bugs":[5],"denied":[6,9999]}"#;
const MORE: &str = r#"{"command":"subscribe","result":"ok","bugs":[5,6],"denied":[9999]}"#;

/// All that does not depend on which Bugzilla it is.
fn check_readers(url: &str, cookies: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), url, "bugzilla");
    let mut nobody = open(&server, "");
    let mut bob = open(&server, &bearer(BOB_KEY));
    let mut alice = open(&server, &bearer(ALICE_KEY));
    assert_eq!(nobody.ask(SUBSCRIBE), SOME);
    assert_eq!(bob.ask(SUBSCRIBE), SOME);
    assert_eq!(alice.ask(SUBSCRIBE), MORE);
    let mut readers = vec![alice];
    if let Some(cookies) = cookies {
        let mut alice = open(&server, &login(url, cookies));
        assert_eq!(alice.ask(SUBSCRIBE), MORE);
        readers.push(alice);
        let elsewhere = login("https://evil.example", cookies);
        assert_eq!(open(&server, &elsewhere).ask(SUBSCRIBE), SOME);
    }
    server.record(&[(6, "2026-04-03 21:13:45"), (5, "2026-04-03 21:13:46")]);
    for reader in &mut readers {
        assert!(reader.hear().contains(r#""bug":6"#));
        assert!(reader.hear().contains(r#""bug":5"#));
    }
    for reader in [&mut nobody, &mut bob] {
        assert!(reader.hear().contains(r#""bug":5"#));
    }
    let since = r#"{"command":"subscribe","bugs":[6],"since":"2014-01-01T00:00:00"}"#;
    assert!(bob.ask(since).contains(r#""denied":[6],"complete""#));
    let version = bob.ask(r#"{"command":"version"}"#);
    assert!(version.contains("version"), "{version}");
    let (head, _) = connect(&server, &bearer("wrong"));
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    check_watch(folder.path(), &server);
    server.program().signal(Signal::TERM);
    let (_, log) = server.wait();
    check_secrets(folder.path(), &log, cookies);
}

/// `watch` says what it may not have, and goes on with the rest.
fn check_watch(folder: &Path, server: &Server) {
    let secret = folder
        .parent()
        .unwrap()
        .join(format!("{}.key", server.address.port()));
    fs::write(&secret, ALICE_KEY).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args(["watch", &format!("ws://{}/", server.address), "6", "9999"])
        .args([
            "--since",
            "2014-01-01T00:00:00",
            "--count",
            "1",
            "--token-file",
        ])
        .arg(&secret)
        .output()
        .unwrap();
    fs::remove_file(&secret).unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        said.contains("bug 6") && said.contains("not there: 9999"),
        "{said}"
    );
}

/// Nothing that was shown is in a log or a file.
fn check_secrets(folder: &Path, log: &str, cookies: Option<&str>) {
    let cookie = cookies.and_then(|cookies| cookies.rsplit('=').next());
    let secrets = [Some(ALICE_KEY), Some(BOB_KEY), cookie];
    for secret in secrets.into_iter().flatten() {
        assert!(!log.contains(secret), "{log}");
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            let bytes = fs::read(&file).unwrap();
            let mut parts = bytes.windows(secret.len());
            assert!(!parts.any(|part| part == secret.as_bytes()), "{file:?}");
        }
    }
}

#[test]
fn each_reader_hears_of_what_bugzilla_shows_them_and_no_secret_stays_anywhere() {
    let stock = Stock::start();
    check_readers(&stock.url, Some(ALICE_COOKIES));
    let asked = stock.asked();
    for question in &asked {
        let (path, rest) = question.split_once(' ').unwrap();
        assert!(["/show_bug.cgi", "/jsonrpc.cgi"].contains(&path), "{path}");
        assert!(
            rest.starts_with("[] ") || rest.starts_with(&format!("[{ALICE_COOKIES}] ")),
            "{rest}"
        );
    }
}

#[test]
#[ignore = "needs a real Bugzilla"]
fn a_real_bugzilla_is_understood() {
    match std::env::var("BUGZILLA_URL") {
        Ok(url) => {
            let _alone = REAL.lock().unwrap_or_else(PoisonError::into_inner);
            let cookies = std::env::var("BUGZILLA_ALICE_COOKIES").ok();
            check_readers(&url, cookies.as_deref());
        }
        Err(_) => not_tested("a real Bugzilla: BUGZILLA_URL names none"),
    }
}

#[test]
fn a_restart_costs_bugzilla_nothing() {
    let stock = Stock::start();
    let folder = tempfile::tempdir().unwrap();
    for is_first in [true, false] {
        let server = start(folder.path(), &stock.url, "bugzilla,login");
        let mut alice = open(&server, &bearer(ALICE_KEY));
        assert_eq!(alice.ask(SUBSCRIBE), MORE);
        let (head, _) = connect(&server, "");
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        assert_eq!(stock.asked().is_empty(), !is_first);
        assert!(server.end(Signal::TERM).success());
    }
}

#[test]
fn settings_that_cannot_be_had_with_it_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let access = ["serve", "--listen", "127.0.0.1:0", "--access", "bugzilla"];
    let url = ["--bugzilla", "http://127.0.0.1:9/"];
    for (more, code, words) in [
        (&[][..], 2, "--bugzilla"),
        (
            &["--bugzilla", "http://127.0.0.1:9/", "--firehose"],
            2,
            "--firehose",
        ),
        (
            &[
                "--bugzilla",
                "http://127.0.0.1:9/",
                "--feed",
                "/dev/=sqlite:dev.db",
            ],
            2,
            "--feed",
        ),
        (
            &[url[0], url[1], "--access-file", "no/such/folder/file"],
            78,
            "--access-file",
        ),
    ] {
        let (status, log) = Program::start(folder.path(), &[&access, more].concat()).wait();
        assert_eq!(status.code(), Some(code), "{log}");
        assert!(log.contains(words), "{log}");
    }
}

/// A server whose settings are in a file, which other settings can take the place of.
fn start_with_file(folder: &Path, settings: &str) -> Server {
    fs::write(folder.join("bugzfeed.toml"), settings).unwrap();
    Server::start_in(folder, &["--config", "bugzfeed.toml", "--log", "debug"])
}

fn reload(folder: &Path, server: &Server, settings: &str, says: &str) {
    fs::write(folder.join("bugzfeed.toml"), settings).unwrap();
    server.program().signal(Signal::HUP);
    server.program().wait_for_line(says);
}

#[test]
fn a_reload_shows_nobody_more() {
    let stock = Stock::start();
    let elsewhere = Stock::start();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let settings = format!(
        "[serve]\naccess = 'bugzilla'\naccess-interval = '20ms'\nbugzilla = '{}'\n",
        stock.url
    );
    let server = start_with_file(folder, &settings);
    let mut early = open(&server, "");
    assert_eq!(early.ask(SUBSCRIBE), SOME);
    let firehose = format!("{settings}firehose = true\n");
    let says = "the settings stay what they were: --access bugzilla cannot have --firehose";
    reload(folder, &server, &firehose, says);
    let open_to_all = format!("[serve]\nbugzilla = '{}'\nfirehose = true\n", elsewhere.url);
    for (settings, says) in [
        (
            open_to_all.as_str(),
            "a restart is needed for --access, --access-interval, --bugzilla, --firehose",
        ),
        (
            "[serve]\n",
            "a restart is needed for --access, --access-interval, --bugzilla",
        ),
    ] {
        reload(folder, &server, settings, says);
        let mut late = open(&server, "");
        for reader in [&mut early, &mut late] {
            assert_eq!(reader.ask(SUBSCRIBE), SOME);
            let all = reader.ask(r#"{"command":"subscribe","bugs":"*"}"#);
            assert!(all.contains(r#""result":"error""#), "{all}");
        }
        assert_eq!(open(&server, &bearer(ALICE_KEY)).ask(SUBSCRIBE), MORE);
        let mut page = Client::connect(server.address);
        page.send("GET / HTTP/1.0\r\n\r\n");
        let page = String::from_utf8(page.rest()).unwrap();
        assert!(page.contains("data-firehose=\"off\""), "{page}");
        assert!(page.contains(stock.url.trim_end_matches('/')), "{page}");
    }
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
    assert!(!stock.asked().is_empty());
}

#[test]
fn those_who_run_the_server_see_counts_and_no_bug() {
    let stock = Stock::start();
    let folder = tempfile::tempdir().unwrap();
    let options = ["--access", "bugzilla", "--bugzilla", &stock.url];
    let more = ["--access-interval", "20ms", "--admin", "127.0.0.1:0"];
    let server = Server::start_in(folder.path(), &[options, more].concat());
    let line = server.program().wait_for_line("; admin: ");
    let admin = line.rsplit("; admin: ").next().unwrap();
    let get = |path: &str| {
        let mut client = Client::connect(admin.parse().unwrap());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"));
        client.head();
        String::from_utf8(client.rest()).unwrap()
    };
    let (secret, public) = (424_200, 424_201);
    let subscribe = format!(r#"{{"command":"subscribe","bugs":[{public},{secret}]}}"#);
    let mut readers = [open(&server, ""), open(&server, &bearer(ALICE_KEY))];
    for reader in &mut readers {
        reader.ask(&subscribe);
    }
    server.record(&[(secret, "2026-04-03 21:13:45")]);
    server.record(&[(public, "2026-04-03 21:13:46")]);
    let [nobody, alice] = &mut readers;
    assert!(alice.hear().contains("424200"));
    assert!(alice.hear().contains("424201"));
    assert!(nobody.hear().contains("424201"));
    let expected = [
        "bugzfeed_updates_received_total{feed=\"/\"} 2\n",
        "bugzfeed_deliveries_total 3\n",
    ];
    wait_until("all is counted", || {
        let text = get("/metrics");
        expected.iter().all(|it| text.contains(it)).then_some(())
    });
    drop(readers);
    for path in ["/metrics", "/status", "/closed", "/readyz"] {
        let text = get(path);
        assert!(!text.contains("42420"), "{path}: {text}");
        assert!(!text.contains(ALICE_KEY), "{path}: {text}");
    }
}
