//! Where updates come from. Owns what all sources share: the order keep → hand over → acknowledge,
//! and what ends a source for good; threads, pauses and the stop are of `work`. Knows no client.

mod address;
mod amqp;
mod catch_up;
mod completeness;
mod history_file;
mod poller;
mod sink;
mod streams;
mod watcher;
mod webhook;

pub use address::Address;
pub use catch_up::{Address as CatchUpAddress, CatchUp};
pub use history_file::{HistoryFile, Kept, OpenError, claim};
pub use sink::{Feed, Sink};

use std::time::Duration;

use crate::database::Claimed;
use crate::inbox::Closed;
use crate::work::{self, Error, Health, Stop, Supervised};

/// A place that updates come from, read by a blocking thread of its own.
pub trait Source: Send {
    /// Connects, calls `Sink::connected` when all is known to work, and delivers updates until
    /// `stop` is requested or `Sink::deliver` says `Closed`. Acknowledges an update, or deletes
    /// its row, only after `Sink::deliver` has returned.
    ///
    /// # Errors
    /// Anything that ends the connection. The caller waits and runs the source again.
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error>;

    /// The longest pause after failures.
    fn pause_max(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Runs a source until `stop` is requested or the loop is gone, and starts it again after each
/// failure. When another server or relay reads what only one may read, that ends the loop.
pub fn supervise(source: &mut dyn Source, sink: Sink, stop: &Stop) {
    work::supervise(&mut Running { source, sink }, stop);
}

/// A source and what it reads into.
struct Running<'a> {
    source: &'a mut dyn Source,
    sink: Sink,
}

impl Supervised for Running<'_> {
    fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        let result = self.source.run(&mut self.sink, stop);
        if let Err(error) = &result
            && !stop.is_requested()
        {
            self.sink.failed(&error.to_string());
        }
        if result.is_err() {
            // Until it is connected again, updates may be missed.
            self.sink.doubt()?;
        }
        result
    }

    fn health(&mut self) -> &mut Health {
        self.sink.health()
    }

    fn is_final(&mut self, error: &Error) -> bool {
        let is_claimed = error.is::<Claimed>();
        if is_claimed {
            // A loop that is gone need not end.
            let _ = self.sink.refused(error);
        }
        error.is::<Closed>() || is_claimed
    }

    fn pause_max(&self) -> Duration {
        self.source.pause_max()
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::poller::Poller;
    use super::sink::Test;
    use super::*;
    use crate::database::Database;
    use crate::inbox::{self, Notice};
    use crate::update::{BugId, FeedId};

    type Step = fn(&mut Sink, &Stop) -> Result<(), Error>;

    /// Does at each run what the next of its steps says.
    struct Script(std::vec::IntoIter<Step>);

    impl Source for Script {
        fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
            (self.0.next().unwrap())(sink, stop)
        }
    }

    /// Supervises a script, which must be played to its end: what the loop is told.
    fn supervised(steps: Vec<Step>) -> Vec<String> {
        let poll = Poll::new().unwrap();
        let (sender, inbox) = inbox::open(poll.registry(), Token(0)).unwrap();
        let feed = Feed {
            id: FeedId(0),
            source: "script".to_owned(),
            updates_max: 10,
            catch_up: None,
        };
        let kept = Kept {
            floor: Some(100),
            ..Kept::default()
        };
        let sink = Sink::new(feed, None, &kept, sender);
        let mut script = Script(steps.into_iter());
        supervise(&mut script, sink, &Stop::default());
        assert_eq!(script.0.len(), 0);
        let notices = std::iter::from_fn(|| inbox.take());
        let told = notices.map(|notice| match notice {
            Notice::Source { state, .. } => format!("{state:?}"),
            Notice::Promise { promise, .. } => format!("{promise:?}"),
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    #[test]
    fn a_source_that_fails_is_run_again_until_it_is_stopped_or_the_loop_is_gone() {
        let told = supervised(vec![
            |sink, _| {
                sink.connected()?;
                Err("lost".into())
            },
            |sink, stop| {
                sink.connected()?;
                stop.request();
                Err("cut by the stop".into())
            },
        ]);
        let expected = [
            "Reading",
            "After(100)",
            "Failing(\"lost\")",
            "InDoubt",
            "Reading",
            "After(100)",
            "InDoubt",
        ];
        assert_eq!(told, expected);
        supervised(vec![|_, _| Err(Closed.into())]);
    }

    #[test]
    fn a_source_that_says_nothing_else_is_tried_again_after_half_a_minute_at_most() {
        let script = Script(Vec::new().into_iter());
        assert_eq!(script.pause_max(), Duration::from_secs(30));
        let database: Database = "sqlite:b.db".parse().unwrap();
        let running = Running {
            source: &mut Poller::new(&database, false),
            sink: Test::new(None, &Kept::default()).sink,
        };
        assert_eq!(running.pause_max(), Duration::from_secs(1));
    }

    #[test]
    fn rows_of_a_table_are_deleted_after_their_updates_were_delivered() {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("sqlite:{}", folder.path().join("b.db").display());
        let database: Database = address.parse().unwrap();
        let mut table = database.table().unwrap();
        // The last one stays as a bookmark.
        for bug in [7, 8] {
            database.notify(&[BugId::new(bug).unwrap()]).unwrap();
        }
        let poll = Poll::new().unwrap();
        let (sender, inbox) = inbox::open(poll.registry(), Token(0)).unwrap();
        let feed = Feed {
            id: FeedId(0),
            source: address,
            updates_max: 10,
            catch_up: None,
        };
        let mut sink = Sink::new(feed, None, &Kept::default(), sender);
        sink.begins(0).unwrap();
        // The loop is gone: nothing can be delivered.
        drop(inbox);
        let mut poller = Poller::new(&database, false);
        assert!(poller.run(&mut sink, &Stop::default()).is_err());
        assert_eq!(table.read().unwrap().len(), 2);
    }
}
