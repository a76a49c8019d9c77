//! A connection whose answers are waited for with a limit. The library has none of its own, and a
//! backend that hangs (its disk is gone, its process was stopped) acknowledges every byte. Owns a
//! thread that uses the connection; one that hangs is left behind, and ends when its answer comes.
//! Knows nothing of what is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use super::ANSWER_TIMEOUT;
use crate::work::Error;

/// How long an answer may take: longer than the server's own limit for a statement, so that this
/// one tells its reason first.
const PATIENCE: Duration = ANSWER_TIMEOUT.saturating_add(Duration::from_secs(2));

/// How many threads may hang at once. With more than these the database is not tried again until
/// one of them has ended.
const HANGING_MAX: usize = 16;

static HANGING: AtomicUsize = AtomicUsize::new(0);

/// What is known of a thread, for both sides.
#[derive(Clone, Default)]
struct Fate(Arc<AtomicU8>);

const WORKING: u8 = 0;
const LEFT_BEHIND: u8 = 1;
const ENDED: u8 = 2;

impl Fate {
    fn leave_behind(&self) {
        HANGING.fetch_add(1, Ordering::Relaxed);
        let before =
            self.0
                .compare_exchange(WORKING, LEFT_BEHIND, Ordering::Relaxed, Ordering::Relaxed);
        if before.is_err() {
            HANGING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The thread's own hold on its fate.
struct Life(Fate);

impl Drop for Life {
    fn drop(&mut self) {
        if self.0.0.swap(ENDED, Ordering::Relaxed) == LEFT_BEHIND {
            HANGING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

type Job<C> = Box<dyn FnOnce(&mut C) + Send>;

/// A connection of the kind `C`, used by a thread of its own.
pub(crate) struct Watched<C> {
    jobs: SyncSender<Job<C>>,
    fate: Fate,
}

impl<C: 'static> Watched<C> {
    /// Opens a connection.
    ///
    /// # Errors
    /// When that fails or takes too long.
    pub(super) fn open(
        open: impl FnOnce() -> Result<C, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        if HANGING.load(Ordering::Relaxed) >= HANGING_MAX {
            return Err("the database has not answered so far".into());
        }
        let (jobs, queue) = mpsc::sync_channel::<Job<C>>(1);
        let (opened, is_open) = mpsc::sync_channel(1);
        let fate = Fate::default();
        let life = Life(fate.clone());
        thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || {
                let _life = life;
                let mut connection = match open() {
                    Ok(connection) => connection,
                    Err(error) => return drop(opened.send(Err(error))),
                };
                // Nobody waits any more when that fails, and no job will come.
                let _ = opened.send(Ok(()));
                for job in queue {
                    job(&mut connection);
                }
            })?;
        // Its own limit, and the session's first statements.
        receive(&is_open, PATIENCE + ANSWER_TIMEOUT, &fate)??;
        Ok(Self { jobs, fate })
    }

    /// Uses the connection.
    ///
    /// # Errors
    /// When the use fails, or there is no answer in time. The connection is of no use any more
    /// then.
    pub(super) fn ask<T: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&mut C) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.ask_within(PATIENCE, ask)
    }

    /// The same, where the answer may take this long.
    ///
    /// # Errors
    /// As [`Watched::ask`].
    pub(super) fn ask_within<T: Send + 'static>(
        &mut self,
        patience: Duration,
        ask: impl FnOnce(&mut C) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = mpsc::sync_channel(1);
        let job: Job<C> = Box::new(move |connection| {
            // Nobody waits any more when that fails.
            let _ = answer.send(ask(connection));
        });
        self.jobs
            .try_send(job)
            .map_err(|_| "the database has not answered the question before")?;
        receive(&answered, patience, &self.fate)?
    }
}

/// Waits for what a thread sends; one that does not is counted until it has ended.
fn receive<T: Send + 'static>(
    answered: &mpsc::Receiver<T>,
    patience: Duration,
    fate: &Fate,
) -> Result<T, Error> {
    answered
        .recv_timeout(patience)
        .map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                fate.leave_behind();
                format!(
                    "the database has not answered within {} s",
                    patience.as_secs()
                )
                .into()
            }
            RecvTimeoutError::Disconnected => "the connection's thread has panicked".into(),
        })
}
