//! `bugzfeed config`: what the settings are, where each comes from, and whether they hold.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Args, Command, FromArgMatches, Subcommand};

use super::{relay, serve};
use crate::failure::Failure;
use crate::settings;

/// What `bugzfeed config` is asked for.
#[derive(Subcommand, Debug)]
pub enum Options {
    /// Print each setting, and where it comes from; passwords are masked
    Show(CommandLine),
    /// Check the settings as the command itself would, and start nothing
    Check(CommandLine),
    /// Print a file with each setting, its meaning and its default
    Default,
    /// Print the tables of docs/settings.md
    #[command(hide = true)]
    Reference,
}

/// A command line as it would follow `bugzfeed`.
#[derive(Args, Debug)]
pub struct CommandLine {
    /// A command (serve, where none is named) and its options, such as --config FILE
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<OsString>,
}

/// Prints what is asked for.
///
/// # Errors
/// When a setting is wrong.
pub fn run(options: Options) -> Result<(), Failure> {
    let text = match options {
        Options::Show(line) => line.shown()?,
        Options::Check(line) => {
            line.check()?;
            String::new()
        }
        Options::Default => settings::defaults(program().get_subcommands()),
        Options::Reference => program()
            .get_subcommands()
            .map(|command| {
                let name = command.get_name();
                format!("## `bugzfeed {name}`\n\n{}\n", settings::reference(command))
            })
            .collect(),
    };
    // A reader that closes the pipe early is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// The commands that a file can set.
pub(super) fn program() -> Command {
    Command::new("bugzfeed")
        .subcommand(serve::Options::augment_args(Command::new("serve")))
        .subcommand(relay::Options::augment_args(Command::new("relay")))
}

impl CommandLine {
    /// What `show` prints.
    fn shown(self) -> Result<String, Failure> {
        let (program, name, arguments) = self.whole();
        let (matches, file) = settings::parse(program.clone(), &arguments)?;
        let command = program.find_subcommand(&name);
        Ok(command.map_or_else(String::new, |command| {
            settings::values(command, &matches, file.as_ref())
        }))
    }

    /// Has the command itself say whether it could be started like this.
    fn check(self) -> Result<(), Failure> {
        let (program, name, arguments) = self.whole();
        let (matches, _) = settings::parse(program, &arguments)?;
        let wrong = |error: clap::Error| Failure::Usage(error.to_string());
        if name == "relay" {
            relay::check(&relay::Options::from_arg_matches(&matches).map_err(wrong)?)
        } else {
            serve::check(&serve::Options::from_arg_matches(&matches).map_err(wrong)?)
        }
    }

    /// The program, the command's name, and the whole command line.
    fn whole(self) -> (Command, String, Vec<OsString>) {
        let program = program();
        let mut arguments = vec![OsString::from("bugzfeed")];
        let is_named = self.arguments.first().is_some_and(|name| {
            program
                .get_subcommands()
                .any(|command| name == command.get_name())
        });
        if !is_named {
            arguments.push("serve".into());
        }
        arguments.extend(self.arguments);
        let name = arguments[1].to_string_lossy().into_owned();
        (program, name, arguments)
    }
}
