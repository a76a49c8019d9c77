//! Reads the values of settings, and refuses those that cannot mean what they say. Knows no setting.

use std::ops::RangeInclusive;

use crate::duration;

/// Moments are compared within 24 days.
const MILLISECONDS_MAX: u32 = (1 << 30) - 1;

/// Reads a duration of at least so many milliseconds.
pub(super) fn milliseconds(least: u32) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| {
        let duration = duration::parse(text)?;
        let accepted = format!("accepted is from {least}ms to 298h");
        match u32::try_from(duration.as_millis()) {
            Ok(ms) if ms < least => Err(format!("'{text}' is too short; {accepted}")),
            Ok(ms) if ms <= MILLISECONDS_MAX => Ok(ms),
            _ => Err(format!("'{text}' is too long; {accepted}")),
        }
    }
}

/// Reads a whole number in this range.
pub(super) fn number(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| {
                format!(
                    "'{text}' is none; accepted is a whole number from {} to {}",
                    range.start(),
                    range.end()
                )
            })
    }
}

/// Reads the address of a web site, or nothing.
pub(super) fn web_address(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| lower.strip_prefix(scheme));
    let is_address = host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'));
    if text.is_empty() || (is_address && !text.contains(char::is_whitespace)) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "'{text}' is no address of a web site; accepted are such as https://bugzilla.example.org"
        ))
    }
}
