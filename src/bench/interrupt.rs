//! Ctrl-C: a run ends at the next step, so that the servers and folders it has made are removed. A
//! second one ends it at once. Knows no run.

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// How often a pause looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Takes note of signals from now on.
pub(crate) fn watch() -> io::Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal only sets the flag, and one that finds it set ends the
        // process.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(flag))?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// To be called between two steps.
pub(crate) fn check() -> io::Result<()> {
    let has_come = INTERRUPTED
        .get()
        .is_some_and(|flag| flag.load(Ordering::Relaxed));
    if has_come {
        Err(io::Error::other("it was interrupted"))
    } else {
        Ok(())
    }
}

/// Waits, unless a signal comes.
pub(crate) fn pause(duration: Duration) -> io::Result<()> {
    let end = Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(LOOK));
    }
}
