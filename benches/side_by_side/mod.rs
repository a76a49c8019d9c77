//! Runs `bugzfeed bench`, which measures the server and the floor side by side and prints the
//! ratios.

use std::env;
use std::process::{Command, ExitCode};

/// Runs the scenarios, each with its arguments. `cargo test` runs benches too, to see that they
/// work: then with little.
pub fn run(scenarios: &[&str]) -> ExitCode {
    let is_measuring = env::args().any(|argument| argument == "--bench");
    let little = ["--rounds", "1", "--quiet"];
    for scenario in scenarios {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
        command
            .arg("bench")
            .args(scenario.split(' '))
            .args(if is_measuring { &[][..] } else { &little });
        if !command.status().is_ok_and(|status| status.success()) {
            eprintln!("bugzfeed bench {scenario} has failed");
            return ExitCode::FAILURE;
        }
        println!();
    }
    ExitCode::SUCCESS
}
