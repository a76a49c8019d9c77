//! How a service logs: the settings that all of them have in common.

use clap::Args;
use log::LevelFilter;

use crate::failure::Failure;
use crate::logging::{self, Log, LogFormat};

/// Settings of the log.
#[derive(Args, Debug)]
pub(super) struct LogOptions {
    /// How much is logged: off, error, warn, info, debug or trace
    #[arg(
        long = "log",
        env = "BUGZFEED_LOG",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub(super) level: LevelFilter,
    /// How a line of the log looks: text, json, journal (with priorities and without the time), or
    /// auto: journal where stderr is systemd's journal, else text
    #[arg(
        long = "log-format",
        env = "BUGZFEED_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto"
    )]
    format: LogFormat,
}

impl LogOptions {
    /// Starts the log.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) fn start(&self) -> Result<Log, Failure> {
        logging::start(self.level, self.format)
            .map_err(|error| Failure::Unavailable(format!("cannot start the log: {error}.")))
    }
}
