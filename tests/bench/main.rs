//! `bugzfeed bench`: each scenario against a real server, and servers with faults that it must
//! find.

#[cfg(feature = "mysql")]
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use support::rabbitmq;
use support::server::{Server, wait_until};

fn bench(arguments: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    command
        .arg("bench")
        .args(arguments.split(' '))
        .args(["--quiet", "--rounds", "1"])
        .args(more)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs a scenario, of which every delivery must have come; returns what was printed.
fn verified(arguments: &str) -> String {
    let output = bench(arguments, &["--assert", "missing=0,faults=0"]);
    let said = said(&output);
    assert!(
        output.status.success() && said.contains("all there, each once, in order"),
        "{arguments}: {said}"
    );
    said
}

#[test]
#[ignore = "takes ten seconds: run tests/run"]
fn each_scenario_verifies_what_a_real_server_delivers() {
    // They mostly wait, so they do it together.
    thread::scope(|scope| {
        for arguments in [
            "idle -n 50 --duration 100ms",
            "idle -n 50 --pattern shared --duration 100ms",
            "fanout -n 50 --updates 3",
            "fanout -n 50 --bugs 8 --burst 8 --updates 24",
            "sparse -n 50 --updates 20 --rate 200",
            "churn -n 50 --cycles 200",
            "churn -n 50 --cycles 200 --abrupt",
            "storm -n 50 --processes 2",
            "fanout -n 50 --updates 3 --tls",
            "churn -n 50 --cycles 100 --tls --tls-version 1.2",
            "fanout -n 50 --servers 2 --updates 3",
            "fanout -n 50 --updates 3 --raw",
        ] {
            scope.spawn(move || {
                let said = verified(arguments);
                let has_commits = said.contains("[commit_p99]");
                assert_eq!(has_commits, arguments.starts_with("sparse"), "{said}");
                assert!(said.contains("\nfloor: "), "{arguments}: {said}");
            });
        }
        for arguments in [
            "slow -n 20 --updates 1000 --burst 100",
            "slow -n 20 --updates 1000 --burst 100 --tls",
            "storm -n 50 --present 5 --tls",
            "soak -n 50 --bugs 3 --duration 2s --rate 50",
            "scale -n 50 --servers 2 --updates 20 --rate 200",
            "soak -n 50 --bugs 3 --duration 31s --trouble --tls",
        ] {
            scope.spawn(move || {
                let said = verified(arguments);
                assert!(!said.contains("\nfloor: "), "{arguments}: {said}");
            });
        }
    });
}

#[test]
fn a_real_server_is_measured_beside_the_floor() {
    let said = verified("fanout -n 20 --updates 3");
    assert!(
        said.contains("serve: 100 deliveries, 0 missing")
            && said.contains("floor: 100 deliveries, 0 missing")
            && said.contains("ratio"),
        "{said}"
    );
}

/// A server that runs in a folder; its URL, and where to publish.
fn running(folder: &Path) -> (Server, String, String) {
    let server = Server::start_in(folder, &["--history", "none"]);
    drop(server.table());
    let url = format!("ws://{}/", server.address);
    (
        server,
        url,
        format!("sqlite:{}", folder.join("bugzfeed.db").display()),
    )
}

#[test]
fn a_server_that_runs_is_measured_by_its_url() {
    let folder = tempfile::tempdir().unwrap();
    let (server, url, table) = running(folder.path());
    let pid = server.program().id().to_string();
    let output = bench(
        "fanout -n 20 --updates 3",
        &[&url, "--publish", &table, "--pid", &pid, "--name", "ours"],
    );
    let said = said(&output);
    assert!(
        output.status.success() && said.contains("ours: 100 deliveries, 0 missing: all there"),
        "{said}"
    );
}

#[test]
#[ignore = "takes six seconds: run tests/run"]
fn a_server_that_remembers_the_first_round_is_not_blamed_for_it_in_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url, table) = running(folder.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    let output = command
        .args([
            "bench",
            "storm",
            "-n",
            "10",
            "--rounds",
            "2",
            "--quiet",
            &url,
            "--publish",
            &table,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "takes four seconds: run tests/run"]
fn a_server_is_filled_until_it_refuses_and_keeps_those_who_are_in() {
    let said = said(&bench(
        "fill -n 80 --updates 40 --serve-arg=--connections --serve-arg=50",
        &["--assert", "held<=50,refused<=60,missing=0"],
    ));
    for line in ["[held]", "[held_again]"] {
        let line = said
            .lines()
            .find(|text| text.contains(line))
            .unwrap_or_else(|| panic!("{line} is missing: {said}"));
        assert!(line.ends_with(" 50.0"), "{line}");
    }
    assert!(said.contains("all there, each once, in order"), "{said}");
}

#[test]
fn updates_are_posted_to_a_webhook() {
    let server = Server::start(&["--history", "none", "--source", "webhook:?key=secret"]);
    let (url, publish) = (
        format!("ws://{}/", server.address),
        format!("http://secret@{}/webhook", server.address),
    );
    let output = bench("fanout -n 20 --updates 3", &[&url, "--publish", &publish]);
    let said = said(&output);
    assert!(
        output.status.success() && said.contains(": 100 deliveries, 0 missing: all there"),
        "{said}"
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn updates_are_published_to_a_broker() {
    let broker = rabbitmq::shared();
    let address = broker.url("guest", "exchange/guest/bench");
    let server = Server::start(&["--history", "none", "--source", &address]);
    server.program().wait_for_line("reading updates from");
    let output = bench(
        "fanout -n 20 --updates 3",
        &[&format!("ws://{}/", server.address), "--publish", &address],
    );
    let said = said(&output);
    assert!(
        output.status.success() && said.contains(": 100 deliveries, 0 missing: all there"),
        "{said}"
    );
}

#[test]
fn results_are_written_compared_and_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, svg) = (path("a.json"), path("svg"));
    let output = bench(
        "fanout -n 10,20 --updates 3 --raw",
        &["--json", &json, "--svg", &svg],
    );
    assert!(output.status.success(), "{}", said(&output));
    for plot in ["delivery.svg", "latency.svg"] {
        assert!(
            fs::read_to_string(Path::new(&svg).join(plot))
                .unwrap()
                .starts_with("<svg "),
            "{plot}"
        );
    }
    let output = bench("fanout -n 10 --updates 3 --raw", &["--compare", &json]);
    assert!(
        output.status.success()
            && said(&output).contains("10 clients: delivery")
            && said(&output).contains("latency, p99, ms [p99]"),
        "{}",
        said(&output)
    );
    assert!(!said(&output).contains("NOT"), "{}", said(&output));
    let output = bench("churn -n 5 --cycles 20 --raw", &["--compare", &json]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains(
            "NOT the same: then Fanout: pattern Shared, 1 bugs for each client; now Churn: "
        ),
        "{}",
        said(&output)
    );
    assert!(
        said(&output).contains("no number of clients is in both"),
        "{}",
        said(&output)
    );
    let output = bench("show", &["--beside", &json]);
    assert!(
        output.status.success() && said(&output).contains("20 clients"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_condition_that_does_not_hold_is_exit_code_1() {
    let output = bench("churn -n 5 --cycles 20", &["--assert", "cycle<0.001"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("cycle<0.001 does not hold at 5 clients"),
        "{}",
        said(&output)
    );
}

#[test]
fn what_cannot_work_is_refused_before_it_begins() {
    for (arguments, more, word) in [
        ("idle -n 4000000000", &[] as &[&str], "open files"),
        ("fanout --raw --pattern zipf", &[], "--pattern own"),
        ("fanout ws://127.0.0.1:1/", &[], "--publish"),
        ("idle", &["--assert", "nonsense=1"], "known are"),
        ("show", &[], "--beside FILE"),
        (
            "idle ws://127.0.0.1:1/",
            &["--insecure"],
            "accepted is wss://",
        ),
        ("idle", &["--tls-version", "1.2"], "--tls"),
        // Invented updates, and who may get them.
        (
            "fanout ws://bugs.example.org/",
            &["--publish", "sqlite:x"],
            "--invent",
        ),
        (
            "fanout ws://127.0.0.1:1/",
            &["--publish", "amqp://u:p@broker.example.org/"],
            "--invent",
        ),
    ] {
        let output = bench(arguments, more);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(word),
            "{arguments}: {}",
            said(&output)
        );
    }
    assert_eq!(
        bench("idle ws://127.0.0.1:1/ -n 5", &[]).status.code(),
        Some(69)
    );
}

#[test]
fn an_ipv6_address_needs_no_port() {
    let output = bench("idle ws://[::1]/ -n 5", &[]);
    let (said, code) = (said(&output), output.status.code());
    // The kernel has refused the connection, unless somebody listens there.
    assert!(said.contains("(os error ") || code != Some(69), "{said}");
    assert_ne!(code, Some(2), "{said}");
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    command
        .args(["bench", "idle", "-n", "5", "--duration", "60s", "--quiet"])
        .env("TMPDIR", folder.path());
    let mut child = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let entries = || fs::read_dir(folder.path()).unwrap().count();
    wait_until("the bench starts a server", || {
        (entries() > 0).then_some(())
    });
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(69));
    assert_eq!(entries(), 0);
}

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Drops,
    Repeats,
    Swaps,
    Invents,
    Closes,
    Dies,
}

/// A server that gives the updates of `lines:` to all its clients, with a fault. Returns both
/// ports.
fn faulty(fault: Fault) -> (u16, u16) {
    let clients: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let control = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = (
        listener.local_addr().unwrap().port(),
        control.local_addr().unwrap().port(),
    );
    let all = Arc::clone(&clients);
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            serve(stream, &all);
        }
    });
    thread::spawn(move || deliver(&control, fault, &clients));
    ports
}

/// The update at which the fault happens.
const WRONG: usize = 5;

fn deliver(control: &TcpListener, fault: Fault, clients: &Mutex<Vec<TcpStream>>) {
    let lines = BufReader::new(control.accept().unwrap().0).lines();
    let mut held = Vec::new();
    for (at, line) in lines.map_while(Result::ok).enumerate() {
        if fault == Fault::Dies && at == WRONG {
            return clients.lock().unwrap().clear();
        }
        let (bug, when) = line.split_once(' ').unwrap();
        let frame = text(&format!(
            r#"{{"when": "{when}", "bug": {bug}, "command": "update"}}"#
        ));
        let bytes = match (fault, at) {
            (Fault::Drops, WRONG) => Vec::new(),
            (Fault::Repeats, WRONG) => [&frame[..], &frame].concat(),
            (Fault::Invents, WRONG) => {
                let invented = r#"{"command":"update","bug":9,"when":"2014-04-03T21:13:45"}"#;
                [&frame[..], &text(invented)].concat()
            }
            (Fault::Closes, WRONG) => vec![0x88, 2, 3, 0xe9],
            // The second of two comes first.
            (Fault::Swaps, WRONG) => {
                held = frame;
                continue;
            }
            (Fault::Swaps, _) => [frame, std::mem::take(&mut held)].concat(),
            _ => frame,
        };
        for client in clients.lock().unwrap().iter_mut() {
            // A client that got a close frame is gone.
            let _ = client.write_all(&bytes);
        }
    }
}

fn text(payload: &str) -> Vec<u8> {
    [&[0x81, payload.len() as u8], payload.as_bytes()].concat()
}

/// Shakes hands, answers one subscription, and keeps the client.
fn serve(mut stream: TcpStream, all: &Mutex<Vec<TcpStream>>) {
    let mut buffer = [0; 4_096];
    let bytes = stream.read(&mut buffer).unwrap();
    if bytes == 0 {
        // The bench has looked whether anybody listens.
        return;
    }
    let head = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .unwrap();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .unwrap();
    assert_ne!(stream.read(&mut buffer).unwrap(), 0);
    // Whoever has the reply to its subscription gets the next update.
    let mut all = all.lock().unwrap();
    stream
        .write_all(&text(
            r#"{"result": "ok", "command": "subscribe", "bugs": [1]}"#,
        ))
        .unwrap();
    all.push(stream);
}

#[test]
fn each_fault_of_a_server_is_found() {
    thread::scope(|scope| {
        for (fault, word) in [
            (Fault::None, "0 missing: all there, each once, in order"),
            (Fault::Drops, "3 missing: NOT as it should be"),
            (Fault::Repeats, "3 × delivered again or out of order"),
            (Fault::Swaps, "3 × delivered again or out of order"),
            (
                Fault::Invents,
                "3 × delivered what was not subscribed to or not published",
            ),
            (Fault::Closes, "3 × dropped by the server: closed with 1001"),
        ] {
            scope.spawn(move || is_found(fault, word));
        }
    });
}

fn is_found(fault: Fault, word: &str) {
    let (port, control) = faulty(fault);
    let (url, publish) = (
        format!("ws://127.0.0.1:{port}/"),
        format!("lines:127.0.0.1:{control}"),
    );
    let output = bench(
        "fanout -n 3 --updates 10 --rate 100 --patience 1s",
        &[&url, "--publish", &publish],
    );
    let said = said(&output);
    let code = i32::from(fault != Fault::None);
    assert_eq!(output.status.code(), Some(code), "{fault:?}: {said}");
    assert!(said.contains(word), "{fault:?}: {said}");
}

#[test]
fn what_is_known_of_a_server_that_dies_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("died.json");
    let (port, control) = faulty(Fault::Dies);
    let (url, publish) = (
        format!("ws://127.0.0.1:{port}/"),
        format!("lines:127.0.0.1:{control}"),
    );
    let output = bench(
        "fanout -n 3 --updates 100 --rate 100 --patience 1s",
        &[
            &url,
            "--publish",
            &publish,
            "--json",
            json.to_str().unwrap(),
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("ended early"), "{}", said(&output));
    let results: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert!(
        results["ended_early"]
            .as_str()
            .unwrap()
            .contains("Broken pipe")
            || results["ended_early"].as_str().unwrap().contains("reset")
    );
    let side = &results["points"][0]["sides"][0];
    assert_eq!(
        side["faults"],
        serde_json::json!({"dropped by the server: closed without a close frame": 3})
    );
    assert_eq!(side["received"].as_u64().unwrap(), 15);
}
