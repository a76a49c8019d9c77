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
