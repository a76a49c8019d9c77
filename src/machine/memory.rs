//! How much memory there is, the limits of control groups included.

use std::fs;
use std::path::{Path, PathBuf};

use super::proc::{kilobytes, number, number_in};

/// Where the kernel says how much memory there is.
#[derive(Debug)]
pub(crate) struct Memory {
    meminfo: PathBuf,
    zoneinfo: PathBuf,
    tcp_mem: PathBuf,
    /// The control groups that this process is in, from its own to the topmost.
    groups: Vec<PathBuf>,
}

impl Memory {
    /// The memory of this machine, and of the control groups of this process (version 2; see
    /// cgroups(7)).
    pub(crate) fn of_this_process() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let paths = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = paths.lines().find_map(|line| line.strip_prefix("0::/"));
        let groups = own.map(|own| {
            root.join(own)
                .ancestors()
                .take_while(|group| group.starts_with(root))
                .map(Path::to_owned)
                .collect()
        });
        Self {
            meminfo: "/proc/meminfo".into(),
            zoneinfo: "/proc/zoneinfo".into(),
            tcp_mem: "/proc/sys/net/ipv4/tcp_mem".into(),
            groups: groups.unwrap_or_default(),
        }
    }

    /// A machine that has nothing but this file of memory.
    #[cfg(test)]
    pub(crate) fn in_file(meminfo: &Path) -> Self {
        Self {
            meminfo: meminfo.to_owned(),
            zoneinfo: PathBuf::new(),
            tcp_mem: PathBuf::new(),
            groups: Vec::new(),
        }
    }

    /// All memory, in bytes.
    pub(crate) fn total(&self) -> Option<u64> {
        let machine = fs::read_to_string(&self.meminfo)
            .ok()
            .map(|text| kilobytes(&text, "MemTotal:"));
        machine
            .into_iter()
            .chain(self.groups.iter().filter_map(|group| limit(group)))
            .min()
    }

    /// What is left, in bytes; `None` where the kernel does not tell.
    ///
    /// The kernel's own estimate, MemAvailable, counts sockets' inodes and directory entries as
    /// memory that it could reclaim, which it can't while the sockets are open: 1 KB per client. So
    /// this counts free pages and those of the page cache only, but not those that programs are
    /// mapped from, this one among them, less what the kernel keeps for itself in each zone, and
    /// less what it may need for the buffers of all TCP sockets (see tcp(7)): when thousands of
    /// clients leave at once, each of their last packets takes 2 KB until it is read.
    pub(crate) fn available(&self) -> Option<u64> {
        let kept: u64 = fs::read_to_string(&self.zoneinfo)
            .unwrap_or_default()
            .lines()
            .map(|line| number(line.trim_start(), "min "))
            .sum();
        let tcp_mem = fs::read_to_string(&self.tcp_mem).unwrap_or_default();
        let buffers: u64 = tcp_mem
            .split_whitespace()
            .nth(2)
            .and_then(|pages| pages.parse().ok())
            .unwrap_or_default();
        let of_machine = |text: String| {
            let pages: u64 = ["MemFree:", "Active(file):", "Inactive(file):"]
                .iter()
                .map(|name| kilobytes(&text, name))
                .sum();
            pages
                .saturating_sub(kilobytes(&text, "Mapped:"))
                .saturating_sub((kept + buffers) * rustix::param::page_size() as u64)
        };
        let machine = fs::read_to_string(&self.meminfo).ok().map(of_machine);
        machine
            .into_iter()
            .chain(self.groups.iter().filter_map(|group| available_in(group)))
            .min()
    }
}

/// A control group's limit, in bytes; `None` where it has none. Above memory.high the kernel slows
/// a group down until it has less.
fn limit(group: &Path) -> Option<u64> {
    ["memory.max", "memory.high"]
        .into_iter()
        .filter_map(|name| number_in(&group.join(name)))
        .min()
}

fn available_in(group: &Path) -> Option<u64> {
    let limit = limit(group)?;
    let used: u64 = number_in(&group.join("memory.current"))?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let page_cache = number(&stat, "active_file ") + number(&stat, "inactive_file ");
    Some(limit.saturating_sub(used.saturating_sub(page_cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_tightest_control_group_counts_without_its_page_cache() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "meminfo",
            "MemTotal:        1048576 kB\nMemFree:          10240 kB\nActive(file):     1024 kB\nInactive(file):   2048 kB\nMapped:  1024 kB\n",
        );
        let group = folder.path().join("service");
        fs::create_dir(&group).unwrap();
        write(
            "zoneinfo",
            "Node 0, zone DMA\n  pages free 9\n        min      128\n        low      9\nNode 0, zone DMA32\n        min      128\n",
        );
        write("tcp_mem", "64\t128\t256\n");
        let in_folder = |name: &str| folder.path().join(name);
        let memory = Memory {
            meminfo: in_folder("meminfo"),
            zoneinfo: in_folder("zoneinfo"),
            tcp_mem: in_folder("tcp_mem"),
            groups: vec![group, folder.path().to_owned()],
        };
        assert_eq!(
            (memory.total(), memory.available()),
            (Some(1024 * MIB), Some(10 * MIB))
        );
        write("memory.max", "67108864\n");
        write("memory.current", "62914560\n");
        write(
            "memory.stat",
            "anon 1\nactive_file 1048576\ninactive_file 1048576\n",
        );
        assert_eq!(
            (memory.total(), memory.available()),
            (Some(64 * MIB), Some(6 * MIB))
        );
        write("service/memory.max", "max\n");
        write("service/memory.high", "4194304\n");
        write("service/memory.current", "5242880\n");
        assert_eq!(
            (memory.total(), memory.available()),
            (Some(4 * MIB), Some(0))
        );
    }
}
