//! The files with secrets that systemd has put where this service alone can read them
//! (`LoadCredential=`; see systemd.exec(5), "Credentials").

use std::env;
use std::io;
use std::path::{Path, PathBuf};

/// What stands for their folder, as in a unit.
const FOLDER: &str = "%d";

/// A file as a setting names it: `%d/NAME` is the credential NAME, and any other name is itself.
///
/// # Errors
/// When a credential is named and systemd has given none.
pub(crate) fn file(named: &Path) -> io::Result<PathBuf> {
    let Ok(name) = named.strip_prefix(FOLDER) else {
        return Ok(named.to_owned());
    };
    match env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()) {
        Some(folder) => Ok(Path::new(&folder).join(name)),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "$CREDENTIALS_DIRECTORY is not set; systemd sets it where the unit has LoadCredential=",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_credential_is_itself() {
        for path in ["key", "/etc/%d/key", "%dx", "./%d/key"] {
            assert_eq!(file(Path::new(path)).unwrap(), Path::new(path));
        }
    }

    #[test]
    fn without_systemd_there_are_no_credentials() {
        let why = file(Path::new("%d/key")).unwrap_err().to_string();
        assert!(why.contains("$CREDENTIALS_DIRECTORY"), "{why}");
    }
}
