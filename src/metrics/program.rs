//! The metrics that all programs have in common.

use super::Kind::{Counter, Gauge};
use super::{Page, Process};

impl Page {
    /// Adds which program this is, and what the kernel says of its process, by the names that all
    /// programs have in common.
    pub(crate) fn add_program(&mut self, version: &str, process: &Process) {
        self.add(
            "bugzfeed_build_info",
            Gauge,
            "The version of the program.",
            [(&[("version", version)][..], 1)],
        );
        let mut add = |name, kind, help, value: Option<f64>| {
            self.add(name, kind, help, value.map(|value| (&[][..], value)));
        };
        let whole = |number: Option<u64>| number.map(|number| number as f64);
        let help = "Processor time of the process.";
        add(
            "process_cpu_seconds_total",
            Counter,
            help,
            process.cpu_seconds,
        );
        let help = "Memory of the process that is in use.";
        add(
            "process_resident_memory_bytes",
            Gauge,
            help,
            whole(process.resident_bytes),
        );
        let help = "Address space of the process.";
        add(
            "process_virtual_memory_bytes",
            Gauge,
            help,
            whole(process.virtual_bytes),
        );
        let help = "Files that the process has open.";
        add("process_open_fds", Gauge, help, whole(process.open_files));
        let help = "Files that the process may have open.";
        add(
            "process_max_fds",
            Gauge,
            help,
            whole(process.open_files_max),
        );
        let help = "When the process started.";
        add(
            "process_start_time_seconds",
            Gauge,
            help,
            process.started_at,
        );
    }
}
