//! `bugzfeed pulse`: makes a RabbitMQ a Pulse, and looks after it. Owns what all of its commands
//! have in common; each stands in a file of its own.

mod bound;
mod check;
mod guard;
mod init;
mod inspect;
mod mail;
mod secret;
mod user;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use clap::{Args, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::discreet::Discreet;
use crate::failure::Failure;
use crate::management::{self, Client, Error};

/// Settings of `bugzfeed pulse`.
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a RabbitMQ a Pulse: an administrator, the exchanges, a bound for all queues
    Init(init::Options),
    /// Compare a RabbitMQ with a Pulse, and print what mends each difference
    Check(check::Options),
    /// Make, change, delete and list accounts
    User(user::Options),
    /// Warn the owners of queues that overgrow, and delete those that go on growing
    Guard(Box<guard::Options>),
    /// Print what goes by
    Inspect(inspect::Options),
}

/// Does what the command says.
///
/// # Errors
/// When the broker cannot be reached or does not let it be done.
pub fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        Command::Init(options) => init::run(options),
        Command::Check(options) => check::run(options),
        Command::User(options) => user::run(options),
        Command::Guard(options) => guard::run(options),
        Command::Inspect(options) => inspect::run(options),
    }
}

/// The broker, by its management API.
#[derive(Args, Debug)]
pub(super) struct Broker {
    /// Management API of the broker: http(s)://USER@HOST:PORT/, with #password_file=FILE for the
    /// password, or BUGZFEED_MANAGEMENT_PASSWORD in the environment; #cacert=FILE names
    /// certificates to trust
    #[arg(long, env = "BUGZFEED_MANAGEMENT", hide_env_values = true, value_name = "URL", default_value = "http://127.0.0.1:15672/", value_parser = Discreet(str::parse::<management::Settings>))]
    management: management::Settings,
    /// Virtual host
    #[arg(long, env = "BUGZFEED_VHOST", value_name = "NAME", default_value = "/")]
    vhost: String,
}

impl Broker {
    /// Somebody who asks the broker, and is an administrator.
    fn client(&self) -> Result<Client, Failure> {
        let client = Client::new(self.management.clone())?;
        let asking = client.whoami()?;
        if !asking.is_administrator() {
            return Err(Failure::Configuration(format!(
                "{} is no administrator of the broker (setting --management); accepted is an account with the tag administrator.",
                asking.name
            )));
        }
        Ok(client)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = format!("{error}.");
        match error {
            Error::NotLetIn(_) => Failure::Configuration(text),
            Error::Unreachable(_) | Error::Refused(_) => Failure::Unavailable(text),
        }
    }
}

/// What a byte can be read from for each SIGTERM and SIGINT.
fn watch_signals() -> io::Result<UnixStream> {
    let (received, signal) = UnixStream::pair()?;
    pipe::register(SIGTERM, signal.try_clone()?)?;
    pipe::register(SIGINT, signal)?;
    Ok(received)
}

/// Prints a line. A reader that closes the pipe early is no failure.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_the_shell_would_read_something_else() {
        for (word, text) in [
            ("queue/u/q", "queue/u/q"),
            ("/", "/"),
            ("", "''"),
            ("a b", "'a b'"),
            ("^(a|b)$", "'^(a|b)$'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(word), text);
        }
    }
}
