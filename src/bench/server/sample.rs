//! What a process costs, by what the kernel says under /proc: memory, CPU time, files, context
//! switches, and the kernel's own memory. Knows nothing of what the process does.

use std::fs;
use std::io;

/// What processes have used up to a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Memory in RAM, in bytes.
    pub rss: u64,
    /// The same, with what is shared divided among those who share it.
    pub pss: u64,
    /// CPU time of all threads, in nanoseconds.
    pub cpu: u64,
    /// CPU time of the first thread, which is the loop of `bugzfeed serve`, in nanoseconds.
    pub cpu_first: u64,
    pub files: u64,
    pub threads: u64,
    /// Context switches of the first thread, whether it asked for them or not.
    pub switches: u64,
    /// The kernel's slab memory that hangs on sockets, of the whole machine, in bytes.
    pub slab: u64,
    /// The kernel's socket buffers, of the whole machine, in bytes.
    pub buffers: u64,
}

impl Sample {
    /// Looks at processes; what they use is added up.
    pub(crate) fn take(pids: &[u32]) -> io::Result<Self> {
        let mut sum = Self {
            slab: slab(),
            buffers: buffers(),
            ..Self::default()
        };
        for &pid in pids {
            let one = Self::of(pid)?;
            sum.rss += one.rss;
            sum.pss += one.pss;
            sum.cpu += one.cpu;
            sum.cpu_first += one.cpu_first;
            sum.files += one.files;
            sum.threads += one.threads;
            sum.switches += one.switches;
        }
        Ok(sum)
    }

    fn of(pid: u32) -> io::Result<Self> {
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let (cpu, cpu_first) = cpu(pid)?;
        Ok(Self {
            rss: field(&memory, "Rss:") * 1_024,
            pss: field(&memory, "Pss:") * 1_024,
            cpu,
            cpu_first,
            files: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count() as u64),
            threads: field(&status, "Threads:"),
            switches: field(&status, "voluntary_ctxt_switches:")
                + field(&status, "nonvoluntary_ctxt_switches:"),
            ..Self::default()
        })
    }
}

/// CPU time in nanoseconds of all threads of a process, and of its first one.
pub(crate) fn cpu(pid: u32) -> io::Result<(u64, u64)> {
    let mut all = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while they are counted.
        all += fs::read_to_string(task?.path().join("schedstat"))
            .map_or(0, |text| first_number(&text));
    }
    Ok((
        all,
        first_number(&fs::read_to_string(format!("/proc/{pid}/schedstat"))?),
    ))
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// The number that stands behind a name at the start of a line.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map_or(0, first_number)
}

/// Caches that a socket, its file and its place in a poll come from. /proc/slabinfo is root's;
/// without it, all slab memory counts.
fn slab() -> u64 {
    const CACHES: [&str; 12] = [
        "TCP",
        "TCPv6",
        "sock_inode_cache",
        "filp",
        "dentry",
        "eventpoll_epi",
        "eventpoll_pwq",
        "ep_head",
        "request_sock_TCP",
        "tcp_bind_bucket",
        "tcp_bind2_bucket",
        "lsm_inode_cache",
    ];
    let Ok(text) = fs::read_to_string("/proc/slabinfo") else {
        return field(
            &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
            "Slab:",
        ) * 1_024;
    };
    let bytes = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        let objects: u64 = fields.nth(1)?.parse().ok()?;
        let size: u64 = fields.next()?.parse().ok()?;
        CACHES.contains(&name).then_some(objects * size)
    };
    text.lines().filter_map(bytes).sum()
}

/// Pages of socket buffers: the field `mem` of the line TCP of /proc/net/sockstat.
fn buffers() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .unwrap_or_default();
    line.split_once(" mem ")
        .map_or(0, |(_, pages)| first_number(pages))
        * 4_096
}
