//! The source that hands over what a table of notifications holds. Knows no database.

use std::time::Duration;

use super::{Sink, Source};
use crate::database::{Database, Reader};
use crate::work::{Error, Stop};

/// The note that says which row was handed over last.
const BOOKMARK: &str = "bookmark";

/// The source that hands over what a table holds.
pub(super) struct Poller {
    reader: Reader,
    poll: Duration,
    pause_max: Duration,
}

impl Poller {
    /// A source that reads the table of notifications of a database. A standby waits while another
    /// reader has the table.
    pub(super) fn new(database: &Database, is_standby: bool) -> Self {
        Self {
            reader: Reader::new(database.open_table(), is_standby),
            poll: database.options().poll,
            pause_max: database.pause_max(),
        }
    }
}

impl Source for Poller {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        sink.doubt()?;
        self.reader.connect()?;
        if !self.reader.claim(stop, |why| sink.down(why))? {
            return Ok(());
        }
        self.reader.resume(sink.note(BOOKMARK).as_deref());
        let mut has_no_history = !sink.has_history();
        while !self.look(sink, stop, std::mem::take(&mut has_no_history))? {}
        if !sink.keeps_notes() {
            // The next start could not tell that the row was handed over.
            self.reader.clear()?;
        }
        Ok(())
    }

    fn pause_max(&self) -> Duration {
        self.pause_max
    }
}

impl Poller {
    /// Hands over what is there, and waits for more; returns whether the stop was requested.
    /// Without a history, changes from before may be missing whatever the table holds.
    fn look(&mut self, sink: &mut Sink, stop: &Stop, has_no_history: bool) -> Result<bool, Error> {
        let mut batch = self.reader.read()?;
        if has_no_history {
            let now = self.reader.table()?.now()?;
            sink.begins(now)?;
        } else if let Some(reason) = batch.gap {
            let now = self.reader.table()?.now()?;
            sink.missed(reason, Some(now))?;
        }
        let updates = std::mem::take(&mut batch.updates);
        match &batch.bookmark {
            Some(bookmark) => {
                sink.deliver_with_notes(updates, &[(BOOKMARK, bookmark.to_string())])?;
            }
            None => sink.deliver(updates)?,
        }
        let is_full = batch.is_full;
        self.reader.delete(batch)?;
        // Only now all that it takes is known to work.
        sink.connected()?;
        if is_full {
            Ok(stop.is_requested())
        } else {
            self.reader.table()?.wait(self.poll, stop)
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::database::{Row, Table};
    use crate::source::sink::Test;
    use crate::source::{HistoryFile, Kept};
    use crate::update::BugId;
    use crate::work::unix_now;

    /// A table of notifications, and the history of a server that reads it.
    struct Stage {
        folder: TempDir,
        database: Database,
        table: Box<dyn Table>,
    }

    impl Stage {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let address = format!("sqlite:{}?tz=UTC", folder.path().join("b.db").display());
            let database: Database = address.parse().unwrap();
            let table = database.table().unwrap();
            Self {
                folder,
                database,
                table,
            }
        }

        fn notify(&self, bugs: std::ops::RangeInclusive<u32>) {
            let bugs: Vec<_> = bugs.map(|bug| BugId::new(bug).unwrap()).collect();
            self.database.notify(&bugs).unwrap();
        }

        /// The bugs whose rows are in the table.
        fn rows(&mut self) -> Vec<i64> {
            let rows = self.table.read().unwrap().into_iter();
            rows.map(|row: Row| row.bug_id).collect()
        }

        fn history(&self) -> (HistoryFile, Kept) {
            let path = self.folder.path().join("h.db");
            HistoryFile::open(&path, "/", "test", 1_000).unwrap()
        }

        /// A server that keeps a history starts, reads what there is, and ends: what it was told.
        fn serve(&self) -> String {
            let (file, kept) = self.history();
            let test = Test::keeping(None, Some(file), &kept);
            self.read(test)
        }

        fn read(&self, mut test: Test) -> String {
            let stop = Stop::default();
            stop.request();
            let mut poller = Poller::new(&self.database, false);
            poller.run(&mut test.sink, &stop).unwrap();
            test.sent()
        }
    }

    #[test]
    fn a_server_without_a_history_begins_with_the_databases_time_and_leaves_no_row() {
        let mut stage = Stage::new();
        stage.notify(7..=8);
        let sent = stage.read(Test::new(None, &Kept::default()));
        let begun = sent.strip_prefix("7, 8, after ").unwrap().parse::<i64>();
        assert!((unix_now() - begun.unwrap()).abs() < 1_000, "{sent}");
        assert_eq!(stage.rows(), [0; 0]);
    }

    #[test]
    fn a_server_goes_on_where_it_has_stopped_and_notices_when_somebody_else_has_read() {
        let mut stage = Stage::new();
        stage.notify(7..=8);
        let begun = stage.serve();
        assert_eq!(stage.rows(), [8]);
        stage.notify(9..=9);
        let promise = begun.strip_prefix("7, 8, ").unwrap();
        assert_eq!(stage.serve(), format!("9, {promise}"));
        assert_eq!(stage.rows(), [9]);
        let rows = stage.table.read().unwrap();
        stage.table.delete(&rows).unwrap();
        let sent = stage.serve();
        assert!(
            sent.starts_with("after ") && sent.ends_with(", gap"),
            "{sent}"
        );
    }

    #[test]
    fn more_rows_than_a_batch_has_are_read_without_a_pause() {
        let mut stage = Stage::new();
        stage.notify(1..=1_000);
        let mut poller = Poller::new(&stage.database, false);
        let mut test = Test::new(None, &Kept::default());
        let stop = Stop::default();
        poller.reader.connect().unwrap();
        poller.poll = Duration::from_secs(3_600);
        let is_stopped = poller.look(&mut test.sink, &stop, true).unwrap();
        assert!(!is_stopped && stage.rows().len() > 1);
    }

    #[test]
    fn a_feed_is_in_doubt_while_its_table_cannot_be_read() {
        let stage = Stage::new();
        let kept = Kept {
            floor: Some(100),
            ..Kept::default()
        };
        let mut test = Test::new(None, &kept);
        test.sink.connected().unwrap();
        let address = format!("sqlite:{}", stage.folder.path().display());
        let folder: Database = address.parse().unwrap();
        let mut poller = Poller::new(&folder, false);
        poller.run(&mut test.sink, &Stop::default()).unwrap_err();
        assert_eq!(test.sent(), "after 100, doubt");
        assert_eq!(poller.pause_max(), Duration::from_secs(1));
    }
}
