//! How `--access` is read. Knows no other setting.

use std::path::PathBuf;
use std::str::FromStr;

/// Who may have the feeds, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Those who hold a token of this file.
    Tokens(PathBuf),
    /// Bugzilla decides who sees which bug.
    Bugzilla {
        /// Whether nobody comes in whom Bugzilla does not know.
        needs_login: bool,
    },
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("tokens", file)) if !file.is_empty() => Ok(Self::Tokens(file.into())),
            None if text == "bugzilla" => Ok(Self::Bugzilla { needs_login: false }),
            None if text == "bugzilla,login" => Ok(Self::Bugzilla { needs_login: true }),
            _ => Err("accepted are tokens:FILE, with a file that bugzfeed token add makes, bugzilla and bugzilla,login".to_owned()),
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
        for (text, needs_login) in [("bugzilla", false), ("bugzilla,login", true)] {
            assert_eq!(text.parse(), Ok(Mode::Bugzilla { needs_login }));
        }
        for wrong in [
            "",
            "tokens",
            "tokens:",
            "token:x",
            "x",
            "bugzilla:",
            "bugzilla,x",
        ] {
            let why = wrong.parse::<Mode>().unwrap_err();
            assert!(why.contains("tokens:FILE"), "{why}");
        }
    }
}
