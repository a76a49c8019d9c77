//! What `bugzfeed relay --status` says, from the backlog alone. Knows no running relay but by its
//! lock.

use std::fmt::Write;
use std::path::Path;

use super::backlog::{self, Backlog, Status};
use crate::failure::Failure;

/// The state of each destination, as text. `now` is the time in Unix seconds.
///
/// # Errors
/// When there is no backlog that can be read.
pub(crate) fn status(file: &Path, now: i64) -> Result<String, Failure> {
    let cannot = |error: &dyn std::error::Error| {
        Failure::Configuration(format!(
            "cannot read the backlog {} (setting --backlog): {error}.",
            file.display()
        ))
    };
    let known = Backlog::look(file)
        .and_then(|backlog| backlog.status())
        .map_err(|error| cannot(&error))?;
    let is_running = backlog::claim(file)
        .map_err(|error| cannot(&error))?
        .is_none();
    let mut text = if is_running {
        "A relay is running.\n"
    } else {
        "No relay is running.\n"
    }
    .to_owned();
    for destination in &known {
        text.push_str(&describe(destination, is_running, now));
    }
    Ok(text)
}

fn describe(
    Status {
        name,
        is_in_use,
        depth,
        oldest,
        error,
        next_attempt,
    }: &Status,
    is_running: bool,
    now: i64,
) -> String {
    let mut text = format!("\n{name}\n  waiting:       {depth}\n");
    let mut line = |label: &str, value: &str| {
        writeln!(text, "  {label:<14} {value}").expect("a string takes everything");
    };
    if let Some(oldest) = oldest {
        line("oldest:", &format!("{} ago", span(now - oldest)));
    }
    if let Some((error, at)) = error {
        line("last error:", &format!("{error} ({} ago)", span(now - at)));
    }
    match next_attempt {
        Some(next) if is_running && *next > now => {
            line("next attempt:", &format!("in {}", span(next - now)))
        }
        Some(_) if is_running => line("next attempt:", "now"),
        Some(_) => line("next attempt:", "at the next start"),
        None if !is_in_use => line("next attempt:", "never, unless a relay gets it as --to"),
        None => {}
    }
    text
}

/// A number of seconds for people, in its two largest units.
fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (_, _, _) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_described_for_people() {
        let status = Status {
            name: "jsonl:x".to_owned(),
            is_in_use: true,
            depth: 12,
            oldest: Some(1_000),
            error: Some(("no space".to_owned(), 1_050)),
            next_attempt: Some(1_125),
        };
        assert_eq!(
            describe(&status, true, 1_100),
            "\njsonl:x\n  waiting:       12\n  oldest:        1 min 40 s ago\n  last error:    no space (50 s ago)\n  next attempt:  in 25 s\n"
        );
        assert!(describe(&status, true, 1_125).ends_with("next attempt:  now\n"));
        assert!(describe(&status, false, 1_100).ends_with("next attempt:  at the next start\n"));
        let status = Status {
            depth: 0,
            oldest: None,
            error: None,
            next_attempt: None,
            ..status
        };
        assert_eq!(
            describe(&status, true, 0),
            "\njsonl:x\n  waiting:       0\n"
        );
        assert!(
            describe(
                &Status {
                    is_in_use: false,
                    ..status
                },
                true,
                0
            )
            .contains("next attempt:  never, ")
        );
    }

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (seconds, text) in [
            (-1, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_700, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
