//! Source `webhook:`: takes what Bugzilla posts, as bugzilla.mozilla.org and its relatives do. The
//! server receives the posts; this reads them, has them kept, and only then has them answered.
//! Knows no HTTP.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::{Sink, Source};
use crate::address::{Password, is_field_name, read_options};
use crate::duration;
use crate::inbox::{self, Closed, PostInbox, PostSender};
use crate::post::{Answer, Post};
use crate::pulse::{self, Unreadable};
use crate::work::{Error, Stop, unix_now};

const ACCEPTED: &str = "webhook:?key_file=FILE, with header=NAME where the key is not in X-Api-Key";
const OPTIONS: &str = "key_file=FILE, key=KEY, header=NAME and repeats=DURATION";

/// How long a sender repeats a post, where nobody says otherwise.
const REPEATS: Duration = Duration::from_secs(24 * 3600);

/// How often it is noted that the server is there.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// How often the file with the key is read, so that the key can be changed.
const KEY_EVERY: Duration = Duration::from_secs(5);

/// The note that says when the server was there last, in Unix seconds.
const SEEN: &str = "webhook-seen";

/// Who may post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The header field that carries the key.
    field: String,
    key: Password,
    /// How long the sender repeats a post that was not answered.
    repeats: Duration,
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
        let (mut field, mut key, mut repeats) = ("X-Api-Key".to_owned(), None, REPEATS);
        read_options(query, OPTIONS, |name, value| {
            match name {
                "header" if is_field_name(value) => field = value.to_owned(),
                "header" => return Err(format!("'{value}' is no name of a header field")),
                "key" => key = Some(Password::Text(value.to_owned())),
                "key_file" => key = Some(Password::File(value.into())),
                "repeats" => repeats = duration::parse(value)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let key = key.ok_or_else(|| format!("the key is missing; accepted is {ACCEPTED}"))?;
        Ok(Self {
            field,
            key,
            repeats,
        })
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
    settings: Settings,
    /// The key that posts must carry, and why it could not be read again, if it could not.
    key: Result<String, String>,
    /// How long the sender repeats a post that was not answered.
    repeats: Duration,
    /// How many posts recorded no change, by reason.
    unreadable: HashMap<Unreadable, u64>,
}

impl Webhook {
    /// A source, and where its posts are to be sent.
    pub(super) fn new(settings: &Settings) -> (Self, PostSender) {
        let (sender, posts) = inbox::open_posts();
        let source = Self {
            posts,
            settings: settings.clone(),
            key: Err(String::new()),
            repeats: settings.repeats,
            unreadable: HashMap::new(),
        };
        (source, sender)
    }
}

impl Source for Webhook {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        let sender = self.posts.sender();
        stop.on_request(move || sender.wake());
        self.report_absence(sink)?;
        sink.deliver_with_notes(Vec::new(), &[seen_now()])?;
        sink.connected()?;
        let (mut noted, mut looked) = (Instant::now(), Instant::now());
        while !stop.is_requested() {
            if let Some(post) = self.posts.wait(KEY_EVERY) {
                self.take(&post, sink)?;
                noted = Instant::now();
            }
            if noted.elapsed() >= NOTE_EVERY {
                sink.deliver_with_notes(Vec::new(), &[seen_now()])?;
                noted = Instant::now();
            }
            if looked.elapsed() >= KEY_EVERY {
                self.look_at_key(sink)?;
                looked = Instant::now();
            }
        }
        Ok(())
    }
}

impl Webhook {
    /// Has the server use the key that its file holds now. One that cannot be read changes nothing.
    fn look_at_key(&mut self, sink: &Sink) -> Result<(), Closed> {
        let key = self.settings.credentials().map(|(_, key)| key);
        if key == self.key {
            return Ok(());
        }
        match &key {
            Ok(key) => sink.use_key(key.clone())?,
            Err(why) => warn!("posts must still carry the key that was known before: {why}"),
        }
        self.key = key;
        Ok(())
    }

    /// What was answered is kept, and what was not is posted again: nothing is missing, unless
    /// nobody answered for longer than the sender repeats.
    fn report_absence(&self, sink: &Sink) -> Result<(), Closed> {
        let Some(seen) = sink.note(SEEN).and_then(|text| text.parse::<i64>().ok()) else {
            return Ok(());
        };
        let away = unix_now().saturating_sub(seen);
        if away > self.repeats.as_secs().cast_signed() {
            let reason = "the server was away for longer than posts are repeated (option repeats)";
            sink.missed(reason, None)?;
        }
        Ok(())
    }

    fn take(&mut self, post: &Post, sink: &Sink) -> Result<(), Closed> {
        let answer = match pulse::read(&post.body) {
            Ok(update) => {
                sink.deliver_with_notes(vec![update], &[seen_now()])?;
                if sink.is_keeping() {
                    Answer::Kept
                } else {
                    Answer::NotKept
                }
            }
            Err(why) => {
                self.report_unreadable(why, post.body.len());
                // A sender that gets a refusal posts nothing else until it is taken.
                match why {
                    Unreadable::NotJson | Unreadable::TooLarge => Answer::Unreadable,
                    Unreadable::UnknownShape | Unreadable::NoBugId | Unreadable::NoTime => {
                        Answer::Kept
                    }
                }
            }
        };
        sink.answer(post.id, answer)
    }

    /// Each kind is logged once.
    fn report_unreadable(&mut self, why: Unreadable, bytes: usize) {
        let count = self.unreadable.entry(why).or_default();
        *count += 1;
        if *count == 1 {
            warn!(
                "a post of {bytes} bytes records no change: {why}; the log will not say so again"
            );
        } else {
            debug!("post {count} of its kind, of {bytes} bytes: {why}");
        }
    }
}

/// The note that the server was there.
fn seen_now() -> (&'static str, String) {
    (SEEN, unix_now().to_string())
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
