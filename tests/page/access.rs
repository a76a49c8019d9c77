//! The page of a server that is not open to everybody.

use std::fs;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::page::{ALL_CONFIRMED, LIVE, ROWS};
use crate::support::browser::Browser;
use crate::support::server::Server;
use crate::support::stock::{ALICE_KEY, Stock};

const REASON: &str = "document.querySelector('#reason').textContent";
const IS_ASKED: &str = "!document.querySelector('#token-form').hidden";
const NOTICES: &str = "document.querySelector('#notices').textContent";

/// Types a token and sends it.
fn show(browser: &mut Browser, token: &str) {
    browser.evaluate(&format!(
        "document.querySelector('#token').value = {};
         document.querySelector('#token-form').requestSubmit()",
        json!(token)
    ));
}

/// Makes a token in a folder.
pub fn make_token(folder: &TempDir) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .current_dir(folder.path())
        .args(["token", "add", "ci"])
        .output()
        .expect("a token is made");
    let token = String::from_utf8(output.stdout).expect("a token is text");
    token.trim_end().to_owned()
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_token_is_asked_for_where_one_is_needed_and_kept_for_its_tab() {
    let folder = TempDir::new().expect("a temporary folder");
    let token = make_token(&folder);
    let server = Server::start_in(folder.path(), &["--access", "tokens:bugzfeed.tokens"]);
    let mut browser = Browser::start();
    let address = format!("http://{}/#1234", server.address);
    browser.open(&address);
    browser.wait_for(&format!("{IS_ASKED} && {REASON} === 'A token is needed'"));
    show(&mut browser, "wrong");
    browser.wait_for(&format!("{IS_ASKED} && {REASON}.includes('not known')"));
    assert_eq!(browser.evaluate("sessionStorage.length"), 0);
    show(&mut browser, &token);
    browser.wait_for(&format!("{LIVE} && {ALL_CONFIRMED} && !({IS_ASKED})"));
    server.record(&[(1234, "2014-04-03 21:13:45")]);
    browser.wait_for(&format!("{ROWS}.length === 1"));

    let elsewhere =
        "location.href + document.cookie + document.body.innerHTML + localStorage.length";
    let elsewhere = browser.evaluate(elsewhere).to_string();
    assert!(!elsewhere.contains(&token), "{elsewhere}");
    browser.open(&address);
    browser.wait_for(&format!("{LIVE} && {ALL_CONFIRMED}"));

    // One that is taken away is asked for again.
    fs::write(folder.path().join("bugzfeed.tokens"), "").expect("the file is written");
    server.program().signal(rustix::process::Signal::HUP);
    browser.wait_for(&format!(
        "{IS_ASKED} && {NOTICES}.includes('The connection ended')"
    ));
    assert_eq!(browser.evaluate("sessionStorage.length"), 0);
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn bugs_that_are_denied_are_named_and_a_key_shows_them() {
    let stock = Stock::start();
    let access = ["--access", "bugzilla", "--bugzilla", &stock.url];
    let server = Server::start(&[&access[..], &["--access-interval", "20ms"]].concat());
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/#5,6", server.address));
    browser.wait_for(&format!(
        "{NOTICES}.includes('bug 6 is not there, or not shown to you')"
    ));
    let pending = "[...document.querySelectorAll('#subscriptions .pending')].map((it) => it.textContent.trim()).join()";
    browser.wait_for(&format!("{pending} === '6'"));
    show(&mut browser, ALICE_KEY);
    browser.wait_for(&format!("{LIVE} && {ALL_CONFIRMED}"));
    server.record(&[(6, "2014-04-03 21:13:45"), (5, "2014-04-03 21:13:46")]);
    browser.wait_for(&format!("{ROWS}.length === 2"));
    assert_eq!(browser.evaluate("location.hash"), "#5,6");
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn who_must_log_in_first_is_told_so_and_who_waits_for_bugzilla_too() {
    let stock = Stock::start();
    let access = ["--access", "bugzilla,login", "--bugzilla"];
    let server = Server::start(&[&access[..], &[stock.url.as_str()]].concat());
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", server.address));
    browser.wait_for(&format!(
        "{IS_ASKED} && {REASON}.startsWith('Log in to Bugzilla first')"
    ));

    let server = Server::start(&[&access[..], &["http://127.0.0.1:1/"]].concat());
    browser.open(&format!("http://{}/", server.address));
    show(&mut browser, ALICE_KEY);
    browser.wait_for(&format!("{REASON}.startsWith('Bugzilla has not said yet')"));
}
