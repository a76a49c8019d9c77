//! How a thread is stopped, at once, whatever it waits for. Knows nothing of the thread's work.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A request to stop that any thread can make and any number can wait for.
#[derive(Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    requested: Condvar,
}

#[derive(Default)]
struct State {
    is_requested: bool,
    /// Ends a wait that no condition variable ends, such as a read from a socket.
    interrupt: Option<Box<dyn FnOnce() + Send>>,
}

impl Stop {
    /// Requests the stop: ends every `Stop::wait` and runs the interrupt.
    pub fn request(&self) {
        let interrupt = {
            let mut state = self.lock();
            state.is_requested = true;
            state.interrupt.take()
        };
        self.0.requested.notify_all();
        if let Some(interrupt) = interrupt {
            interrupt();
        }
    }

    /// Whether the stop has been requested.
    pub(crate) fn is_requested(&self) -> bool {
        self.lock().is_requested
    }

    /// Sets what [`Stop::request`] runs, in place of what was set before; runs it at once where the
    /// request was made already.
    pub(crate) fn on_request(&self, interrupt: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.is_requested {
            drop(state);
            interrupt();
        } else {
            state.interrupt = Some(Box::new(interrupt));
        }
    }

    /// Waits for `duration` or until the stop is requested; returns whether it was.
    pub(crate) fn wait(&self, duration: Duration) -> bool {
        let deadline = Instant::now() + duration;
        let mut state = self.lock();
        while !state.is_requested {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .0
                .requested
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.is_requested
    }

    /// A thread that panicked while it held the lock has left a valid state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop")
            .field("is_requested", &self.is_requested())
            .finish_non_exhaustive()
    }
}
