//! Work that is begun again after each failure. Knows nothing of the work.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{Backoff, Error, Health, Stop};

/// How long work must have gone well before the pauses are short again. Work that fails as soon as
/// it goes well would otherwise be begun ten times a second.
const PROVEN: Duration = Duration::from_secs(10);

/// Work for a thread of its own.
pub(crate) trait Supervised {
    /// Works until `stop` is requested.
    ///
    /// # Errors
    /// Anything that keeps the work from going on.
    fn run(&mut self, stop: &Stop) -> Result<(), Error>;

    /// The state of the work, which [`Supervised::run`] sets to working, and [`supervise`] to
    /// failing.
    fn health(&mut self) -> &mut Health;

    /// Whether the work is over after this failure, and not to be begun again.
    fn is_final(&mut self, error: &Error) -> bool;

    /// The longest pause after failures. What others use, too, is left alone for half a minute.
    fn pause_max(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Does the work until `stop` is requested or a failure is final, and begins it again after each
/// other failure: within 0.2 s at first, and within [`Supervised::pause_max`] at most.
pub(crate) fn supervise(work: &mut dyn Supervised, stop: &Stop) {
    let mut backoff = Backoff::new(Duration::from_millis(200), work.pause_max());
    while let Err(error) = run_once(work, stop) {
        if stop.is_requested() || work.is_final(&error) {
            break;
        }
        if work.health().has_worked_for(PROVEN) {
            backoff.reset();
        }
        work.health().failing(&error.to_string());
        if stop.wait(backoff.next_pause(fastrand::f64())) {
            break;
        }
    }
}

fn run_once(work: &mut dyn Supervised, stop: &Stop) -> Result<(), Error> {
    catch_panic(|| work.run(stop)).unwrap_or_else(|panicked| Err(panicked.into()))
}

/// A piece of work has panicked, with this message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked(pub(crate) String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it panicked, which is a bug")
    }
}

impl std::error::Error for Panicked {}

/// Turns a panic into a failure like any other: a thread must not end in silence.
///
/// # Errors
/// When `work` panics.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .map(|message| (*message).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Panicked(message.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Step = fn(&mut Health, &Stop) -> Result<(), Error>;

    /// Does at each run what the next of its steps says.
    struct Script {
        steps: std::vec::IntoIter<Step>,
        health: Health,
    }

    impl Supervised for Script {
        fn run(&mut self, stop: &Stop) -> Result<(), Error> {
            (self.steps.next().unwrap())(&mut self.health, stop)
        }

        fn health(&mut self) -> &mut Health {
            &mut self.health
        }

        fn is_final(&mut self, error: &Error) -> bool {
            error.to_string() == "final"
        }
    }

    #[track_caller]
    fn check(steps: Vec<Step>) {
        let mut script = Script {
            steps: steps.into_iter(),
            health: Health::new("doing", "a script".to_owned()),
        };
        supervise(&mut script, &Stop::default());
        assert_eq!(script.steps.len(), 0);
    }

    #[test]
    fn work_that_fails_or_panics_is_begun_again_until_it_is_stopped_or_over() {
        check(vec![
            |_, _| Err("refused".into()),
            |_, _| panic!("this panic is expected"),
            |health, _| {
                health.working();
                Err("lost".into())
            },
            |_, stop| {
                stop.request();
                Err("cut by the stop".into())
            },
        ]);
        check(vec![|_, _| Err("final".into())]);
        check(vec![|_, _| Ok(())]);
    }
}
