//! The relay under test, in a folder of its own. Knows nothing of what it relays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::server::{PATIENCE, Program, wait_until};
use crate::table::Table;

/// A folder with a table of notifications, `bugzfeed.db`, and what a relay makes in it.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The table, made where it is not there.
    pub fn table(&self) -> Table {
        Table::open(&self.file("bugzfeed.db"))
    }

    /// Starts a relay from the table to these destinations, which comes again after a failure at
    /// once.
    pub fn relay(&self, to: &[&str]) -> Program {
        self.relay_with(&[], to)
    }

    /// The same with further options.
    pub fn relay_with(&self, options: &[&str], to: &[&str]) -> Program {
        let mut arguments = vec!["relay", "--log", "debug"];
        for default in [
            ["--from", "sqlite:bugzfeed.db?poll=5ms&tz=UTC"],
            ["--retry", "5ms"],
        ] {
            if !options.contains(&default[0]) {
                arguments.extend(default);
            }
        }
        arguments.extend(options);
        arguments.push("--to");
        arguments.extend(to);
        Program::start(self.path(), &arguments)
    }

    /// What `bugzfeed relay --status` prints.
    pub fn status(&self) -> String {
        self.print(&["--status"])
    }

    /// What `bugzfeed relay` prints with these options.
    pub fn print(&self, options: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
        let output = command
            .arg("relay")
            .args(options)
            .current_dir(self.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until nothing waits for anybody: neither in the table nor in the backlog.
    pub fn drained(&self) {
        let table = self.table();
        wait_until(
            "all rows but the last are deleted, and that is taken",
            || (table.ids() == self.bookmark()).then_some(()),
        );
        self.backlog_drained();
    }

    /// The key of the row that was taken last, if there is one.
    fn bookmark(&self) -> Vec<i64> {
        let backlog = rusqlite::Connection::open(self.file("bugzfeed-relay.db")).unwrap();
        let select = "SELECT CAST(substr(note, 1, instr(note, ' ')) AS INTEGER) FROM push_bookmark";
        let bookmark = backlog.query_row(select, [], |row| row.get(0));
        bookmark.into_iter().collect()
    }

    /// Waits until everything in the backlog has arrived.
    pub fn backlog_drained(&self) {
        wait_until("the backlog is empty", || (self.depth() == 0).then_some(()));
    }

    /// How many changes wait for all destinations together.
    pub fn depth(&self) -> i64 {
        let backlog = rusqlite::Connection::open(self.file("bugzfeed-relay.db")).unwrap();
        backlog.busy_timeout(PATIENCE).unwrap();
        backlog
            .query_row("SELECT count(*) FROM push_backlog", [], |row| row.get(0))
            .unwrap()
    }

    /// The bugs of all whole lines in a JSON-lines file.
    pub fn lines(&self, name: &str) -> Vec<u32> {
        let text = fs::read_to_string(self.file(name)).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        // A line that a crash has cut off is followed by a whole one.
        let lines = whole
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines
            .map(|line| u32::try_from(line["bug"].as_u64().unwrap()).unwrap())
            .collect()
    }

    /// Waits until a JSON-lines file has these bugs.
    pub fn expect_lines(&self, name: &str, bugs: &[u32]) {
        wait_until(&format!("{name} has {bugs:?}"), || {
            (self.lines(name).len() >= bugs.len()).then_some(())
        });
        assert_eq!(self.lines(name), bugs);
    }
}

/// Ends a relay as `kill` does; it must end well.
pub fn terminate(relay: Program) -> String {
    // Earlier, it may not have begun to wait for signals.
    relay.wait_for_line(" relays from ");
    relay.signal(Signal::TERM);
    let (status, log) = relay.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}
