//! What an idle client takes, with a bug of its own and with one that all share, and what is left
//! when all are gone.

mod side_by_side;

use std::process::ExitCode;

fn main() -> ExitCode {
    side_by_side::run(&["idle", "idle --pattern shared"])
}
