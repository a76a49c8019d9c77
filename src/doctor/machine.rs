//! The machine: open files, the kernel's limits, and memory, for so many clients.

use super::{Findings, Setup};
use crate::machine::{self, Memory};
use crate::memory;

/// What a client costs this process and the kernel, in bytes: docs/benchmarks.md measures it.
const CLIENT_BYTES: u64 = 4_700;

/// What a client of `wss://` costs beside, in bytes.
const TLS_BYTES: u64 = 300;

/// How many connections a server asks the kernel to hold until they are accepted.
const BACKLOG: u64 = 4_096;

/// How many ports one address has at most, if all above those that need a privilege are for
/// connections.
const PORTS_MAX: u64 = 64_512;

/// What the kernel states.
struct Kernel {
    /// The hard limit of open files, and the most that it can be raised to.
    open_files: u64,
    nr_open: u64,
    somaxconn: u64,
    epoll_watches: Option<u64>,
    local_ports: u64,
    /// How many connections are tracked at most, where they are tracked.
    tracked_max: Option<u64>,
    memory_total: Option<u64>,
    memory_reserve: u64,
}

pub(super) fn examine(setup: &Setup, findings: &mut Findings) {
    let memory = Memory::of_this_process();
    let number = |name: &str| machine::sysctl(name).parse::<u64>().ok();
    let kernel = Kernel {
        open_files: machine::open_files_max(),
        nr_open: number("fs.nr_open").unwrap_or(u64::MAX),
        somaxconn: number("net.core.somaxconn").unwrap_or(u64::MAX),
        epoll_watches: machine::epoll_watches(),
        local_ports: machine::local_ports(),
        tracked_max: number("net.netfilter.nf_conntrack_max"),
        memory_total: memory.total(),
        memory_reserve: setup
            .memory_reserve
            .unwrap_or_else(|| memory::default_reserve(&memory)),
    };
    judge(&kernel, setup, findings);
}

fn judge(kernel: &Kernel, setup: &Setup, findings: &mut Findings) {
    open_files(kernel, setup, findings);
    if kernel.somaxconn < BACKLOG {
        findings.mend(
            "somaxconn",
            format!(
                "the kernel holds {} newcomers, and drops the others when many come at once",
                kernel.somaxconn
            ),
            persistent(&format!("net.core.somaxconn={BACKLOG}")),
        );
    } else {
        findings.ok("somaxconn", format!("{BACKLOG} newcomers can wait"));
    }
    let needed = setup.clients.map(|clients| clients + setup.files_reserved);
    match (kernel.epoll_watches, needed) {
        (Some(watches), Some(needed)) if watches < needed => findings.mend(
            "epoll watches",
            format!("{needed} are needed, and one user may have {watches}"),
            persistent(&format!("fs.epoll.max_user_watches={needed}")),
        ),
        (Some(watches), _) => findings.ok("epoll watches", format!("one user may have {watches}")),
        (None, _) => findings.ok("epoll watches", "the kernel sets no limit"),
    }
    ports(kernel, setup, findings);
    match (kernel.tracked_max, setup.clients) {
        (Some(tracked), Some(clients)) if tracked < 2 * clients => findings.mend(
            "connection tracking",
            format!("the firewall tracks {tracked} connections, and drops newcomers beyond"),
            persistent(&format!("net.netfilter.nf_conntrack_max={}", 2 * clients)),
        ),
        _ => {}
    }
    memory(kernel, setup, findings);
}

fn open_files(kernel: &Kernel, setup: &Setup, findings: &mut Findings) {
    let possible = kernel.open_files.saturating_sub(setup.files_reserved);
    match setup.clients {
        Some(clients) if possible < clients => {
            let needed = clients + setup.files_reserved;
            let mut mend = format!(
                "LimitNOFILE={needed}    # systemctl edit bugzfeed, in [Service]; in a shell: ulimit -n {needed}"
            );
            if needed > kernel.nr_open {
                mend = format!("{}; {mend}", persistent(&format!("fs.nr_open={needed}")));
            }
            findings.mend(
                "open files",
                format!(
                    "{clients} clients need {needed}, and the limit is {}",
                    kernel.open_files
                ),
                mend,
            );
        }
        _ => findings.ok(
            "open files",
            format!("enough for {possible} clients, as started from here"),
        ),
    }
}

/// A proxy on this machine has one port for each client.
fn ports(kernel: &Kernel, setup: &Setup, findings: &mut Findings) {
    let ports = kernel.local_ports;
    let what = format!("a proxy on this machine brings {ports} clients to one address");
    match setup.clients {
        Some(clients) if clients > PORTS_MAX && ports < clients => findings.note(
            "ports",
            what,
            Some("listen = [\"127.0.0.1:8844\", \"unix:/run/bugzfeed/feed.sock?group=www-data\"]    # a Unix socket needs no ports".to_owned()),
        ),
        Some(clients) if ports < clients => findings.mend(
            "ports",
            what,
            persistent("net.ipv4.ip_local_port_range=\"1024 65535\""),
        ),
        _ => findings.ok("ports", what),
    }
}

fn memory(kernel: &Kernel, setup: &Setup, findings: &mut Findings) {
    let Some(total) = kernel.memory_total else {
        findings.note("memory", "the kernel does not say how much there is", None);
        return;
    };
    let each = CLIENT_BYTES + if setup.is_tls { TLS_BYTES } else { 0 };
    let possible = total.saturating_sub(kernel.memory_reserve) / each;
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    match setup.clients {
        Some(clients) if possible < clients => {
            let needed = clients * each + kernel.memory_reserve;
            findings.mend(
                "memory",
                format!(
                    "{clients} clients need {} MiB, and there are {}",
                    mebibytes(needed),
                    mebibytes(total)
                ),
                format!(
                    "MemoryMax={}M    # or a larger machine; or connections = {possible}, and the others are told 503",
                    mebibytes(needed)
                ),
            );
        }
        _ => findings.ok(
            "memory",
            format!("{} MiB, good for some {possible} clients", mebibytes(total)),
        ),
    }
}

/// The command that sets a setting of the kernel's, now and after each start.
fn persistent(setting: &str) -> String {
    let plain = setting.replace('"', "");
    format!("echo '{plain}' | sudo tee -a /etc/sysctl.d/90-bugzfeed.conf && sudo sysctl --system")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    const ENOUGH: Kernel = Kernel {
        open_files: 1 << 20,
        nr_open: 1 << 20,
        somaxconn: 4_096,
        epoll_watches: Some(1 << 20),
        local_ports: 64_000,
        tracked_max: None,
        memory_total: Some(1 << 30),
        memory_reserve: 32 << 20,
    };

    /// What must be mended for so many clients.
    fn broken(kernel: &Kernel, clients: u64) -> Vec<(&'static str, String)> {
        let setup = Setup {
            clients: Some(clients),
            files_reserved: 128,
            ..Setup::default()
        };
        let mut findings = Findings::default();
        judge(kernel, &setup, &mut findings);
        let findings = findings.0.into_iter();
        findings
            .filter(|finding| finding.state == State::Mend)
            .map(|finding| (finding.check, finding.mend.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn a_machine_that_suffices_is_well() {
        assert_eq!(broken(&ENOUGH, 50_000), []);
    }

    #[test]
    fn each_limit_is_named_with_the_line_that_raises_it() {
        let too_small = [
            (
                Kernel {
                    open_files: 1_024,
                    ..ENOUGH
                },
                "open files",
                "LimitNOFILE=50128 ",
            ),
            (
                Kernel {
                    open_files: 1_024,
                    nr_open: 4_096,
                    ..ENOUGH
                },
                "open files",
                "'fs.nr_open=50128'",
            ),
            (
                Kernel {
                    somaxconn: 128,
                    ..ENOUGH
                },
                "somaxconn",
                "'net.core.somaxconn=4096'",
            ),
            (
                Kernel {
                    epoll_watches: Some(40_000),
                    ..ENOUGH
                },
                "epoll watches",
                "'fs.epoll.max_user_watches=50128'",
            ),
            (
                Kernel {
                    local_ports: 28_232,
                    ..ENOUGH
                },
                "ports",
                "'net.ipv4.ip_local_port_range=1024 65535'",
            ),
            (
                Kernel {
                    tracked_max: Some(65_536),
                    ..ENOUGH
                },
                "connection tracking",
                "'net.netfilter.nf_conntrack_max=100000'",
            ),
            (
                Kernel {
                    memory_total: Some(128 << 20),
                    ..ENOUGH
                },
                "memory",
                "MemoryMax=257M ",
            ),
        ];
        for (kernel, check, line) in too_small {
            let found = broken(&kernel, 50_000);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].0, check);
            assert!(found[0].1.contains(line), "{}", found[0].1);
        }
    }
}
