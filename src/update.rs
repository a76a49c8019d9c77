//! What happened: a bug changed, at a time. Owns the values that everything else is about, and how
//! they are read and written. Knows no client, no history, no clock.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use time::format_description::well_known::Iso8601;
use time::{Date, Duration, PrimitiveDateTime, UtcOffset};

/// The number of a bug: a positive 32-bit signed integer, which is what every Bugzilla schema
/// stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BugId(NonZeroU32);

impl BugId {
    /// The largest bug id: 2^31 - 1.
    pub(crate) const MAX: u32 = i32::MAX as u32;

    /// Returns the id, or `None` where `number` is 0 or above `BugId::MAX`.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number)
            .filter(|id| id.get() <= Self::MAX)
            .map(Self)
    }

    /// The id as a number, from 1 to `BugId::MAX`.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for BugId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no bug id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBugId;

impl fmt::Display for NoBugId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a bug id must be a decimal number from 1 to {}",
            BugId::MAX
        )
    }
}

impl std::error::Error for NoBugId {}

impl FromStr for BugId {
    type Err = NoBugId;

    /// Reads what Python's `int()` reads, since clients of the original relied on it: white space
    /// around the number, a plus sign and leading zeros. Digits other than ASCII's are refused.
    fn from_str(text: &str) -> Result<Self, NoBugId> {
        let is_space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
        let digits = text.trim_matches(is_space);
        let digits = digits.strip_prefix('+').unwrap_or(digits);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NoBugId);
        }
        digits.parse().ok().and_then(Self::new).ok_or(NoBugId)
    }
}

/// The time of a change, in UTC with a resolution of one second, and the text that clients get for
/// it.
///
/// Clients compare that text for equality with Bugzilla's own, so what a broker sent is kept to the
/// byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    seconds: i64,
    /// The text where it differs from the canonical one.
    verbatim: Option<Box<str>>,
}

/// A text that is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTime;

impl fmt::Display for NoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time must be YYYY-MM-DDTHH:MM:SS in UTC, or carry its offset")
    }
}

impl std::error::Error for NoTime {}

impl When {
    /// The longest text that is read as a time, in bytes: enough for nine digits of fraction and an
    /// offset.
    const TEXT_BYTES_MAX: usize = 40;

    /// The time that lies `seconds` after 1970-01-01T00:00:00 UTC. A time outside the years 0 to
    /// 9999 becomes the nearest inside.
    pub fn from_unix_seconds(seconds: i64) -> Self {
        let (first, last) = (-62_167_219_200, 253_402_300_799);
        Self {
            seconds: seconds.clamp(first, last),
            verbatim: None,
        }
    }

    /// Seconds since 1970-01-01T00:00:00 UTC; a fraction is cut off.
    pub fn unix_seconds(&self) -> i64 {
        self.seconds
    }
}

impl FromStr for When {
    type Err = NoTime;

    /// Reads `YYYY-MM-DD`, alone (midnight) or with `T` or a space and `HH:MM:SS`, a fraction, and
    /// `Z` or a numeric offset. Without an offset the time is UTC.
    fn from_str(text: &str) -> Result<Self, NoTime> {
        if text.len() > Self::TEXT_BYTES_MAX || !text.is_ascii() || text.len() < 10 {
            return Err(NoTime);
        }
        let (date, rest) = text.split_at(10);
        let seconds = match rest.bytes().next() {
            None => midnight(date)?,
            Some(b'T' | b't' | b' ') => midnight(date)? + seconds_of_day(&rest[1..])?,
            Some(_) => return Err(NoTime),
        };
        let canonical = Self::from_unix_seconds(seconds);
        if canonical.seconds != seconds {
            return Err(NoTime);
        }
        let verbatim = (canonical.to_string() != text).then(|| text.into());
        Ok(Self { seconds, verbatim })
    }
}

/// Seconds from 1970 to the start of the day `YYYY-MM-DD`.
fn midnight(date: &str) -> Result<i64, NoTime> {
    let plain = date.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !plain {
        return Err(NoTime);
    }
    let date = Date::parse(date, &Iso8601::DATE).map_err(|_| NoTime)?;
    Ok(date.midnight().assume_utc().unix_timestamp())
}

/// Seconds from midnight UTC to `HH:MM:SS[.fraction][Z|±HH[[:]MM]]`; an offset may make it
/// negative or more than a day.
fn seconds_of_day(text: &str) -> Result<i64, NoTime> {
    let two = |at: usize| {
        let digits = text.get(at..at + 2).ok_or(NoTime)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NoTime);
        }
        digits.parse::<i64>().map_err(|_| NoTime)
    };
    let (hour, minute, second) = (two(0)?, two(3)?, two(6)?);
    let colons = text.as_bytes()[2] == b':' && text.as_bytes()[5] == b':';
    // A leap second is written as 60; ISO 8601 has no other use for it.
    if !colons || hour > 23 || minute > 59 || second > 60 {
        return Err(NoTime);
    }
    let mut rest = &text[8..];
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let digits = fraction.bytes().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return Err(NoTime);
        }
        rest = &fraction[digits..];
    }
    Ok(hour * 3600 + minute * 60 + second - offset_seconds(rest)?)
}

/// Seconds east of UTC of ``, `Z`, `±HH`, `±HHMM` or `±HH:MM`.
fn offset_seconds(text: &str) -> Result<i64, NoTime> {
    let sign = match text.bytes().next() {
        None => return Ok(0),
        Some(b'Z' | b'z') if text.len() == 1 => return Ok(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return Err(NoTime),
    };
    let digits = match &text[1..] {
        long if long.len() == 5 && long.as_bytes()[2] == b':' => [&long[..2], &long[3..]].concat(),
        short if short.len() == 4 || short.len() == 2 => short.to_owned(),
        _ => return Err(NoTime),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NoTime);
    }
    let hours: i8 = digits[..2].parse().map_err(|_| NoTime)?;
    let minutes: i8 = digits[2..].parse().unwrap_or(0);
    let offset = UtcOffset::from_hms(hours, minutes, 0).map_err(|_| NoTime)?;
    Ok(sign * i64::from(offset.whole_seconds()))
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.verbatim {
            return f.write_str(text);
        }
        let epoch = PrimitiveDateTime::new(
            Date::from_ordinal_date(1970, 1).map_err(|_| fmt::Error)?,
            time::Time::MIDNIGHT,
        );
        let at = epoch + Duration::seconds(self.seconds);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }
}

/// One change of one bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which bug changed.
    pub bug: BugId,
    /// When it changed, by the clock of Bugzilla's database.
    pub when: When,
}

/// Which of the server's feeds an update belongs to: its place in the list of feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedId(pub u8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_id_is_read_as_pythons_int_reads_it() {
        for text in [
            "1234",
            " 1234 ",
            "+1234",
            "0001234",
            "\n1234\t",
            "\u{a0}1234",
            "\x1c1234",
        ] {
            assert_eq!(text.parse(), Ok(BugId::new(1234).unwrap()), "{text:?}");
        }
        assert_eq!("2147483647".parse(), Ok(BugId::new(BugId::MAX).unwrap()));
    }

    #[test]
    fn what_is_no_bug_id_is_refused() {
        for text in [
            "",
            " ",
            "+",
            "-1",
            "0",
            "-0",
            "++1",
            "+ 1",
            "1_000",
            "1.0",
            "1e3",
            "0x10",
            "12abc",
            "1,2",
            "1L",
            "１２",
            "²",
            "2147483648",
            "4294967297",
            "99999999999999999999",
        ] {
            assert_eq!(text.parse::<BugId>(), Err(NoBugId), "{text:?}");
        }
    }

    #[test]
    fn a_time_is_read_in_each_accepted_form() {
        let expected = 1_396_559_625; // 2014-04-03T21:13:45Z
        for text in [
            "2014-04-03T21:13:45",
            "2014-04-03 21:13:45",
            "2014-04-03t21:13:45z",
            "2014-04-03T21:13:45Z",
            "2014-04-03T21:13:45.999999999Z",
            "2014-04-03T23:13:45+02:00",
            "2014-04-03T23:13:45+0200",
            "2014-04-03T23:13:45+02",
            "2014-04-04T02:43:45+05:30",
            "2014-04-04T21:12:45+23:59",
            "2014-04-03T14:13:45.5-07:00",
            "2014-04-03T23:13:45.12345678901234+02:00",
        ] {
            assert_eq!(
                text.parse::<When>().unwrap().unix_seconds(),
                expected,
                "{text:?}"
            );
        }
        let seconds = |text: &str| text.parse::<When>().unwrap().unix_seconds();
        assert_eq!(seconds("2014-04-03"), expected - (21 * 3600 + 13 * 60 + 45));
        assert_eq!(
            seconds("2014-04-03T21:13:60"),
            expected + 15,
            "a leap second"
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2014",
            "2014-04",
            "2014-13-01",
            "2014-02-30",
            "2014-04-03T",
            "2014-04-03T21:13",
            "2014-04-03T24:00:00",
            "2014-04-03T21:60:00",
            "2014-04-03T21:13:61",
            "2014-04-03T21:13-45",
            "2014-04-03T21-13:45",
            "2014-04-03T21:13:45.",
            "2014-04-03T21:13:45+",
            "2014-04-03T21:13:45+2",
            "2014-04-03T21:13:45+02:",
            "2014-04-03T21:13:45+02:60",
            "2014-04-03T21:13:45+99:00",
            "2014-04-03T21:13:45ZZ",
            "2014-04-03x21:13:45",
            " 2014-04-03",
            "2014-04-03T2１:13:45",
            "-014-04-03",
            "2014-W14-4T",
            "0000-01-01T00:00:00+01:00",
            "2014-04-03T21:13:45.1234567890123456789012345",
        ] {
            assert_eq!(text.parse::<When>(), Err(NoTime), "{text:?}");
        }
    }

    #[test]
    fn the_text_of_a_time_is_what_came() {
        for text in [
            "2014-04-03T21:13:45",
            "2014-04-03 21:13:45",
            "2014-04-03T21:13:45Z",
            "2014-04-03",
        ] {
            assert_eq!(text.parse::<When>().unwrap().to_string(), text);
        }
        assert_eq!(
            When::from_unix_seconds(0).to_string(),
            "1970-01-01T00:00:00"
        );
        assert_eq!(
            When::from_unix_seconds(i64::MIN).to_string(),
            "0000-01-01T00:00:00"
        );
        assert_eq!(
            When::from_unix_seconds(i64::MAX).to_string(),
            "9999-12-31T23:59:59"
        );
    }

    #[test]
    fn what_is_refused_is_told_how_it_must_look() {
        assert!(NoBugId.to_string().contains("from 1 to 2147483647"));
        assert!(NoTime.to_string().contains("YYYY-MM-DDTHH:MM:SS"));
    }
}
