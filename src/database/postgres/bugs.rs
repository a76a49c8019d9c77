//! Bugzilla's own tables in PostgreSQL.

use ::postgres::types::ToSql;
use ::postgres::{Client, GenericClient, IsolationLevel};

use super::super::bugs::{Bugs, LARGEST, Largest, Look, LookFrom, touched_since};
use super::super::options::Shown;
use super::super::settings::ServerSettings;
use super::super::table::Row;
use super::watched::Watched;
use super::{UTC, cannot_read, connect, failed, row as row_of};
use crate::work::Error;

/// Bugzilla's own tables.
pub(crate) struct BugsTables {
    client: Client,
    has_ids: bool,
    shown: Shown,
}

impl Bugs for Watched<BugsTables> {
    fn look(&mut self, from: &LookFrom) -> Result<Look, Error> {
        let from = from.clone();
        self.ask(move |tables| {
            tables
                .try_look(&from)
                .map_err(failed("read Bugzilla's tables"))
        })
    }
}

impl BugsTables {
    /// Connects to the database.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn open(settings: &ServerSettings) -> Result<Watched<Self>, Error> {
        let settings = settings.clone();
        Watched::open(move || Self::connect(&settings))
    }

    fn connect(settings: &ServerSettings) -> Result<Self, Error> {
        let mut client = connect(settings)?;
        let has_ids = match client.query_one(LARGEST, &[]) {
            Ok(_) => true,
            Err(error) if cannot_read(&error) => false,
            Err(error) => return Err(failed("read Bugzilla's tables")(error)),
        };
        if !has_ids {
            log::info!(
                "bugs_activity.id and longdescs.comment_id cannot be read: a second edit within one second will not be noticed"
            );
        }
        Ok(Self {
            client,
            has_ids,
            shown: settings.options.shown,
        })
    }

    fn try_look(&mut self, from: &LookFrom) -> Result<Look, ::postgres::Error> {
        let columns = format!("SELECT bug_id::bigint, delta_ts::text, {UTC} FROM bugs");
        let shown = self.shown.condition();
        // What belongs together is read from one snapshot.
        let snapshot = self
            .client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true);
        let mut transaction = snapshot.start()?;
        let now = transaction.query_one(
            "SELECT LOCALTIMESTAMP(0)::text, floor(extract(epoch FROM now()))::bigint",
            &[],
        )?;
        let (now, utc_now) = (now.try_get(0)?, now.try_get(1)?);
        let in_window = format!(
            "{columns} WHERE {shown} AND delta_ts >= LEAST(COALESCE($1::text::timestamp, (SELECT MAX(delta_ts) FROM bugs)), LOCALTIMESTAMP) - INTERVAL '{} seconds' \
             ORDER BY bugs.delta_ts, bugs.bug_id",
            from.window.as_secs()
        );
        let in_window = rows(&mut transaction, &in_window, &[&from.newest])?;
        let largest = match self.has_ids {
            true => {
                let row = transaction.query_one(
                    &format!(
                        "SELECT a::bigint, c::bigint FROM ({}) AS largest (a, c)",
                        LARGEST
                    ),
                    &[],
                )?;
                Some(Largest {
                    activity: row.try_get(0)?,
                    comment: row.try_get(1)?,
                })
            }
            false => None,
        };
        let touched = match (from.largest, largest) {
            (Some(before), Some(largest)) if before != largest => rows(
                &mut transaction,
                &format!("{columns} {} WHERE {shown}", touched_since(before)),
                &[],
            )?,
            _ => Vec::new(),
        };
        transaction.commit()?;
        Ok(Look {
            now,
            utc_now,
            in_window,
            touched,
            largest,
        })
    }
}

pub(super) fn rows(
    client: &mut impl GenericClient,
    select: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, ::postgres::Error> {
    client
        .query(select, values)?
        .iter()
        .map(|row| row_of(row, 0))
        .collect()
}
