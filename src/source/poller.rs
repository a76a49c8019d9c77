//! The source that hands over what a table of notifications holds. Knows no database.

use std::time::Duration;

use super::{Sink, Source};
use crate::database::{OpenTable, Reader};
use crate::work::{Error, Stop};

/// The source that hands over what a table holds.
pub(super) struct Poller {
    reader: Reader,
    poll: Duration,
}

impl Poller {
    /// A source that looks into the table after each `poll`.
    pub(super) fn new(open: OpenTable, poll: Duration) -> Self {
        Self {
            reader: Reader::new(open),
            poll,
        }
    }
}

impl Source for Poller {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        sink.doubt()?;
        self.reader.connect()?;
        if !sink.has_history() {
            let now = self.reader.table()?.now()?;
            sink.begins(now)?;
        }
        loop {
            let mut batch = self.reader.read()?;
            let is_full = batch.is_full;
            sink.deliver(std::mem::take(&mut batch.updates))?;
            self.reader.delete(batch)?;
            // Only now all that it takes is known to work.
            sink.connected()?;
            let is_stopped = if is_full {
                stop.is_requested()
            } else {
                self.reader.table()?.wait(self.poll, stop)?
            };
            if is_stopped {
                return Ok(());
            }
        }
    }
}
