//! How a message says its place among those of its publisher, and how a publisher says which one
//! it has sent last: the texts that `bugzfeed relay` writes and `bugzfeed serve` reads. Pure;
//! knows no broker, and what nobody concludes from a number.
//!
//! A **stream** is what one relay has for one destination. It has a random id, and its changes are
//! numbered without a gap. The number is in the property `message-id`, which other consumers
//! ignore.

use std::fmt;
use std::str::FromStr;

use crate::update::When;

/// The longest id of a stream, in bytes.
const STREAM_BYTES_MAX: usize = 32;

/// The longest text of a number, in bytes.
pub(super) const NUMBER_BYTES_MAX: usize = STREAM_BYTES_MAX + 1 + 20 + 1 + 32;

/// The place of a change in its stream: `STREAM/NUMBER/TIME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    /// The stream's id.
    pub stream: String,
    /// Counted from 1.
    pub number: u64,
    /// The largest time of the changes up to this one (UTC, Unix seconds), by the clock of the
    /// database; none where no credible time is known.
    pub newest: Option<i64>,
}

/// What a relay announces: `STREAM/NUMBER/TIME/GIVEN`, and `/end` behind it when it ends as it
/// should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// The last change that the broker has confirmed.
    pub sent: Number,
    /// The last number that was given to a change.
    pub given: u64,
    /// Whether nothing more is sent until the next announcement.
    pub is_end: bool,
}

/// The text is no number, and no announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoNumber;

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.stream, self.number)?;
        match self.newest {
            Some(newest) => write!(f, "{}", When::from_unix_seconds(newest)),
            None => Ok(()),
        }
    }
}

impl FromStr for Number {
    type Err = NoNumber;

    fn from_str(text: &str) -> Result<Self, NoNumber> {
        let mut parts = text.split('/');
        let number = read(&mut parts)?;
        match parts.next() {
            None => Ok(number),
            Some(_) => Err(NoNumber),
        }
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_end { "/end" } else { "" };
        write!(f, "{}/{}{end}", self.sent, self.given)
    }
}

impl FromStr for Announcement {
    type Err = NoNumber;

    fn from_str(text: &str) -> Result<Self, NoNumber> {
        let mut parts = text.split('/');
        let sent = read(&mut parts)?;
        let given = digits(parts.next())?;
        let is_end = match (parts.next(), parts.next()) {
            (None, _) => false,
            (Some("end"), None) => true,
            _ => return Err(NoNumber),
        };
        Ok(Self {
            sent,
            given,
            is_end,
        })
    }
}

fn read<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<Number, NoNumber> {
    let stream = parts.next().filter(|id| {
        (1..=STREAM_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    let stream = stream.ok_or(NoNumber)?.to_owned();
    let number = digits(parts.next())?;
    let newest = match parts.next() {
        None => return Err(NoNumber),
        Some("") => None,
        Some(time) => {
            let when: When = time.parse().map_err(|_| NoNumber)?;
            Some(when.unix_seconds())
        }
    };
    Ok(Number {
        stream,
        number,
        newest,
    })
}

/// A number that leaves room for others behind it.
fn digits(text: Option<&str>) -> Result<u64, NoNumber> {
    let number = text.and_then(|text| text.parse::<i64>().ok());
    number
        .and_then(|number| u64::try_from(number).ok())
        .ok_or(NoNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (number, newest, text) in [
            (17, Some(1_396_559_625), "a0Z/17/2014-04-03T21:13:45"),
            (0, None, "a0Z/0/"),
        ] {
            let number = Number {
                stream: "a0Z".to_owned(),
                number,
                newest,
            };
            assert_eq!(number.to_string(), text);
            assert_eq!(text.parse(), Ok(number.clone()));
            for (is_end, rest) in [(false, "/20"), (true, "/20/end")] {
                let announcement = Announcement {
                    sent: number.clone(),
                    given: 20,
                    is_end,
                };
                assert_eq!(announcement.to_string(), format!("{text}{rest}"));
                assert_eq!(announcement.to_string().parse(), Ok(announcement));
            }
        }
    }

    #[test]
    fn what_others_write_into_the_property_is_no_number() {
        for text in [
            "",
            "7b6f1c0e-8d3a-4a53-9d43-5f2c1a2b3c4d",
            "a/1",
            "a/-1/",
            "a/9223372036854775808/",
            "a/1/yesterday",
            "a/1//2",
            "/1/",
            "a b/1/",
            "żółw/1/",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/1/",
        ] {
            assert_eq!(text.parse::<Number>(), Err(NoNumber), "{text}");
        }
        for text in ["a/1/", "a/1//", "a/1//x", "a/1//2/over", "a/1//2/end/"] {
            assert_eq!(text.parse::<Announcement>(), Err(NoNumber), "{text}");
        }
    }
}
