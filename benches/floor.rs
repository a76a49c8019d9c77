//! The floor alone: what this machine takes for the system calls, whoever makes them.

mod side_by_side;

use std::process::ExitCode;

fn main() -> ExitCode {
    side_by_side::run(&["idle --raw", "fanout --raw", "churn --raw"])
}
