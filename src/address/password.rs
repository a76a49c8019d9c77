//! A password that a user gave, or the file that holds it. Nothing prints it, not even a debugger's
//! dump.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::systemd;

/// Where a password comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Password {
    /// The password itself.
    Text(String),
    /// A file that holds nothing else, a credential of systemd maybe; a line break at its end does
    /// not count.
    File(PathBuf),
}

impl Password {
    /// The option `password_file=FILE`, which stands in for a password in the address.
    ///
    /// # Errors
    /// When the address has a password already.
    pub(crate) fn set_file(password: &mut Option<Self>, file: &str) -> Result<(), String> {
        match password {
            Some(Password::Text(_)) => {
                Err("the address has a password, too; one is enough".to_owned())
            }
            Some(Password::File(_)) | None => {
                *password = Some(Password::File(file.into()));
                Ok(())
            }
        }
    }

    /// The password, from the file that holds it if need be: each time anew, so that it may change.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(&self) -> Result<String, String> {
        match self {
            Password::Text(text) => Ok(text.clone()),
            Password::File(file) => match systemd::file(file).and_then(fs::read_to_string) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => Err(format!(
                    "cannot read the password from {}: {error}",
                    file.display()
                )),
            },
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Password::Text(_) => f.write_str("Text(…)"),
            Password::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_stand_in_a_file_and_is_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let password = Password::File(file.clone());
        assert!(
            password
                .read()
                .unwrap_err()
                .contains(file.to_str().unwrap())
        );
        std::fs::write(&file, " se cret \r\n").unwrap();
        assert_eq!(password.read().as_deref(), Ok(" se cret "));
        assert_eq!(
            format!("{:?}", Password::Text("secret".to_owned())),
            "Text(…)"
        );
    }
}
