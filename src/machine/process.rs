//! What the kernel says of this process: proc(5).

use std::fs;

use super::limits::open_files;
use super::proc::number;
use crate::metrics::Process;

/// What the kernel says of this process now. None of it is searched for file by file, so that it is
/// as fast with a million open files.
pub(crate) fn process() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, which may hold spaces, ends with the last parenthesis; what follows are the third and
    // all further fields.
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map_or_else(Vec::new, |(_, rest)| rest.split(' ').collect());
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let seconds = |ticks_count: u64| ticks_count as f64 / ticks;
    let pages = field(24).map(|pages| pages * rustix::param::page_size() as u64);
    let booted = fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = Some(number(&booted, "btime ")).filter(|&time| time > 0);
    Process {
        cpu_seconds: field(14)
            .zip(field(15))
            .map(|(user, system)| seconds(user + system)),
        resident_bytes: pages,
        virtual_bytes: field(23),
        // Since Linux 6.2, the size of this folder is the number of files in it; before, it is 0.
        open_files: fs::metadata("/proc/self/fd")
            .ok()
            .map(|folder| folder.len())
            .filter(|&files| files > 0),
        open_files_max: Some(open_files()),
        started_at: booted
            .zip(field(22))
            .map(|(booted, ticks)| booted as f64 + seconds(ticks)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_this_process() {
        let process = process();
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds < 1e6));
        assert!(process.resident_bytes < process.virtual_bytes);
        assert!(process.resident_bytes > Some(1 << 20));
        assert!(process.open_files_max > Some(10));
        assert!(process.started_at > Some(1.7e9));
    }
}
