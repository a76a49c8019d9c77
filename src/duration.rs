//! Durations as the user writes them: `250ms`, `30s`, `5m`, `2h`.

use std::time::Duration;

/// Reads a whole number and its unit: ms, s, m or h.
///
/// # Errors
/// A sentence that names what is accepted.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let millis_per_unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match text[..digits].parse::<u32>() {
        Ok(number) if millis_per_unit > 0 => {
            Ok(Duration::from_millis(u64::from(number) * millis_per_unit))
        }
        _ => Err(format!(
            "'{text}' is no duration; accepted are a whole number and its unit, such as 250ms, 30s, 5m or 2h"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("0s", 0),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "ms",
            "-1s",
            "1.5s",
            "5 s",
            "5d",
            "99999999999s",
            "１s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
