//! `bugzilla.js` on a bug's page in Bugzilla: whoever types there learns at once that somebody else
//! has changed the bug.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::server::Server;
use crate::truth::start_site;

const LOADED_AT: &str = "2026-11-20T15:50:31Z";
const BOX: &str = "document.querySelector('#bugzfeed')";

/// When, by whom, and what the status became.
type Edit = (&'static str, &'static str, &'static str);
/// What has been done to bug 1.
type Edits = Arc<Mutex<Vec<Edit>>>;

/// A Bugzilla with the script in its pages. It tells of what is newer than `new_since`, as the stock
/// one does.
fn start_bugzilla(server: &Server, edits: &Edits) -> String {
    let edits = Arc::clone(edits);
    let script = format!("http://{}/bugzilla.js", server.address);
    let mut is_reversed = false;
    start_site(move |path| {
        let since = path
            .split("new_since=")
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let is_newer = |edit: &&Edit| *edit.0 > *since;
        let edits = edits.lock().unwrap();
        let fresh = edits.iter().filter(is_newer);
        let answer = if path.starts_with("/show_bug.cgi") {
            return (
                "text/html",
                format!(
                    "<!DOCTYPE html><html lang=\"en\"><title>Bug 1</title><main><h1>Bug 1</h1><form name=\"changeform\">
                     <input type=\"hidden\" name=\"id\" value=\"1\">
                     <input type=\"hidden\" name=\"delta_ts\" value=\"2026-11-20 15:50:31\">
                     <label>Comment <textarea></textarea></label></form></main>
                     <script type=\"module\" src=\"{script}\"></script>"
                ),
            );
        } else if path.contains("/history") {
            is_reversed = !is_reversed;
            return ("application/json", history(fresh, is_reversed));
        } else if path.contains("/comment") {
            json!({"bugs": {"1": {"comments": []}}})
        } else {
            json!({"bugs": [{"id": 1, "last_change_time": LOADED_AT}]})
        };
        ("application/json", answer.to_string())
    })
}

/// The answer with these edits. Perl's hashes have another order in each answer.
fn history<'a>(edits: impl Iterator<Item = &'a Edit>, is_reversed: bool) -> String {
    let edits = edits.map(|(when, who, added)| {
        let mut change = [
            r#""field_name":"status""#.to_owned(),
            r#""removed":"NEW""#.to_owned(),
            format!(r#""added":"{added}""#),
        ];
        if is_reversed {
            change.reverse();
        }
        let change = change.join(",");
        format!(r#"{{"who":"{who}","when":"{when}","changes":[{{{change}}}]}}"#)
    });
    let edits = edits.collect::<Vec<_>>().join(",");
    format!(r#"{{"bugs":[{{"id":1,"history":[{edits}]}}]}}"#)
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn who_types_on_a_bugs_page_is_told_who_has_changed_it_meanwhile() {
    for mut browser in [Browser::start_chromium(), Browser::start_firefox()] {
        let server = Server::start(&[]);
        let edits: Edits = Arc::new(Mutex::new(vec![(LOADED_AT, "alice", "ASSIGNED")]));
        let bugzilla = start_bugzilla(&server, &edits);
        browser.run_first(
            "window.replies = [];
             const Real = WebSocket;
             window.WebSocket = class extends Real {
                 constructor(...facts) { super(...facts); this.addEventListener('message', ({ data }) => replies.push(data)); }
             };",
        );
        browser.open(&format!("{bugzilla}show_bug.cgi?id=1"));
        browser.wait_for("replies.some((reply) => reply.includes('\"subscribe\"'))");
        browser.evaluate("document.querySelector('textarea').value = 'I type for an hour'");
        assert_eq!(
            browser.evaluate(BOX),
            Value::Null,
            "nothing has happened yet"
        );

        // Within the second of the last edit before the page was loaded.
        edits
            .lock()
            .unwrap()
            .push((LOADED_AT, "bob", "<b>RESOLVED</b>"));
        server.record(&[(1, "2026-11-20 15:50:31")]);
        let text = format!("{BOX}.lastChild.textContent");
        browser.wait_for(&format!("{BOX} && {text} !== ''"));
        assert_eq!(browser.evaluate(&text), "bob status: NEW → <b>RESOLVED</b>");
        assert_eq!(
            browser.evaluate(&format!("{BOX}.getAttribute('role')")),
            "status"
        );

        edits
            .lock()
            .unwrap()
            .push(("2026-11-20T15:50:40Z", "carol", "VERIFIED"));
        server.record(&[(1, "2026-11-20 15:50:40")]);
        browser.wait_for(&format!("{BOX}.lastChild.children.length === 2"));
        assert_eq!(
            browser.evaluate("document.querySelector('textarea').value"),
            "I type for an hour"
        );
        assert_eq!(browser.accessibility_faults(), [] as [String; 0]);
        assert_eq!(browser.complaints(), [] as [String; 0]);
    }
}
