//! A password that is made here and told once: on stdout, or in a file of the user's own. Knows
//! nobody whose password it is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};

use crate::failure::Failure;

/// As many bits as AES has.
const BYTES: usize = 16;

/// A password that nobody has yet.
pub(super) struct NewPassword<'a> {
    text: String,
    /// Where it is to be told, and where it is until it counts.
    file: Option<(&'a Path, PathBuf)>,
}

impl<'a> NewPassword<'a> {
    /// Makes a password. With a file, it is on the disk before it counts, so that it cannot be lost.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn make(file: Option<&'a Path>) -> Result<Self, Failure> {
        let mut bytes = [0; BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| Failure::Unavailable("the system gives no random numbers.".to_owned()))?;
        let text = HEXLOWER.encode(&bytes);
        let file = file
            .map(|file| {
                let new = draft(file);
                write(&new, &text)
                    .map(|()| (file, new))
                    .map_err(|error| cannot_write(file, &error))
            })
            .transpose()?;
        Ok(Self { text, file })
    }

    /// The password itself.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Tells it, now that it counts.
    ///
    /// # Errors
    /// When it cannot be told; then nobody knows it.
    pub(super) fn tell(mut self) -> Result<(), Failure> {
        match self.file.take() {
            Some((file, new)) => {
                fs::rename(&new, file).map_err(|error| cannot_write(file, &error))
            }
            None => writeln!(io::stdout(), "{}", self.text).map_err(|error| {
                Failure::Unavailable(format!(
                    "the password could not be printed ({error}); bugzfeed pulse user passwd makes another."
                ))
            }),
        }
    }
}

impl Drop for NewPassword<'_> {
    fn drop(&mut self) {
        if let Some((_, new)) = &self.file {
            // It never counted.
            let _ = fs::remove_file(new);
        }
    }
}

/// Refuses a file that is there: the password in it may be somebody's.
///
/// # Errors
/// When the file is there.
pub(super) fn must_be_new(file: Option<&Path>) -> Result<(), Failure> {
    match file {
        Some(file) if file.exists() => Err(Failure::Configuration(format!(
            "the file {} is there already (setting --password-file); the password in it may be in use.",
            file.display()
        ))),
        Some(_) | None => Ok(()),
    }
}

fn draft(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    name.into()
}

/// Nobody else may read it.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn cannot_write(file: &Path, error: &io::Error) -> Failure {
    Failure::Configuration(format!(
        "cannot write the password to {} (setting --password-file): {error}.",
        file.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_is_in_its_file_for_nobody_else_once_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        drop(NewPassword::make(Some(&file)).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        must_be_new(Some(&file)).unwrap();
        let password = NewPassword::make(Some(&file)).unwrap();
        let text = password.text().to_owned();
        password.tell().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), text);
        assert_eq!(text.len(), 32);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        must_be_new(Some(&file)).unwrap_err();
    }
}
