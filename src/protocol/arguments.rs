//! Reads the values of `bugs` and `since`. Both have the leniency of the original, which clients
//! rely on. Knows no command.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Bugs, Error};
use crate::update::{BugId, When};

/// Reads `bugs`: a list, or all of them where the feed `offers_all`; elsewhere `"*"` is no bug's id,
/// as it was to the original.
pub(super) fn parse_bugs(value: &RawValue, offers_all: bool) -> Result<Bugs, Error> {
    if offers_all && is_asterisk(value) {
        return Ok(Bugs::All);
    }
    parse_list(value).map(Bugs::These)
}

/// Whether a value is the string `"*"`, however it is written.
fn is_asterisk(value: &RawValue) -> bool {
    let text = value.get();
    text.starts_with('"') && serde_json::from_str::<Cow<'_, str>>(text).is_ok_and(|it| it == "*")
}

/// Reads a list of bugs: all or nothing, ascending, each once. A bare null, object or float is an
/// empty list, as it was to the original.
fn parse_list(value: &RawValue) -> Result<Vec<BugId>, Error> {
    let mut bugs = match value.get().as_bytes()[0] {
        b'[' => serde_json::from_str::<Vec<&RawValue>>(value.get())
            .map_err(|_| Error::InvalidBugId)?
            .into_iter()
            .map(parse_bug)
            .collect::<Result<Vec<_>, _>>()?,
        b'{' | b'n' => Vec::new(),
        b'-' | b'0'..=b'9' if !is_integer(value) => Vec::new(),
        _ => vec![parse_bug(value)?],
    };
    bugs.sort_unstable();
    bugs.dedup();
    Ok(bugs)
}

/// Reads one bug id: an integer, or a string that Python's `int()` would read.
fn parse_bug(value: &RawValue) -> Result<BugId, Error> {
    let number = match value.get().as_bytes()[0] {
        b'"' => {
            serde_json::from_str::<Cow<'_, str>>(value.get()).map_err(|_| Error::InvalidBugId)?
        }
        b'0'..=b'9' => Cow::Borrowed(value.get()),
        _ => return Err(Error::InvalidBugId),
    };
    number.parse().map_err(|_| Error::InvalidBugId)
}

/// Whether a JSON number is written without fraction and exponent, which is what Python calls an
/// integer.
fn is_integer(number: &RawValue) -> bool {
    !number.get().contains(['.', 'e', 'E'])
}

/// Reads `since`. All that Python calls false means none: clients of the original always send `""`.
pub(super) fn parse_since(value: &RawValue) -> Result<Option<i64>, Error> {
    let text = value.get();
    let is_none = match text.as_bytes()[0] {
        b'n' | b'f' => true,
        b'[' | b'{' => text[1..text.len() - 1].trim().is_empty(),
        b'-' | b'0'..=b'9' => text.parse() == Ok(0.0),
        _ => text == "\"\"",
    };
    if is_none {
        return Ok(None);
    }
    let text = serde_json::from_str::<Cow<'_, str>>(text).map_err(|_| Error::InvalidSince)?;
    let when: When = text.parse().map_err(|_| Error::InvalidSince)?;
    Ok(Some(when.unix_seconds()))
}
