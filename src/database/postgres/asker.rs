//! Asks a PostgreSQL which bugs have changed.

use ::postgres::Client;

use super::bugs::rows;
use super::watched::Watched;
use super::{UTC, cannot_read, connect, failed};
use crate::database::asker::Ask;
use crate::database::options::Shown;
use crate::database::settings::ServerSettings;
use crate::database::table::Row;
use crate::work::Error;

pub(crate) struct BugsAsker(Client, Shown);

impl BugsAsker {
    /// Connects to the database.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn open(settings: &ServerSettings) -> Result<Watched<Self>, Error> {
        let settings = settings.clone();
        Watched::open(move || Ok(Self(connect(&settings)?, settings.options.shown)))
    }
}

fn select(shown: Shown) -> String {
    format!(
        "SELECT bug_id::bigint, delta_ts::text, {UTC} FROM bugs WHERE {}",
        shown.condition()
    )
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
        match self.0.query(&format!("{} LIMIT 0", select(self.1)), &[]) {
            Ok(_) => Ok(true),
            Err(error) if cannot_read(&error) => Ok(false),
            Err(error) => Err(failed("read the table bugs")(error)),
        }
    }

    fn newest(&mut self, rows_max: usize) -> Result<Vec<Row>, Error> {
        let select = format!(
            "{} ORDER BY bugs.delta_ts DESC, bugs.bug_id DESC LIMIT $1",
            select(self.1)
        );
        rows(&mut self.0, &select, &[&(rows_max as i64)]).map_err(failed("read the table bugs"))
    }

    fn changed(&mut self, since: &str, rows_max: usize) -> Result<Vec<Row>, Error> {
        let select = format!(
            "{} AND delta_ts >= $1::text::timestamp AT TIME ZONE 'UTC' \
                 AT TIME ZONE current_setting('TimeZone') \
             ORDER BY bugs.delta_ts, bugs.bug_id LIMIT $2",
            select(self.1)
        );
        rows(&mut self.0, &select, &[&since, &(rows_max as i64)])
            .map_err(failed("read the table bugs"))
    }
}
