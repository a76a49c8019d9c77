//! The tables of the backlog's file, their versions, and the streams of its destinations. Knows no
//! way in and no way out.

use rusqlite::{Connection, OptionalExtension, Transaction, ffi, params};

use crate::amqp::Number;

/// The version of the tables. The one before had no versions, and no numbers.
const VERSION: i64 = 2;

const TABLES: &str = "
    CREATE TABLE push_destination (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_in_use INTEGER NOT NULL, error TEXT, error_at INTEGER,
        next_attempt INTEGER, stream TEXT, number INTEGER NOT NULL DEFAULT 0, newest INTEGER,
        refused INTEGER NOT NULL DEFAULT 0, dropped INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE push_backlog (
        id INTEGER PRIMARY KEY AUTOINCREMENT, destination INTEGER NOT NULL REFERENCES push_destination (id),
        bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL, since INTEGER NOT NULL, number INTEGER NOT NULL DEFAULT 0,
        newest INTEGER);
    CREATE INDEX push_backlog_order ON push_backlog (destination, id);";

/// What makes the tables of the version before those of this one. That version goes on to work
/// with them.
const NUMBERS: &str = "
    ALTER TABLE push_destination ADD COLUMN stream TEXT;
    ALTER TABLE push_destination ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE push_destination ADD COLUMN newest INTEGER;
    ALTER TABLE push_destination ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE push_destination ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE push_backlog ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE push_backlog ADD COLUMN newest INTEGER;";

const FORMAT: &str = "
    CREATE TABLE push_format (version INTEGER NOT NULL, is_open INTEGER NOT NULL);
    INSERT INTO push_format VALUES (2, 0);
    CREATE TABLE push_bookmark (id INTEGER PRIMARY KEY CHECK (id = 1), note TEXT NOT NULL);
    CREATE TABLE push_refused (
        id INTEGER PRIMARY KEY, destination INTEGER NOT NULL, bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL,
        change_id TEXT NOT NULL, refused_at INTEGER NOT NULL, reason TEXT NOT NULL);
    CREATE INDEX push_refused_order ON push_refused (destination, id);";

/// Makes the tables where they are not there, and those of the version before like those of this
/// one.
pub(super) fn prepare(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    match (
        has_table(transaction, "push_format")?,
        has_table(transaction, "push_destination")?,
    ) {
        (true, _) => {
            let version =
                transaction.query_row("SELECT version FROM push_format", [], |row| row.get(0))?;
            if version != VERSION {
                return Err(newer(version));
            }
            Ok(())
        }
        (false, is_older) => {
            transaction.execute_batch(if is_older { NUMBERS } else { TABLES })?;
            transaction.execute_batch(FORMAT)
        }
    }
}

/// Whether a relay has not ended as it should.
pub(super) fn was_left_open(database: &Connection) -> rusqlite::Result<bool> {
    if !has_table(database, "push_format")? {
        return Ok(false);
    }
    database.query_row("SELECT is_open FROM push_format", [], |row| row.get(0))
}

/// Notes whether a relay is at work.
pub(super) fn set_open(database: &Connection, is_open: bool) -> rusqlite::Result<()> {
    database
        .execute("UPDATE push_format SET is_open = ?1", [is_open])
        .map(drop)
}

/// Begins new streams for all destinations, which lets their receivers know that they may have
/// missed some changes.
pub(super) fn begin_all_streams(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut select = transaction.prepare("SELECT id FROM push_destination")?;
    let ids = select.query_map([], |row| row.get(0))?;
    for id in ids.collect::<rusqlite::Result<Vec<_>>>()? {
        begin_stream(transaction, id)?;
    }
    Ok(())
}

/// Makes a destination known and in use. One that is new, that was not in use, or for which a relay
/// of the version before has appended changes begins a new stream: its receivers may have missed
/// some.
pub(super) fn enroll(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    let known = "SELECT id, is_in_use AND stream IS NOT NULL AND NOT EXISTS (SELECT 1 FROM push_backlog WHERE destination = d.id AND number = 0)
         FROM push_destination AS d WHERE name = ?1";
    let known = transaction
        .query_row(known, [name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let id = match known {
        Some((id, true)) => return Ok(id),
        Some((id, false)) => id,
        None => {
            let add = "INSERT INTO push_destination (name, is_in_use) VALUES (?1, 1)";
            transaction.execute(add, [name])?;
            transaction.last_insert_rowid()
        }
    };
    transaction.execute(
        "UPDATE push_destination SET is_in_use = 1, next_attempt = NULL WHERE id = ?1",
        [id],
    )?;
    begin_stream(transaction, id).map(|()| id)
}

/// The stream of a destination: its id, and the last number that was given.
pub(super) fn stream(database: &Connection, destination: i64) -> rusqlite::Result<Number> {
    let select = "SELECT stream, number, newest FROM push_destination WHERE id = ?1";
    database
        .prepare_cached(select)?
        .query_row([destination], |row| {
            Ok(Number {
                stream: row.get(0)?,
                number: row.get::<_, i64>(1)?.max(0).cast_unsigned(),
                newest: row.get(2)?,
            })
        })
}

/// Gives a destination a new stream, in which what waits for it comes first.
fn begin_stream(transaction: &Transaction<'_>, destination: i64) -> rusqlite::Result<()> {
    let number = "UPDATE push_backlog AS b SET number = n.number, newest = n.newest
         FROM (SELECT id, row_number() OVER before AS number, max(unixepoch(delta_ts)) OVER before AS newest
               FROM push_backlog WHERE destination = ?1 WINDOW before AS (ORDER BY id)) AS n
         WHERE b.id = n.id";
    transaction.execute(number, [destination])?;
    let begin = "UPDATE push_destination SET stream = ?2,
             number = (SELECT count(*) FROM push_backlog WHERE destination = ?1),
             newest = (SELECT max(newest) FROM push_backlog WHERE destination = ?1)
         WHERE id = ?1";
    let id = format!("{:016x}", fastrand::u64(..));
    transaction
        .execute(begin, params![destination, id])
        .map(drop)
}

fn has_table(database: &Connection, name: &str) -> rusqlite::Result<bool> {
    let select = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    database.query_row(select, [name], |row| row.get(0))
}

fn newer(version: i64) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_CANTOPEN),
        Some(format!(
            "its format is version {version}, and this program knows version {VERSION} at most: a newer one has made it"
        )),
    )
}
