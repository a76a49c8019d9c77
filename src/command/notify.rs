//! `bugzfeed notify`: records a change as Bugzilla would, so that a setup can be tried without one.

use std::path::PathBuf;

use clap::Args;

use super::discreet::Discreet;
use crate::database::Database;
use crate::failure::Failure;
use crate::source::Address;
use crate::update::BugId;

/// Settings of `bugzfeed notify`.
#[derive(Args, Debug)]
pub struct Options {
    /// Bugs that changed
    #[arg(required = true, value_name = "BUG")]
    bugs: Vec<BugId>,
    /// Where the server reads changes from: its own --source
    #[arg(long, env = "BUGZFEED_SOURCE", hide_env_values = true, value_name = "SOURCE", default_value = "sqlite:bugzfeed.db", value_parser = Discreet(str::parse::<Address>))]
    source: Address,
}

/// Records that the bugs changed just now.
///
/// # Errors
/// When the source cannot be written to.
pub fn run(options: &Options) -> Result<(), Failure> {
    let new_file = missing_file(&options.source);
    options.source.notify(&options.bugs).map_err(|error| {
        Failure::Unavailable(format!(
            "cannot record the change in {}: {error}.",
            options.source
        ))
    })?;
    if let Some(file) = new_file {
        eprintln!(
            "bugzfeed: made {}, since there was no such file; no server reads it yet. For a server that reads from elsewhere, name its --source.",
            file.display()
        );
    }
    Ok(())
}

/// The file that the change goes to, where it is not there yet.
fn missing_file(source: &Address) -> Option<PathBuf> {
    match source {
        Address::Database(Database::Sqlite(settings)) if !settings.file().exists() => {
            std::path::absolute(settings.file()).ok()
        }
        Address::Database(_) | Address::Amqp(_) | Address::Webhook(_) => None,
    }
}
