//! Settings as text: the values that hold, a file with all defaults, and the table of
//! docs/settings.md.

use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::{File, Setting, built};

/// The values that hold for a command, as a file would have them; behind each, where it comes from.
/// Passwords are masked.
pub(crate) fn values(command: &Command, matches: &ArgMatches, file: Option<&File>) -> String {
    let command = &built(command);
    let name = command.get_name();
    let mut text = format!("[{name}]\n");
    for setting in Setting::in_file(command) {
        let id = setting.option.get_id().as_str();
        let from = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "the command line".to_owned(),
            Some(ValueSource::EnvVariable) => setting.variable(),
            _ => file
                .and_then(|file| file.place(name, setting.key()))
                .unwrap_or_else(|| "default".to_owned()),
        };
        let values: Vec<_> = match setting.is_switch() {
            true => vec![matches.get_flag(id).to_string()],
            false => matches
                .get_raw(id)
                .into_iter()
                .flatten()
                .map(|value| value.to_string_lossy().into_owned())
                .filter(|value| !value.is_empty() || from != "default")
                .map(|value| match setting.is_secret() {
                    true => masked(&value),
                    false => value,
                })
                .collect(),
        };
        line(&mut text, setting, &values, Some(&from));
    }
    text
}

/// A file of settings with each default, as a comment, and what it means.
pub(crate) fn defaults<'a>(commands: impl Iterator<Item = &'a Command>) -> String {
    let mut text = "# Settings of bugzfeed: a table for each command. Flags and environment variables win over what\n# stands here. What is commented out is the default. What is marked as reloaded takes effect at\n# SIGHUP, the rest at a restart.\n".to_owned();
    for command in commands {
        let command = &built(command);
        let _ = writeln!(text, "\n[{}]", command.get_name());
        for setting in Setting::in_file(command) {
            let kind = match setting.kind() {
                "" => String::new(),
                kind => format!(" ({kind})"),
            };
            let _ = writeln!(text, "\n# {}{kind}", setting.meaning());
            let values = match setting.is_switch() {
                true => vec!["false".to_owned()],
                false => setting.defaults(),
            };
            text.push('#');
            line(&mut text, setting, &values, None);
        }
    }
    text
}

/// The table of a command's settings, for docs/settings.md.
pub(crate) fn reference(command: &Command) -> String {
    let command = &built(command);
    let mut text = "| option | default | kind | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for setting in Setting::all(command) {
        let value = match setting.is_switch() {
            true => String::new(),
            false => format!(" {}", setting.placeholder()),
        };
        let default = match setting.defaults().join(",") {
            default if default.is_empty() || setting.is_switch() => String::new(),
            default => format!("`{default}` "),
        };
        let kind = match setting.kind() {
            "" => String::new(),
            kind => format!("{kind} "),
        };
        let meaning = setting.meaning().replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `--{}{value}` | {default}| {kind}| {meaning} |",
            setting.key()
        );
    }
    text
}

/// One setting as a file has it.
fn line(text: &mut String, setting: Setting<'_>, values: &[String], from: Option<&str>) {
    let key = setting.key();
    let values: Vec<_> = values.iter().map(|value| toml(setting, value)).collect();
    let _ = match (setting.is_list(), values.as_slice()) {
        (true, values) => write!(text, "{key} = [{}]", values.join(", ")),
        (false, [value]) => write!(text, "{key} = {value}"),
        (false, _) if from.is_some() => write!(text, "#{key} ="),
        (false, _) => write!(text, "{key} ="),
    };
    if let Some(from) = from {
        let _ = write!(text, "  # {from}");
    }
    text.push('\n');
}

/// A value in TOML.
fn toml(setting: Setting<'_>, value: &str) -> String {
    if setting.is_switch()
        || value
            .parse::<i64>()
            .is_ok_and(|number| number.to_string() == value)
    {
        return value.to_owned();
    }
    // A JSON string is a basic string of TOML (toml.io, "String"), but for this one character.
    let text = serde_json::Value::from(value).to_string();
    text.replace('\u{7f}', "\\u007f")
}

/// An address without the passwords in it.
fn masked(value: &str) -> String {
    let (head, options) = match value.find(['?', '#']) {
        Some(at) => value.split_at(at),
        None => (value, ""),
    };
    let head = match (head.split_once("://"), head.rfind('@')) {
        (Some((scheme, rest)), Some(_)) => {
            let (user, host) = rest.rsplit_once('@').unwrap_or_default();
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        _ => head.to_owned(),
    };
    let options: String = options
        .split_inclusive(['?', '#', '&'])
        .map(|option| match option.strip_prefix("key=") {
            Some(secret) => {
                let end = secret.len() - secret.trim_end_matches(['?', '#', '&']).len();
                format!("key=***{}", &secret[secret.len() - end..])
            }
            None => option.to_owned(),
        })
        .collect();
    head + &options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_masked_wherever_it_stands() {
        for (address, shown) in [
            (
                "mysql://bugs:secret@h/db?poll=1s",
                "mysql://bugs:***@h/db?poll=1s",
            ),
            ("amqp://u:s@cr@t@h", "amqp://u:***@h"),
            ("amqp://u@h", "amqp://u:***@h"),
            (
                "/dev/=webhook:?key=abc&header=X",
                "/dev/=webhook:?key=***&header=X",
            ),
            ("webhook:?header=X&key=abc", "webhook:?header=X&key=***"),
            ("sqlite:a@b.db?poll=1s", "sqlite:a@b.db?poll=1s"),
            ("https://h/path#key_file=k", "https://h/path#key_file=k"),
        ] {
            assert_eq!(masked(address), shown);
        }
    }
}
