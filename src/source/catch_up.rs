//! Catching up with Bugzilla itself: asks it at each start, after each loss and every minute which
//! bugs have changed, so that what the source has lost is made good, whatever lost it. Knows no
//! database and no client.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use log::{info, warn};

use super::sink::{Shared, Sink};
use crate::bugzilla::{Asker, Sees, rest};
use crate::database::Database;
use crate::inbox::Closed;
use crate::work::{self, Error, Health, Stop, Supervised};

/// How often Bugzilla is asked: what was lost is made good within a minute, and half a second of
/// its CPU time, which an answer over HTTP costs, is a hundredth of that.
const ASK_EVERY: Duration = Duration::from_secs(50);

/// How often it is seen whether an account that could not read Bugzilla's table may do so now. Seldom,
/// since some databases log each refusal.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// How long a source that has begun to read is left alone before Bugzilla is asked.
const SETTLING: Duration = Duration::from_millis(300);

/// Who is asked, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `sqlite:FILE`, `mysql://…` or `postgres://…`: Bugzilla's own database.
    Database(Database),
    /// `https://…` or `http://…`: Bugzilla's start page.
    Bugzilla(rest::Settings),
}

impl Address {
    /// Which bugs are seen.
    pub(crate) fn sees(&self) -> Sees {
        match self {
            Address::Database(_) => Sees::All,
            Address::Bugzilla(settings) => settings.sees,
        }
    }

    /// Whether only public bugs are found.
    pub(crate) fn is_public_only(&self) -> bool {
        match self {
            Address::Database(database) => database.is_public_only(),
            Address::Bugzilla(settings) => settings.is_public_only(),
        }
    }

    /// Whether the files that it names can be used.
    ///
    /// # Errors
    /// When one cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.asker().map(drop)
    }

    fn asker(&self) -> Result<Box<dyn Asker>, String> {
        match self {
            Address::Database(database) => Ok(database.asker()),
            Address::Bugzilla(settings) => settings.asker(),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// Reads a URL. An error repeats no part of it that may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "")).0 {
            scheme if Database::has_scheme(scheme) => text.parse().map(Address::Database),
            "http" | "https" => rest::Settings::parse(text).map(Address::Bugzilla),
            _ => Err("it is no Bugzilla; accepted are https://HOST/PATH, mysql://USER:PASSWORD@HOST/DATABASE, postgres://… and sqlite:FILE".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    /// The URL without any secret, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Database(database) => database.fmt(f),
            Address::Bugzilla(settings) => settings.fmt(f),
        }
    }
}

/// The work of asking, for a thread of its own.
pub struct CatchUp {
    asker: Box<dyn Asker>,
    /// Whether nobody has asked for the catch-up: where it is not possible, there is none.
    is_optional: bool,
    /// Which bugs are seen.
    sees: Sees,
    /// Whether it has turned out that nobody can be asked for now.
    is_off: bool,
    shared: Shared,
    health: Health,
}

impl CatchUp {
    /// Asks `address` for what the source of `sink` lacks. `is_optional` says that there need not
    /// be a catch-up.
    ///
    /// # Errors
    /// When a file that the address names cannot be used.
    pub(crate) fn new(address: &Address, is_optional: bool, sink: &Sink) -> Result<Self, String> {
        Ok(Self {
            asker: address.asker()?,
            is_optional,
            sees: address.sees(),
            is_off: false,
            shared: sink.shared(),
            health: Health::new("catching up with", address.to_string()),
        })
    }

    /// Asks until `stop` is requested or the loop is gone.
    pub(crate) fn keep_up(mut self, stop: &Stop) {
        work::supervise(&mut self, stop);
    }
}

impl CatchUp {
    /// Whether Bugzilla can be asked. That it cannot, where nobody has asked for that, is logged
    /// once.
    fn can_ask(&mut self) -> Result<bool, Error> {
        if self.asker.can_ask()? {
            if std::mem::take(&mut self.is_off) {
                self.shared.can_ask(self.sees);
            }
            return Ok(true);
        }
        if !self.is_optional {
            return Err("this account cannot read bug_id and delta_ts in the table bugs, or there is no such table; GRANT SELECT (bug_id, delta_ts) ON bugs".into());
        }
        if !std::mem::replace(&mut self.is_off, true) {
            self.say_why_not();
            self.shared.cannot_ask()?;
        }
        Ok(false)
    }

    /// How long it is waited for the next question where nothing else asks for one.
    fn pause(&self) -> Duration {
        if self.is_off { LOOK_EVERY } else { ASK_EVERY }
    }

    fn say_why_not(&self) {
        let name = self.health.name();
        if says_bugzilla(name) {
            warn!(
                "{name}: there is no table bugs: is this Bugzilla's own file? It is in data/db in Bugzilla's folder, and called as the database in localconfig"
            );
        } else {
            info!(
                "{name}: there is no table bugs of which this account can read bug_id and delta_ts, so what gets lost is reported to clients and not made good"
            );
        }
    }
}

/// Whether this is an SQLite file where Bugzilla keeps its own, or that is called like it.
fn says_bugzilla(name: &str) -> bool {
    let Some(file) = name.strip_prefix("sqlite:") else {
        return false;
    };
    let file = file.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = file.split('/').collect();
    parts.ends_with(&["bugs"]) || parts.windows(2).any(|pair| pair == ["data", "db"])
}

impl Supervised for CatchUp {
    fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        let (ring, bell) = self.shared.bell();
        let at_stop = ring.clone();
        stop.on_request(move || {
            // A bell that rings already rings for this as well.
            let _ = at_stop.try_send(());
        });
        // The first question, and the one after a failure, are due at once.
        let _ = ring.try_send(());
        loop {
            if let Err(RecvTimeoutError::Disconnected) = bell.recv_timeout(self.pause()) {
                return Ok(());
            }
            if stop.is_requested() {
                return Ok(());
            }
            // What waits for the source need not come from Bugzilla.
            if stop.wait(SETTLING) {
                return Ok(());
            }
            while bell.try_recv().is_ok() {}
            if !self.health.has_worked_for(Duration::ZERO) && !self.can_ask()? {
                continue;
            }
            let (question, since) = self.shared.question();
            let found = self.asker.ask(since)?;
            self.shared.made_good(question, since, found)?;
            self.health.working();
        }
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn is_final(&mut self, error: &Error) -> bool {
        error.is::<Closed>()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::*;
    use crate::inbox::{Inbox, Notice};
    use crate::promise::Promise;
    use crate::source::Kept;
    use crate::source::sink::Test;

    /// Waits until the loop gets this.
    fn expect(inbox: &Inbox, what: impl Fn(&Notice) -> bool) {
        let patience = std::time::Instant::now() + Duration::from_secs(60);
        while !inbox.take().is_some_and(|notice| what(&notice)) {
            assert!(std::time::Instant::now() < patience);
            std::thread::yield_now();
        }
    }

    /// A catch-up with an SQLite file, and the sink that it fills.
    fn catch_up(file: &Path, is_optional: bool) -> (CatchUp, Test) {
        let address = format!("sqlite:{}?tz=UTC", file.display());
        let test = Test::new(Some(Sees::All), &Kept::default());
        let catch_up = CatchUp::new(&address.parse().unwrap(), is_optional, &test.sink);
        (catch_up.unwrap(), test)
    }

    #[test]
    fn where_somebody_has_asked_for_a_catch_up_one_that_is_not_possible_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.db");
        Connection::open(&file)
            .unwrap()
            .execute_batch("CREATE TABLE other (id INTEGER)")
            .unwrap();
        let (mut refused, _test) = catch_up(&file, false);
        let why = refused.run(&Stop::default()).unwrap_err();
        assert!(
            why.to_string().contains("GRANT SELECT (bug_id, delta_ts)"),
            "{why}"
        );
        let (mut optional, _test) = catch_up(&file, true);
        assert_eq!(optional.pause(), Duration::from_secs(50));
        assert!(!optional.can_ask().unwrap());
        assert_eq!(optional.pause(), Duration::from_secs(600));
    }

    #[test]
    fn certificates_that_cannot_be_read_are_found_by_the_check_of_an_address() {
        let check = |text: &str| text.parse::<Address>().unwrap().check();
        check("https://host/").unwrap();
        check("https://host/#cacert=/nonexistent").unwrap_err();
    }

    #[test]
    fn a_catch_up_ends_when_the_loop_is_gone_and_is_tried_again_after_any_other_failure() {
        let folder = tempfile::tempdir().unwrap();
        let (mut catch_up, _test) = catch_up(&folder.path().join("b.db"), true);
        assert!(catch_up.is_final(&Closed.into()));
        assert!(!catch_up.is_final(&"another one".into()));
    }

    #[test]
    fn a_stop_ends_the_wait_for_the_next_question() {
        let folder = tempfile::tempdir().unwrap();
        let (mut catch_up, test) = catch_up(&folder.path().join("b.db"), true);
        let stop = Stop::default();
        stop.request();
        catch_up.run(&stop).unwrap();
        assert_eq!(
            test.sink.shared().question().1,
            crate::bugzilla::Since::Newest(10)
        );
    }

    #[test]
    fn a_file_is_taken_for_bugzillas_own_by_its_name_or_its_folder() {
        for (name, is_its) in [
            ("sqlite:/srv/bugs", true),
            ("sqlite:bugs?tz=UTC", true),
            ("sqlite:/srv/bugzilla/data/db/5", true),
            ("sqlite:/srv/bugzilla/data/dbs/5", false),
            ("sqlite:/srv/bugs/x.db", false),
            ("sqlite:x.db?table=bugs", false),
            ("mysql://host/bugs", false),
        ] {
            assert_eq!(says_bugzilla(name), is_its, "{name}");
        }
    }

    #[test]
    fn an_address_says_which_bugs_are_seen_and_whether_only_public_ones() {
        for (text, sees, is_public_only) in [
            ("sqlite:b.db", Sees::All, false),
            ("sqlite:b.db?bugs=public", Sees::All, true),
            ("https://host/#key_file=x", Sees::Some, false),
            ("https://host/#key_file=x&bugs=public", Sees::Some, true),
            ("https://host/#key_file=x&sees=all", Sees::All, false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.sees(), sees, "{text}");
            assert_eq!(address.is_public_only(), is_public_only, "{text}");
        }
        for text in ["", "ftp://user:secret@host/", "user:secret@host"] {
            let why = text.parse::<Address>().unwrap_err();
            assert!(
                why.contains("it is no Bugzilla") && !why.contains("secret"),
                "{why}"
            );
        }
    }

    #[test]
    fn a_catch_up_that_is_not_possible_is_tried_again_and_works_as_soon_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.db");
        let database = Connection::open(&file).unwrap();
        database
            .execute_batch("CREATE TABLE other (id INTEGER)")
            .unwrap();
        let (catch_up, mut test) = catch_up(&file, true);
        let stop = Stop::default();
        let seen = stop.clone();
        let thread = std::thread::spawn(move || catch_up.keep_up(&seen));
        test.sink.connected().unwrap();
        let nothing = Promise::Nothing;
        expect(
            &test.inbox,
            |notice| matches!(notice, Notice::Promise { promise, .. } if *promise == nothing),
        );
        database
            .execute_batch(
                "CREATE TABLE bugs (bug_id INTEGER PRIMARY KEY, delta_ts DATETIME);
                 INSERT INTO bugs VALUES (7, '2014-04-03 21:13:45')",
            )
            .unwrap();
        test.sink.missed("a test", None).unwrap();
        expect(
            &test.inbox,
            |notice| matches!(notice, Notice::Earlier { updates, .. } if updates.len() == 1),
        );
        let all = Promise::After(i64::MIN);
        expect(
            &test.inbox,
            |notice| matches!(notice, Notice::Promise { promise, .. } if *promise == all),
        );
        stop.request();
        thread.join().unwrap();
    }
}
