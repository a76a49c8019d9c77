//! What the README tells a newcomer to type works as it stands there, but for the port.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use support::browser::Browser;
use support::server::{Server, wait_until};

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

#[test]
#[ignore = "needs Python's websockets: run tests/run"]
fn the_client_in_python_prints_updates_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &["--admin", "127.0.0.1:0"]);
    let address = server.address;
    let script = folder.path().join("client.py");
    fs::write(&script, block("python", &server)).unwrap();
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/clients/python/src");
    let mut client = Command::new("/usr/bin/python3")
        .arg(&script)
        .env("PYTHONPATH", package)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    wait_for_subscription(&server);
    server.record(&[(1234, "2014-04-03 21:13:45")]);
    assert_eq!(line(), "bug 1234 changed at 2014-04-03T21:13:45");
    server.end(rustix::process::Signal::TERM);

    let server = Server::start_in(folder.path(), &["--listen", &address.to_string()]);
    server.record(&[(1234, "2015-04-03 21:13:45")]);
    assert_eq!(line(), "bug 1234 changed at 2015-04-03T21:13:45");
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_client_in_javascript_logs_an_update_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &["--admin", "127.0.0.1:0"]);
    let address = server.address;
    let page = folder.path().join("page.html");
    let script = block("js", &server);
    fs::write(
        &page,
        format!(
            "<script>const logged = []; console.log = (...words) => logged.push(words.join(' '));</script>
             <script type=\"module\">{script}</script>"
        ),
    )
    .unwrap();
    let mut browser = Browser::start();
    // A page of no site at all.
    browser.open(&format!("file://{}", page.display()));
    wait_for_subscription(&server);
    server.record(&[(1234, "2014-04-03 21:13:45")]);
    browser.wait_for("logged.join() === 'bug 1234 changed at 2014-04-03T21:13:45'");
    server.end(rustix::process::Signal::TERM);

    let server = Server::start_in(folder.path(), &["--listen", &address.to_string()]);
    server.record(&[(1234, "2015-04-03 21:13:45")]);
    // What was before this server's time, it cannot know.
    browser.wait_for(
        "logged.includes('ask Bugzilla once what became of 1234')
         && logged.includes('bug 1234 changed at 2015-04-03T21:13:45')",
    );
    assert_eq!(browser.evaluate("logged.length"), 3, "nothing twice");
}

/// Waits until a client has subscribed, as the server's metrics say.
fn wait_for_subscription(server: &Server) {
    let line = server.program().wait_for_line("; admin: ");
    let admin = line.rsplit("; admin: ").next().unwrap();
    let metrics = format!("http://{admin}/metrics");
    wait_until("a client has subscribed", || {
        let output = Command::new("curl")
            .args(["-s", &metrics])
            .output()
            .unwrap();
        let metrics = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = "bugzfeed_subscriptions{feed=\"/\"} 1";
        metrics.lines().any(|other| other == line).then_some(())
    });
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
