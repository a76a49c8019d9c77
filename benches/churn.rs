//! Clients that connect, subscribe and leave, and a storm of them.

mod side_by_side;

use std::process::ExitCode;

fn main() -> ExitCode {
    side_by_side::run(&["churn", "churn --abrupt", "storm"])
}
