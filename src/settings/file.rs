//! A file of settings, in TOML: a table for each command, a key for each setting. Reads it, and
//! says where in it something is wrong.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Command;
use clap::builder::Resettable;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{FILE, Setting, one_line};
use crate::failure::Failure;

/// How alike an unknown name must be to one that is known, from 0 to 1, to be taken for it.
const ALIKE: f64 = 0.75;

/// What a file says.
pub(crate) struct File {
    path: PathBuf,
    commands: BTreeMap<String, BTreeMap<String, Given>>,
}

/// The values of a setting, and where in the file they stand.
struct Given {
    values: Vec<String>,
    line: usize,
}

/// What is wrong, and where in the text.
struct Wrong {
    at: Range<usize>,
    why: String,
}

impl File {
    /// Reads the file, and checks each value as the command's own option would.
    ///
    /// # Errors
    /// When it cannot be read, or says something that it must not: all of it, a line each.
    pub(crate) fn read(path: &Path, commands: &[Command]) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::Configuration(format!(
                "cannot read the settings in {}: {error}.",
                path.display()
            ))
        })?;
        let commands = read(&text, commands).map_err(|wrong| {
            let lines: Vec<_> = wrong
                .iter()
                .map(|Wrong { at, why }| {
                    let (line, column) = position(&text, at.start);
                    format!("{}:{line}:{column}: {}", path.display(), visible(why))
                })
                .collect();
            Failure::Configuration(lines.join("\n"))
        })?;
        Ok(Self {
            path: path.to_owned(),
            commands,
        })
    }

    /// The command with the file's values in place of its defaults.
    pub(super) fn apply(&self, command: Command) -> Command {
        let Some(given) = self.commands.get(command.get_name()) else {
            return command;
        };
        command.mut_args(|option| {
            let values = option.get_long().and_then(|key| given.get(key));
            let Some(Given { values, .. }) = values else {
                return option;
            };
            // `--help` shows defaults.
            let is_secret = option.is_hide_env_values_set();
            option.default_values(values).hide_default_value(is_secret)
        })
    }

    /// Where a setting of a command stands, as `FILE:LINE`, if it does.
    pub(super) fn place(&self, command: &str, key: &str) -> Option<String> {
        let given = self.commands.get(command)?.get(key)?;
        Some(format!("{}:{}", self.path.display(), given.line))
    }
}

type Commands = BTreeMap<String, BTreeMap<String, Given>>;

fn read(text: &str, commands: &[Command]) -> Result<Commands, Vec<Wrong>> {
    let file = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or_default();
        let why = error.message().replace('\n', ", ");
        vec![Wrong { at, why }]
    })?;
    let known: Vec<_> = commands
        .iter()
        .filter(|command| Setting::all(command).any(|setting| setting.key() == FILE))
        .collect();
    let mut read = Commands::new();
    let mut wrong = Vec::new();
    for (name, settings) in file.get_ref() {
        let command = known
            .iter()
            .find(|command| command.get_name() == name.get_ref().as_ref());
        let settings = match (command, settings.get_ref()) {
            (Some(command), DeValue::Table(settings)) => read_table(text, command, settings),
            (Some(command), _) => Err(vec![Wrong {
                at: name.span(),
                why: format!("'{0}' is no table; accepted is [{0}]", command.get_name()),
            }]),
            (None, _) => {
                let names = known.iter().map(|command| command.get_name());
                let why = unknown("table", name.get_ref(), names);
                let at = name.span();
                Err(vec![Wrong { at, why }])
            }
        };
        match settings {
            Ok(settings) => drop(read.insert(name.get_ref().to_string(), settings)),
            Err(more) => wrong.extend(more),
        }
    }
    if wrong.is_empty() {
        return Ok(read);
    }
    wrong.sort_by_key(|wrong| wrong.at.start);
    Err(wrong)
}

fn read_table(
    text: &str,
    command: &Command,
    table: &DeTable<'_>,
) -> Result<BTreeMap<String, Given>, Vec<Wrong>> {
    let mut read = BTreeMap::new();
    let mut wrong = Vec::new();
    for (key, value) in table {
        let values = find(command, key).and_then(|setting| {
            let values = texts(setting, value)?;
            check(command, setting, &values).map_err(|why| {
                let at = value.span();
                Wrong { at, why }
            })?;
            Ok(values)
        });
        match values {
            Ok(values) => {
                let (line, _) = position(text, key.span().start);
                read.insert(key.get_ref().to_string(), Given { values, line });
            }
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() {
        Ok(read)
    } else {
        Err(wrong)
    }
}

fn find<'a>(command: &'a Command, key: &Spanned<Cow<'_, str>>) -> Result<Setting<'a>, Wrong> {
    Setting::in_file(command)
        .find(|setting| setting.key() == key.get_ref())
        .ok_or_else(|| Wrong {
            at: key.span(),
            why: unknown(
                &format!("setting of [{}]", command.get_name()),
                key.get_ref(),
                Setting::in_file(command).map(Setting::key),
            ),
        })
}

/// The values as the command line would have them.
fn texts(setting: Setting<'_>, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Wrong> {
    match value.get_ref() {
        DeValue::Array(values) if setting.is_list() => {
            values.iter().map(|value| text_of(setting, value)).collect()
        }
        _ => Ok(vec![text_of(setting, value)?]),
    }
}

fn text_of(setting: Setting<'_>, value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    match value.get_ref() {
        DeValue::Boolean(value) if setting.is_switch() => Ok(value.to_string()),
        DeValue::String(value) if !setting.is_switch() => Ok(value.to_string()),
        DeValue::Integer(value) if !setting.is_switch() && value.radix() == 10 => {
            Ok(value.as_str().to_owned())
        }
        _ => {
            let accepted = match (setting.is_switch(), setting.is_list()) {
                (true, _) => "true or false",
                (false, true) => "a text in quotes, or several in brackets",
                (false, false) => "a text in quotes, or a number",
            };
            let at = value.span();
            let why = format!("wrong value of '{}'; accepted is {accepted}", setting.key());
            Err(Wrong { at, why })
        }
    }
}

/// Whether the command's own option would take the values.
fn check(command: &Command, setting: Setting<'_>, values: &[String]) -> Result<(), String> {
    if setting.is_switch() {
        return Ok(());
    }
    let key = setting.key();
    let arguments = values.iter().map(|value| format!("--{key}={value}"));
    let error = command
        .clone()
        .no_binary_name(true)
        // What stands in the environment is not the file's fault.
        .mut_args(|option| option.env(Resettable::Reset))
        .try_get_matches_from(arguments)
        .err();
    let Some(error) = error else {
        return Ok(());
    };
    Err(one_line(&error.to_string()))
}

/// The sentence about a name that is not known.
fn unknown<'a>(noun: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    let alike = known
        .iter()
        .map(|known| (strsim::jaro_winkler(known, name), known))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match alike {
        Some((_, alike)) => format!("unknown {noun} '{name}'; did you mean '{alike}'?"),
        None => format!("unknown {noun} '{name}'; known are {}", known.join(", ")),
    }
}

/// A text of the file as it may be shown, on one line.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c.is_control() {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        })
        .collect()
}

/// Line and column of a byte, each from 1; a column is a character.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, value_parser};

    use super::*;

    fn commands() -> Vec<Command> {
        let option =
            |name: &'static str, variable: &'static str| Arg::new(name).long(name).env(variable);
        let serve = Command::new("serve")
            .arg(option("config", "TEST_CONFIG"))
            .arg(option("listen", "TEST_LISTEN").action(ArgAction::Append))
            .arg(option("ping", "TEST_PING").value_parser(value_parser!(u16)))
            .arg(option("wait", "TEST_WAIT").action(ArgAction::SetTrue))
            .arg(Arg::new("status").long("status"));
        vec![serve, Command::new("watch")]
    }

    fn wrong(text: &str) -> Vec<String> {
        let wrong = read(text, &commands()).err().unwrap_or_default();
        wrong
            .iter()
            .map(|Wrong { at, why }| {
                let (line, column) = position(text, at.start);
                format!("{line}:{column}: {why}")
            })
            .collect()
    }

    #[test]
    fn values_are_what_the_command_line_would_take() {
        let text = "[serve]\nlisten = ['a', 'b']\nping = 5\n\nwait = true\n";
        let read = read(text, &commands()).unwrap_or_default();
        let values: Vec<_> = read["serve"]
            .iter()
            .map(|(key, given)| (key.as_str(), given.values.join(","), given.line))
            .collect();
        assert_eq!(
            values,
            [
                ("listen", "a,b".to_owned(), 2),
                ("ping", "5".to_owned(), 3),
                ("wait", "true".to_owned(), 5),
            ]
        );
        assert!(wrong("[serve]\nlisten = 'a'\nping = '5'\n").is_empty());
    }

    #[test]
    fn all_mistakes_are_reported_with_their_place() {
        let text = "[serve]\npign = 5\nping = 'x'\nwait = 'yes'\nlisten = [5.5]\n[sevre]\n";
        assert_eq!(
            wrong(text),
            [
                "2:1: unknown setting of [serve] 'pign'; did you mean 'ping'?",
                "3:8: invalid value 'x' for '--ping <ping>': invalid digit found in string",
                "4:8: wrong value of 'wait'; accepted is true or false",
                "5:11: wrong value of 'listen'; accepted is a text in quotes, or several in brackets",
                "6:2: unknown table 'sevre'; did you mean 'serve'?",
            ]
        );
    }

    #[test]
    fn what_is_no_setting_of_a_file_is_refused() {
        for (text, why) in [
            ("[watch]\n", "1:2: unknown table 'watch'; known are serve"),
            (
                "serve = 1\n",
                "1:1: 'serve' is no table; accepted is [serve]",
            ),
            (
                "[serve]\nstatus = 'x'\n",
                "2:1: unknown setting of [serve] 'status'; known are listen, ping, wait",
            ),
            (
                "[serve]\nconfig = 'x'\n",
                "2:1: unknown setting of [serve] 'config'; known are listen, ping, wait",
            ),
            (
                "[serve]\nping = [1, 2]\n",
                "2:8: wrong value of 'ping'; accepted is a text in quotes, or a number",
            ),
        ] {
            assert_eq!(wrong(text), [why], "{text}");
        }
        assert!(wrong("[serve\n")[0].starts_with("1:7: unclosed table"));
        assert!(wrong("[serve]\nping = 1\nping = 2\n")[0].starts_with("3:1: duplicate key"));
    }
}
