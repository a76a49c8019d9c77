//! The machine: memory, limits and settings as the kernel states them, under /proc and in control
//! groups, and the space on its disks. The only room that reads them. Changes nothing but this process's own limit of open
//! files. Knows nothing of who asks, and what is enough.

mod limits;
mod memory;
mod proc;
mod process;

use std::fs;
use std::io;
use std::path::Path;

pub(crate) use limits::{
    epoll_watches, local_ports, open_files, open_files_max, open_files_of, raise_open_files,
};
pub(crate) use memory::Memory;
pub(crate) use process::process;

/// A setting of the kernel by its name, such as `net.ipv4.tcp_congestion_control`, without the line
/// break at its end; empty where there is none.
pub(crate) fn sysctl(name: &str) -> String {
    let file = Path::new("/proc/sys").join(name.replace('.', "/"));
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim_end().to_owned()
}

/// A line of /proc/meminfo by its name, such as `MemAvailable:`, in bytes; 0 where there is none.
pub(crate) fn meminfo(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    proc::kilobytes(&text, name)
}

/// The processor's model, and how many cores there are; the model is `None` where the kernel does
/// not name it.
pub(crate) fn processor() -> (Option<String>, usize) {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split(": ").nth(1));
    let cores = text.lines().filter(|line| line.starts_with("processor"));
    (model.map(str::to_owned), cores.count())
}

/// How many processes waited for a core on average, over the last minute.
pub(crate) fn load_average() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_default()
}

/// How many bytes this process may still write to the file system that `path` lies on.
///
/// # Errors
/// When there is no `path`, or its file system does not say.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let known = rustix::fs::statvfs(path)?;
    Ok(known.f_bavail.saturating_mul(known.f_frsize))
}

/// Whether this process may write to a file, or into a folder.
pub(crate) fn may_write(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_by_the_names_of_its_settings() {
        assert!(!sysctl("kernel.osrelease").is_empty());
        assert_eq!(sysctl("no.such.setting"), "");
        assert!(meminfo("MemTotal:") > 1 << 20);
        assert_eq!(meminfo("NoSuchLine:"), 0);
        assert!(processor().1 > 0);
        assert!(load_average() >= 0.0);
    }

    #[test]
    fn a_file_system_says_how_much_is_left() {
        assert!(free_bytes(&std::env::temp_dir()).unwrap() > 0);
        free_bytes(Path::new("/no/such/folder")).unwrap_err();
    }
}
