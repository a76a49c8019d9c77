//! Updates that 15,000 want, a burst of 8 that 5,000 want all of, and updates that few or nobody
//! want.

mod side_by_side;

use std::process::ExitCode;

fn main() -> ExitCode {
    side_by_side::run(&[
        "fanout",
        "fanout --connections 5000 --bugs 8 --burst 8 --updates 160",
        "sparse --connections 2000",
    ])
}
