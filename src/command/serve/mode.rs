//! How `--access` is read. Knows no other setting.

use std::path::PathBuf;
use std::str::FromStr;

/// Who may have the feeds, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Those who hold a token of this file.
    Tokens(PathBuf),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("tokens", file)) if !file.is_empty() => Ok(Self::Tokens(file.into())),
            _ => Err("accepted is tokens:FILE, a file that bugzfeed token add makes".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_names_its_file() {
        assert_eq!(
            "tokens:/a:b".parse(),
            Ok(Mode::Tokens(PathBuf::from("/a:b")))
        );
        for wrong in ["", "tokens", "tokens:", "token:x", "x"] {
            let why = wrong.parse::<Mode>().unwrap_err();
            assert!(why.contains("tokens:FILE"), "{why}");
        }
    }
}
