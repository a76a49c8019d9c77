//! Whether work that can fail goes well, as far as the log shows it: a change of state is logged
//! once, and a failure once per reason. Knows nothing of the work.

use std::time::{Duration, Instant};

use log::{debug, info, warn};

/// The state of work with a name.
#[derive(Debug)]
pub(crate) struct Health {
    /// Names the work in the log, without any password.
    name: String,
    /// What the work does when it goes well, in front of its name.
    doing: &'static str,
    state: State,
}

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
            state: State::Starting,
        }
    }

    /// The name of the work.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The work goes well.
    pub(crate) fn working(&mut self) {
        if !matches!(self.state, State::Working { .. }) {
            info!("{} {}", self.doing, self.name);
            self.state = State::Working {
                since: Instant::now(),
            };
        }
    }

    /// The work does not go on, and is tried again.
    pub(crate) fn failing(&mut self, reason: &str) {
        if matches!(&self.state, State::Failing { reason: known } if known == reason) {
            debug!("{}: still: {reason}", self.name);
        } else {
            warn!("{}: {reason}; trying again until it works", self.name);
            self.state = State::Failing {
                reason: reason.to_owned(),
            };
        }
    }

    /// Whether the work has been going well for this long.
    pub(crate) fn has_worked_for(&self, duration: Duration) -> bool {
        matches!(self.state, State::Working { since } if since.elapsed() >= duration)
    }
}
