//! Which core a process runs on: the server on one, the load on the others, so that they do not
//! take each other's time and the scheduler's moves do not show up as costs. Knows nothing of what
//! runs there.

use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Whose core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The server's: the first one.
    Server,
    /// The load's: any other.
    Load,
}

/// How many cores there are.
pub(crate) fn all() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How many cores the load has: that of the server, where there is no other.
pub(crate) fn of_load() -> usize {
    (all() - 1).max(1)
}

/// Does something, such as starting a process, on the cores of a role; what is started stays there.
/// Changes nothing on a machine with one core.
pub(crate) fn on<T>(role: Role, act: impl FnOnce() -> T) -> T {
    let Ok(all) = sched_getaffinity(None) else {
        return act();
    };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&core| all.is_set(core))
        .collect();
    let [first, others @ ..] = &cores[..] else {
        return act();
    };
    if others.is_empty() || self::all() < 2 {
        return act();
    }
    let mut chosen = CpuSet::new();
    match role {
        Role::Server => chosen.set(*first),
        Role::Load => others.iter().for_each(|&core| chosen.set(core)),
    }
    let is_pinned = sched_setaffinity(None, &chosen).is_ok();
    let result = act();
    if is_pinned {
        // What was allowed before is allowed still.
        let _ = sched_setaffinity(None, &all);
    }
    result
}
