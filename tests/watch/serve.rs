//! `watch` and a real server: `notify` writes into the table, `serve` reads it, `watch` prints it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;

use bugzfeed::source::Address;
use bugzfeed::update::BugId;
use tempfile::TempDir;

use crate::program::Program;

/// A server on a free port, with its table and its history in a directory of its own.
struct Server {
    directory: TempDir,
    port: u16,
    program: Option<Program>,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let mut server = Self { directory: tempfile::tempdir().unwrap(), port: 0, program: None };
        server.start_again(options);
        server
    }

    fn start_again(&mut self, options: &[&str]) {
        let history = self.file("history");
        let listen = format!("127.0.0.1:{}", self.port);
        let serve = ["serve", "--listen", &listen, "--source", &self.source(), "--history", &history, "--drain", "0s"];
        let program = Program::start(serve.iter().chain(options));
        let said = program.says("http://127.0.0.1:").pop().unwrap();
        let port = said.split("http://127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next());
        self.port = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {said}"));
        self.program = Some(program);
    }

    /// Ends the server as `kill -9` does.
    fn kill(&mut self) {
        self.program = None;
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port)
    }

    fn source(&self) -> String {
        format!("sqlite:{}", self.file("table"))
    }

    fn file(&self, name: &str) -> String {
        Path::join(self.directory.path(), name).to_str().unwrap().to_owned()
    }

    fn notify(&self, bugs: &[&str]) {
        let source = self.source();
        let (code, _, said) = Program::start(["notify", "--source", &source].iter().chain(bugs)).ends();
        assert_eq!((code, said.as_str()), (Some(0), ""));
    }

    /// Records changes of `bug` until one has a later time than the server's start, since a server promises nothing of the second
    /// that it was first started in. Returns that time.
    fn outlives_its_first_second(&self, watch: &Program, bug: &str) -> String {
        let recorded = || {
            self.notify(&[bug]);
            watch.line().split(' ').next().unwrap().to_owned()
        };
        let first = recorded();
        std::iter::repeat_with(recorded).find(|time| *time > first).unwrap()
    }
}

/// The bug in a line of `watch`.
fn bug(line: &str) -> u32 {
    line.rsplit(' ').next().and_then(|bug| bug.parse().ok()).unwrap_or_else(|| panic!("no bug in '{line}'"))
}

#[test]
fn what_notify_records_is_printed_for_those_bugs_only() {
    let server = Server::start(&[]);
    let watch = Program::start(["watch", "--count", "2", &server.url(), "1234", "7"]);
    watch.says("connected to ");
    server.notify(&["1234", "5", "7"]);
    let (code, lines, _) = watch.ends();
    assert_eq!((code, lines.iter().map(|line| bug(line)).collect::<Vec<_>>()), (Some(0), vec![1234, 7]));
}

#[test]
fn a_newcomer_gets_what_is_remembered_since_a_time() {
    let server = Server::start(&[]);
    let watch = Program::start(["watch", &server.url(), "1234"]);
    watch.says("connected to ");
    let time = server.outlives_its_first_second(&watch, "1234");
    let newcomer = Program::start(["watch", "--quiet", "--json", "--count", "1", "--since", &time, &server.url(), "1234"]);
    let message = format!(r#"{{"command":"update","bug":1234,"when":"{time}"}}"#);
    assert_eq!(newcomer.ends(), (Some(0), vec![message], String::new()));
}

#[test]
fn a_newcomer_who_asks_for_more_than_is_remembered_is_told() {
    let server = Server::start(&[]);
    let watch = Program::start(["watch", "--since", "2014-04-03", &server.url(), "1234"]);
    watch.says("does not remember all that changed since 2014-04-03T00:00:00");
}

#[test]
fn a_server_killed_in_a_stream_of_numbered_updates_loses_none() {
    const BUGS_MAX: u32 = 10_000;
    let mut server = Server::start(&[]);
    let numbers: Vec<String> = (1..=BUGS_MAX).map(|bug| bug.to_string()).collect();
    let watch = Program::start(["watch".to_owned(), server.url()].into_iter().chain(numbers));
    watch.says("connected to ");
    server.outlives_its_first_second(&watch, "1");

    let source: Address = server.source().parse().unwrap();
    let (stop, is_stopped) = channel::<()>();
    let stream = thread::spawn(move || {
        let is_running = |_: &u32| is_stopped.try_recv() == Err(TryRecvError::Empty);
        (2..=BUGS_MAX).take_while(is_running).inspect(|&bug| source.notify(&[BugId::new(bug).unwrap()]).unwrap()).count()
    });
    let mut seen = BTreeSet::from([1]);
    for _ in 0..4 {
        // An update has just been sent, and its row may or may not be deleted yet; the next ones are being written.
        let count = seen.len();
        while seen.len() == count {
            seen.insert(bug(&watch.line()));
        }
        server.kill();
        server.start_again(&[]);
        let said = watch.says("connected to ").join("\n");
        assert!(said.contains("lost ") && !said.contains("does not remember"), "{said}");
    }
    stop.send(()).unwrap();
    let count = 1 + stream.join().unwrap();
    while seen.len() < count {
        seen.insert(bug(&watch.line()));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (1..=count as u32).collect::<Vec<_>>());
}

#[test]
fn a_server_that_stops_and_comes_back_is_found_again() {
    let mut server = Server::start(&[]);
    let watch = Program::start(["watch", &server.url(), "1234"]);
    watch.says("connected to ");
    server.program.take().unwrap().terminate();
    watch.says("closed the connection with code 1001");
    server.notify(&["1234"]);
    server.start_again(&[]);
    assert_eq!(bug(&watch.line()), 1234);
}

#[test]
fn a_real_servers_refusals_end_the_watch_with_its_words() {
    let server = Server::start(&["--subscriptions", "1"]);
    let (code, _, said) = Program::start(["watch", &format!("{}nowhere", server.url()), "1"]).ends();
    assert!(code == Some(69) && said.contains("/nowhere: the server answers 404 Not Found"), "{said}");
    let (code, _, said) = Program::start(["watch", &server.url(), "1", "2"]).ends();
    assert!(code == Some(1) && said.contains("too many subscriptions; the limit is 1."), "{said}");
}
