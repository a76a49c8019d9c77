//! The page in a browser of its own, served by a server of its own. Knows no test.

use std::fs;

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::browser::Browser;
use crate::support::server::{Program, Server, wait_until};

pub const BUGZILLA: &str = "https://bugzilla.example.org";

/// The texts of the feed's rows from top to bottom, without the local time.
pub const ROWS: &str = "[...document.querySelectorAll('#updates li')].map((row) => \
    `${row.querySelector('.bug').textContent} ${row.querySelector('time').textContent}`)";
pub const SUBSCRIPTIONS: &str =
    "[...document.querySelectorAll('#subscriptions li')].map((item) => item.textContent.trim())";
pub const ALL_CONFIRMED: &str = "!document.querySelector('#subscriptions li.pending')";
pub const LIVE: &str = "document.querySelector('[role=status]').textContent === 'Live'";
/// No wait for a reconnect ends by itself any more.
pub const WAIT_FOR_EVER: &str = "Math.random = () => 1e6";

/// The page, in a browser of its own, served by a server of its own.
pub struct Page {
    pub browser: Browser,
    /// None after a crash.
    pub server: Option<Server>,
    /// Host and port, which a restart keeps.
    pub address: String,
    pub table: Connection,
    pub folder: TempDir,
    /// Of the server, beside those that each has.
    options: &'static [&'static str],
}

impl Page {
    /// Opens the page with a fragment, and waits until it is live and what the fragment asks for is
    /// subscribed.
    pub fn open(fragment: &str) -> Page {
        Self::open_with(&[], fragment)
    }

    /// The same, of a server with these options.
    pub fn open_with(options: &'static [&'static str], fragment: &str) -> Page {
        Self::open_in(Browser::start(), options, fragment)
    }

    /// The same, in this browser.
    pub fn open_in(browser: Browser, options: &'static [&'static str], fragment: &str) -> Page {
        let folder = TempDir::new().expect("a temporary folder");
        let server = start_server(&folder, "127.0.0.1:0", options);
        let (address, table) = (server.address.to_string(), server.table());
        let mut page = Page {
            browser,
            server: Some(server),
            address,
            table,
            folder,
            options,
        };
        // Somewhere where the local time isn't UTC.
        page.browser.emulate_timezone("America/New_York");
        // Where a tab has the connection for itself, a test can reach it.
        page.browser.run_first("delete globalThis.SharedWorker");
        page.load(fragment);
        page
    }

    pub fn load(&mut self, fragment: &str) {
        self.browser
            .open(&format!("http://{}/{fragment}", self.address));
        self.wait_for(&format!("{LIVE} && {ALL_CONFIRMED}"));
    }

    /// Records changes as Bugzilla would, so that they arrive in this order. Those that the server
    /// reads at once are one update for each bug: so a bug's next change waits until all before it
    /// were read. Without a server no bug may be there twice.
    pub fn record(&mut self, changes: &[(u32, &str)]) {
        let mut rest = changes;
        while !rest.is_empty() {
            let bugs: Vec<u32> = rest.iter().map(|(bug, _)| *bug).collect();
            let is_repeated = |at: &usize| bugs[..*at].contains(&bugs[*at]);
            let end = (1..bugs.len()).find(is_repeated).unwrap_or(bugs.len());
            self.record_at_once(&rest[..end]);
            rest = &rest[end..];
            if !rest.is_empty() {
                self.wait_until_table_is_read();
            }
        }
    }

    /// Records changes in one transaction.
    pub fn record_at_once(&mut self, changes: &[(u32, &str)]) {
        let transaction = self.table.transaction().expect("a transaction begins");
        for change in changes {
            transaction
                .execute(
                    "INSERT INTO push_notify (bug_id, delta_ts) VALUES (?1, ?2)",
                    *change,
                )
                .expect("a row is inserted");
        }
        transaction.commit().expect("the rows are committed");
    }

    /// Records a change as a newcomer does.
    pub fn notify(&self, bug: u32) {
        let (status, log) =
            Program::start(self.folder.path(), &["notify", &bug.to_string()]).wait();
        assert!(status.success(), "{log}");
    }

    /// The row that was read last stays in the table, and the history says which one it is.
    pub fn wait_until_table_is_read(&self) {
        let rows = || -> rusqlite::Result<Vec<String>> {
            let select = "SELECT id || ' ' || bug_id || ' ' || delta_ts FROM push_notify";
            let mut select = self.table.prepare_cached(select)?;
            select.query_map([], |row| row.get(0))?.collect()
        };
        let bookmark = || -> rusqlite::Result<String> {
            let history = Connection::open(self.folder.path().join("history.db"))?;
            let select = "SELECT value FROM history_notes WHERE name = 'bookmark'";
            history.query_row(select, [], |row| row.get(0))
        };
        wait_until("the server takes all recorded changes", || {
            let (rows, bookmark) = (rows().ok()?, bookmark().ok());
            (rows.is_empty() || Some(&rows) == bookmark.map(|row| vec![row]).as_ref()).then_some(())
        });
    }

    /// Ends the server as a crash would, but not in the middle of its work: a row that it has
    /// published and not yet deleted would be published again after the restart, which is right,
    /// but another story.
    pub fn kill(&mut self) {
        self.wait_until_table_is_read();
        self.server
            .take()
            .expect("the server runs")
            .end(Signal::KILL);
    }

    pub fn restart(&mut self) {
        self.server = Some(start_server(&self.folder, &self.address, self.options));
    }

    /// The same with other options.
    pub fn restart_with(&mut self, options: &'static [&'static str]) {
        self.options = options;
        self.restart();
    }

    /// Removes a killed server's history.
    pub fn forget(&self) {
        fs::remove_file(self.folder.path().join("history.db"))
            .expect("the server has kept a history");
    }

    pub fn submit(&mut self, bugs: &str, since: &str) {
        self.value(&format!(
            "document.querySelector('#bugs').value = {};
             document.querySelector('#since').value = {};
             document.querySelector('#subscribe').requestSubmit()",
            json!(bugs),
            json!(since)
        ));
    }

    /// Submits the form and waits for the server's reply.
    pub fn subscribe(&mut self, bugs: &str, since: &str) {
        self.submit(bugs, since);
        self.wait_for(&format!("{SUBSCRIPTIONS}.length > 0 && {ALL_CONFIRMED}"));
    }

    pub fn unsubscribe_all(&mut self) {
        self.value("document.querySelectorAll('#subscriptions button').forEach((button) => button.click())");
        assert_eq!(self.subscriptions(), json!([]));
    }

    pub fn click(&mut self, selector: &str) {
        self.value(&format!(
            "document.querySelector({}).click()",
            json!(selector)
        ));
    }

    /// Brings every part of the page into view at once: updates with their local time,
    /// subscriptions, both errors, a notice, and the wait for a server, which is gone at the end.
    pub fn fill_every_part(&mut self) {
        self.subscribe("1, 22, 333, 4444, 55555, 666666, 7777777, 2147483647", "");
        self.record(&[
            (1, "2014-04-03 21:13:45"),
            (2147483647, "2014-04-03 21:13:45"),
        ]);
        self.wait_for("document.querySelectorAll('#updates li').length > 1");
        self.submit("8", "");
        self.wait_for_text("The server refused");
        self.submit(&"x".repeat(200), &"y".repeat(200));
        self.value(WAIT_FOR_EVER);
        self.kill();
        self.wait_for_text("Reconnecting in");
        // Updates arrive with a background that fades, which must not be measured halfway.
        self.wait_for("document.getAnimations().length === 0");
    }

    pub fn value(&mut self, expression: &str) -> Value {
        self.browser.evaluate(expression)
    }

    pub fn wait_for(&mut self, condition: &str) {
        self.browser.wait_for(condition);
    }

    pub fn wait_for_rows(&mut self, count: usize) {
        self.wait_for(&format!("{ROWS}.length === {count}"));
    }

    pub fn wait_for_text(&mut self, text: &str) {
        self.wait_for(&format!(
            "document.body.innerText.includes({})",
            json!(text)
        ));
    }

    pub fn shows(&mut self, text: &str) -> bool {
        self.value(&format!(
            "document.body.innerText.includes({})",
            json!(text)
        )) == true
    }

    pub fn is_live(&mut self) -> bool {
        self.value(LIVE) == true
    }

    pub fn rows(&mut self) -> Value {
        self.value(ROWS)
    }

    pub fn subscriptions(&mut self) -> Value {
        self.value(SUBSCRIPTIONS)
    }
}

fn start_server(folder: &TempDir, listen: &str, options: &[&str]) -> Server {
    let usual = [
        "--subscriptions",
        "8",
        "--listen",
        listen,
        "--source",
        "sqlite:bugzfeed.db?poll=5ms",
        "--history",
        "history.db",
        "--bugzilla",
        BUGZILLA,
    ];
    Server::start_in(folder.path(), &[&usual, options].concat())
}
