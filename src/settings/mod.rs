//! The settings of a command, each defined once: what clap knows of an option is what a file of
//! settings may hold, what `bugzfeed config` shows, and what docs/settings.md says. Knows no
//! command and no single setting.
//!
//! A setting is given by its flag, else by its environment variable, else by the file, else it has
//! its default.

mod file;
mod print;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::{BoolishValueParser, Resettable};
use clap::{Arg, ArgAction, ArgMatches, Command};
use log::info;

pub(crate) use self::file::File;
pub(crate) use self::print::{defaults, reference, values};

use crate::failure::Failure;

/// The option that names the file. A command that has it can be set by a file.
const FILE: &str = "config";

/// The group of those options that take effect when the settings are read anew; the others do at
/// the next start.
pub(crate) const RELOADED: &str = "reloaded";

/// One setting of a command: an option that the environment can set, too.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    option: &'a Arg,
    is_reloaded: bool,
}

impl<'a> Setting<'a> {
    /// All settings of a command, in the order of its `--help`. The command must be built: only
    /// then clap knows which options are in a group.
    fn all(command: &'a Command) -> impl Iterator<Item = Self> {
        let reloaded = command.get_groups().find(|it| it.get_id() == RELOADED);
        command
            .get_arguments()
            .filter(|option| option.get_env().is_some() && !option.is_hide_set())
            .map(move |option| Self {
                option,
                is_reloaded: reloaded
                    .is_some_and(|group| group.get_args().any(|id| id == option.get_id())),
            })
    }

    /// Those that a file may hold: all but the file's own name.
    fn in_file(command: &'a Command) -> impl Iterator<Item = Self> {
        Self::all(command).filter(|setting| setting.key() != FILE)
    }

    /// The name of its flag, without the dashes, and its key in a file.
    fn key(self) -> &'a str {
        self.option.get_long().unwrap_or_default()
    }

    /// Its environment variable.
    fn variable(self) -> String {
        let name = self.option.get_env().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Whether its value may hold a password.
    fn is_secret(self) -> bool {
        self.option.is_hide_env_values_set()
    }

    /// Its kind, for the user: what is special about it.
    fn kind(self) -> &'static str {
        match (self.is_secret(), self.is_reloaded) {
            (true, true) => "secret, reloaded",
            (true, false) => "secret",
            (false, true) => "reloaded",
            (false, false) => "",
        }
    }

    /// Whether it is on or off.
    fn is_switch(self) -> bool {
        matches!(self.option.get_action(), ArgAction::SetTrue)
    }

    /// Whether it may have several values.
    fn is_list(self) -> bool {
        matches!(self.option.get_action(), ArgAction::Append)
            || self
                .option
                .get_num_args()
                .is_some_and(|number| number.max_values() > 1)
    }

    /// What stands for its value in `--help`.
    fn placeholder(self) -> String {
        let names = self.option.get_value_names().unwrap_or_default();
        names.first().map(ToString::to_string).unwrap_or_default()
    }

    /// Its values where nobody gives any.
    fn defaults(self) -> Vec<String> {
        let values = self.option.get_default_values().iter();
        values
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// What it means, on one line.
    fn meaning(self) -> String {
        let text = self.option.get_long_help().or(self.option.get_help());
        let text = text.map(ToString::to_string).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The commands of the program, with the values of the file in place of their defaults where the
/// arguments, or the environment, name one. `arguments` begin with the name of the program.
///
/// # Errors
/// When the file cannot be read, or says something that it must not.
pub fn with_file(program: Command, arguments: &[OsString]) -> Result<Command, Failure> {
    apply(program, arguments).map(|(program, _)| program)
}

/// As [`with_file`], and the file that there is.
fn apply(mut program: Command, arguments: &[OsString]) -> Result<(Command, Option<File>), Failure> {
    let mut file = None;
    if let Some((name, path)) = chosen(&program, arguments) {
        program.build();
        let commands: Vec<_> = program.get_subcommands().cloned().collect();
        let read = file.insert(File::read(&path, &commands)?);
        program = program.mut_subcommand(name, |command| read.apply(command));
    }
    let program = program.mut_subcommands(|command| command.mut_args(from_environment));
    Ok((program, file))
}

/// In files of environment variables, an empty one is one that is not set, and 0 switches off.
fn from_environment(option: Arg) -> Arg {
    let is_empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
    match (option.get_env(), option.get_action()) {
        (None, _) => option,
        (Some(name), _) if is_empty(name) => option.env(Resettable::Reset),
        (Some(_), ArgAction::SetTrue) => option.value_parser(BoolishValueParser::new()),
        (Some(_), _) => option,
    }
}

/// What the arguments say to their command, and the file that they name.
///
/// # Errors
/// As [`with_file`].
pub(crate) fn parse(
    program: Command,
    arguments: &[OsString],
) -> Result<(ArgMatches, Option<File>), Failure> {
    let (program, file) = apply(program, arguments)?;
    let mut matches = program
        .try_get_matches_from(arguments)
        .unwrap_or_else(|error| error.exit());
    let (_, matches) = matches.remove_subcommand().unwrap_or_default();
    Ok((matches, file))
}

/// Reads anew what [`parse`] has read before.
///
/// # Errors
/// As [`with_file`], and when the values contradict each other.
pub(crate) fn parse_again(program: Command, arguments: &[OsString]) -> Result<ArgMatches, Failure> {
    let (program, _) = apply(program, arguments)?;
    let mut matches = program
        .try_get_matches_from(arguments)
        .map_err(|error| Failure::Usage(one_line(&error.to_string())))?;
    Ok(matches.remove_subcommand().unwrap_or_default().1)
}

/// The flags of the settings that have other values now than before: first those that take effect
/// at once, then those that take a restart.
pub(crate) fn changed(
    command: &Command,
    before: &ArgMatches,
    now: &ArgMatches,
) -> (Vec<String>, Vec<String>) {
    let command = built(command);
    let values = |matches: &ArgMatches, id: &str| -> Vec<OsString> {
        let raw = matches.get_raw(id).into_iter().flatten();
        raw.map(OsStr::to_owned).collect()
    };
    let has_changed = |setting: &Setting<'_>| {
        let id = setting.option.get_id().as_str();
        values(before, id) != values(now, id)
    };
    let (reloaded, others): (Vec<_>, Vec<_>) = Setting::in_file(&command)
        .filter(has_changed)
        .partition(|setting| setting.is_reloaded);
    let flags = |settings: Vec<Setting<'_>>| {
        let keys = settings.into_iter().map(Setting::key);
        keys.map(|key| format!("--{key}")).collect()
    };
    (flags(reloaded), flags(others))
}

/// A command whose options know their groups.
fn built(command: &Command) -> Command {
    let mut command = command.clone();
    command.build();
    command
}

/// What clap says, without its advice.
fn one_line(error: &str) -> String {
    let text = error.strip_prefix("error: ").unwrap_or(error);
    let text = text.split("\n\nFor more").next().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Says in the log which file the settings are from.
pub(crate) fn log_file(file: Option<&Path>) {
    if let Some(file) = file {
        info!("the settings are those of {}, too", file.display());
    }
}

/// The command that the arguments are for, and the file that they name. Mistakes in them are
/// reported when they are read whole.
fn chosen(program: &Command, arguments: &[OsString]) -> Option<(String, PathBuf)> {
    let matches = program
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(arguments)
        .ok()?;
    let (name, matches) = matches.subcommand()?;
    let file = matches.try_get_one::<PathBuf>(FILE).ok()??;
    (!file.as_os_str().is_empty()).then(|| (name.to_owned(), file.clone()))
}
