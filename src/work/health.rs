//! Whether work that can fail goes well, as far as the log shows it: a change of state is logged
//! once, and a failure once per reason. Knows nothing of the work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{debug, info, warn};

/// The state of work with a name.
#[derive(Debug)]
pub(crate) struct Health {
    /// Names the work in the log, without any password.
    name: String,
    /// What the work does when it goes well, in front of its name.
    doing: &'static str,
    state: Arc<Mutex<State>>,
}

/// The same state, for another thread to look at.
#[derive(Clone, Debug)]
pub(crate) struct HealthView(Arc<Mutex<State>>);

#[derive(Debug, PartialEq, Eq)]
enum State {
    Starting,
    Working { since: Instant },
    Failing { reason: String },
}

impl Health {
    /// The state of work that starts now. The log reads "`doing` `name`" when it goes well.
    pub(crate) fn new(doing: &'static str, name: String) -> Self {
        Self {
            name,
            doing,
            state: Arc::new(Mutex::new(State::Starting)),
        }
    }

    /// The state, as another thread may look at it.
    pub(crate) fn view(&self) -> HealthView {
        HealthView(Arc::clone(&self.state))
    }

    /// The name of the work.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The work goes well.
    pub(crate) fn working(&mut self) {
        let mut state = lock(&self.state);
        if !matches!(*state, State::Working { .. }) {
            info!("{} {}", self.doing, self.name);
            *state = State::Working {
                since: Instant::now(),
            };
        }
    }

    /// The work does not go on, and is tried again.
    pub(crate) fn failing(&mut self, reason: &str) {
        let mut state = lock(&self.state);
        if matches!(&*state, State::Failing { reason: known } if known == reason) {
            debug!("{}: still: {reason}", self.name);
        } else {
            warn!("{}: {reason}; trying again until it works", self.name);
            *state = State::Failing {
                reason: reason.to_owned(),
            };
        }
    }

    /// Whether the work has been going well for this long.
    pub(crate) fn has_worked_for(&self, duration: Duration) -> bool {
        matches!(*lock(&self.state), State::Working { since } if since.elapsed() >= duration)
    }
}

impl HealthView {
    /// Why the work does not go well, if it does not.
    pub(crate) fn complaint(&self) -> Option<String> {
        match &*lock(&self.0) {
            State::Starting => Some("it has not been reached yet".to_owned()),
            State::Working { .. } => None,
            State::Failing { reason } => Some(reason.clone()),
        }
    }
}

/// A thread that panicked while it held the lock has left a valid state.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
