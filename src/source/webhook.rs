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
    /// When it was noted last that the server is there.
    noted: Instant,
    /// When the file with the key was read last.
    looked: Instant,
    /// How many posts recorded no change, by reason.
    unreadable: HashMap<Unreadable, u64>,
}

impl Webhook {
    /// A source, and where its posts are to be sent.
    pub(super) fn new(settings: &Settings) -> (Self, PostSender) {
        let (sender, posts) = inbox::open_posts();
        let now = Instant::now();
        let source = Self {
            posts,
            settings: settings.clone(),
            key: Err(String::new()),
            noted: now,
            looked: now,
            unreadable: HashMap::new(),
        };
        (source, sender)
    }
}

impl Source for Webhook {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        let sender = self.posts.sender();
        stop.on_request(move || sender.wake());
        self.report_absence(unix_now(), sink)?;
        sink.deliver_with_notes(Vec::new(), &[seen_now()])?;
        sink.connected()?;
        while !stop.is_requested() {
            if let Some(post) = self.posts.wait(KEY_EVERY) {
                self.take(&post, sink)?;
            }
            self.tick(Instant::now(), sink)?;
        }
        Ok(())
    }
}

impl Webhook {
    /// Does what is due.
    fn tick(&mut self, now: Instant, sink: &Sink) -> Result<(), Closed> {
        if now.duration_since(self.noted) >= NOTE_EVERY {
            sink.deliver_with_notes(Vec::new(), &[seen_now()])?;
            self.noted = now;
        }
        if now.duration_since(self.looked) >= KEY_EVERY {
            self.look_at_key(sink)?;
            self.looked = now;
        }
        Ok(())
    }

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
    fn report_absence(&self, now: i64, sink: &Sink) -> Result<(), Closed> {
        let Some(seen) = sink.note(SEEN).and_then(|text| text.parse::<i64>().ok()) else {
            return Ok(());
        };
        let away = now.saturating_sub(seen);
        if away > self.settings.repeats.as_secs().cast_signed() {
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
    use std::fs;

    use rusqlite::Connection;

    use super::*;
    use crate::post::PostId;
    use crate::source::sink::Test;
    use crate::source::{HistoryFile, Kept};

    const CHANGE: &str = r#"{"payload":{"id":7,"delta_ts":"2014-04-03T21:13:45"}}"#;

    fn post(id: u64, body: &str) -> Post {
        Post {
            id: PostId(id),
            body: body.into(),
        }
    }

    fn source(options: &str) -> (Webhook, PostSender) {
        Webhook::new(&Settings::parse(options).unwrap())
    }

    fn stopped() -> Stop {
        let stop = Stop::default();
        stop.request();
        stop
    }

    #[test]
    fn a_post_is_answered_after_its_change_was_handed_on_and_refused_where_it_is_no_message() {
        let (mut source, _posts) = source("?key=a");
        let test = Test::new(None, &Kept::default());
        let large = format!("{{\"x\":\"{}\"}}", "x".repeat(pulse::MESSAGE_BYTES_MAX));
        let bodies = [
            CHANGE,
            "no JSON",
            &large,
            r#"{"other":1}"#,
            r#"{"payload":{"id":0,"delta_ts":"2014-04-03T21:13:45"}}"#,
            r#"{"payload":{"id":7,"delta_ts":"yesterday"}}"#,
        ];
        let answers = bodies.map(|body| {
            source.take(&post(3, body), &test.sink).unwrap();
            test.sent()
        });
        let (unreadable, kept) = ("Unreadable 3", "Kept 3");
        let expected = ["7, Kept 3", unreadable, unreadable, kept, kept, kept];
        assert_eq!(answers, expected);
        assert!(test.sink.note(SEEN).is_some());
    }

    #[test]
    fn a_post_that_the_history_file_does_not_take_is_to_be_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let (file, kept) = HistoryFile::open(&path, "bugs", "webhook", 10).unwrap();
        let (mut source, _posts) = source("?key=a");
        let test = Test::keeping(None, Some(file), &kept);
        source.take(&post(1, CHANGE), &test.sink).unwrap();
        assert_eq!(test.sent(), "7, Kept 1");
        let break_it =
            "CREATE TRIGGER broken BEFORE INSERT ON history BEGIN SELECT RAISE(ABORT, ''); END";
        Connection::open(&path)
            .unwrap()
            .execute_batch(break_it)
            .unwrap();
        source.take(&post(2, CHANGE), &test.sink).unwrap();
        assert_eq!(test.sent(), "7, NotKept 2");
    }

    #[test]
    fn posts_are_read_until_the_stop_and_what_is_due_is_done_meanwhile() {
        let (mut source, posts) = source("?key=a");
        source.looked = source.looked.checked_sub(KEY_EVERY).unwrap();
        let (mut test, stop) = (Test::new(None, &Kept::default()), Stop::default());
        assert!(posts.try_send(post(1, CHANGE)));
        assert!(posts.try_send(post(2, CHANGE)));
        std::thread::scope(|scope| {
            scope.spawn(|| source.run(&mut test.sink, &stop).unwrap());
            // More than may wait.
            let (mut id, deadline) = (3, Instant::now() + Duration::from_secs(60));
            while id < 70 && Instant::now() < deadline {
                id += u64::from(posts.try_send(post(id, CHANGE)));
                std::thread::yield_now();
            }
            stop.request();
        });
        let sent = "7, Kept 1, key a, 7, Kept 2, 7, Kept 3";
        assert!(test.sent().contains(sent));
    }

    #[test]
    fn a_stop_ends_the_wait_for_posts() {
        let room =
            |posts: PostSender| (0..).take_while(move |&id| posts.try_send(post(id, CHANGE)));
        let (_idle, posts) = source("?key=a");
        let all = room(posts).count();
        let (mut source, posts) = source("?key=a");
        let mut test = Test::new(None, &Kept::default());
        source.run(&mut test.sink, &stopped()).unwrap();
        // What wakes the source stands where a post could.
        assert_eq!(room(posts).count(), all - 1);
    }

    #[test]
    fn it_is_noted_each_minute_that_the_server_is_there_and_the_key_is_read_each_five_seconds() {
        let (mut source, _posts) = source("?key=a");
        let test = Test::new(None, &Kept::default());
        let start = Instant::now();
        (source.noted, source.looked) = (start, start);
        for (seconds, done) in [
            (4, ""),
            (5, "key a"),
            (9, ""),
            (59, "key a"),
            (60, "noted"),
            (63, ""),
            (64, "key a"),
            (119, "key a"),
            (120, "noted"),
        ] {
            let unknown = [(SEEN, "unknown".to_owned())];
            test.sink.deliver_with_notes(Vec::new(), &unknown).unwrap();
            source.key = Err(String::new());
            let now = start + Duration::from_secs(seconds);
            source.tick(now, &test.sink).unwrap();
            let is_noted = test.sink.note(SEEN).as_deref() != Some("unknown");
            let noted = if is_noted { "noted" } else { "" };
            assert_eq!(noted.to_owned() + &test.sent(), done, "{seconds}");
        }
    }

    #[test]
    fn an_absence_of_longer_than_posts_are_repeated_is_a_gap() {
        for (ago, sent) in [
            (None, "after 100"),
            (Some(3_000), "after 100"),
            (Some(4_000), "nothing, gap"),
        ] {
            let seen = ago.map(|ago| (SEEN.to_owned(), (unix_now() - ago).to_string()));
            let kept = Kept {
                floor: Some(100),
                notes: seen.into_iter().collect(),
                ..Kept::default()
            };
            let (mut source, _posts) = source("?key=a&repeats=1h");
            let mut test = Test::new(None, &kept);
            source.run(&mut test.sink, &stopped()).unwrap();
            assert_eq!(test.sent(), sent, "{ago:?}");
            assert!(test.sink.health().has_worked_for(Duration::ZERO));
            let seen: i64 = test.sink.note(SEEN).unwrap().parse().unwrap();
            assert!(unix_now() - seen < 1_000);
        }
    }

    #[test]
    fn a_post_is_repeated_until_its_last_second() {
        let (source, _posts) = source("?key=a&repeats=1h");
        for (away, is_gap) in [(3_600, false), (3_601, true)] {
            let kept = Kept {
                floor: Some(100),
                notes: [(SEEN.to_owned(), "1000".to_owned())].into(),
                ..Kept::default()
            };
            let mut test = Test::new(None, &kept);
            source.report_absence(1_000 + away, &test.sink).unwrap();
            test.sink.connected().unwrap();
            assert_eq!(test.sent().ends_with("gap"), is_gap, "{away}");
        }
    }

    #[test]
    fn a_key_that_changes_in_its_file_is_used_and_one_that_cannot_be_read_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let (mut source, _posts) = source(&format!("?key_file={}", file.display()));
        let test = Test::new(None, &Kept::default());
        let mut sent = |key: Option<&str>| {
            match key {
                Some(key) => fs::write(&file, key).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            source.look_at_key(&test.sink).unwrap();
            test.sent()
        };
        let keys = [Some("one"), Some("one"), Some(""), None, Some("two")];
        assert_eq!(keys.map(&mut sent), ["key one", "", "", "", "key two"]);
    }

    #[test]
    fn a_key_that_is_empty_is_none_and_repeats_are_for_a_day_unless_said_otherwise() {
        let settings = Settings::parse("?key_file=/dev/null").unwrap();
        settings.credentials().unwrap_err();
        assert_eq!(settings.repeats, Duration::from_secs(86_400));
        let settings = Settings::parse("?key=a&repeats=2h").unwrap();
        assert_eq!(settings.repeats, Duration::from_secs(7_200));
    }

    #[test]
    fn a_key_must_be_given() {
        for text in ["", "?", "?header=X", "?key=", "?key=a&colour=red"] {
            let why = Settings::parse(text).unwrap_err();
            assert!(!why.is_empty(), "{text}");
        }
        let why = Settings::parse("?key=a&header=a%20b").unwrap_err();
        assert!(why.contains("'a b' is no name of a header field"), "{why}");
        let settings = Settings::parse("?key=a").unwrap();
        let usual = ("X-Api-Key".to_owned(), "a".to_owned());
        assert_eq!(settings.credentials(), Ok(usual));
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
