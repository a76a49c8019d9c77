//! Threads that are stopped together. Knows nothing of what they do.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::error;

use super::Stop;

/// Running threads, each with its own request to stop.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    running: Vec<(Stop, JoinHandle<()>)>,
}

impl Threads {
    /// Starts a thread called `name` that ends when `stop` is requested.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(
        &mut self,
        name: &str,
        stop: Stop,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        self.running.push((stop, thread));
        Ok(())
    }

    /// Asks all of them to end, and waits for none.
    pub(crate) fn request_stop(&self) {
        for (stop, _) in &self.running {
            stop.request();
        }
    }

    /// Waits for all of them to end, for `patience` at most; returns whether they did. A thread
    /// that hangs is left behind.
    pub(crate) fn join_within(self, patience: Duration) -> bool {
        let (all_ended, waiting) = mpsc::channel::<()>();
        for (_, thread) in self.running {
            let ended = all_ended.clone();
            // Waits in a thread of its own, since a join has no deadline.
            thread::spawn(move || {
                let name = thread.thread().name().unwrap_or_default().to_owned();
                if thread.join().is_err() {
                    error!("the thread {name} has panicked");
                }
                drop(ended);
            });
        }
        drop(all_ended);
        waiting.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_end_together_and_one_that_hangs_is_left_behind() {
        let mut threads = Threads::default();
        for _ in 0..2 {
            let stop = Stop::default();
            let seen = stop.clone();
            threads
                .start("waiting", stop, move || {
                    seen.wait(Duration::from_secs(60));
                })
                .unwrap();
        }
        threads.request_stop();
        assert!(threads.join_within(Duration::from_secs(30)));

        let mut threads = Threads::default();
        let (hold, held) = mpsc::channel::<()>();
        threads
            .start("hanging", Stop::default(), move || {
                let _ = held.recv();
            })
            .unwrap();
        threads.request_stop();
        assert!(!threads.join_within(Duration::from_millis(10)));
        drop(hold);
    }
}
