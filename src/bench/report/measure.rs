//! The numbers that a scenario gives: their names for machines and for people, and their units.
//! Knows no scenario.

use serde::{Deserialize, Serialize};

use crate::bench::run::Cost;

/// A number that came out. Less is better.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measure {
    /// Its name, for `--assert` and other machines.
    pub key: String,
    /// What it is, for people.
    pub name: String,
    pub unit: String,
    pub value: f64,
}

/// A number over time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    /// What it is, with its unit.
    pub name: String,
    /// Seconds since the begin, and the number.
    pub points: Vec<(f64, f64)>,
}

/// All that came out of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measures {
    /// The numbers, in the order in which they are shown.
    pub values: Vec<Measure>,
    /// Those that change over time.
    pub series: Vec<Series>,
    /// What else there is to say, each a line.
    pub notes: Vec<String>,
}

impl Measures {
    pub(crate) fn add(&mut self, key: &str, name: &str, unit: &str, value: f64) {
        debug_assert!(KEYS.contains(&key), "no --assert may name {key}");
        self.values.push(Measure {
            key: key.to_owned(),
            name: name.to_owned(),
            unit: unit.to_owned(),
            value,
        });
    }

    /// Adds the CPU time of the whole process and of its first thread, for each of `count` units.
    pub(crate) fn add_cpu(&mut self, key: &str, per: &str, cost: &Cost, count: u64) {
        let each = |nanoseconds: u64| nanoseconds as f64 / 1_000.0 / count.max(1) as f64;
        self.add(key, &format!("CPU per {per}"), "µs", each(cost.cpu));
        self.add(
            &format!("{key}_loop"),
            &format!("CPU per {per}, first thread"),
            "µs",
            each(cost.cpu_first),
        );
        let switches = cost.switches as f64 / count.max(1) as f64;
        self.add(
            &format!("{key}_switches"),
            &format!("{SWITCHES} per {per}, first thread"),
            "times",
            switches,
        );
    }

    /// Leaves out what is known of a server only where its processes are.
    pub(crate) fn leave_out_processes(&mut self) {
        let is_known = |measure: &Measure| {
            let is_of_process = ["bytes", "files", "threads"].contains(&measure.unit.as_str())
                || measure.name.starts_with("CPU");
            measure.key.starts_with("kernel")
                || !(is_of_process || measure.name.starts_with(SWITCHES))
        };
        self.values.retain(is_known);
        self.series.clear();
        self.notes
            .push("its memory and CPU time are not known; --pid names its processes".to_owned());
    }

    /// Adds a time, given in nanoseconds.
    pub(crate) fn add_time(&mut self, key: &str, name: &str, nanoseconds: u64) {
        self.add(key, name, "s", nanoseconds as f64 / 1e9);
    }

    /// Adds how much memory there is more after all clients have left.
    pub(crate) fn add_kept(&mut self, after: u64, before: u64, clients: u32) {
        let name = "RSS kept after all left, per client";
        self.add_memory("rss_kept", name, after, before, clients);
    }

    /// Adds how much memory there is more than before, for each of `clients`.
    pub(crate) fn add_memory(
        &mut self,
        key: &str,
        name: &str,
        after: u64,
        before: u64,
        clients: u32,
    ) {
        self.add(
            key,
            name,
            "bytes",
            (after as f64 - before as f64) / f64::from(clients.max(1)),
        );
    }
}

/// How the names of counts of context switches begin.
const SWITCHES: &str = "context switches";

/// All keys that a scenario may give, so that a wrong name is refused before anything is measured.
pub(crate) const KEYS: &[&str] = &[
    "rss",
    "pss",
    "kernel",
    "kernel_buffers",
    "files",
    "rss_base",
    "rss_kept",
    "cpu_idle",
    "delivery",
    "delivery_loop",
    "delivery_switches",
    "delivery_time",
    "update",
    "update_loop",
    "update_switches",
    "unwanted",
    "unwanted_loop",
    "unwanted_switches",
    "commit_p50",
    "commit_p99",
    "commit_max",
    "cycle",
    "cycle_loop",
    "cycle_switches",
    "cycle_time",
    "resumed_cycle",
    "resumed_cycle_loop",
    "resumed_cycle_switches",
    "storm",
    "beside_p50",
    "beside_p99",
    "beside_max",
    "beside_resume_p50",
    "beside_resume_p99",
    "beside_resume_max",
    "storm_cpu",
    "storm_cpu_loop",
    "storm_cpu_switches",
    "leave_cpu",
    "leave_cpu_loop",
    "leave_cpu_switches",
    "resume",
    "resume_cpu",
    "resume_cpu_loop",
    "resume_cpu_switches",
    "slow_rss",
    "slow_cpu",
    "slow_cpu_loop",
    "slow_cpu_switches",
    "catch_up",
    "soak_cpu",
    "soak_growth",
    "soak_rss_kept",
    "soak_files_kept",
    "soak_threads_kept",
    "soak_cpu_kept",
    "soak_unaccounted",
    "held",
    "refused",
    "held_again",
    "fill",
    "fill_again",
    "connect",
    "connect_cpu",
    "connect_cpu_loop",
    "connect_cpu_switches",
    "one_p50",
    "one_p99",
    "one_max",
    "one_cpu",
    "one_cpu_loop",
    "one_cpu_switches",
    "all",
    "leave",
];
