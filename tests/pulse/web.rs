//! `pulse inspect --web` in a real browser, against a real broker.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::place::{self, Pulse, User};
use crate::support::browser::Browser;
use crate::support::server::wait_until;

const ROWS: &str = "[...document.querySelectorAll('#messages > li:not([hidden])')]";
const ALL_BOUND: &str = "document.querySelector('[role=status]').textContent === 'Live' && !document.querySelector('#bindings .pending')";

/// The page in a browser of its own, an account that it looks by, and somebody who publishes to an
/// exchange.
struct Page {
    browser: Browser,
    inspector: Inspector,
    publisher: User,
    name: String,
    pulse: Arc<Pulse>,
}

/// A running `pulse inspect --web`.
struct Inspector {
    process: Child,
    link: String,
}

impl Inspector {
    fn start(pulse: &Pulse, account: &str, exchanges: &[&str]) -> Self {
        let file = format!("{account}.password");
        pulse.does(&["user", "add", account, "--password-file", &file]);
        let broker = format!(
            "amqp://{account}@127.0.0.1:{}/?password_file={file}",
            pulse.broker.port
        );
        let options = ["pulse", "inspect", "--broker", &broker];
        let mut process = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
            .args([&options, exchanges, &["--web", "127.0.0.1:0"]].concat())
            .current_dir(pulse.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut link = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut link).unwrap();
        let link = link.trim().to_owned();
        assert!(link.starts_with("http://127.0.0.1:"), "{link}");
        Self { process, link }
    }

    /// Host and port, and the path with the token.
    fn place(&self) -> (&str, &str) {
        let rest = self.link.strip_prefix("http://").unwrap();
        let (address, path) = rest.split_once('/').unwrap();
        (address, path.split_once('#').unwrap().0)
    }

    /// The response to a request.
    fn ask(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.place().0).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Page {
    /// Opens the printed link of an inspector that looks at an exchange of `name`.
    fn open(name: &str) -> Self {
        let pulse = place::shared();
        let mut publisher = pulse.add(name);
        declare(&mut publisher, &format!("exchange/{name}/x"));
        let exchange = format!("exchange/{name}/x");
        let inspector = Inspector::start(&pulse, &format!("{name}-looks"), &[&exchange]);
        let mut browser = Browser::start();
        browser.open(&inspector.link);
        browser.wait_for(ALL_BOUND);
        Self {
            browser,
            inspector,
            publisher,
            name: name.to_owned(),
            pulse,
        }
    }

    fn publish(&mut self, key: &str, body: &str) {
        self.publish_with(key, body, json!({}));
    }

    fn publish_with(&mut self, key: &str, body: &str, headers: Value) {
        let exchange = format!("exchange/{}/x", self.name);
        let message = json!({"exchange": exchange, "key": key, "body": body, "headers": headers});
        self.publisher.call("publish", message);
    }

    fn value(&mut self, expression: &str) -> Value {
        self.browser.evaluate(expression)
    }

    fn wait_for_rows(&mut self, count: usize) {
        self.browser.wait_for(&format!("{ROWS}.length === {count}"));
    }

    fn shows(&mut self, text: &str) -> bool {
        self.value(&format!(
            "document.body.innerText.includes({})",
            json!(text)
        )) == true
    }

    fn wait_for_text(&mut self, text: &str) {
        self.browser.wait_for(&format!(
            "document.body.innerText.includes({})",
            json!(text)
        ));
    }

    /// The routing keys that are shown, from top to bottom.
    fn keys(&mut self) -> Value {
        self.value(&format!(
            "{ROWS}.map((row) => row.querySelector('.key').textContent)"
        ))
    }

    fn fill(&mut self, field: &str, text: &str) {
        self.value(&format!(
            "document.querySelector('#{field}').value = {};
             document.querySelector('#{field}').dispatchEvent(new Event('input'))",
            json!(text)
        ));
    }

    fn bind(&mut self, exchange: &str, pattern: &str) {
        self.fill("exchange", exchange);
        self.fill("pattern", pattern);
        self.value("document.querySelector('#bind').requestSubmit()");
    }

    fn click(&mut self, selector: &str) {
        self.value(&format!(
            "document.querySelector({}).click()",
            json!(selector)
        ));
    }

    /// What `Download` would save.
    fn download(&mut self) -> String {
        self.value("URL.createObjectURL = (blob) => { window.saved = blob; return '#'; }");
        self.value(
            "HTMLAnchorElement.prototype.click = function () { window.savedAs = this.download; }",
        );
        self.click("#download");
        assert!(
            self.value("window.savedAs")
                .as_str()
                .unwrap()
                .ends_with(".jsonl"),
        );
        self.value("window.saved.text()")
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn queues(&self) -> usize {
        let queues = self
            .pulse
            .broker
            .ctl(&["list_queues", "--no-table-headers", "name"]);
        let own = format!("queue/{}-looks/inspect-", self.name);
        queues
            .lines()
            .filter(|queue| queue.starts_with(&own))
            .count()
    }
}

fn declare(user: &mut User, exchange: &str) {
    user.call(
        "exchange_declare",
        json!({"exchange": exchange, "exchange_type": "topic", "durable": true}),
    );
}

#[test]
#[ignore = "needs RabbitMQ and a browser: run tests/run"]
fn what_goes_by_is_shown_newest_first_with_what_it_is() {
    let mut page = Page::open("web.show");
    assert!(page.shows("Waiting for the next message."));
    page.publish_with(
        "a.b",
        r#"{"n": 1.10, "deep": {"list": [1, {"x": "<b>"}]}}"#,
        json!({"CC": ["c.d"]}),
    );
    page.publish("second", "no json");
    page.publish("third", "");
    page.wait_for_rows(3);
    assert_eq!(page.keys(), json!(["third", "second", "a.b"]));
    assert!(page.shows("3 messages"));
    assert!(page.shows("exchange/web.show/x 3"));
    assert!(page.shows("CC c.d"));
    assert!(page.shows("no JSON: no json"));
    let last = format!("{ROWS}[2].querySelector('details')");
    page.value(&format!("{last}.open = true"));
    page.wait_for_text("n: 1.10");
    assert!(
        page.shows("deep: {1}") && !page.shows("list:"),
        "a branch is closed at first"
    );
    page.value(&format!(
        "{last}.querySelectorAll('details')[0].open = true"
    ));
    page.wait_for_text("list: [2]");
    page.value(&format!(
        "{last}.querySelectorAll('details')[1].open = true"
    ));
    page.wait_for_text("1: {1}");
    page.value(&format!(
        "{last}.querySelectorAll('details')[2].open = true"
    ));
    page.wait_for_text("x: \"<b>\"");
    assert_eq!(page.queues(), 1);
}

#[test]
#[ignore = "needs RabbitMQ and a browser: run tests/run"]
fn exchanges_are_added_and_removed_while_it_runs_and_a_link_reproduces_them() {
    let mut page = Page::open("web.bind");
    declare(&mut page.publisher, "exchange/web.bind/y");
    page.click("[aria-label='Remove exchange/web.bind/x:#']");
    page.bind("exchange/web.bind/x", "a.*");
    page.bind("exchange/web.bind/y", "");
    page.browser.wait_for(&format!(
        "{ALL_BOUND} && document.querySelectorAll('#bindings li').length === 2"
    ));
    assert_eq!(
        page.value("location.hash"),
        "#exchange/web.bind/x:a.*&exchange/web.bind/y:%23"
    );
    page.publish("b.c", "1");
    page.publish("a.c", "2");
    page.wait_for_rows(1);
    assert_eq!(page.keys(), json!(["a.c"]));

    let link = page.value("location.href");
    let mut other = Browser::start();
    other.open(link.as_str().unwrap());
    other.wait_for(&format!(
        "{ALL_BOUND} && document.querySelectorAll('#bindings li').length === 2"
    ));
    assert_eq!(page.queues(), 2, "each page has a queue of its own");
    page.publish("a.d", "3");
    other.wait_for(&format!("{ROWS}.length === 1"));
    page.wait_for_rows(2);
    drop(other);
    wait_until("the other's queue has gone", || {
        (page.queues() == 1).then_some(())
    });

    page.value("location.hash = '#exchange/web.bind/x'");
    page.browser.wait_for(&format!(
        "{ALL_BOUND} && document.querySelectorAll('#bindings li').length === 1"
    ));
    page.publish("z", "4");
    page.wait_for_rows(3);
}

#[test]
#[ignore = "needs RabbitMQ and a browser: run tests/run"]
fn what_the_account_may_not_read_is_refused_with_the_reason_and_the_rest_goes_on() {
    let mut page = Page::open("web.refused");
    page.bind("amq.topic", "#");
    page.wait_for_text("amq.topic:# cannot be looked at: the broker does not permit it");
    page.bind("exchange/nobody/x", "#");
    page.wait_for_text("no exchange 'exchange/nobody/x'");
    assert_eq!(page.value("location.hash"), "#exchange/web.refused/x:%23");
    page.bind("", "#");
    assert!(page.shows("Type the name of an exchange"));
    page.bind(&"x".repeat(300), "#");
    assert!(page.shows("at most 255 bytes"));
    page.publish("k", "1");
    page.wait_for_rows(1);
}

#[test]
#[ignore = "needs RabbitMQ and a browser: run tests/run"]
fn stopped_it_has_no_queue_and_started_again_it_goes_on() {
    let mut page = Page::open("web.stop");
    page.click("#run");
    page.wait_for_text("Stopped");
    wait_until("its queue has gone", || (page.queues() == 0).then_some(()));
    page.publish("lost", "1");
    page.click("#run");
    page.browser.wait_for(ALL_BOUND);
    page.publish("seen", "2");
    page.wait_for_rows(1);
    assert_eq!(page.keys(), json!(["seen"]));
}

#[test]
#[ignore = "needs RabbitMQ and a browser: run tests/run"]
fn it_is_filtered_cleared_and_saved_as_the_command_prints_it() {
    let mut page = Page::open("web.save");
    page.publish("one", r#"{"big": 12345678901234567890}"#);
    page.publish("two", "text");
    page.wait_for_rows(2);
    let saved = page.download();
    let lines: Vec<&str> = saved.lines().collect();
    assert_eq!(lines.len(), 2, "{saved}");
    assert!(
        lines[0].ends_with(r#""payload":{"big": 12345678901234567890}}"#),
        "{saved}"
    );
    let last: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(
        (&last["routing_key"], &last["text"]),
        (&json!("two"), &json!("text"))
    );

    page.fill("filter", "BIG");
    assert_eq!(page.keys(), json!(["one"]));
    assert!(page.shows("2 messages, 1 shown"));
    assert_eq!(page.download().lines().count(), 1);
    page.fill("filter", "nothing has it");
    assert!(page.shows("Nothing of what has come contains this text."));
    page.click("#clear");
    page.fill("filter", "");
    assert!(page.shows("No messages yet"));
}

#[test]
#[ignore = "needs RabbitMQ and a browser: run tests/run"]
fn a_flood_leaves_the_page_alive_and_the_newest_shown() {
    let mut page = Page::open("web.flood");
    for number in 0..1_500 {
        page.publish("k", &number.to_string());
    }
    page.browser.wait_for(&format!(
        "{ROWS}.length === 500 && {ROWS}[0].querySelector('.short').textContent === '1499'"
    ));
}

#[test]
#[ignore = "needs RabbitMQ and a browser: run tests/run"]
fn without_the_token_there_is_nothing() {
    let pulse = place::shared();
    let mut inspector = Inspector::start(&pulse, "web.token", &[]);
    let (address, path) = inspector.place();
    assert!(path.len() > 32, "{path}");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let get = |path: &str, fields: &str| {
        inspector.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n"
        ))
    };
    let wrong = format!("/{}/", "0".repeat(32));
    for path in ["/", "/inspector.js", "/bugzfeed.css", &wrong, &wrong[1..]] {
        for fields in ["", upgrade] {
            let response = get(path, fields);
            assert!(response.starts_with("HTTP/1.1 40"), "{path}: {response}");
        }
    }
    let page = get(&format!("/{path}"), "");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(
        page.contains("Content-Security-Policy: default-src 'none'"),
        "{page}"
    );
    assert!(page.contains("Referrer-Policy: no-referrer"), "{page}");

    let pid = rustix::process::Pid::from_child(&inspector.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(inspector.process.wait().unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_address_that_is_none_or_not_to_be_had_is_named() {
    let pulse = place::shared();
    for (address, code, why) in [
        ("exchange/u/x", 2, "exchanges stand before --web"),
        ("127.0.0.1:99999", 2, "accepted is HOST:PORT"),
        (
            "192.0.2.1:8846",
            69,
            "cannot listen on 192.0.2.1:8846 (setting --web)",
        ),
    ] {
        let said = place::run(pulse.folder(), &["pulse", "inspect", "--web", address]);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(why), "{said:?}");
    }
    let said = place::run(pulse.folder(), &["pulse", "inspect", "--web", "--json"]);
    assert_eq!(said.code, 2, "{said:?}");
}

#[test]
#[ignore = "needs RabbitMQ and a browser: run tests/run"]
fn the_inspector_is_used_by_keyboard_on_a_phone_and_in_the_dark() {
    let mut page = Page::open("web.keys");
    let browser = &mut page.browser;
    browser.tab_to("document.activeElement.id === 'exchange'");
    browser.type_text("exchange/bugzilla/simple");
    browser.press("Enter");
    browser.wait_for(&format!(
        "{ALL_BOUND} && document.querySelectorAll('#bindings li').length === 2"
    ));
    browser.tab_to("document.activeElement.ariaLabel === 'Remove exchange/bugzilla/simple:#'");
    browser.press("Enter");
    assert_eq!(
        browser.evaluate("document.activeElement.ariaLabel"),
        "Remove exchange/web.keys/x:#"
    );
    page.publish("key", r#"{"a": {"b": 1}, "long": "0123456789012345678901234567890123456789012345678901234567890123456789"}"#);
    page.publish(&"k".repeat(200), &"x".repeat(1_000));
    page.wait_for_rows(2);
    let browser = &mut page.browser;
    browser.tab_to("document.activeElement.closest('#messages > li + li') !== null");
    browser.press("Enter");
    browser.wait_for("document.body.innerText.includes('a: {1}')");
    browser.tab_to("document.activeElement.closest('.body') !== null");
    browser.press("Space");
    browser.wait_for("document.body.innerText.includes('b: 1')");
    page.bind("amq.topic", "#");
    page.wait_for_text("amq.topic:# cannot be looked at");
    page.bind("", "");
    page.browser.check_contrast();
    for width in [360, 320] {
        page.browser.check_width(width);
    }
    assert_eq!(page.browser.complaints(), [] as [String; 0]);
    drop(page.inspector);
    page.browser.wait_for(
        "document.querySelector('[role=status]').textContent === 'The inspector is gone'",
    );
}
