//! What those who run a server see: health, metrics, state, and the connections that ended.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use support::client::Client;
use support::disk::Disk;
use support::server::{Program, Server, wait_until};

/// A server with an admin listener on a free port, and its address.
fn start(options: &[&str]) -> (Server, SocketAddr) {
    let server = Server::start(&[&["--admin", "127.0.0.1:0"], options].concat());
    let address = admin_address(server.program()).parse().unwrap();
    (server, address)
}

/// Where a program says that its admin listener is.
fn admin_address(program: &Program) -> String {
    let line = program.wait_for_line("; admin: ");
    line.rsplit("; admin: ").next().unwrap().to_owned()
}

/// The head and the body of the response to a GET.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut client = Client::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"));
    let head = client.head();
    (head, String::from_utf8(client.rest()).unwrap())
}

fn json(address: SocketAddr, path: &str) -> Value {
    let (head, body) = get(address, path);
    assert!(
        head.contains("\r\nContent-Type: application/json\r\n"),
        "{head}"
    );
    serde_json::from_str(&body).unwrap()
}

/// The value of a metric, with its labels in the name.
fn metric(address: SocketAddr, name: &str) -> Option<f64> {
    let (_, text) = get(address, "/metrics");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.parse().ok()
}

fn wait_for_metric(address: SocketAddr, name: &str, value: f64) {
    wait_until(&format!("{name} is {value}"), || {
        (metric(address, name) == Some(value)).then_some(())
    });
}

fn wait_for_state(address: SocketAddr, state: &str) -> (String, String) {
    wait_until(&format!("/readyz says {state}"), || {
        let (head, body) = get(address, "/readyz");
        head.contains(&format!("\r\nBugzfeed-State: {state}\r\n"))
            .then_some((head, body))
    })
}

fn health(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .arg("health")
        .args(arguments)
        .env_remove("BUGZFEED_ADMIN")
        .output()
        .unwrap()
}

#[test]
fn what_happens_is_counted() {
    let (server, admin) = start(&[]);
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":[7,8]}"#);
    client.ask(r#"{"command":"dance"}"#);
    server.record(&[(7, "2030-01-01T00:00:00"), (9, "2030-01-01T00:00:00")]);
    client.hear();
    for (name, value) in [
        ("bugzfeed_connections{state=\"open\"}", 1.0),
        ("bugzfeed_connections_total", 1.0),
        ("bugzfeed_clients{feed=\"/\"}", 1.0),
        ("bugzfeed_subscriptions{feed=\"/\"}", 2.0),
        ("bugzfeed_bugs{feed=\"/\"}", 2.0),
        (
            "bugzfeed_commands_total{feed=\"/\",command=\"subscribe\",result=\"ok\"}",
            1.0,
        ),
        (
            "bugzfeed_commands_total{feed=\"/\",command=\"unknown\",result=\"error\"}",
            1.0,
        ),
        ("bugzfeed_updates_received_total{feed=\"/\"}", 2.0),
        ("bugzfeed_deliveries_total", 1.0),
        ("bugzfeed_source_up{feed=\"/\"}", 1.0),
        ("bugzfeed_history_updates{feed=\"/\"}", 2.0),
        ("bugzfeed_delivery_delay_seconds_count", 1.0),
    ] {
        wait_for_metric(admin, name, value);
    }
    assert!(metric(admin, "bugzfeed_sent_bytes_total") > Some(100.0));
    assert!(metric(admin, "process_resident_memory_bytes") > Some(1e6));
    let status = json(admin, "/status");
    let feed = &status["feeds"][0];
    assert_eq!(
        (&feed["state"], &feed["clients"]),
        (&"reading".into(), &1.into())
    );
    assert_eq!(
        (&feed["updates"], &feed["history"]["updates"]),
        (&2.into(), &2.into())
    );
    drop(client);
    wait_for_metric(
        admin,
        "bugzfeed_connections_closed_total{reason=\"gone\"}",
        1.0,
    );
    wait_for_metric(admin, "bugzfeed_subscriptions{feed=\"/\"}", 0.0);
    wait_for_metric(admin, "bugzfeed_connections{state=\"open\"}", 0.0);
}

#[test]
fn what_is_refused_asked_and_lost_is_counted() {
    let source = "webhook:?header=X-Key&key=secret";
    let (server, admin) = start(&["--feed", &format!("/hooked/={source}")]);
    let post =
        "POST /hooked/webhook HTTP/1.1\r\nHost: a\r\nX-Key: wrong\r\nContent-Length: 2\r\n\r\n{}";
    for _ in 0..2 {
        let mut client = Client::connect(server.address);
        client.send(post);
        assert!(client.head().starts_with("HTTP/1.1 401 "));
    }
    let refused = "bugzfeed_refused_total{reason=\"unauthorized\"}";
    wait_for_metric(admin, refused, 2.0);
    let mut client = server.connect();
    client.ask(r#"{"command":"status"}"#);
    let status = "bugzfeed_commands_total{feed=\"/\",command=\"status\",result=\"ok\"}";
    wait_for_metric(admin, status, 1.0);
    let table = server.table();
    for gaps in [1.0, 2.0] {
        table.execute_batch("DROP TABLE push_notify").unwrap();
        wait_for_metric(admin, "bugzfeed_source_up{feed=\"/\"}", 0.0);
        table.execute_batch("CREATE TABLE push_notify (id INTEGER PRIMARY KEY AUTOINCREMENT, bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL)").unwrap();
        wait_for_metric(admin, "bugzfeed_gap_total{feed=\"/\"}", gaps);
        wait_for_metric(admin, "bugzfeed_source_up{feed=\"/\"}", 1.0);
    }
    assert_eq!(
        metric(admin, "bugzfeed_gap_total{feed=\"/hooked/\"}"),
        Some(0.0)
    );
}

#[test]
fn connections_that_ended_are_known_with_reason_address_and_subscriptions() {
    let (server, admin) = start(&["--message-burst", "2"]);
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":[7,8]}"#);
    drop(client);
    wait_until("it has ended", || {
        (json(admin, "/closed")["closed"].as_array()?.len() == 1).then_some(())
    });
    let mut noisy = server.connect();
    for _ in 0..10 {
        let _ = noisy.try_send(support::client::text(r#"{"command":"version"}"#));
    }
    let closed = wait_until("the other one has, too", || {
        let closed = json(admin, "/closed")["closed"].take();
        (closed.as_array()?.len() == 2).then_some(closed)
    });
    assert_eq!(closed[0]["reason"], "too_many_messages");
    assert_eq!(
        closed[0]["address"], "127.0.0.1",
        "also after a close that lingers"
    );
    assert_eq!(closed[1]["reason"], "gone");
    assert_eq!(closed[1]["feed"], "/");
    assert_eq!(closed[1]["subscriptions"], 2);
    assert_eq!(closed[1]["address"], "127.0.0.1");
}

#[test]
fn with_closed_details_it_is_known_how_long_they_were_there_and_what_went_by() {
    let (server, admin) = start(&["--closed-details"]);
    let mut client = server.connect();
    client.ask(r#"{"command":"version"}"#);
    drop(client);
    let ended = wait_until("it has ended", || {
        Some(json(admin, "/closed")["closed"][0].take()).filter(Value::is_object)
    });
    assert!(ended["seconds"].as_u64().is_some(), "{ended}");
    // A request and a command, and what they were answered.
    assert!(ended["received"].as_u64() > Some(150), "{ended}");
    assert!(ended["sent"].as_u64() > Some(150), "{ended}");
}

#[test]
fn a_balancer_can_tell_full_from_broken() {
    let (server, admin) = start(&["--connections", "1"]);
    let (head, body) = wait_for_state(admin, "ready");
    assert!(
        head.starts_with("HTTP/1.1 200 ") && body == "ready\n",
        "{head}{body}"
    );
    let _client = server.connect();
    let (head, body) = wait_for_state(admin, "full");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(body, "full: 1 of 1 connections\n");
    let (head, _) = get(admin, "/readyz?full=ok");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");

    let unreachable = "amqp://guest:secret@127.0.0.1:1/?queue=a";
    let (_server, admin) = start(&["--source", unreachable]);
    let (head, body) = wait_until("the source has failed", || {
        let (head, body) = get(admin, "/readyz?full=ok");
        (!body.contains("not been reached yet")).then_some((head, body))
    });
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nBugzfeed-State: broken\r\n"));
    assert!(
        body.starts_with("broken: the source of /, amqp://"),
        "{body}"
    );
    assert!(!body.contains("secret"), "{body}");
    assert!(get(admin, "/livez").0.starts_with("HTTP/1.1 200 "));
    assert!(metric(admin, "bugzfeed_source_errors_total{feed=\"/\"}") >= Some(1.0));
}

#[test]
fn a_server_whose_history_cannot_be_written_is_broken_until_it_can() {
    let Some(disk) = Disk::mount() else { return };
    let history = disk.file("history").display().to_string();
    let (server, admin) = start(&["--history", &history]);
    wait_for_state(admin, "ready");
    disk.fill();
    let mut bug = 0;
    let mut state_after_an_update = || {
        bug += 1;
        server.record(&[(bug, "2030-01-01T00:00:00")]);
        get(admin, "/readyz").1
    };
    wait_until("the history is missed", || {
        (state_after_an_update() == "broken: the history of / cannot be written\n").then_some(())
    });
    assert_eq!(metric(admin, "bugzfeed_history_up{feed=\"/\"}"), Some(0.0));
    disk.make_room();
    wait_until("it can be written again", || {
        (state_after_an_update() == "ready\n").then_some(())
    });
}

#[test]
fn a_server_that_goes_away_says_so_as_long_as_it_is_there() {
    let (server, admin) = start(&["--drain", "60s"]);
    let _clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    server.program().signal(Signal::TERM);
    let (head, body) = wait_for_state(admin, "draining");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(body, "draining: the server is going away\n");
}

#[test]
fn health_ends_with_0_or_1() {
    let (server, admin) = start(&["--connections", "1"]);
    wait_for_state(admin, "ready");
    let admin = admin.to_string();
    let output = health(&["--admin", &admin]);
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"ready\n"[..])
    );
    let _client = server.connect();
    wait_for_state(admin.parse().unwrap(), "full");
    let output = health(&["--admin", &admin]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("full: 1 of 1 connections"), "{said}");
    assert_eq!(
        health(&["--admin", &admin, "--live"]).status.code(),
        Some(0)
    );
    let wrong = server.address.to_string();
    let output = health(&["--admin", &wrong]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("no admin listener"), "{said}");
    drop(server);
    let output = health(&["--admin", &admin]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(health(&["--admin", "off"]).status.code(), Some(2));
}

#[test]
fn the_listener_may_be_a_unix_socket_and_there_may_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--admin", "unix:admin.sock"];
    let server = Server::start_in(folder.path(), &options);
    assert_eq!(admin_address(server.program()), "unix:admin.sock");
    let mut client = Client::connect_unix(&folder.path().join("admin.sock"));
    client.send("GET /livez HTTP/1.0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    let off = Server::start(&["--admin", "off"]);
    assert_eq!(admin_address(off.program()), "off");
    // Nothing of this is on the public port.
    for path in ["/metrics", "/status", "/closed", "/readyz", "/livez"] {
        assert!(get(server.address, path).0.starts_with("HTTP/1.1 404 "));
    }
}

#[test]
fn a_second_server_of_a_machine_has_none_unless_it_was_asked_for() {
    // Where somebody else has it already, it is taken as well.
    let _taken = TcpListener::bind("127.0.0.1:8845");
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0"];
    let default = [("BUGZFEED_ADMIN", "")];
    let program = Program::start_with(folder.path(), &arguments, &default);
    program.wait_for_line("there is no admin listener: 127.0.0.1:8845 cannot be listened on");
    assert_eq!(admin_address(&program), "off");
    drop(program);
    let asked = [&arguments[..], &["--admin", "127.0.0.1:8845"]].concat();
    let (status, log) = Program::start(folder.path(), &asked).wait();
    assert_eq!(status.code(), Some(69));
    assert!(
        log.contains("cannot listen on 127.0.0.1:8845 (setting --admin)"),
        "{log}"
    );
}

#[test]
fn silent_connections_keep_nobody_out() {
    let (_server, admin) = start(&[]);
    let _silent: Vec<Client> = (0..40).map(|_| Client::connect(admin)).collect();
    assert!(get(admin, "/livez").0.starts_with("HTTP/1.1 200 "));
    let mut endless = Client::connect(admin);
    endless.send(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9_000)));
    assert!(endless.head().starts_with("HTTP/1.1 431 "));
}

/// Runs promtool with this input; it must find nothing.
fn promtool(arguments: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed; Debian has it in the package prometheus");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

fn monitoring(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    folder.join(file).display().to_string()
}

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_nothing_wrong_with_metrics_and_rules() {
    let (server, admin) = start(&[]);
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":7}"#);
    server.record(&[(7, "2030-01-01T00:00:00")]);
    client.hear();
    get(server.address, "/nothing");
    promtool(&["check", "metrics"], &get(admin, "/metrics").1);
    promtool(&["check", "rules", &monitoring("alerts.yml")], "");
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.split(|character| !is_part(character))
        .filter(|word| word.starts_with("bugzfeed_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn alerts_dashboard_and_page_name_metrics_that_there_are_and_the_page_names_all() {
    let (_server, admin) = start(&[]);
    let (_, text) = get(admin, "/metrics");
    let there: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    let page = names(&fs::read_to_string(monitoring("../monitoring.md")).unwrap());
    assert_eq!(
        there.difference(&page).collect::<Vec<_>>(),
        [""; 0],
        "the page lacks"
    );
    for file in ["alerts.yml", "dashboard.json"] {
        for name in names(&fs::read_to_string(monitoring(file)).unwrap()) {
            let name = name.trim_end_matches("_bucket");
            assert!(page.contains(name), "{file} names {name}, which is none");
        }
    }
}
