//! What a client promises across losses, with a real server.

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use bugzfeed::update::When;
use bugzfeed::work::unix_now;

use crate::driver::{Driver, Language};
use crate::proxy::{Manner, Proxy};
use crate::support::server::{Server, wait_until};

/// A server that can be restarted, with a proxy before it.
pub struct Place {
    folder: TempDir,
    pub server: Option<Server>,
    address: std::net::SocketAddr,
    pub proxy: Proxy,
}

impl Place {
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let history = ["--history", "history.db"];
        let server = Server::start_in(folder.path(), &[&history, options].concat());
        Self {
            folder,
            address: server.address,
            proxy: Proxy::start(server.address),
            server: Some(server),
        }
    }

    pub fn record(&self, changes: &[(u32, &str)]) {
        self.server.as_ref().expect("a server").record(changes);
    }

    /// Ends the server as a crash does.
    pub fn kill(&mut self) {
        self.server.take().expect("a server").end(Signal::KILL);
    }

    pub fn restart(&mut self) {
        let listen = self.address.to_string();
        let options = ["--listen", &listen, "--history", "history.db"];
        self.server = Some(Server::start_in(self.folder.path(), &options));
    }

    /// Records changes while no server runs.
    pub fn record_without_server(&self, changes: &[(u32, &str)]) {
        let table = rusqlite::Connection::open(self.folder.path().join("bugzfeed.db")).unwrap();
        for change in changes {
            table
                .execute(
                    "INSERT INTO push_notify (bug_id, delta_ts) VALUES (?1, ?2)",
                    *change,
                )
                .unwrap();
        }
    }

    /// Waits until the server has done with all that was recorded: but for its bookmark, the table is
    /// empty then.
    pub fn wait_until_table_is_read(&self) {
        let count = || -> rusqlite::Result<u32> {
            let table = rusqlite::Connection::open(self.folder.path().join("bugzfeed.db"))?;
            table.query_row("SELECT count(*) FROM push_notify", [], |row| row.get(0))
        };
        wait_until("the table is read", || {
            count().is_ok_and(|count| count <= 1).then_some(())
        });
    }

    /// Waits until the server has all that was recorded, asked by a client of the test's own.
    pub fn wait_until_known(&self, bug: u32, when: &str) {
        let server = self.server.as_ref().expect("a server");
        wait_until("the server knows the change", || {
            let mut client = server.connect();
            client.say(format!(
                r#"{{"command":"subscribe","bugs":[{bug}],"since":"{when}"}}"#
            ));
            client.say(r#"{"command":"version"}"#);
            let mut is_known = false;
            loop {
                let text = client.hear();
                is_known |= text.contains("\"update\"") && text.contains(when);
                if text.contains("\"version\"") {
                    return is_known.then_some(());
                }
            }
        });
    }
}

/// A time so many seconds from now, as the protocol writes it. Less than a minute ahead, so that it
/// is believed.
pub fn at(seconds: i64) -> String {
    When::from_unix_seconds(unix_now() + seconds).to_string()
}

/// Each test for each client.
macro_rules! for_each_client {
    ($(fn $name:ident($language:ident: Language) $body:block)*) => {
        $(mod $name {
            use super::*;

            fn run($language: Language) $body

            #[test]
            #[ignore = "needs Node.js: run tests/run"]
            fn in_javascript() {
                run(Language::JavaScript);
            }

            #[test]
            #[ignore = "needs Python's websockets: run tests/run"]
            fn in_python() {
                run(Language::Python);
            }
        })*
    };
}
pub(crate) use for_each_client;

for_each_client! {
    fn an_update_is_handed_over_to_those_who_want_its_bug(language: Language) {
        let place = Place::new();
        let mut client = Driver::start(language, place.proxy.address);
        client.subscribe(&[1, 2]);
        client.subscribe(&[2, 3]);
        let when = at(0);
        place.record(&[(9, &when), (1, &when), (2, &when), (3, &when)]);
        let mut updates = client.wait_for_updates(4);
        updates.sort();
        let [one, two, three] = [1, 2, 3].map(|bug| format!("{bug} {when}"));
        assert_eq!(updates, [one, two.clone(), two, three], "bug 2 is wanted twice");

        client.tell(json!({"do": "unsubscribe", "bugs": [2, 3]}));
        client.subscribe(&[4]);
        let later = at(1);
        place.record(&[(3, &later), (2, &later), (4, &later)]);
        let updates = client.wait_for_updates(6);
        assert_eq!(updates[4..], [format!("2 {later}"), format!("4 {later}")]);
    }

    fn nothing_is_missed_and_nothing_comes_twice_over_a_crash_of_the_server(language: Language) {
        let mut place = Place::new();
        let mut client = Driver::start(language, place.proxy.address);
        client.subscribe(&[1, 2]);
        let times: Vec<String> = (0..4).map(|second| at(10 + second)).collect();
        place.record(&[(1, &times[0]), (2, &times[0])]);
        client.wait_for_updates(2);
        place.wait_until_table_is_read();
        place.kill();
        client.wait_for_state("waiting", 1);
        place.record_without_server(&[(1, &times[1]), (2, &times[2])]);
        place.restart();
        client.wait_for_updates(4);
        place.record(&[(1, &times[3])]);
        let updates = client.wait_for_updates(5);
        let expected = [(1, 0), (2, 0), (1, 1), (2, 2), (1, 3)];
        let expected = expected.map(|(bug, time)| format!("{bug} {}", times[time]));
        assert_eq!(updates, expected);
        assert_eq!(client.count("incomplete"), 0);
    }

    fn a_connection_cut_before_the_first_update_has_no_gap(language: Language) {
        let place = Place::new();
        let mut client = Driver::start(language, place.proxy.address);
        client.subscribe(&[1]);
        place.proxy.treat_next(Manner::CloseAtOnce);
        place.proxy.cut();
        client.wait_for_state("waiting", 1);
        let when = at(0);
        place.record(&[(1, &when)]);
        place.wait_until_known(1, &when);
        place.proxy.treat_next(Manner::Pass);
        assert_eq!(client.wait_for_updates(1), [format!("1 {when}")]);
    }

    fn the_past_comes_whole_however_often_it_is_cut(language: Language) {
        let place = Place::new();
        let changes: Vec<(u32, String)> = (0..50).map(|n| (1 + n, at(n.into()))).collect();
        let rows: Vec<(u32, &str)> = changes.iter().map(|(bug, when)| (*bug, when.as_str())).collect();
        place.record(&rows);
        place.wait_until_known(50, &changes[49].1);
        let mut client = Driver::start(language, place.proxy.address);
        let bugs: Vec<u32> = (1..=60).collect();
        // The head of the response, the reply, and some of the updates.
        for bytes in [200, 600, 900, 1700] {
            place.proxy.treat_next(Manner::CutAfter(bytes));
            let before = place.proxy.connections();
            if bytes == 200 {
                client.subscribe_since(&bugs, &changes[0].1);
            }
            place.proxy.cut();
            wait_until("it comes back", || (place.proxy.connections() > before).then_some(()));
        }
        place.proxy.treat_next(Manner::Pass);
        client.wait_for("ready", 1);
        let mut updates = client.wait_for_updates(50);
        updates.sort_by_key(|update| update.split(' ').next().unwrap().parse::<u32>().unwrap());
        let expected: Vec<String> = changes.iter().map(|(bug, when)| format!("{bug} {when}")).collect();
        assert_eq!(updates, expected);
    }

    fn what_the_server_does_not_remember_is_told(language: Language) {
        let place = Place::new();
        let mut client = Driver::start(language, place.proxy.address);
        client.subscribe_since(&[1, 2], "2014-04-03T21:13:45");
        client.wait_for("incomplete", 1);
        let line = &client.lines().into_iter().find(|line| !line["incomplete"].is_null()).unwrap();
        assert_eq!(line["incomplete"], json!([1, 2]));
        assert_eq!(line["since"], "2014-04-03T21:13:45");
        client.wait_for("ready", 1);
        let ready = client.lines().into_iter().find(|line| !line["ready"].is_null()).unwrap();
        assert_eq!(ready["complete"], false);
    }

    fn a_history_that_was_lost_meanwhile_is_told(language: Language) {
        let mut place = Place::new();
        let mut client = Driver::start(language, place.proxy.address);
        client.subscribe(&[1]);
        let when = at(0);
        place.record(&[(1, &when)]);
        client.wait_for_updates(1);
        place.kill();
        std::fs::remove_file(place.folder.path().join("history.db")).unwrap();
        place.restart();
        client.wait_for("incomplete", 1);
    }

    fn a_refused_subscription_is_told_and_the_others_go_on(language: Language) {
        let place = Place::with(&["--subscriptions", "2"]);
        let mut client = Driver::start(language, place.proxy.address);
        client.subscribe(&[1]);
        client.tell(json!({"do": "subscribe", "bugs": [2, 3]}));
        client.wait_for("refused", 1);
        let line = client.lines().into_iter().find(|line| !line["refused"].is_null()).unwrap();
        assert_eq!(line["refused"], json!([2, 3]));
        assert_eq!(line["reason"], "too many subscriptions; the limit is 2");
        place.proxy.cut();
        client.wait_for_state("live", 2);
        let when = at(0);
        place.record(&[(2, &when), (1, &when)]);
        assert_eq!(client.wait_for_updates(1), [format!("1 {when}")]);
    }

    fn ten_thousand_bugs_are_one_message_also_when_it_comes_back(language: Language) {
        let place = Place::with(&["--message-burst", "6", "--message-rate", "1"]);
        let mut client = Driver::start(language, place.proxy.address);
        let bugs: Vec<u32> = (1..=9_950).collect();
        client.tell(json!({"do": "subscribe", "bugs": bugs}));
        for bug in 9_951..=10_000 {
            client.tell(json!({"do": "subscribe", "bugs": [bug]}));
        }
        client.wait_for("ready", 51);
        place.proxy.cut();
        client.wait_for_state("live", 2);
        let when = at(0);
        place.record(&[(1, &when), (10_000, &when)]);
        client.wait_for_updates(2);
    }

    fn leaving_the_loop_unsubscribes_and_closing_ends_the_program(language: Language) {
        let place = Place::new();
        let mut client = Driver::start(language, place.proxy.address);
        client.tell(json!({"do": "iterate", "bugs": [1], "count": 2}));
        client.wait_for("ready", 1);
        let times = [at(0), at(1)];
        for when in &times {
            place.record(&[(1, when)]);
            place.wait_until_known(1, when);
        }
        assert_eq!(client.wait_for_updates(2), times.map(|when| format!("1 {when}")));
        client.wait_for("iterated", 1);
        client.tell(json!({"do": "close"}));
        client.wait_for_end();
    }
}
