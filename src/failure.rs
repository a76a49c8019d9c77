//! How a command ends when it could not do its work: one sentence for the user, and an exit code
//! with a meaning.

use std::fmt;
use std::process::ExitCode;

/// Why a command ended early. The text is a whole sentence that names what was wrong and what is
/// accepted.
#[derive(Debug)]
pub enum Failure {
    /// A check that the command makes did not pass. Exit code 1.
    CheckFailed(String),
    /// The command line asks for something that makes no sense. Exit code 2.
    Usage(String),
    /// Something that the command needs is not there: a broker, a server, an address. Exit code 69
    /// (`EX_UNAVAILABLE`).
    Unavailable(String),
    /// A setting, or what it points to, is wrong. Exit code 78 (`EX_CONFIG`).
    Configuration(String),
}

impl Failure {
    /// The exit code, from 1 to 78; those above 2 are those of `sysexits.h`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::CheckFailed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unavailable(_) => 69,
            Failure::Configuration(_) => 78,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::CheckFailed(text)
            | Failure::Usage(text)
            | Failure::Unavailable(text)
            | Failure::Configuration(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}
