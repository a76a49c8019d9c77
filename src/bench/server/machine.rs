//! The machine: what it is, and whether it has enough of everything before a run begins. Changes
//! nothing.

use std::net::Ipv4Addr;

use crate::machine;

/// Files of a process of the load that are no clients.
const FILES_OF_LOAD: u64 = 32;

/// Files of `bugzfeed serve` that are no clients, and some to spare.
const FILES_OF_SERVER: u64 = 128;

/// The kernel's memory for a connection with both ends here, in bytes: some 4 KB for each.
const KERNEL_BYTES: u64 = 9_000;

/// What a run will need.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub clients: u32,
    /// Processes that hold them.
    pub processes: u32,
    /// The addresses that they connect from; any where there are none.
    pub sources: Vec<Ipv4Addr>,
    /// How many servers the bench starts here that share the clients.
    pub servers: u32,
    /// The processes of a server that runs already, where they are known.
    pub pids: Vec<u32>,
}

/// How many clients one process of the load can hold.
pub(crate) fn clients_max() -> u32 {
    u32::try_from(machine::open_files().saturating_sub(FILES_OF_LOAD)).unwrap_or(u32::MAX)
}

/// How many clients a server that is started here can hold.
pub(crate) fn clients_max_of_server() -> u32 {
    u32::try_from(machine::open_files().saturating_sub(FILES_OF_SERVER)).unwrap_or(u32::MAX)
}

impl Need {
    /// Finds out what will run out.
    ///
    /// # Errors
    /// A sentence that says what, and what to do.
    pub(crate) fn check(&self) -> Result<(), String> {
        let clients = self.clients;
        let each = clients.div_ceil(self.processes.max(1));
        if each > clients_max() {
            return Err(format!(
                "{clients} clients in {} processes need {each} open files each, and the limit leaves {}; raise it (ulimit -n) or add --processes",
                self.processes,
                clients_max()
            ));
        }
        if self.servers > 0 && clients.div_ceil(self.servers) > clients_max_of_server() {
            return Err(format!(
                "{clients} clients need as many open files of the server, and the limit leaves {}; raise it (ulimit -n), share them among --servers, or start the server yourself and name its URL",
                clients_max_of_server()
            ));
        }
        let of_server: Option<u64> = self
            .pids
            .iter()
            .map(|&pid| machine::open_files_of(pid))
            .sum();
        if let Some(files) =
            of_server.filter(|&files| !self.pids.is_empty() && u64::from(clients) > files)
        {
            return Err(format!(
                "{clients} clients need as many open files of the server, and its limit is {files}; raise it (ulimit -n)"
            ));
        }
        let ports = machine::local_ports() * self.sources.len().max(1) as u64;
        if u64::from(clients) > ports {
            return Err(format!(
                "{clients} clients need as many ports, and net.ipv4.ip_local_port_range has {ports} for {} addresses; add addresses by --source-ip",
                self.sources.len().max(1)
            ));
        }
        let memory = machine::meminfo("MemAvailable:");
        let needed = u64::from(clients) * KERNEL_BYTES;
        if memory > 0 && needed > memory {
            return Err(format!(
                "{clients} clients need some {} MB of kernel memory, and {} MB are available",
                needed / 1_000_000,
                memory / 1_000_000
            ));
        }
        Ok(())
    }
}

/// The machine in one line.
pub(crate) fn describe() -> String {
    let (model, cores) = machine::processor();
    format!(
        "{cores} × {}, {:.1} GB, Linux {}, TCP {}; {} of bugzfeed {}",
        model.as_deref().unwrap_or("unknown processor"),
        machine::meminfo("MemTotal:") as f64 / 1e9,
        machine::sysctl("kernel.osrelease"),
        machine::sysctl("net.ipv4.tcp_congestion_control"),
        if cfg!(debug_assertions) {
            "a debug build"
        } else {
            "a release build"
        },
        crate::protocol::VERSION
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_out_is_named_with_what_to_do() {
        let need = Need {
            clients: 100,
            processes: 1,
            sources: Vec::new(),
            servers: 1,
            pids: Vec::new(),
        };
        assert_eq!(need.check(), Ok(()));
        let ours = Need {
            clients: clients_max(),
            servers: 0,
            pids: vec![std::process::id()],
            sources: vec![Ipv4Addr::LOCALHOST; 16],
            ..need
        };
        assert_eq!(ours.check(), Ok(()));
        assert!(machine::open_files_of(std::process::id()) >= Some(u64::from(clients_max())));
        let why = |clients, processes, sources: usize, servers| {
            let sources = vec![Ipv4Addr::LOCALHOST; sources];
            Need {
                clients,
                processes,
                sources,
                servers,
                pids: Vec::new(),
            }
            .check()
            .unwrap_err()
        };
        assert!(why(u32::MAX, 1, 1, 0).contains("--processes"));
        assert!(why(clients_max(), 1, 16, 1).contains("of the server"));
        assert!(why(1_000_000, 100_000, 1, 0).contains("--source-ip"));
    }
}
