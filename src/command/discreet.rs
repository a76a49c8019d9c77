//! How a command reads a setting that may hold a password. Knows no setting.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Reads a value as the function says; unlike clap's own, an error names the setting and does not
/// repeat the value.
#[derive(Clone)]
pub(super) struct Discreet<T>(pub fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Discreet<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        setting: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, Error> {
        let read = value
            .to_str()
            .ok_or_else(|| "it is not UTF-8".to_owned())
            .and_then(self.0);
        read.map_err(|why| {
            let setting = setting.map(ToString::to_string).unwrap_or_default();
            Error::raw(
                ErrorKind::ValueValidation,
                format!("invalid value for '{setting}': {why}\n"),
            )
            .with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Address;

    #[test]
    fn an_error_about_an_address_does_not_show_its_password() {
        let command = Command::new("x").arg(
            Arg::new("source")
                .long("source")
                .value_parser(Discreet(str::parse::<Address>)),
        );
        for address in [
            "amqp://u:secret@h?colour=red",
            "amqp://u:secret@h:99999",
            "ampq://u:secret@h",
            "u:secret@h",
        ] {
            let why = command
                .clone()
                .try_get_matches_from(["x", "--source", address])
                .unwrap_err()
                .to_string();
            assert!(why.contains("--source") && !why.contains("secret"), "{why}");
        }
        command
            .try_get_matches_from(["x", "--source", "amqp://u:secret@h"])
            .unwrap();
    }
}
