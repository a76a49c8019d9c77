//! Source `webhook:`: takes what Bugzilla posts, as bugzilla.mozilla.org and its relatives do. The
//! server receives the posts; this reads them, has them kept, and only then has them answered.
//! Knows no HTTP.

use std::fmt;

use log::warn;

use super::{Sink, Source};
use crate::address::{Password, is_field_name, read_options};
use crate::inbox::{self, PostInbox, PostSender};
use crate::post::Answer;
use crate::pulse;
use crate::work::{Error, Stop};

const ACCEPTED: &str = "webhook:?key_file=FILE, with header=NAME where the key is not in X-Api-Key";
const OPTIONS: &str = "key_file=FILE, key=KEY and header=NAME";

/// Who may post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The header field that carries the key.
    field: String,
    key: Password,
}

impl Settings {
    /// Reads `?key_file=FILE&header=NAME` or `?key=KEY`, what stands behind `webhook:`.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted, without the key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let query = text
            .strip_prefix('?')
            .filter(|query| !query.is_empty())
            .ok_or_else(|| format!("the key is missing; accepted is {ACCEPTED}"))?;
        let (mut field, mut key) = ("X-Api-Key".to_owned(), None);
        read_options(query, OPTIONS, |name, value| {
            match name {
                "header" if is_field_name(value) => field = value.to_owned(),
                "header" => return Err(format!("'{value}' is no name of a header field")),
                "key" => key = Some(Password::Text(value.to_owned())),
                "key_file" => key = Some(Password::File(value.into())),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let key = key.ok_or_else(|| format!("the key is missing; accepted is {ACCEPTED}"))?;
        Ok(Self { field, key })
    }

    /// The header field that carries the key, and the key.
    ///
    /// # Errors
    /// When the key cannot be read, or is empty.
    pub(crate) fn credentials(&self) -> Result<(String, String), String> {
        let key = self.key.read()?;
        if key.is_empty() {
            Err("the key is empty, so that anybody could post".to_owned())
        } else {
            Ok((self.field.clone(), key))
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "webhook:?header={}", self.field)
    }
}

/// The posts, read by [`super::supervise`].
#[derive(Debug)]
pub(super) struct Webhook {
    posts: PostInbox,
}

impl Webhook {
    /// A source, and where its posts are to be sent.
    pub(super) fn new() -> (Self, PostSender) {
        let (sender, posts) = inbox::open_posts();
        (Self { posts }, sender)
    }
}

impl Source for Webhook {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        let sender = self.posts.sender();
        stop.on_request(move || sender.wake());
        sink.connected()?;
        while let Some(post) = self.posts.wait() {
            if stop.is_requested() {
                break;
            }
            let answer = match pulse::read(&post.body) {
                Ok(update) => {
                    sink.deliver(vec![update])?;
                    if sink.is_keeping() {
                        Answer::Kept
                    } else {
                        Answer::NotKept
                    }
                }
                Err(why) => {
                    warn!("a post of {} bytes was refused: {why}", post.body.len());
                    Answer::Unreadable
                }
            };
            sink.answer(post.id, answer)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_must_be_given() {
        for text in [
            "",
            "?",
            "?header=X",
            "?key=",
            "?key=a&colour=red",
            "?key=a&header=a%20b",
        ] {
            let why = Settings::parse(text).unwrap_err();
            assert!(!why.is_empty(), "{text}");
        }
        let settings = Settings::parse("?header=X-Bugzilla-Key&key=s%26cret").unwrap();
        assert_eq!(
            settings.credentials(),
            Ok(("X-Bugzilla-Key".to_owned(), "s&cret".to_owned()))
        );
        assert!(!format!("{settings} {settings:?}").contains("cret"));
    }

    #[test]
    fn a_plus_in_the_name_of_the_file_with_the_key_is_a_plus() {
        let settings = Settings::parse("?key_file=/etc/a+b%20c").unwrap();
        assert_eq!(settings.key, Password::File("/etc/a+b c".into()));
    }
}
