//! `watch` and a real server: `notify` writes into the table, `serve` reads it, `watch` prints it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;

use bugzfeed::source::Address;
use bugzfeed::update::BugId;
use rustix::process::Signal;

use crate::program::Program;
use crate::support::server::Server;

fn url(server: &Server) -> String {
    format!("ws://{}/", server.address)
}

/// Where a server in this folder reads updates from.
fn source(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("bugzfeed.db").display())
}

fn notify(folder: &Path, bugs: &[&str]) {
    let source = source(folder);
    let (code, _, said) = Program::start(["notify", "--source", &source].iter().chain(bugs)).ends();
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

/// Records changes of `bug` until one has a later time than the server's start, since a server
/// promises nothing of the second that it was first started in. Returns that time.
fn outlive_the_first_second(folder: &Path, watch: &Program, bug: &str) -> String {
    let recorded = || {
        notify(folder, &[bug]);
        watch.line().split(' ').next().unwrap().to_owned()
    };
    let first = recorded();
    std::iter::repeat_with(recorded)
        .find(|time| *time > first)
        .unwrap()
}

/// The bug in a line of `watch`.
fn bug(line: &str) -> u32 {
    line.rsplit(' ')
        .next()
        .and_then(|bug| bug.parse().ok())
        .unwrap_or_else(|| panic!("no bug in '{line}'"))
}

#[test]
fn what_notify_records_is_printed_for_those_bugs_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let watch = Program::start(["watch", "--count", "2", &url(&server), "1234", "7"]);
    watch.says("connected to ");
    notify(folder.path(), &["1234", "5", "7"]);
    let (code, lines, _) = watch.ends();
    assert_eq!(
        (code, lines.iter().map(|line| bug(line)).collect::<Vec<_>>()),
        (Some(0), vec![1234, 7])
    );
}

#[test]
fn a_newcomer_gets_what_is_remembered_since_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let watch = Program::start(["watch", &url(&server), "1234"]);
    watch.says("connected to ");
    let time = outlive_the_first_second(folder.path(), &watch, "1234");
    let newcomer = Program::start([
        "watch",
        "--quiet",
        "--json",
        "--count",
        "1",
        "--since",
        &time,
        &url(&server),
        "1234",
    ]);
    let message = format!(r#"{{"command":"update","bug":1234,"when":"{time}"}}"#);
    assert_eq!(newcomer.ends(), (Some(0), vec![message], String::new()));
}

#[test]
fn a_newcomer_who_asks_for_more_than_is_remembered_is_told() {
    let server = Server::start(&[]);
    let watch = Program::start(["watch", "--since", "2014-04-03", &url(&server), "1234"]);
    watch.says("does not remember all that changed since 2014-04-03T00:00:00");
}

#[test]
fn a_server_killed_in_a_stream_of_numbered_updates_loses_none() {
    const BUGS_MAX: u32 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(folder.path(), &[]);
    let numbers: Vec<String> = (1..=BUGS_MAX).map(|bug| bug.to_string()).collect();
    let watch = Program::start(
        ["watch".to_owned(), url(&server)]
            .into_iter()
            .chain(numbers),
    );
    watch.says("connected to ");
    outlive_the_first_second(folder.path(), &watch, "1");

    let source: Address = source(folder.path()).parse().unwrap();
    let (stop, is_stopped) = channel::<()>();
    let stream = thread::spawn(move || {
        let is_running = |_: &u32| is_stopped.try_recv() == Err(TryRecvError::Empty);
        (2..=BUGS_MAX)
            .take_while(is_running)
            .inspect(|&bug| source.notify(&[BugId::new(bug).unwrap()]).unwrap())
            .count()
    });
    let mut seen = BTreeSet::from([1]);
    for _ in 0..4 {
        // An update has just been sent, and its row may or may not be deleted yet; the next ones
        // are being written.
        let count = seen.len();
        while seen.len() == count {
            seen.insert(bug(&watch.line()));
        }
        let address = server.address.to_string();
        server.end(Signal::KILL);
        server = Server::start_in(folder.path(), &["--listen", &address]);
        let said = watch.says("connected to ").join("\n");
        assert!(
            said.contains("lost ") && !said.contains("does not remember"),
            "{said}"
        );
    }
    stop.send(()).unwrap();
    let count = 1 + stream.join().unwrap();
    while seen.len() < count {
        seen.insert(bug(&watch.line()));
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        (1..=count as u32).collect::<Vec<_>>()
    );
}

#[test]
fn a_server_that_stops_and_comes_back_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let address = server.address.to_string();
    let watch = Program::start(["watch", &url(&server), "1234"]);
    watch.says("connected to ");
    assert!(server.end(Signal::TERM).success());
    watch.says("closed the connection with code 1001");
    notify(folder.path(), &["1234"]);
    let _server = Server::start_in(folder.path(), &["--listen", &address]);
    assert_eq!(bug(&watch.line()), 1234);
}

#[test]
fn a_real_servers_refusals_end_the_watch_with_its_words() {
    let server = Server::start(&["--subscriptions", "1"]);
    let (code, _, said) =
        Program::start(["watch", &format!("{}nowhere", url(&server)), "1"]).ends();
    assert!(
        code == Some(69) && said.contains("/nowhere: the server answers 404 Not Found"),
        "{said}"
    );
    let (code, _, said) = Program::start(["watch", &url(&server), "1", "2"]).ends();
    assert!(
        code == Some(1) && said.contains("too many subscriptions; the limit is 1."),
        "{said}"
    );
}
