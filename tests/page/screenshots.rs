//! The pictures in the README, which this test makes: `TESTS_SCREENSHOTS=docs/screenshots tests/run
//! --test page screenshots`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::page::{ALL_CONFIRMED, LIVE};
use crate::support::browser::Browser;
use crate::support::server::Server;
use crate::truth::start_rest;

/// So large may a picture be.
const BYTES_MAX: usize = 60_000;

/// Number, summary, status, resolution; then who changed which field from what to what, and when.
type Bug = (u32, &'static str, &'static str, &'static str, Edit);
type Edit = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const BUGS: [Bug; 5] = [
    (
        1234,
        "Tabs are lost when the window is closed twice",
        "RESOLVED",
        "FIXED",
        (
            "alice@example.org",
            "status",
            "ASSIGNED",
            "RESOLVED",
            "2026-11-27T09:14:31",
        ),
    ),
    (
        1250,
        "Search ignores words with an apostrophe",
        "CONFIRMED",
        "",
        (
            "bob@example.org",
            "priority",
            "Normal",
            "High",
            "2026-11-27T09:12:08",
        ),
    ),
    (
        1302,
        "Crash on start without a network",
        "IN_PROGRESS",
        "",
        (
            "carol@example.org",
            "assigned_to",
            "nobody@example.org",
            "carol@example.org",
            "2026-11-27T09:08:52",
        ),
    ),
    (
        1377,
        "Allow dates before 1970 in reports",
        "CONFIRMED",
        "",
        (
            "alice@example.org",
            "keywords",
            "",
            "good-first-bug",
            "2026-11-27T08:57:40",
        ),
    ),
    (
        1401,
        "Dark mode: links are hard to read",
        "VERIFIED",
        "FIXED",
        (
            "bob@example.org",
            "status",
            "RESOLVED",
            "VERIFIED",
            "2026-11-27T08:41:19",
        ),
    ),
];

/// What Bugzilla's REST interface answers.
fn answer(path: &str) -> Value {
    if path.contains("/comment") {
        return json!({"bugs": BUGS.iter().map(|(id, ..)| (id.to_string(), json!({"comments": []}))).collect::<serde_json::Map<_, _>>()});
    }
    if path.contains("/history") {
        let histories = BUGS
            .iter()
            .map(|(id, _, _, _, (who, field, removed, added, when))| {
                json!({"id": id, "history": [{"who": who, "when": format!("{when}Z"),
                "changes": [{"field_name": field, "removed": removed, "added": added}]}]})
            });
        return json!({"bugs": histories.collect::<Vec<_>>()});
    }
    let bugs = BUGS.iter().map(|(id, summary, status, resolution, _)| {
        json!({"id": id, "summary": summary, "status": status, "resolution": resolution})
    });
    json!({"bugs": bugs.collect::<Vec<_>>()})
}

fn save(browser: &mut Browser, folder: &Path, name: &str) {
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"RIFF"), "{name} is a picture");
    assert!(
        picture.len() < BYTES_MAX,
        "{name} has {} bytes",
        picture.len()
    );
    fs::write(folder.join(name), picture).expect("the picture is kept");
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn pictures_of_the_page_are_small() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = std::env::var_os("TESTS_SCREENSHOTS");
    let folder = folder.map_or(temporary.path().to_owned(), |folder| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
    });
    fs::create_dir_all(&folder).expect("a folder for the pictures");

    let server = Server::start(&["--bugzilla", &start_rest(answer)]);
    let mut browser = Browser::start();
    browser.emulate_timezone("UTC");
    browser.resize(1000, 800);
    browser.prefer_colours("light");
    let numbers = BUGS.map(|(id, ..)| id.to_string()).join(",");
    browser.open(&format!("http://{}/#{numbers}", server.address));
    browser.wait_for(&format!("{LIVE} && {ALL_CONFIRMED}"));
    let times = BUGS.map(|(_, _, _, _, (.., when))| when.replace('T', " "));
    let changes: Vec<(u32, &str)> = BUGS
        .iter()
        .zip(&times)
        .map(|((id, ..), when)| (*id, when.as_str()))
        .collect();
    server.record(&changes);
    browser.wait_for("[...document.querySelectorAll('#updates .what')].filter((what) => what.textContent).length === 5");
    browser.wait_for("document.getAnimations().length === 0");
    save(&mut browser, &folder, "page.webp");

    browser.resize(390, 760);
    browser.prefer_colours("dark");
    browser.evaluate("document.querySelector('#feed').scrollIntoView()");
    save(&mut browser, &folder, "phone.webp");
}
