//! Asks a MariaDB or MySQL which bugs have changed.

use ::mysql::Conn;
use ::mysql::prelude::Queryable;

use super::{CANNOT_READ, UTC, connect, failed, row};
use crate::database::asker::Ask;
use crate::database::options::Shown;
use crate::database::settings::ServerSettings;
use crate::database::table::Row;
use crate::work::Error;

pub(crate) struct BugsAsker(Conn, Shown);

impl BugsAsker {
    /// Connects to the database.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn open(settings: &ServerSettings) -> Result<Self, Error> {
        Ok(Self(connect(settings)?, settings.options.shown))
    }
}

fn select(shown: Shown) -> String {
    format!(
        "SELECT CAST(bug_id AS SIGNED), CAST(delta_ts AS CHAR), {UTC} FROM bugs WHERE {}",
        shown.condition()
    )
}

impl Ask for BugsAsker {
    fn can_ask(&mut self) -> Result<bool, Error> {
        match self.0.query_drop(format!("{} LIMIT 0", select(self.1))) {
            Ok(()) => Ok(true),
            Err(::mysql::Error::MySqlError(error)) if CANNOT_READ.contains(&error.code) => {
                Ok(false)
            }
            Err(error) => Err(failed("read the table bugs")(error)),
        }
    }

    fn newest(&mut self, rows_max: usize) -> Result<Vec<Row>, Error> {
        let select = format!(
            "{} ORDER BY delta_ts DESC, bug_id DESC LIMIT ?",
            select(self.1)
        );
        self.0
            .exec_map(select, (rows_max as u64,), row)
            .map_err(failed("read the table bugs"))
    }

    fn changed(&mut self, since: &str, rows_max: usize) -> Result<Vec<Row>, Error> {
        let select = format!(
            "{} AND delta_ts >= CONVERT_TZ(?, '+00:00', @@session.time_zone) \
             ORDER BY delta_ts, bug_id LIMIT ?",
            select(self.1)
        );
        self.0
            .exec_map(select, (since, rows_max as u64), row)
            .map_err(failed("read the table bugs"))
    }

    fn now(&mut self) -> Result<i64, Error> {
        super::now(&mut self.0)
    }
}
