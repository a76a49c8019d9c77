//! What the page says of its own connection, of its server, and of bugs.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::page::{ALL_CONFIRMED, LIVE};
use crate::support::browser::Browser;
use crate::support::server::Server;

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_source_that_is_down_is_told() {
    let folder = TempDir::new().expect("a temporary folder");
    let source = ["--source", "amqp://guest:guest@127.0.0.1:1/?queue=x"];
    let server = Server::start_in(folder.path(), &source);
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", server.address));
    browser.wait_for("document.querySelector('[role=status]').textContent === 'Connected, but the server cannot read Bugzilla’s changes'");
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn an_origin_that_is_refused_is_named_as_a_reason() {
    let server = Server::start(&["--origin", "https://elsewhere.example"]);
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", server.address));
    let origin = format!("takes no connection from http://{}:", server.address);
    browser.wait_for(&format!(
        "document.querySelector('#reason').textContent.includes({})",
        json!(origin)
    ));
    server.end(rustix::process::Signal::KILL);
    browser.wait_for(
        "document.querySelector('#reason').textContent === 'The server does not answer.'",
    );
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn tabs_share_one_connection_and_it_outlives_each_of_them() {
    share_one_connection(Browser::start());
}

/// Opens two tabs that need one connection, and closes the second.
pub fn share_one_connection(mut browser: Browser) {
    let folder = TempDir::new().expect("a temporary folder");
    let history = ["--history", "history.db"];
    let server = Server::start_in(folder.path(), &history);
    browser.open(&format!("http://{}/#1", server.address));
    browser.wait_for(LIVE);
    let other = "other.document.querySelector('#updates')";
    browser.evaluate("window.other = open(location.pathname + '#1,2'); null");
    browser.wait_for(&format!(
        "{other} && other.document.querySelectorAll('#subscriptions li:not(.pending)').length === 2"
    ));
    // The one that asks is the second client.
    let clients = "new Promise((resolve) => {
        const socket = new WebSocket(location.href.replace('http', 'ws').split('#')[0]);
        socket.onopen = () => socket.send('{\"command\":\"status\"}');
        socket.onmessage = ({ data }) => { socket.close(); resolve(JSON.parse(data).clients); };
    })";
    assert_eq!(browser.evaluate(clients), 2);
    server.record(&[(1, "2026-11-20 15:50:32"), (2, "2026-11-20 15:50:33")]);
    browser.wait_for(&format!("{other}.children.length === 2"));
    browser.wait_for("document.querySelectorAll('#updates li').length === 1");

    // Over a restart, during which something happens.
    let (address, table) = (server.address.to_string(), server.table());
    server.end(rustix::process::Signal::TERM);
    let insert = "INSERT INTO push_notify (bug_id, delta_ts) VALUES (1, '2026-11-20 15:50:34')";
    table.execute(insert, []).expect("a row is inserted");
    let listen = ["--listen", &address];
    let server = Server::start_in(folder.path(), &[history, listen].concat());
    browser.wait_for(&format!("{other}.children.length === 3"));
    browser.wait_for("document.querySelectorAll('#updates li').length === 2");

    browser.evaluate("other.close()");
    server.record(&[(1, "2026-11-20 15:50:35")]);
    browser.wait_for("document.querySelectorAll('#updates li').length === 3");
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

/// A Bugzilla that knows bug 1, and refuses to tell more of bug 2. As the stock one, it tells of changes
/// that are newer than `new_since`, and of none at that time.
fn start_bugzilla() -> String {
    const CHANGED_AT: &str = "2026-11-20T15:50:32Z";
    start_rest(|path| {
        let is_newer = |since: &str| CHANGED_AT > &since[..CHANGED_AT.len()];
        let is_asked = path.split("new_since=").nth(1).is_some_and(is_newer);
        if path.starts_with("/rest/bug/1/history") {
            let change = json!({"who": "alice", "when": CHANGED_AT,
                "changes": [{"field_name": "status", "removed": "NEW", "added": "<b>RESOLVED</b>"}]});
            let history: Vec<Value> = is_asked.then_some(change).into_iter().collect();
            json!({"bugs": [{"id": 1, "history": history}]})
        } else if path.starts_with("/rest/bug/1/comment") {
            json!({"bugs": {"1": {"comments": []}}})
        } else if path.starts_with("/rest/bug?product=") {
            json!({"bugs": [{"id": 1}, {"id": 2}]})
        } else {
            json!({"bugs": [{"id": 1, "summary": "It <i>breaks</i>", "status": "RESOLVED", "resolution": "FIXED"}]})
        }
    })
}

/// A Bugzilla whose REST interface answers this at each path, to everybody.
pub fn start_rest(answer: impl Fn(&str) -> Value + Send + 'static) -> String {
    start_site(move |path| ("application/json", answer(path).to_string()))
}

/// A site that answers this at each path, media type and content, to the scripts of all sites.
pub fn start_site(
    mut answer: impl FnMut(&str) -> (&'static str, String) + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            let (kind, body) = answer(request.split(' ').nth(1).unwrap_or_default());
            let answer = format!(
                "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: {kind}; charset=utf-8\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}/")
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn what_changed_is_shown_where_bugzilla_tells_everybody_and_a_number_stays_a_number() {
    let bugzilla = start_bugzilla();
    let server = Server::start(&["--bugzilla", &bugzilla]);
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/#1,2", server.address));
    browser.wait_for(&format!("{LIVE} && {ALL_CONFIRMED}"));
    server.record(&[(1, "2026-11-20 15:50:32"), (2, "2026-11-20 15:50:31")]);
    browser.wait_for(
        "document.querySelector('#updates .what')?.textContent === 'alice status: NEW → <b>RESOLVED</b>'",
    );
    let texts =
        "[...document.querySelectorAll('#updates .summary')].map((summary) => summary.textContent)";
    assert_eq!(
        browser.evaluate(texts),
        json!(["It <i>breaks</i> (RESOLVED FIXED)", ""])
    );
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_saved_search_subscribes_to_what_bugzilla_finds() {
    let bugzilla = start_bugzilla();
    let server = Server::start(&["--bugzilla", &bugzilla]);
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", server.address));
    browser.wait_for(LIVE);
    browser.evaluate(&format!(
        "document.querySelector('#bugs').value = '{bugzilla}buglist.cgi?product=Gadgets&list_id=7';
         document.querySelector('#subscribe').requestSubmit()"
    ));
    browser.wait_for("location.hash === '#1,2'");
}
