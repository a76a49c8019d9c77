//! Source `sqlite:FILE`: the table of notifications in an SQLite file, polled. Bugzilla's triggers, or `bugzfeed notify`, insert rows;
//! this deletes exactly those it has handed over.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};

use super::{Error, Sink, Source, Stop};
use crate::update::{BugId, Update, When};

/// How many rows are read at once; a full batch is followed by the next without a pause.
const BATCH_ROWS: u32 = 500;

/// Where the table is and how often it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    file: PathBuf,
    poll: Duration,
}

impl Settings {
    /// Reads `FILE[?poll=DURATION]`, what stands behind `sqlite:`.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (file, query) = text.split_once('?').unwrap_or((text, ""));
        if file.is_empty() {
            return Err("the file's name is missing; accepted is sqlite:FILE".to_owned());
        }
        let mut settings = Self { file: file.into(), poll: Duration::from_millis(250) };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("poll", text)) => settings.poll = crate::duration::parse(text).map_err(|why| format!("poll: {why}"))?,
                _ => return Err(format!("'{pair}' is no option of sqlite:; accepted is poll=DURATION")),
            }
        }
        Ok(settings)
    }

    /// Opens the file, creating it and the table where they are not there.
    fn open(&self) -> rusqlite::Result<Connection> {
        let database = Connection::open(&self.file)?;
        database.busy_timeout(Duration::from_secs(5))?;
        database.execute_batch(
            "CREATE TABLE IF NOT EXISTS push_notify (id INTEGER PRIMARY KEY AUTOINCREMENT, bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL)",
        )?;
        Ok(database)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.file.display())
    }
}

/// Records that bugs changed just now.
///
/// # Errors
/// When the file cannot be opened or written.
pub fn notify(settings: &Settings, bugs: &[BugId]) -> Result<(), Error> {
    let mut database = settings.open()?;
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now = When::from_unix_seconds(super::unix_now()).to_string();
    for bug in bugs {
        transaction.execute("INSERT INTO push_notify (bug_id, delta_ts) VALUES (?1, ?2)", params![bug.get(), now])?;
    }
    Ok(transaction.commit()?)
}

/// The table, read by [`super::supervise`].
#[derive(Debug)]
pub struct Table {
    settings: Settings,
}

impl Table {
    /// A source that reads the table that `settings` name.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl Source for Table {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        let mut database = self.settings.open().map_err(|error| format!("cannot open the file: {error}"))?;
        sink.connected();
        loop {
            let rows = read(&database).map_err(|error| format!("cannot read the table push_notify: {error}"))?;
            let is_full = rows.len() == BATCH_ROWS as usize;
            if !rows.is_empty() {
                let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
                sink.deliver(rows.into_iter().filter_map(Row::into_update).collect())?;
                delete(&mut database, &ids).map_err(|error| format!("cannot delete from the table push_notify: {error}"))?;
            }
            if stop.wait(if is_full { Duration::ZERO } else { self.settings.poll }) {
                return Ok(());
            }
        }
    }
}

struct Row {
    id: i64,
    bug_id: i64,
    delta_ts: String,
}

impl Row {
    /// The update that the row records; a row that records none is logged and goes.
    fn into_update(self) -> Option<Update> {
        let bug = u32::try_from(self.bug_id).ok().and_then(BugId::new);
        let when = self.delta_ts.parse::<When>().ok();
        match (bug, when) {
            // Bugzilla writes a space where its REST interface, and so every client, has a T.
            (Some(bug), Some(when)) => Some(Update { bug, when: When::from_unix_seconds(when.unix_seconds()) }),
            _ => {
                log::warn!(
                    "row {} of push_notify is no notification (bug_id {}, delta_ts {:?}); it is dropped",
                    self.id,
                    self.bug_id,
                    self.delta_ts
                );
                None
            }
        }
    }
}

fn read(database: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut select =
        database.prepare_cached("SELECT id, CAST(bug_id AS INTEGER), CAST(delta_ts AS TEXT) FROM push_notify ORDER BY id LIMIT ?1")?;
    select
        .query_map([BATCH_ROWS], |row| {
            Ok(Row {
                id: row.get(0)?,
                bug_id: row.get::<_, Option<i64>>(1)?.unwrap_or(0),
                delta_ts: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
            })
        })?
        .collect()
}

/// Deletes exactly these rows: ids commit out of order, so "all up to the last" would take rows that were never read.
fn delete(database: &mut Connection, ids: &[i64]) -> rusqlite::Result<()> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut delete = transaction.prepare_cached("DELETE FROM push_notify WHERE id = ?1")?;
        for id in ids {
            delete.execute([id])?;
        }
    }
    transaction.commit()
}
