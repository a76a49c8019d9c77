//! What the addresses of all databases can say behind their `?`: which table, how often, in which
//! time zone. Knows no database.

use std::fmt;
use std::time::Duration;

use crate::update::BugId;

/// The options that each database has, for the user.
pub(super) const ACCEPTED: &str =
    "table=NAME, poll=DURATION, tz=ZONE, mode=table|bugs, window=DURATION and bugs=all|public";

/// How a database is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadOptions {
    /// The table of notifications.
    pub(crate) table: TableName,
    /// The pause between two looks.
    pub(crate) poll: Duration,
    /// The time zone of `delta_ts`.
    pub(crate) zone: Zone,
    /// What is read.
    pub(crate) mode: Mode,
    /// In [`Mode::Bugs`], how long after a newer edit an older one is still found.
    pub(crate) window: Duration,
    /// Of which bugs.
    pub(crate) shown: Shown,
}

/// Of which bugs a source hands on updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Of all.
    #[default]
    All,
    /// Of those that are in no group. Bugzilla inserts a bug first and its groups afterwards, so
    /// this is decided when the updates are read, after the commit.
    Public,
}

/// SQL for whether a row of the table `bugs` is that of a public bug.
const IS_PUBLIC: &str =
    "NOT EXISTS (SELECT 1 FROM bug_group_map WHERE bug_group_map.bug_id = bugs.bug_id)";

impl Shown {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Shown::All),
            "public" => Ok(Shown::Public),
            _ => Err(format!("'{text}' is none; accepted are all and public")),
        }
    }

    /// SQL for whether a row of the table `bugs` is shown.
    pub(super) fn condition(self) -> &'static str {
        match self {
            Shown::All => "1 = 1",
            Shown::Public => IS_PUBLIC,
        }
    }

    /// SQL that finds which of these bugs are not shown; none where all are.
    pub(super) fn find_private(self, bugs: &[BugId]) -> Option<String> {
        if self == Shown::All || bugs.is_empty() {
            return None;
        }
        let bugs: Vec<String> = bugs.iter().map(ToString::to_string).collect();
        Some(format!(
            "SELECT DISTINCT bug_id FROM bug_group_map WHERE bug_id IN ({})",
            bugs.join(", ")
        ))
    }
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The table of notifications, which triggers fill.
    Table,
    /// Bugzilla's own `bugs`, without any trigger or right to write.
    Bugs,
}

/// The time zone of `delta_ts`, which says none itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// The zone that the database (SQLite: this process) takes for its own.
    Own,
    /// A fixed distance from UTC, in seconds to the east.
    Offset(i32),
    /// A zone by a name that the database knows, such as `Europe/Berlin`.
    Named(String),
}

/// A table's name, with its schema if need be. It holds nothing that could end a quotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName(String);

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            table: TableName("push_notify".to_owned()),
            poll: Duration::from_millis(250),
            zone: Zone::Own,
            mode: Mode::Table,
            window: Duration::from_secs(600),
            shown: Shown::All,
        }
    }
}

impl ReadOptions {
    /// Whether the table is the one that `bugzfeed schema` makes, and so its triggers are, too.
    pub(crate) fn is_own_table(&self) -> bool {
        self.table == Self::default().table
    }

    /// Sets the option `name`; returns whether it is one of those that each database has.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the value.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "table" => self.table = TableName::parse(value)?,
            "poll" => self.poll = duration(value)?,
            "tz" => self.zone = Zone::parse(value)?,
            "mode" => self.mode = Mode::parse(value)?,
            "window" => self.window = duration(value)?,
            "bugs" => self.shown = Shown::parse(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A pause of nothing would keep a processor busy.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = crate::duration::parse(text)?;
    if duration.is_zero() {
        Err(format!("'{text}' is too short; accepted is 1ms and more"))
    } else {
        Ok(duration)
    }
}

impl Mode {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Mode::Table),
            "bugs" => Ok(Mode::Bugs),
            _ => Err(format!("'{text}' is none; accepted are table and bugs")),
        }
    }
}

impl Zone {
    fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "UTC" | "utc" | "Z" | "GMT") {
            return Ok(Zone::Offset(0));
        }
        if let Some(digits) = text.strip_prefix(['+', '-']) {
            let seconds = offset(digits).ok_or_else(|| {
                format!("'{text}' is no offset; accepted are those such as +02:00")
            })?;
            return Ok(Zone::Offset(if text.starts_with('-') {
                -seconds
            } else {
                seconds
            }));
        }
        let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_/+-".contains(&byte));
        if is_name {
            Ok(Zone::Named(text.to_owned()))
        } else {
            Err(format!(
                "'{text}' is no time zone; accepted are UTC, an offset such as +02:00 and a name such as Europe/Berlin"
            ))
        }
    }
}

/// Seconds of `HH:MM`.
fn offset(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse::<i32>().ok()
        } else {
            None
        }
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours <= 14 && minutes <= 59).then_some(hours * 3600 + minutes * 60)
}

/// `+HH:MM`, as every database reads it.
pub(super) fn offset_text(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

impl TableName {
    fn parse(text: &str) -> Result<Self, String> {
        let is_name = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if text.split('.').count() <= 2 && text.split('.').all(is_name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "'{text}' is no name of a table; accepted are letters, digits and _, and SCHEMA.TABLE"
            ))
        }
    }

    /// The name between `quote`s.
    pub(crate) fn quoted(&self, quote: char) -> String {
        let parts: Vec<String> = self
            .0
            .split('.')
            .map(|part| format!("{quote}{part}{quote}"))
            .collect();
        parts.join(".")
    }

    /// The schema, where the name has one.
    #[cfg(feature = "mysql")]
    pub(crate) fn schema(&self) -> Option<&str> {
        self.0.split_once('.').map(|(schema, _)| schema)
    }

    /// The name without its schema.
    pub(crate) fn unqualified(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_set_or_refused() {
        let mut options = ReadOptions::default();
        for (name, value) in [
            ("table", "b.Push_2"),
            ("poll", "1s"),
            ("tz", "-03:30"),
            ("mode", "bugs"),
            ("window", "2m"),
            ("bugs", "public"),
        ] {
            assert_eq!(options.set(name, value), Ok(true), "{name}={value}");
        }
        let expected = ReadOptions {
            table: TableName("b.Push_2".to_owned()),
            poll: Duration::from_secs(1),
            zone: Zone::Offset(-12_600),
            mode: Mode::Bugs,
            window: Duration::from_secs(120),
            shown: Shown::Public,
        };
        assert_eq!(options, expected);
        assert_eq!(options.table.quoted('`'), "`b`.`Push_2`");
        assert_eq!(options.set("colour", "red"), Ok(false));
        for (name, value) in [
            ("table", "x`; DROP"),
            ("table", "a.b.c"),
            ("table", ""),
            ("bugs", "secret"),
            ("poll", "0s"),
            ("poll", "1"),
            ("mode", "x"),
        ] {
            assert!(options.set(name, value).is_err(), "{name}={value}");
        }
        assert_eq!(options, expected);
    }

    #[test]
    fn a_time_zone_is_an_offset_or_a_name() {
        for (text, seconds) in [
            ("UTC", 0),
            ("+00:00", 0),
            ("+02:00", 7_200),
            ("-09:30", -34_200),
            ("+14:00", 50_400),
        ] {
            assert_eq!(Zone::parse(text), Ok(Zone::Offset(seconds)), "{text}");
        }
        assert_eq!(
            (offset_text(-34_200), offset_text(7_200)),
            ("-09:30".to_owned(), "+02:00".to_owned())
        );
        for text in ["Europe/Berlin", "Etc/GMT+2", "US/Eastern", "CET"] {
            assert_eq!(Zone::parse(text), Ok(Zone::Named(text.to_owned())));
        }
        for text in [
            "", "+2", "+02", "+0200", "+15:00", "+02:60", "'", "x'; DROP", "2", "/x",
        ] {
            assert!(Zone::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_offset_is_written_as_it_is_read() {
        for (text, written) in [
            ("+00:00", Some("+00:00")),
            ("-00:00", Some("+00:00")),
            ("-03:30", Some("-03:30")),
            ("+14:59", Some("+14:59")),
            ("+15:00", None),
            ("+02:60", None),
            ("+2:00", None),
            ("+02:0a", None),
            ("+02:+1", None),
        ] {
            let zone = Zone::parse(text).ok().map(|zone| match zone {
                Zone::Offset(seconds) => offset_text(seconds),
                zone => panic!("{text} is {zone:?}"),
            });
            assert_eq!(zone.as_deref(), written, "{text}");
        }
    }

    #[test]
    fn a_table_of_another_name_is_not_our_own() {
        let mut options = ReadOptions::default();
        assert!(options.is_own_table());
        options.set("table", "bugs.push_2").unwrap();
        assert!(!options.is_own_table());
        assert_eq!(options.table.unqualified(), "push_2");
        #[cfg(feature = "mysql")]
        assert_eq!(options.table.schema(), Some("bugs"));
        assert_eq!(ReadOptions::default().table.unqualified(), "push_notify");
    }
}
