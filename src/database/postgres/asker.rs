//! Asks a PostgreSQL which bugs have changed.

use ::postgres::Client;

use super::bugs::rows;
use super::watched::Watched;
use super::{UTC, cannot_read, connect, failed};
use crate::database::asker::Ask;
use crate::database::settings::ServerSettings;
use crate::database::table::Row;
use crate::work::Error;

pub(crate) struct BugsAsker(Client);

impl BugsAsker {
    /// Connects to the database.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn open(settings: &ServerSettings) -> Result<Watched<Self>, Error> {
        let settings = settings.clone();
        Watched::open(move || Ok(Self(connect(&settings)?)))
    }
}

fn columns() -> String {
    format!("SELECT bug_id::bigint, delta_ts::text, {UTC} FROM bugs")
}

impl Ask for Watched<BugsAsker> {
    fn can_ask(&mut self) -> Result<bool, Error> {
        self.ask(BugsAsker::can_ask)
    }

    fn newest(&mut self, rows_max: usize) -> Result<Vec<Row>, Error> {
        self.ask(move |asker| asker.newest(rows_max))
    }

    fn changed(&mut self, since: &str, rows_max: usize) -> Result<Vec<Row>, Error> {
        let since = since.to_owned();
        self.ask(move |asker| asker.changed(&since, rows_max))
    }

    fn now(&mut self) -> Result<i64, Error> {
        self.ask(|asker| super::now(&mut asker.0))
    }
}

impl BugsAsker {
    fn can_ask(&mut self) -> Result<bool, Error> {
        match self.0.query(&format!("{} LIMIT 0", columns()), &[]) {
            Ok(_) => Ok(true),
            Err(error) if cannot_read(&error) => Ok(false),
            Err(error) => Err(failed("read the table bugs")(error)),
        }
    }

    fn newest(&mut self, rows_max: usize) -> Result<Vec<Row>, Error> {
        let select = format!(
            "{} ORDER BY bugs.delta_ts DESC, bugs.bug_id DESC LIMIT $1",
            columns()
        );
        rows(&mut self.0, &select, &[&(rows_max as i64)]).map_err(failed("read the table bugs"))
    }

    fn changed(&mut self, since: &str, rows_max: usize) -> Result<Vec<Row>, Error> {
        let select = format!(
            "{} WHERE delta_ts >= $1::text::timestamp AT TIME ZONE 'UTC' \
                 AT TIME ZONE current_setting('TimeZone') \
             ORDER BY bugs.delta_ts, bugs.bug_id LIMIT $2",
            columns()
        );
        rows(&mut self.0, &select, &[&since, &(rows_max as i64)])
            .map_err(failed("read the table bugs"))
    }
}
