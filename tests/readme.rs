//! What the README tells a newcomer to type works as it stands there, but for the port.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use support::browser::Browser;
use support::server::Server;

/// The first block of this language in the README, with the address of a running server.
fn block(language: &str, server: &Server) -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let start = readme
        .split(&format!("\n```{language}\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("no block of {language}"));
    let block = start.split("\n```").next().unwrap();
    assert!(block.contains("127.0.0.1:8844"), "{block}");
    block.replace("127.0.0.1:8844", &server.address.to_string())
}

/// What both clients say until they know of an update.
const ASK: &str = "ask Bugzilla once: earlier changes may be missing";

#[test]
#[ignore = "needs Python's websocket: run tests/run"]
fn the_client_in_python_prints_updates_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let address = server.address;
    let script = folder.path().join("client.py");
    fs::write(&script, block("python", &server)).unwrap();
    let mut client = Command::new("/usr/bin/python3")
        .arg(&script)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    // It says so when it has subscribed.
    assert_eq!(line(), ASK);
    server.record(&[(1234, "2014-04-03 21:13:45")]);
    assert_eq!(line(), "bug 1234 changed at 2014-04-03T21:13:45");
    server.end(rustix::process::Signal::TERM);

    let server = Server::start_in(folder.path(), &["--listen", &address.to_string()]);
    server.record(&[(1234, "2015-04-03 21:13:45")]);
    // The last update comes again before it.
    while line() != "bug 1234 changed at 2015-04-03T21:13:45" {}
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_client_in_javascript_logs_an_update_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let address = server.address;
    let mut browser = Browser::start();
    browser.open(&format!("http://{address}/"));
    let script = block("js", &server);
    // Twenty seconds pass in a tenth of one.
    browser.evaluate(&format!(
        "window.logged = []; console.log = (line) => logged.push(line);
         const every = setInterval; setInterval = (act) => every(act, 100); (0, eval)({})",
        serde_json::json!(script)
    ));
    browser.wait_for(&format!("logged[0] === '{ASK}'"));
    server.record(&[(1234, "2014-04-03 21:13:45")]);
    browser.wait_for("logged[1] === 'bug 1234 changed at 2014-04-03T21:13:45'");
    server.end(rustix::process::Signal::TERM);

    let server = Server::start_in(folder.path(), &["--listen", &address.to_string()]);
    server.record(&[(1234, "2015-04-03 21:13:45")]);
    browser.wait_for("logged.includes('bug 1234 changed at 2015-04-03T21:13:45')");

    // A server that hangs is as silent as a connection that is lost.
    server.program().signal(rustix::process::Signal::STOP);
    browser.evaluate(
        "window.connections = 0; const Socket = WebSocket;
         WebSocket = class extends Socket { constructor(url) { super(url); connections += 1; } };
         const now = Date.now; Date.now = () => now() + 61000",
    );
    browser.wait_for("connections > 0");
    browser.evaluate("Date.now = now");
    server.program().signal(rustix::process::Signal::CONT);
    server.record(&[(1234, "2016-04-03 21:13:45")]);
    browser.wait_for("logged.includes('bug 1234 changed at 2016-04-03T21:13:45')");
}

#[test]
fn the_settings_page_has_the_tables_that_the_program_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args(["config", "reference"])
        .output()
        .unwrap();
    let tables = String::from_utf8(output.stdout).unwrap();
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md")).unwrap();
    let mut settings = 0;
    for line in tables.lines().filter(|line| line.starts_with('|')) {
        assert!(
            page.lines().any(|other| other == line),
            "docs/settings.md lacks this line of bugzfeed config reference: {line}"
        );
        settings += usize::from(line.starts_with("| `--"));
    }
    let documented = page.lines().filter(|line| line.starts_with("| `--"));
    assert_eq!(documented.count(), settings, "a setting that there is not");
}
