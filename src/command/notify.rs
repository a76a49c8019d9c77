//! `bugzfeed notify`: records a change as Bugzilla would, so that a setup can be tried without one.

use clap::Args;

use super::discreet::Discreet;
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
    options.source.notify(&options.bugs).map_err(|error| {
        Failure::Unavailable(format!(
            "cannot record the change in {}: {error}.",
            options.source
        ))
    })
}
