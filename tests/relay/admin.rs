//! What those see who run a relay: health, metrics and state, at an address of their own.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{Place, terminate};
use crate::support::client::Client;
use crate::support::server::{Program, wait_until};

fn start(place: &Place, to: &[&str]) -> (Program, SocketAddr) {
    let relay = place.relay_with(&["--admin", "127.0.0.1:0", "--retry", "1h"], to);
    let line = relay.wait_for_line("; admin: ");
    let address = line.rsplit("; admin: ").next().unwrap().parse().unwrap();
    (relay, address)
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut client = Client::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"));
    let head = client.head();
    (head, String::from_utf8(client.rest()).unwrap())
}

fn wait_for_metrics(address: SocketAddr, lines: &[&str]) {
    for line in lines {
        wait_until(&format!("/metrics says {line}"), || {
            let (_, text) = get(address, "/metrics");
            text.lines().any(|it| it == *line).then_some(())
        });
    }
}

#[test]
fn a_relay_says_what_waits_what_has_arrived_and_what_is_wrong() {
    let place = Place::new();
    fs::create_dir(place.file("down")).unwrap();
    place.table().record([1, 2, 3]);
    let (relay, admin) = start(&place, &["jsonl:down", "jsonl:up"]);
    place.expect_lines("up", &[1, 2, 3]);
    wait_for_metrics(
        admin,
        &[
            "bugzfeed_relay_source_up 1",
            "bugzfeed_relay_waiting{destination=\"jsonl:down\"} 3",
            "bugzfeed_relay_waiting{destination=\"jsonl:up\"} 0",
            "bugzfeed_relay_destination_up{destination=\"jsonl:down\"} 0",
            "bugzfeed_relay_destination_up{destination=\"jsonl:up\"} 1",
            "bugzfeed_relay_oldest_seconds{destination=\"jsonl:up\"} 0",
            "bugzfeed_relay_sent_total{destination=\"jsonl:down\",result=\"failed\"} 1",
            "bugzfeed_relay_sent_total{destination=\"jsonl:up\",result=\"ok\"} 3",
        ],
    );
    let (head, body) = get(admin, "/readyz");
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nBugzfeed-State: broken\r\n"));
    assert_eq!(
        body,
        "broken: jsonl:down: cannot write: Is a directory (os error 21)\n"
    );
    let (_, body) = get(admin, "/status");
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["state"], "broken");
    assert_eq!(status["destinations"][0]["waiting"], 3);
    assert_eq!(status["destinations"][1]["error"], Value::Null);
    assert!(get(admin, "/livez").0.starts_with("HTTP/1.1 200 "));
    assert!(get(admin, "/closed").0.starts_with("HTTP/1.1 404 "));
    terminate(relay);
}

#[test]
fn a_relay_that_does_its_work_is_ready_and_health_says_so() {
    let place = Place::new();
    let (relay, admin) = start(&place, &["jsonl:up"]);
    wait_until("it is ready", || {
        (get(admin, "/readyz").1 == "ready\n").then_some(())
    });
    let health = |admin: &str| {
        Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
            .args(["health", "--admin", admin])
            .output()
            .unwrap()
    };
    assert_eq!(health(&admin.to_string()).status.code(), Some(0));
    terminate(relay);
    assert_eq!(health(&admin.to_string()).status.code(), Some(1));
}

#[test]
fn a_table_that_cannot_be_read_is_named_without_its_password() {
    let place = Place::new();
    let from = ["--from", "mysql://bugs:secret@127.0.0.1:1/bugs"];
    let options = [&["--admin", "127.0.0.1:0"], &from[..]].concat();
    let relay = place.relay_with(&options, &["jsonl:up"]);
    let line = relay.wait_for_line("; admin: ");
    let admin = line.rsplit("; admin: ").next().unwrap().parse().unwrap();
    let body = wait_until("the table has failed", || {
        Some(get(admin, "/readyz").1).filter(|body| !body.contains("not been reached"))
    });
    assert!(body.starts_with("broken: the table of mysql://"), "{body}");
    assert!(!body.contains("secret"), "{body}");
    wait_for_metrics(admin, &["bugzfeed_relay_source_up 0"]);
}

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_nothing_wrong_with_the_metrics_and_the_page_names_all() {
    let place = Place::new();
    let (_relay, admin) = start(&place, &["jsonl:up"]);
    let (_, text) = get(admin, "/metrics");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed; Debian has it in the package prometheus");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md");
    let page = fs::read_to_string(page).unwrap();
    let there: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(there.len() > 7, "{text}");
    for name in there {
        assert!(page.contains(&format!("`{name}")), "the page lacks {name}");
    }
}
