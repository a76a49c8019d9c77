//! The command line: one verb a line. What each command does stands in its own file under
//! `command`.

use std::process::ExitCode;

use bugzfeed::command::{bench, notify, relay, schema, serve, watch};
use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

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
    Serve(serve::Options),
    /// Record that bugs changed, as Bugzilla would
    Notify(notify::Options),
    /// Send changes on from Bugzilla's database to a broker, a webhook or a file
    Relay(relay::Options),
    /// Print the table and the triggers that make Bugzilla record its changes, or check them
    Schema(schema::Options),
    /// Print a line for each update of some bugs, and reconnect when the feed is lost
    Watch(watch::Options),
    /// Measure a server, and verify every delivery
    Bench(Box<bench::Options>),
}

fn main() -> ExitCode {
    let result = match parse().command {
        Command::Serve(options) => serve::run(&options),
        Command::Notify(options) => notify::run(&options),
        Command::Relay(options) => relay::run(options),
        Command::Schema(options) => schema::run(&options),
        Command::Watch(options) => watch::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bugzfeed: {failure}");
            failure.exit_code()
        }
    }
}

/// Reads the command line and the environment, or ends with what is wrong with them.
fn parse() -> Cli {
    let command = Cli::command().mut_subcommands(|command| command.mut_args(from_environment));
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// In files of environment variables, an empty one is one that is not set, and 0 switches off.
fn from_environment(setting: Arg) -> Arg {
    let is_empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
    match (setting.get_env(), setting.get_action()) {
        (None, _) => setting,
        (Some(name), _) if is_empty(name) => setting.env(None::<&str>),
        (Some(_), ArgAction::SetTrue) => setting.value_parser(BoolishValueParser::new()),
        (Some(_), _) => setting,
    }
}
