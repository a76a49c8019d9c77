//! The options of an address, `NAME=VALUE&…`: the one reader for all kinds of address. Knows no
//! option.

use super::decode;

/// Reads options and has `set` take each, by its name and its value. `set` returns whether there is
/// such an option. `accepted` lists those there are, for the user.
///
/// # Errors
/// A sentence that names the option and says what is accepted.
pub(crate) fn read_options(
    text: &str,
    accepted: &str,
    mut set: impl FnMut(&str, &str) -> Result<bool, String>,
) -> Result<(), String> {
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // It is not repeated: a '?' in a password that was not written as %3F makes options of the
        // password's rest.
        if !is_name(name) {
            return Err(format!(
                "it has an option that is none; accepted are {accepted}"
            ));
        }
        let is_known = if value.is_empty() {
            Err(format!("it has no value; the options are {accepted}"))
        } else {
            decode(value).and_then(|value| set(name, &value))
        };
        match is_known {
            Ok(true) => {}
            Ok(false) => {
                return Err(format!(
                    "{name}: there is no such option; accepted are {accepted}"
                ));
            }
            Err(why) => return Err(format!("{name}: {why}")),
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Whether this can be the name of a header field: RFC 9110, section 5.6.2.
pub(crate) fn is_field_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let mut read = Vec::new();
        read_options(text, "file and zone", |name, value| match name {
            "file" | "zone" => {
                read.push((name.to_owned(), value.to_owned()));
                Ok(true)
            }
            "never" => Err("it is wrong".to_owned()),
            _ => Ok(false),
        })?;
        Ok(read)
    }

    #[test]
    fn a_plus_is_a_plus_and_what_is_written_with_a_percent_sign_is_read() {
        assert_eq!(
            read("file=a+b%20c%26d&&zone=%2B02:00=x"),
            Ok(vec![
                ("file".to_owned(), "a+b c&d".to_owned()),
                ("zone".to_owned(), "+02:00=x".to_owned()),
            ])
        );
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_option_is_refused_with_those_there_are_and_what_may_be_a_password_not_repeated() {
        for (text, said) in [
            (
                "colour=red",
                "colour: there is no such option; accepted are file and zone",
            ),
            (
                "secret@host/x",
                "it has an option that is none; accepted are file and zone",
            ),
            (
                "file",
                "file: it has no value; the options are file and zone",
            ),
            (
                "file=",
                "file: it has no value; the options are file and zone",
            ),
            ("never=x", "never: it is wrong"),
            (
                "file=%ff",
                "file: what is written with '%' in it is not UTF-8",
            ),
        ] {
            assert_eq!(read(text), Err(said.to_owned()), "{text}");
        }
    }
}
