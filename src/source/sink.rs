//! Where a source's updates go: into the history file, and then to the loop. Owns what the loop and
//! the log know of the source. Knows no kind of source.

use log::{error, info, warn};

use super::HistoryFile;
use crate::inbox::{Closed, Event, Sender};
use crate::post::Answer;
use crate::update::{FeedId, Update};
use crate::work::{Health, unix_now};

/// What a source does with what it reads: keeps it in the history file, then hands it to the loop.
#[derive(Debug)]
pub struct Sink {
    feed: FeedId,
    pub(super) health: Health,
    history_file: Option<HistoryFile>,
    is_keeping: bool,
    inbox: Sender,
    /// Whether the loop knows that updates may be missing now.
    is_in_doubt: bool,
    /// The largest time of an update that was delivered, in Unix seconds.
    watermark: i64,
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
            health: Health::new("reading updates from", name),
            history_file,
            is_keeping: true,
            inbox,
            is_in_doubt: false,
            watermark,
        }
    }

    /// To be called by a source that can find out only later whether it misses updates now: before
    /// it connects, and when it has lost its connection. Until [`Sink::connected`], no reply to a
    /// client says that nothing is missing.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn doubt(&mut self) -> Result<(), Closed> {
        if self.is_in_doubt {
            return Ok(());
        }
        self.is_in_doubt = true;
        self.inbox.send(Event::Doubt {
            feed: self.feed,
            is_in_doubt: true,
        })
    }

    /// To be called by a source when it is ready to receive updates, and has reported those that it
    /// may have missed.
    pub fn connected(&mut self) {
        if std::mem::take(&mut self.is_in_doubt) {
            // A loop that is gone will be noticed with the next update.
            let _ = self.inbox.send(Event::Doubt {
                feed: self.feed,
                is_in_doubt: false,
            });
        }
        self.health.working();
    }

    /// To be called by a source that cannot read updates for now and tries again by itself. The log
    /// says so once per reason.
    pub fn down(&mut self, reason: &str) {
        self.health.failing(reason);
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
        self.inbox.send(Event::Updates {
            feed: self.feed,
            updates,
        })
    }

    /// Whether what was delivered last is kept, or was not to be kept at all.
    pub fn is_keeping(&self) -> bool {
        self.is_keeping
    }

    /// Passes on the answer to a client's post.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn answer(&self, post: u64, answer: Answer) -> Result<(), Closed> {
        self.inbox.send(Event::Answer { post, answer })
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
            info!(
                "updates from {} are known from now on: {reason}",
                self.health.name()
            );
        } else {
            warn!(
                "updates from {} may have been missed up to now: {reason}; clients that ask for them are told so",
                self.health.name()
            );
        }
        if let Some(file) = &mut self.history_file {
            let result = file.raise_floor(until);
            self.report_keeping(result)?;
        }
        self.inbox.send(Event::Gap {
            feed: self.feed,
            until,
        })
    }

    /// Live updates still go out while the history file fails; replies to clients say that there is
    /// a gap.
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
                self.inbox.send(Event::Gap {
                    feed: self.feed,
                    until: unix_now(),
                })?;
            }
        }
        Ok(())
    }
}
