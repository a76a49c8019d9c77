//! The command line: one verb a line. What each command does stands in its own file under
//! `command`.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use bugzfeed::command::{
    bench, check, config, doctor, generate, health, notify, pulse, relay, reload, schema, serve,
    token, watch,
};
use bugzfeed::{logging, settings};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Pushes Bugzilla changes to WebSocket clients
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the WebSocket server
    Serve(Box<serve::Options>),
    /// Record that bugs changed, as Bugzilla would
    Notify(notify::Options),
    /// Send changes on from Bugzilla's database to a broker, a webhook or a file
    Relay(relay::Options),
    /// Print the table and the triggers that make Bugzilla record its changes, or check them
    Schema(schema::Options),
    /// Print a line for each update of some bugs, and reconnect when the feed is lost
    Watch(watch::Options),
    /// Make, list and take away the tokens of those who may connect to a server
    Token(token::Options),
    /// Make a RabbitMQ a Pulse, and look after it
    Pulse(pulse::Options),
    /// Show, check and explain the settings of serve and relay
    #[command(subcommand)]
    Config(config::Options),
    /// Find what is wrong with this machine and this setup, and what mends it
    Doctor(Box<doctor::Options>),
    /// Ask a running server whether it can take clients
    Health(health::Options),
    /// Have a running server read its settings anew
    Reload(reload::Options),
    /// Play the conformance list against a server, and say what it does not keep
    Check(check::Options),
    /// Measure a server, and verify every delivery
    Bench(Box<bench::Options>),
    /// Write the manual pages
    Man(generate::ManOptions),
    /// Print what completes the command line in a shell
    Completions(generate::CompletionsOptions),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let program = match settings::with_file(Cli::command(), &arguments) {
        Ok(program) => program,
        Err(failure) => {
            logging::report_failure(&failure);
            return failure.exit_code();
        }
    };
    let cli = Cli::from_arg_matches(&program.get_matches_from(arguments))
        .unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Serve(options) => serve::run(&options, Cli::command()),
        Command::Notify(options) => notify::run(&options),
        Command::Relay(options) => relay::run(options),
        Command::Schema(options) => schema::run(&options),
        Command::Watch(options) => watch::run(&options),
        Command::Token(options) => token::run(&options),
        Command::Pulse(options) => pulse::run(&options),
        Command::Config(options) => config::run(options),
        Command::Doctor(options) => doctor::run(*options),
        Command::Health(options) => health::run(&options),
        Command::Reload(options) => reload::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Man(options) => generate::man(Cli::command(), &options),
        Command::Completions(options) => generate::completions(Cli::command(), &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            logging::report_failure(&failure);
            failure.exit_code()
        }
    }
}
