//! The live table, in a real terminal: tmux.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use crate::feed::{Feed, update};
use crate::support::server::wait_until;

const OK: &str = r#"{"command":"subscribe","result":"ok","bugs":[1,2,3]}"#;
const SUBSCRIBE: &str = r#"{"command":"subscribe","bugs":[1,2,3]}"#;

/// A terminal of 80 columns and 24 lines with a shell, which runs the program under test.
struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// Opens the terminal, and types the command `watch` with these arguments.
    fn run(arguments: &str) -> Self {
        Self::run_with("", arguments)
    }

    /// The same, with something before the program's name, such as a variable.
    fn run_with(before: &str, arguments: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let terminal = Self { folder };
        terminal.tmux(&[
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "env -i TERM=$TERM PATH=$PATH PS1='$ ' sh",
        ]);
        let program = env!("CARGO_BIN_EXE_bugzfeed");
        let folder = terminal.folder.path().display();
        terminal.type_line(&format!(
            "cd {folder}; stty -g > before; {before} {program} watch {arguments}; echo ended with $?; stty -g > after"
        ));
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", "test", "-f", "/dev/null"])
            .args(arguments)
            .env("TMUX_TMPDIR", self.folder.path())
            .env_remove("TMUX")
            .output()
            .expect("tmux is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn type_line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.press("Enter");
    }

    /// Presses a key by tmux's name for it.
    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn resize(&self, columns: u32, lines: u32) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    /// What it shows, line by line.
    fn lines(&self) -> Vec<String> {
        let screen = self.tmux(&["capture-pane", "-p"]);
        screen.lines().map(str::to_owned).collect()
    }

    /// Waits until the lines are as they should be, and returns them.
    fn wait_for(&self, what: &str, is_right: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, || {
                lines = self.lines();
                is_right(&lines).then_some(())
            });
        }));
        assert!(found.is_ok(), "{what}; it shows:\n{}", lines.join("\n"));
        lines
    }

    fn wait_for_text(&self, text: &str) -> Vec<String> {
        self.wait_for(text, |lines| lines.iter().any(|line| line.contains(text)))
    }

    /// Waits for the end with this code, after which the terminal must be what it was.
    fn ends_and_is_as_before(&self, code: &str) -> Vec<String> {
        let lines = self.wait_for_text(&format!("ended with {code}"));
        let state = |name: &str| {
            let file = self.folder.path().join(name);
            wait_until("the shell has written the terminal's state", || {
                fs::read_to_string(&file)
                    .ok()
                    .filter(|state| state.ends_with('\n'))
            })
        };
        assert_eq!(state("before"), state("after"));
        // Main screen, visible cursor, long lines go on in the next.
        let flags = "#{alternate_on} #{cursor_flag} #{wrap_flag}";
        assert_eq!(self.tmux(&["display-message", "-p", flags]), "0 1 1\n");
        lines
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// The numbers of the bugs in view, from top to bottom.
fn bugs(lines: &[String]) -> Vec<u32> {
    let number = |line: &String| line.split_whitespace().next()?.parse().ok();
    let foot = lines.len().saturating_sub(1);
    lines.iter().take(foot).filter_map(number).collect()
}

/// A Bugzilla that tells of bug 2 only.
pub fn start_bugzilla() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let body = r#"{"bugs":[{"id":2,"summary":"It breaks","status":"RESOLVED","resolution":"FIXED"}]}"#;
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

#[test]
#[ignore = "needs tmux: run tests/run"]
fn a_terminal_shows_a_table_with_what_changed_last_on_top_and_what_it_is_about() {
    let (feed, bugzilla) = (Feed::open(), start_bugzilla());
    let terminal = Terminal::run(&format!("--bugzilla {bugzilla} {} 1 2 3", feed.url()));
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    let lines = terminal.wait_for_text("It breaks (RESOLVED FIXED)");
    assert_eq!(bugs(&lines), [1, 2, 3]);
    assert!(
        lines[0].starts_with(&format!("connected to {}, watching 3 bugs", feed.url())),
        "{}",
        lines[0]
    );
    client.send(&update(3, "2014-04-03T21:13:45"));
    client.send(&update(2, "2014-04-03T21:13:46"));
    let lines = terminal.wait_for("bug 2 is on top", |lines| bugs(lines) == [2, 3, 1]);
    assert_eq!(
        lines[2],
        "         2  2014-04-03 21:13:46        1  It breaks (RESOLVED FIXED)"
    );
    assert_eq!(
        lines[3].trim_end(),
        "         3  2014-04-03 21:13:45        1"
    );

    drop(client);
    terminal.wait_for("the loss is told", |lines| {
        lines[0].starts_with("lost ws://")
    });
    let mut client = feed.accept();
    let since = r#"{"command":"subscribe","bugs":[1,2,3],"since":"2014-04-03T21:13:46"}"#;
    client.subscribed(
        since,
        OK,
        &[
            update(2, "2014-04-03T21:13:46"),
            update(1, "2014-04-03T21:13:47"),
        ],
    );
    terminal.wait_for("what was missed", |lines| bugs(lines) == [1, 2, 3]);
    terminal.press("q");
    terminal.ends_and_is_as_before("0");
}

#[test]
#[ignore = "needs tmux: run tests/run"]
fn many_bugs_are_scrolled_and_filtered_in_a_window_of_any_size() {
    let feed = Feed::open();
    let numbers: Vec<String> = (1001..=1300).map(|bug| bug.to_string()).collect();
    let terminal = Terminal::run(&format!("{} {}", feed.url(), numbers.join(" ")));
    let subscribe = format!(
        r#"{{"command":"subscribe","bugs":[{}]}}"#,
        numbers.join(",")
    );
    let mut client = feed.accept();
    client.subscribed(&subscribe, OK, &[]);
    let lines = terminal.wait_for_text("watching 300 bugs");
    assert_eq!(bugs(&lines), (1001..=1021).collect::<Vec<_>>());
    terminal.press("End");
    terminal.wait_for("the end", |lines| bugs(lines).last() == Some(&1300));
    terminal.resize(40, 8);
    let lines = terminal.wait_for("a small window", |lines| {
        lines.len() == 8 && bugs(lines).len() == 5
    });
    assert!(
        lines.iter().all(|line| line.chars().count() <= 40),
        "{lines:?}"
    );
    terminal.press("Home");
    terminal.wait_for("the start", |lines| {
        bugs(lines) == [1001, 1002, 1003, 1004, 1005]
    });
    terminal.resize(150, 50);
    terminal.wait_for("a large window", |lines| bugs(lines).len() == 47);
    terminal.type_line("/117");
    terminal.wait_for("the filter", |lines| {
        bugs(lines)
            == [
                1117, 1170, 1171, 1172, 1173, 1174, 1175, 1176, 1177, 1178, 1179,
            ]
    });
    terminal.press("Escape");
    terminal.wait_for("no filter", |lines| bugs(lines).len() == 47);
    terminal.press("C-c");
    terminal.ends_and_is_as_before("0");
}

#[test]
#[ignore = "needs tmux: run tests/run"]
fn whatever_ends_the_watch_the_terminal_is_what_it_was() {
    let feed = Feed::open();
    let terminal = Terminal::run_with(
        "sh -c 'echo $$ > pid; exec \"$0\" \"$@\"'",
        &format!("{} 1 2 3", feed.url()),
    );
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    terminal.wait_for_text("watching 3 bugs");
    let pid = fs::read_to_string(terminal.folder.path().join("pid")).unwrap();
    let status = Command::new("kill").arg(pid.trim()).status().unwrap();
    assert!(status.success());
    terminal.ends_and_is_as_before("0");

    let feed = Feed::open();
    let terminal = Terminal::run(&format!("--no-retry {} 1 2 3", feed.url()));
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    terminal.wait_for_text("watching 3 bugs");
    drop(client);
    let lines = terminal.ends_and_is_as_before("69");
    assert!(
        lines.iter().any(|line| line.contains("lost ws://")),
        "why is told at last: {lines:?}"
    );
}

#[test]
#[ignore = "needs tmux: run tests/run"]
fn colours_are_shown_only_where_they_are_wanted() {
    for (before, is_green) in [("", true), ("NO_COLOR=1", false), ("NO_COLOR=", true)] {
        let feed = Feed::open();
        let terminal = Terminal::run_with(before, &format!("{} 1 2 3", feed.url()));
        let mut client = feed.accept();
        client.subscribed(SUBSCRIBE, OK, &[]);
        client.send(&update(3, "2014-04-03T21:13:45"));
        terminal.wait_for_text("2014-04-03 21:13:45");
        let screen = terminal.tmux(&["capture-pane", "-p", "-e"]);
        assert_eq!(screen.contains("32m"), is_green, "{before}: {screen:?}");
    }
}

#[test]
#[ignore = "needs tmux: run tests/run"]
fn lines_are_printed_on_a_terminal_where_that_is_asked_for_or_it_cannot_show_a_table() {
    for (before, option) in [("", "--lines"), ("", "--json"), ("TERM=dumb", "")] {
        let feed = Feed::open();
        let terminal =
            Terminal::run_with(before, &format!("--count 1 {option} {} 1 2 3", feed.url()));
        let mut client = feed.accept();
        client.subscribed(SUBSCRIBE, OK, &[]);
        client.send(&update(3, "2014-04-03T21:13:45"));
        let lines = terminal.ends_and_is_as_before("0");
        let line = if option == "--json" {
            r#"{"command":"update""#
        } else {
            "2014-04-03T21:13:45 bug 3"
        };
        assert!(
            lines.iter().any(|shown| shown.starts_with(line)),
            "{lines:?}"
        );
    }
}

#[test]
#[ignore = "needs tmux: run tests/run"]
fn what_a_command_says_stands_below_the_table_and_not_in_it() {
    let feed = Feed::open();
    let command = "echo first; echo about $BUGZFEED_BUG >&2";
    let terminal = Terminal::run(&format!("--exec '{command}' {} 1 2 3", feed.url()));
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    client.send(&update(3, "2014-04-03T21:13:45"));
    let lines = terminal.wait_for_text("bug 3: about 3");
    assert_eq!(bugs(&lines), [3, 1, 2]);
    assert!(
        !lines.iter().any(|line| line.contains("first")),
        "{lines:?}"
    );
}
