//! How many files, watches and ports there may be.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::proc;

/// What stands for no limit: more than any kernel gives a process.
const UNLIMITED: u64 = 1 << 30;

/// How many files this process may have open.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED)
}

/// How many files this process may have open once it has raised its limit as far as it goes.
pub(crate) fn open_files_max() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED)
}

/// Raises the limit of this process's open files as far as it goes, and returns it.
pub(crate) fn raise_open_files() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Where it may not be raised, it stays as it is.
    let _ = setrlimit(Resource::Nofile, raised);
    open_files()
}

/// How many files another process may have open, if that can be known.
pub(crate) fn open_files_of(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    limits.lines().find_map(|line| {
        line.strip_prefix("Max open files")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

/// How many sockets the polls of one user may watch; see epoll(7). `None` where the kernel sets no
/// limit.
pub(crate) fn epoll_watches() -> Option<u64> {
    proc::number_in(Path::new("/proc/sys/fs/epoll/max_user_watches"))
}

/// How many ports the kernel has for those who ask for any.
pub(crate) fn local_ports() -> u64 {
    let range = super::sysctl("net.ipv4.ip_local_port_range");
    let mut ends = range
        .split_whitespace()
        .filter_map(|end| end.parse::<u64>().ok());
    ends.next()
        .zip(ends.next())
        .map_or(28_232, |(first, last)| last - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_the_same_seen_from_inside_and_from_outside() {
        assert_eq!(open_files_of(std::process::id()), Some(open_files()));
        assert_eq!(open_files_of(u32::MAX), None);
        assert!(local_ports() > 0);
    }
}
