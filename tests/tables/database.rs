//! A Bugzilla's database of each kind, and a reader of it. Bugzilla is played statement by
//! statement, as it was recorded.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bugzfeed::inbox::{self, Inbox, Notice};
use bugzfeed::promise::Promise;
use bugzfeed::schema::Engine;
use bugzfeed::source::{Address, Feed, Kept, Sink, supervise};
use bugzfeed::update::FeedId;
use bugzfeed::work::Stop;
use mio::{Events, Poll, Token};

use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres};
use crate::support::server::{PATIENCE, wait_until};

/// Runs statements in one session.
pub trait Session: Send {
    /// Runs one statement.
    fn run(&mut self, sql: &str) -> Result<(), String>;

    /// The first column of the first row, as text.
    fn get(&mut self, sql: &str) -> String;

    /// Runs one statement, which must succeed.
    fn must(&mut self, sql: &str) {
        self.run(sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
    }
}

impl Session for mysql::Conn {
    fn run(&mut self, sql: &str) -> Result<(), String> {
        mysql::prelude::Queryable::query_drop(self, sql).map_err(|error| error.to_string())
    }

    fn get(&mut self, sql: &str) -> String {
        mysql::prelude::Queryable::query_first::<String, _>(self, sql)
            .unwrap()
            .unwrap_or_default()
    }
}

impl Session for ::postgres::Client {
    fn run(&mut self, sql: &str) -> Result<(), String> {
        self.batch_execute(sql)
            .map_err(|error| format!("{error:?}"))
    }

    fn get(&mut self, sql: &str) -> String {
        let rows = self.simple_query(sql).unwrap();
        let value = rows.iter().find_map(|message| match message {
            ::postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        value.unwrap_or_default()
    }
}

impl Session for rusqlite::Connection {
    fn run(&mut self, sql: &str) -> Result<(), String> {
        // Bugzilla's own transactions ask for the lock at once, too.
        let sql = if sql == "BEGIN" {
            "BEGIN IMMEDIATE"
        } else {
            sql
        };
        self.execute_batch(sql).map_err(|error| error.to_string())
    }

    fn get(&mut self, sql: &str) -> String {
        self.query_row(&format!("SELECT CAST(({sql}) AS TEXT)"), [], |row| {
            row.get(0)
        })
        .unwrap()
    }
}

/// The database of a Bugzilla.
pub struct Database {
    pub engine: Engine,
    pub server: ServerKind,
    pub name: String,
}

/// What runs the database.
#[derive(Clone)]
pub enum ServerKind {
    MariaDb(Arc<MariaDb>),
    Postgres(Arc<Postgres>),
    Sqlite(Arc<tempfile::TempDir>),
}

impl ServerKind {
    /// The server that all tests share.
    pub fn shared(engine: Engine) -> Self {
        match engine {
            Engine::Mysql => ServerKind::MariaDb(mariadb::shared()),
            Engine::Postgres => ServerKind::Postgres(postgres::shared()),
            Engine::Sqlite => ServerKind::Sqlite(Arc::new(tempfile::tempdir().unwrap())),
        }
    }

    /// A server that a test may harm.
    pub fn own(engine: Engine) -> Self {
        match engine {
            Engine::Mysql => ServerKind::MariaDb(Arc::new(MariaDb::start())),
            Engine::Postgres => ServerKind::Postgres(Arc::new(Postgres::start())),
            Engine::Sqlite => Self::shared(engine),
        }
    }
}

impl Database {
    /// A Bugzilla without any bug or trigger.
    pub fn without_triggers(server: ServerKind) -> Self {
        let name = match &server {
            ServerKind::MariaDb(server) => server.create_database(),
            ServerKind::Postgres(server) => server.create_database(),
            ServerKind::Sqlite(_) => "bugs".to_owned(),
        };
        Self::named(server, &name)
    }

    /// The same in a database of this name, which is empty.
    pub fn named(server: ServerKind, name: &str) -> Self {
        let (engine, tables) = match &server {
            ServerKind::MariaDb(_) => (Engine::Mysql, include_str!("bugzilla-mysql.sql")),
            ServerKind::Postgres(_) => (Engine::Postgres, include_str!("bugzilla-postgres.sql")),
            ServerKind::Sqlite(_) => (Engine::Sqlite, include_str!("bugzilla-sqlite.sql")),
        };
        let database = Self {
            engine,
            server,
            name: name.to_owned(),
        };
        database.run_script(tables).unwrap();
        database
    }

    /// A Bugzilla with three bugs and the triggers.
    pub fn new(server: ServerKind) -> Self {
        let database = Self::without_triggers(server);
        for bug in 1..=3 {
            database.session().must(&insert(bug, "2020-01-01 00:00:00"));
        }
        database.run_script(database.engine.installation()).unwrap();
        database
    }

    /// A session of Bugzilla's.
    pub fn session(&self) -> Box<dyn Session> {
        self.try_session().expect("the database is not there")
    }

    /// A session, if the database is there.
    pub fn try_session(&self) -> Option<Box<dyn Session>> {
        match &self.server {
            ServerKind::MariaDb(server) => server
                .try_connect(&self.name)
                .ok()
                .map(|session| Box::new(session) as _),
            ServerKind::Postgres(server) => server
                .try_connect(&self.name)
                .ok()
                .map(|session| Box::new(session) as _),
            ServerKind::Sqlite(folder) => {
                let session = rusqlite::Connection::open(folder.path().join(&self.name)).unwrap();
                session.busy_timeout(PATIENCE).unwrap();
                // A test does not need to survive a power failure.
                session.pragma_update(None, "synchronous", "OFF").unwrap();
                Some(Box::new(session))
            }
        }
    }

    /// Runs a script as an administrator would. Returns what it has printed.
    pub fn run_script(&self, script: &str) -> Result<String, String> {
        match &self.server {
            ServerKind::MariaDb(server) => server.run_script(&self.name, script),
            ServerKind::Postgres(server) => server.run_script(&self.name, script),
            ServerKind::Sqlite(folder) => {
                let database = rusqlite::Connection::open(folder.path().join(&self.name));
                run_in_sqlite(&database.unwrap(), script).map_err(|error| error.to_string())
            }
        }
    }

    /// The address for `account`, which is `user` or `user:password`.
    pub fn url(&self, account: &str, options: &str) -> String {
        let separator = if options.is_empty() { "" } else { "?" };
        match &self.server {
            ServerKind::MariaDb(server) => format!(
                "mysql://{account}@127.0.0.1:{}/{}{separator}{options}",
                server.port, self.name
            ),
            ServerKind::Postgres(server) => format!(
                "postgres://{account}@127.0.0.1:{}/{}{separator}{options}",
                server.port, self.name
            ),
            ServerKind::Sqlite(folder) => format!(
                "sqlite:{}{separator}{options}",
                folder.path().join(&self.name).display()
            ),
        }
    }

    /// How many rows the table of notifications holds.
    pub fn rows_left(&self) -> String {
        self.session().get("SELECT COUNT(*) FROM push_notify")
    }

    /// Starts to read as the administrator; looks often, so that tests are fast.
    pub fn read(&self) -> Reading {
        Reading::start(&self.url("root", "poll=5ms"))
    }

    /// Kills the server.
    pub fn kill(&self) {
        match &self.server {
            ServerKind::MariaDb(server) => server.server().kill(),
            ServerKind::Postgres(server) => server.server().kill(),
            ServerKind::Sqlite(_) => {}
        }
    }

    /// Starts the killed server again.
    pub fn restart(&self) {
        match &self.server {
            ServerKind::MariaDb(server) => server.restart(),
            ServerKind::Postgres(server) => server.restart(),
            ServerKind::Sqlite(_) => {}
        }
    }
}

/// Does what `sqlite3 -bail` does.
fn run_in_sqlite(database: &rusqlite::Connection, script: &str) -> rusqlite::Result<String> {
    let mut printed = String::new();
    let mut batch = rusqlite::Batch::new(database, script);
    while let Some(mut statement) = rusqlite::fallible_iterator::FallibleIterator::next(&mut batch)?
    {
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            printed.push_str(&row.get::<_, String>(0)?);
        }
    }
    Ok(printed)
}

/// The statement by which Bugzilla files a bug.
pub fn insert(bug: u32, now: &str) -> String {
    format!(
        "INSERT INTO bugs (bug_id, assigned_to, bug_file_loc, bug_severity, bug_status, creation_ts, delta_ts, short_desc, op_sys, \
         priority, product_id, rep_platform, reporter, version, component_id, status_whiteboard, everconfirmed) \
         VALUES ({bug}, 1, '', 'normal', 'NEW', '{now}', '{now}', 'Bug {bug}', 'All', '---', 1, 'All', 1, 'unspecified', 1, '', 1)"
    )
}

/// The end of each edit: what is logged of it, and the time.
fn log_and_touch(session: &mut dyn Session, bug: u32, now: &str) {
    session.must(&format!(
        "INSERT INTO bugs_activity (bug_id, who, bug_when, fieldid, removed, added) VALUES ({bug}, 1, '{now}', 2, 'old', 'new')"
    ));
    session.must(&format!(
        "UPDATE bugs SET delta_ts = '{now}' WHERE bug_id = {bug}"
    ));
}

/// What Bugzilla's mail does after the commit. It takes a while, so that its time is never that of
/// the mail before.
pub fn send_mail(session: &mut dyn Session, bug: u32) {
    static MAILS: AtomicU32 = AtomicU32::new(0);
    let mails = MAILS.fetch_add(1, Ordering::Relaxed);
    let now = format!(
        "2027-01-01 {:02}:{:02}:{:02}",
        mails / 3600,
        mails / 60 % 60,
        mails % 60
    );
    session.must(&format!(
        "UPDATE bugs SET lastdiffed = '{now}' WHERE bug_id = {bug}"
    ));
}

/// Files a bug.
pub fn file(session: &mut dyn Session, bug: u32, now: &str) {
    session.must("BEGIN");
    session.must(&insert(bug, now));
    session.must(&format!("INSERT INTO longdescs (bug_id, who, bug_when, thetext) VALUES ({bug}, 1, '{now}', 'It is broken.')"));
    session.must(&format!(
        "UPDATE bugs SET creation_ts = '{now}' WHERE bug_id = {bug}"
    ));
    session.must("COMMIT");
}

/// Changes a field of some bugs to a value that they don't have yet.
pub fn edit(session: &mut dyn Session, field: &str, bugs: &[u32], now: &str) {
    session.must("BEGIN");
    edit_in_transaction(session, field, bugs, now);
    session.must("COMMIT");
}

/// What stands between BEGIN and COMMIT of an edit.
pub fn edit_in_transaction(session: &mut dyn Session, field: &str, bugs: &[u32], now: &str) {
    for bug in bugs {
        session.must(&format!(
            "UPDATE bugs SET {field} = '{}' WHERE bug_id = {bug}",
            fastrand::u32(..)
        ));
        log_and_touch(session, *bug, now);
    }
}

/// Adds a comment, which changes no field at all.
pub fn comment(session: &mut dyn Session, bug: u32, now: &str) {
    session.must("BEGIN");
    session.must(&format!("INSERT INTO longdescs (bug_id, who, bug_when, thetext) VALUES ({bug}, 1, '{now}', 'It still is.')"));
    session.must(&format!(
        "UPDATE bugs SET delta_ts = '{now}' WHERE bug_id = {bug}"
    ));
    session.must("COMMIT");
}

/// What a source hands over, bug and time.
pub type Change = (u32, String);

/// A source that is being read, as a server would do it.
pub struct Reading {
    inbox: Inbox,
    poll: RefCell<Poll>,
    stop: Stop,
    source: Option<JoinHandle<()>>,
    received: Vec<Change>,
    /// Whether updates may have been missed, as the source says.
    pub has_gap: bool,
    has_begun: bool,
}

impl Reading {
    /// Starts to read the source at `url`.
    pub fn start(url: &str) -> Self {
        let address: Address = url.parse().unwrap();
        let poll = Poll::new().unwrap();
        let (sender, inbox) = inbox::open(poll.registry(), Token(0)).unwrap();
        let stop = Stop::default();
        let seen = stop.clone();
        let feed = Feed {
            id: FeedId(0),
            source: address.to_string(),
            updates_max: 1_000,
            catch_up: None,
        };
        let sink = Sink::new(feed, None, &Kept::default(), sender);
        let mut source = address.open(false).0;
        let source = thread::spawn(move || supervise(&mut *source, sink, &seen));
        Self {
            inbox,
            poll: RefCell::new(poll),
            stop,
            source: Some(source),
            received: Vec::new(),
            has_gap: false,
            has_begun: false,
        }
    }

    /// Waits until the source says that updates may have been missed.
    pub fn expect_gap(&mut self) {
        let deadline = Instant::now() + 2 * PATIENCE;
        while !std::mem::take(&mut self.has_gap) {
            assert!(Instant::now() < deadline, "waited in vain for a gap");
            self.wait(Duration::from_millis(100));
        }
    }

    /// Waits until this many changes have come, and takes them.
    pub fn take(&mut self, count: usize) -> Vec<Change> {
        // A source that has lost its database again and again waits for up to half a minute by
        // itself.
        let deadline = Instant::now() + 2 * PATIENCE;
        while self.received.len() < count {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {count} changes, got {:?}",
                self.received
            );
            self.wait(Duration::from_millis(100));
        }
        self.received.drain(..count).collect()
    }

    /// Waits until something comes, or for `duration`.
    pub fn wait(&mut self, duration: Duration) {
        self.poll
            .borrow_mut()
            .poll(&mut Events::with_capacity(1), Some(duration))
            .unwrap();
        self.inbox.begin();
        while let Some(event) = self.inbox.take() {
            match event {
                Notice::Updates { updates, .. } => {
                    self.received.extend(
                        updates
                            .iter()
                            .map(|update| (update.bug.get(), update.when.to_string())),
                    );
                }
                Notice::Gap { .. } => self.has_gap = true,
                // What there was before its start is missing from each feed.
                Notice::Promise { promise, .. } if promise != Promise::InDoubt => {
                    self.has_gap |= !std::mem::replace(&mut self.has_begun, true);
                }
                Notice::Access(_)
                | Notice::Refused { .. }
                | Notice::Answer { .. }
                | Notice::Reloaded(_)
                | Notice::Key { .. }
                | Notice::Source { .. }
                | Notice::Keeping { .. }
                | Notice::Earlier { .. }
                | Notice::Promise { .. }
                | Notice::Clock { .. } => {}
            }
        }
    }

    /// What has come and was not taken.
    pub fn received(&self) -> &[Change] {
        &self.received
    }

    /// Ends the source, which must not wait for anything any more.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.request();
        if let Some(source) = self.source.take() {
            wait_until("the source has ended", || {
                source.is_finished().then_some(())
            });
            source.join().unwrap();
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
        }
    }
}
