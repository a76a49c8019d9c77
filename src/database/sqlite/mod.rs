//! SQLite, `sqlite:FILE`: Bugzilla's own file, or one that holds nothing but the table of
//! notifications. Owns which file it is and how times are written in it.

mod asker;
mod bugs;
mod notifications;
mod writes;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Row as SqlRow;
use rusqlite::types::ValueRef;

pub(super) use self::asker::BugsAsker;
pub(super) use self::bugs::BugsTables;
pub(super) use self::notifications::Notifications;
use super::options::{self, Mode, ReadOptions, Shown, Zone, offset_text};
use super::table::{Row, text};
use crate::address::read_options;
use crate::work::Error;

/// How long a lock of Bugzilla's is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Which file, and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    file: PathBuf,
    pub(super) options: ReadOptions,
}

impl FileSettings {
    /// Reads `FILE[?OPTION=VALUE&…]`, what stands behind `sqlite:`.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (file, query) = text.split_once('?').unwrap_or((text, ""));
        if file.is_empty() {
            return Err("the file's name is missing; accepted is sqlite:FILE".to_owned());
        }
        let mut settings = Self {
            file: file.into(),
            options: ReadOptions::default(),
        };
        read_options(query, options::ACCEPTED, |name, value| {
            settings.options.set(name, value)
        })?;
        if let Zone::Named(name) = &settings.options.zone {
            return Err(format!(
                "tz: SQLite knows no zone '{name}'; accepted are UTC and offsets such as +02:00, or set TZ for bugzfeed"
            ));
        }
        Ok(settings)
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

fn cannot_open(error: rusqlite::Error) -> Error {
    format!("cannot open the file: {error}").into()
}

impl fmt::Display for FileSettings {
    /// With what says which updates come from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.file.display())?;
        let mut separator = '?';
        let mut option = |f: &mut fmt::Formatter<'_>, name: &str, text: &dyn fmt::Display| {
            let separator = std::mem::replace(&mut separator, '&');
            write!(f, "{separator}{name}={text}")
        };
        match self.options.mode {
            Mode::Bugs => option(f, "mode", &"bugs")?,
            Mode::Table if self.options.table != ReadOptions::default().table => {
                option(f, "table", &self.options.table)?;
            }
            Mode::Table => {}
        }
        match self.options.shown {
            Shown::Public => option(f, "bugs", &"public"),
            Shown::All => Ok(()),
        }
    }
}

/// SQL for `delta_ts` in UTC. What SQLite cannot read is passed on as it is.
fn utc(zone: &Zone) -> String {
    let shift = match zone {
        Zone::Own | Zone::Named(_) => "utc".to_owned(),
        Zone::Offset(seconds) => offset_text(-seconds),
    };
    format!("COALESCE(strftime('%Y-%m-%dT%H:%M:%S', delta_ts, '{shift}'), CAST(delta_ts AS TEXT))")
}

/// SQLite's modifier that turns UTC into the zone of `delta_ts`.
fn shift_to_local(zone: &Zone) -> String {
    match zone {
        Zone::Own | Zone::Named(_) => "localtime".to_owned(),
        Zone::Offset(seconds) => offset_text(*seconds),
    }
}

/// SQL for the time now, as Bugzilla writes it.
fn local(zone: &Zone) -> String {
    let shift = shift_to_local(zone);
    format!("strftime('%Y-%m-%d %H:%M:%S', 'now', '{shift}')")
}

/// A row from the columns `bug_id`, `delta_ts` and the latter in UTC.
fn row(row: &SqlRow<'_>, first: usize) -> rusqlite::Result<Row> {
    let bytes = |column| -> rusqlite::Result<Option<String>> {
        // Text need not be UTF-8, and may be a blob.
        Ok(match row.get_ref(column)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(text(bytes)),
            _ => None,
        })
    };
    Ok(Row {
        id: 0,
        bug_id: row.get::<_, Option<i64>>(first)?.unwrap_or(0),
        delta_ts: bytes(first + 1)?.unwrap_or_default(),
        utc: bytes(first + 2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_those_of_other_databases_and_the_file_as_it_stands() {
        let settings = FileSettings::parse("a+b%20c.db?tz=%2B02:00").unwrap();
        assert_eq!(settings.file(), Path::new("a+b%20c.db"));
        assert_eq!(settings.options.zone, Zone::Offset(7_200));
        assert_eq!(FileSettings::parse("a+b%20c.db?tz=+02:00"), Ok(settings));
        for (text, said) in [
            ("", "sqlite:FILE"),
            ("x?tz=Europe/Berlin", "tz: SQLite knows no zone"),
            ("x?colour=red", "accepted are table=NAME"),
        ] {
            let why = FileSettings::parse(text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
