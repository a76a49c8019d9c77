//! Asks an SQLite file of Bugzilla's which bugs have changed.

use rusqlite::{Connection, params};

use super::bugs::{open_to_read, rows};
use super::{FileSettings, shift_to_local, utc};
use crate::database::asker::Ask;
use crate::database::table::Row;
use crate::work::{Error, unix_now};

pub(crate) struct BugsAsker {
    database: Connection,
    select: String,
    to_local: String,
}

impl BugsAsker {
    /// Opens the file, for reading only.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn open(settings: &FileSettings) -> Result<Self, Error> {
        let columns = utc(&settings.options.zone);
        Ok(Self {
            database: open_to_read(settings)?,
            select: format!(
                "SELECT bug_id, CAST(delta_ts AS TEXT), {columns} FROM bugs WHERE {}",
                settings.options.shown.condition()
            ),
            to_local: shift_to_local(&settings.options.zone),
        })
    }

    fn rows(&self, select: &str, values: impl rusqlite::Params) -> Result<Vec<Row>, Error> {
        let rows = rows(&self.database, select, values);
        rows.map_err(|error| format!("cannot read the table bugs: {error}").into())
    }
}

impl Ask for BugsAsker {
    fn can_ask(&mut self) -> Result<bool, Error> {
        let find =
            "SELECT count(*) FROM pragma_table_info('bugs') WHERE name IN ('bug_id', 'delta_ts')";
        let columns: i64 = self.database.query_row(find, [], |row| row.get(0))?;
        // Where only public bugs are shown, the groups must be there, too.
        Ok(columns == 2 && self.database.prepare(&self.select).is_ok())
    }

    fn newest(&mut self, rows_max: usize) -> Result<Vec<Row>, Error> {
        let select = format!(
            "{} ORDER BY delta_ts DESC, bug_id DESC LIMIT ?1",
            self.select
        );
        self.rows(&select, [rows_max as i64])
    }

    fn changed(&mut self, since: &str, rows_max: usize) -> Result<Vec<Row>, Error> {
        let select = format!(
            "{} AND delta_ts >= strftime('%Y-%m-%d %H:%M:%S', ?1, '{}') ORDER BY delta_ts, bug_id LIMIT ?2",
            self.select, self.to_local
        );
        self.rows(&select, params![since, rows_max as i64])
    }

    fn now(&mut self) -> Result<i64, Error> {
        Ok(unix_now())
    }
}
