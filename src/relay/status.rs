//! What `bugzfeed relay --status` and `--refused` say, from the backlog alone, and `--forget`. Knows no running relay but by its
//! lock.

use std::fmt::Write;
use std::path::Path;

use serde_json::json;

use super::Address;
use super::backlog::{self, Backlog, Refused, Status};
use crate::failure::Failure;
use crate::update::When;

/// The state of each destination, as text. `now` is the time in Unix seconds.
///
/// # Errors
/// When there is no backlog that can be read.
pub(crate) fn status(file: &Path, now: i64) -> Result<String, Failure> {
    let known = Backlog::look(file)
        .and_then(|backlog| backlog.status())
        .map_err(|error| cannot("read", file, &error))?;
    let is_running = backlog::claim(file)
        .map_err(|error| cannot("read", file, &error))?
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

/// What destinations have refused for good, a line of JSON for each change.
///
/// # Errors
/// When there is no backlog that can be read.
pub(crate) fn refused(file: &Path) -> Result<String, Failure> {
    let refused = Backlog::look(file)
        .and_then(|backlog| backlog.refused())
        .map_err(|error| cannot("read", file, &error))?;
    let line = |Refused {
                    destination,
                    bug,
                    when,
                    id,
                    at,
                    reason,
                }: &Refused| {
        let at = When::from_unix_seconds(*at).to_string();
        json!({"bug": bug, "when": when, "id": id, "destination": destination, "refused": at, "reason": reason})
            .to_string()
            + "\n"
    };
    Ok(refused.iter().map(line).collect())
}

/// Deletes a destination, by its address or by the name that [`status`] shows, and what waits for
/// it. Returns what was done, as text.
///
/// # Errors
/// When there is no such destination, or a relay uses it.
pub(crate) fn forget(file: &Path, destination: &str) -> Result<String, Failure> {
    let name = destination
        .parse::<Address>()
        .map_or_else(|_| destination.to_owned(), |address| address.to_string());
    let mut backlog = Backlog::look(file).map_err(|error| cannot("read", file, &error))?;
    // Kept until the end: no relay may start with a destination that is being deleted.
    let claim = backlog::claim(file).map_err(|error| cannot("claim", file, &error))?;
    let cannot_write = |error| cannot("write", file, &error);
    match backlog
        .forget(&name, claim.is_some())
        .map_err(cannot_write)?
    {
        Some(waiting) => {
            let room = match backlog.shrink() {
                Ok(()) => String::new(),
                Err(error) => format!(" The file stays as large as it is: {error}."),
            };
            Ok(format!(
                "{name} is forgotten, and {waiting} changes that waited for it.{room}\n"
            ))
        }
        None => {
            let known = backlog.status().map_err(cannot_write)?;
            let is_used = |known: &Status| known.name == name;
            Err(Failure::Usage(if known.iter().any(is_used) {
                format!("--forget: the relay that is running sends to {name}; end it first.")
            } else {
                let names: Vec<_> = known.into_iter().map(|known| known.name).collect();
                format!(
                    "--forget: there is no destination {name} in {}; known are: {}.",
                    file.display(),
                    names.join(", ")
                )
            }))
        }
    }
}

fn cannot(what: &str, file: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::Configuration(format!(
        "cannot {what} the backlog {} (setting --backlog): {error}.",
        file.display()
    ))
}

fn describe(
    Status {
        name,
        is_in_use,
        depth,
        oldest,
        error,
        next_attempt,
        refused,
        dropped,
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
    if *refused > 0 {
        line(
            "refused:",
            &format!("{refused} (relay --refused shows the latest)"),
        );
    }
    if *dropped > 0 {
        line(
            "dropped:",
            &format!("{dropped}, since too many waited (setting --backlog-size)"),
        );
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
        None if !is_in_use => line(
            "next attempt:",
            "never, unless a relay gets it as --to; relay --forget deletes it",
        ),
        None if is_running && *depth > 0 => line("next attempt:", "under way"),
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
            refused: 0,
            dropped: 0,
        };
        assert_eq!(
            describe(&status, true, 1_100),
            "\njsonl:x\n  waiting:       12\n  oldest:        1 min 40 s ago\n  last error:    no space (50 s ago)\n  next attempt:  in 25 s\n"
        );
        assert!(describe(&status, true, 1_125).ends_with("next attempt:  now\n"));
        let told = describe(
            &Status {
                refused: 3,
                dropped: 4,
                next_attempt: None,
                ..status.clone()
            },
            true,
            1_125,
        );
        assert!(
            told.contains("  refused:       3 (relay --refused shows the latest)\n  dropped:       4, since too many waited (setting --backlog-size)\n")
                && told.ends_with("next attempt:  under way\n"),
            "{told}"
        );
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
