//! Where updates come from. Owns what all sources share: the thread, the order keep → hand over →
//! acknowledge, the backoff, and the clean stop. Knows no client, and nothing of any one source.

mod address;
pub mod amqp;
mod bugs;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) mod database;
mod history_file;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
mod options;
mod password;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod reader;
pub mod sqlite;
mod stop;
mod table;
pub mod webhook;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{debug, error, info, warn};

pub use address::Address;
pub use history_file::{HistoryFile, Kept};
pub(crate) use password::Password;
pub use reader::{Batch, Connect, Reader};
pub use stop::Stop;
pub use table::{Row, Table};
pub(crate) use webhook::is_field_name;

use crate::backoff::Backoff;
use crate::inbox::{Closed, Notice, Sender};
use crate::post::{Answer, PostId};
use crate::update::{FeedId, Update};

/// Why a source could not go on; the text is a sentence for the log.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A place that updates come from, read by a blocking thread of its own.
pub trait Source: Send {
    /// Connects, calls [`Sink::connected`] when all is known to work, and delivers updates until
    /// `stop` is requested or [`Sink::deliver`] says [`Closed`]. Acknowledges an update, or deletes
    /// its row, only after [`Sink::deliver`] has returned.
    ///
    /// # Errors
    /// Anything that ends the connection. The caller waits and runs the source again.
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error>;
}

/// What a source does with what it reads: keeps it in the history file, then hands it to the loop.
#[derive(Debug)]
pub struct Sink {
    feed: FeedId,
    /// The source's name in the log, without its password.
    name: String,
    history_file: Option<HistoryFile>,
    is_keeping: bool,
    inbox: Sender,
    state: State,
    /// Whether the loop was told that it is in doubt if updates are being missed.
    is_in_doubt: bool,
    /// The largest time of an update that was delivered, in Unix seconds.
    watermark: i64,
}

/// Whether a source works, as far as the log has been told.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Starting,
    Live { since: Instant },
    Down { reason: String },
}

impl Sink {
    /// A sink for `feed` that keeps updates in `history_file` (or nowhere) and names its source
    /// `name` in the log.
    pub fn new(
        feed: FeedId,
        name: String,
        history_file: Option<HistoryFile>,
        inbox: Sender,
    ) -> Self {
        let watermark = history_file
            .as_ref()
            .map_or(i64::MIN, HistoryFile::watermark);
        Self {
            feed,
            name,
            history_file,
            is_keeping: true,
            inbox,
            state: State::Starting,
            is_in_doubt: false,
            watermark,
        }
    }

    /// To be called by a source that may find out later that it misses updates now, before it
    /// connects and when it has lost its connection: until it is [`Sink::connected`], no client is
    /// told that nothing is missing.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn doubt(&mut self) -> Result<(), Closed> {
        if self.is_in_doubt {
            return Ok(());
        }
        self.is_in_doubt = true;
        self.inbox.send(Notice::Doubt {
            feed: self.feed,
            is_in_doubt: true,
        })
    }

    /// To be called by a source when it is ready to receive updates, and has told what it has
    /// missed.
    pub fn connected(&mut self) {
        if std::mem::take(&mut self.is_in_doubt) {
            // A loop that is gone will be noticed with the next update.
            let _ = self.inbox.send(Notice::Doubt {
                feed: self.feed,
                is_in_doubt: false,
            });
        }
        if !matches!(self.state, State::Live { .. }) {
            info!("reading updates from {}", self.name);
            self.state = State::Live {
                since: Instant::now(),
            };
        }
    }

    /// To be called by a source that cannot read updates for now and tries again by itself. The log
    /// says so once per reason.
    pub fn down(&mut self, reason: &str) {
        if matches!(&self.state, State::Down { reason: known } if known == reason) {
            debug!("{}: still down: {reason}", self.name);
        } else {
            warn!("{}: {reason}; trying again until it works", self.name);
            self.state = State::Down {
                reason: reason.to_owned(),
            };
        }
    }

    /// Keeps the updates, then hands them to the loop. After it has returned, the source may forget
    /// them.
    ///
    /// # Errors
    /// When the loop is gone; the updates are kept then, but should not be acknowledged.
    pub fn deliver(&mut self, updates: Vec<Update>) -> Result<(), Closed> {
        if updates.is_empty() {
            return Ok(());
        }
        if let Some(file) = &mut self.history_file {
            let result = file.keep(&updates);
            self.report_keeping(result)?;
        }
        self.watermark = updates
            .iter()
            .map(|update| update.when.unix_seconds())
            .fold(self.watermark, i64::max);
        self.inbox.send(Notice::Updates {
            feed: self.feed,
            updates,
        })
    }

    /// Whether what was delivered last is kept, or was not to be kept at all.
    pub fn is_keeping(&self) -> bool {
        self.is_keeping
    }

    /// Has a client told what came of its post.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn answer(&self, post: PostId, answer: Answer) -> Result<(), Closed> {
        self.inbox.send(Notice::Answer { post, answer })
    }

    /// To be called by a source that may have missed updates until now, such as after its queue was
    /// deleted, as soon as it is sure to receive all that follow. `reason` is for the log, behind a
    /// colon.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn missed(&mut self, reason: &str) -> Result<(), Closed> {
        // Where the database's clock is ahead of this machine's, what was missed may be as late as
        // what arrived.
        let until = unix_now().max(self.watermark);
        if self.watermark == i64::MIN {
            info!("updates from {} are known from now on: {reason}", self.name);
        } else {
            warn!(
                "updates from {} may have been missed up to now: {reason}; clients that ask for them are told so",
                self.name
            );
        }
        if let Some(file) = &mut self.history_file {
            let result = file.raise_floor(until);
            self.report_keeping(result)?;
        }
        self.inbox.send(Notice::Gap {
            feed: self.feed,
            until,
        })
    }

    /// Live updates still go out while the history file fails; clients are told that it has a gap.
    fn report_keeping(&mut self, result: rusqlite::Result<()>) -> Result<(), Closed> {
        let was_keeping = self.is_keeping;
        self.is_keeping = result.is_ok();
        match result {
            Ok(()) if !was_keeping => info!("the history file works again"),
            Ok(()) => {}
            Err(error) => {
                if was_keeping {
                    error!(
                        "cannot write the history file (setting --history): {error}; updates still go out, but a restart would forget them"
                    );
                }
                self.inbox.send(Notice::Gap {
                    feed: self.feed,
                    until: unix_now(),
                })?;
            }
        }
        Ok(())
    }

    /// Whether the source has been reading updates for this long.
    fn is_live_for(&self, duration: Duration) -> bool {
        matches!(self.state, State::Live { since } if since.elapsed() >= duration)
    }
}

/// Runs a source until `stop` is requested or the loop is gone, and starts it again after each
/// failure: after 0.2 s at first, after 30 s at most. Only a source that worked for a while starts
/// over with short pauses: one that fails as soon as it works would otherwise do so ten times a
/// second.
pub fn supervise(source: &mut dyn Source, mut sink: Sink, stop: &Stop) {
    const PROVEN: Duration = Duration::from_secs(10);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    while let Err(error) = run_once(source, &mut sink, stop) {
        if stop.is_requested() || error.is::<Closed>() {
            break;
        }
        if sink.is_live_for(PROVEN) {
            backoff.reset();
        }
        sink.down(&error.to_string());
        if stop.wait(backoff.next_pause(fastrand::f64())) {
            break;
        }
    }
}

/// A source that panics has failed like any other: its thread must not end in silence.
fn run_once(source: &mut dyn Source, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(|| source.run(sink, stop)))
        .unwrap_or_else(|_| Err("it panicked, which is a bug".into()))
}

/// Seconds since 1970 by this machine's clock.
pub fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;
    use crate::inbox;

    type Step = fn(&mut Sink, &Stop) -> Result<(), Error>;

    /// Does at each run what the next of its steps says.
    struct Script(std::vec::IntoIter<Step>);

    impl Source for Script {
        fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
            (self.0.next().unwrap())(sink, stop)
        }
    }

    /// Supervises a script to its end; returns what it reported to the loop.
    fn supervised(steps: Vec<Step>) -> Vec<Notice> {
        let poll = Poll::new().unwrap();
        let (sender, inbox) = inbox::open(poll.registry(), Token(0)).unwrap();
        let sink = Sink::new(FeedId(0), "script".to_owned(), None, sender);
        let mut script = Script(steps.into_iter());
        supervise(&mut script, sink, &Stop::default());
        assert_eq!(script.0.len(), 0);
        std::iter::from_fn(|| inbox.take()).collect()
    }

    #[test]
    fn a_source_that_fails_or_panics_is_run_again_until_it_is_stopped() {
        supervised(vec![
            |_, _| Err("refused".into()),
            |_, _| panic!("this panic is expected"),
            |sink, _| {
                sink.connected();
                Err("lost".into())
            },
            |_, stop| {
                stop.request();
                Err("cut by the stop".into())
            },
        ]);
        supervised(vec![|_, _| Err(Closed.into())]);
        supervised(vec![|_, _| Ok(())]);
    }

    #[test]
    fn what_was_missed_ends_with_the_latest_that_is_known_where_the_database_is_ahead_of_us() {
        let notices = supervised(vec![|sink, _| {
            sink.missed("a test")?;
            let ahead = Update {
                bug: crate::update::BugId::new(1).unwrap(),
                when: "2999-01-01".parse()?,
            };
            sink.deliver(vec![ahead])?;
            Ok(sink.missed("a test")?)
        }]);
        let untils: Vec<i64> = notices
            .iter()
            .filter_map(|notice| {
                if let Notice::Gap { until, .. } = notice {
                    Some(*until)
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(untils.len(), 2);
        assert!((untils[0] - unix_now()).abs() < 60, "{untils:?}");
        assert_eq!(
            untils[1],
            "2999-01-01"
                .parse::<crate::update::When>()
                .unwrap()
                .unix_seconds()
        );
    }
}
