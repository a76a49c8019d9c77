//! Destination `jsonl:FILE` and `jsonl:-`: a line of JSON per change, in a file or on stdout.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::backlog::Entry;
use super::destination::{Destination, SendError};
use crate::update::Update;
use crate::work::Stop;

const BATCH_MAX: usize = 500;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settings {
    /// To stdout.
    Stdout,
    /// To the end of a file, which is made where it is not there.
    File(PathBuf),
}

impl Settings {
    /// Reads `FILE` or `-`, what stands behind `jsonl:`.
    ///
    /// # Errors
    /// When there is nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("the file's name is missing; accepted are jsonl:FILE and jsonl:-".to_owned()),
            "-" => Ok(Settings::Stdout),
            file => Ok(Settings::File(file.into())),
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Settings::Stdout => f.write_str("jsonl:-"),
            Settings::File(file) => write!(f, "jsonl:{}", file.display()),
        }
    }
}

/// The lines.
pub(super) struct Lines(Settings);

impl Lines {
    /// The file that `settings` name, not yet open.
    pub(super) fn new(settings: Settings) -> Self {
        Self(settings)
    }
}

#[derive(Serialize)]
struct Line {
    bug: u32,
    when: String,
}

impl Destination for Lines {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn send(
        &mut self,
        changes: &[Entry],
        _: &Stop,
        _: &mut dyn FnMut(&str),
    ) -> (usize, Result<(), SendError>) {
        let mut lines = Vec::new();
        for change in changes {
            let Update { bug, when } = &change.update;
            let line = Line {
                bug: bug.get(),
                when: when.to_string(),
            };
            serde_json::to_writer(&mut lines, &line).expect("texts and numbers are always JSON");
            lines.push(b'\n');
        }
        let written = match &self.0 {
            Settings::Stdout => print(&lines),
            Settings::File(file) => append(file, &lines)
                .map_err(|error| SendError::PutOff(format!("cannot write: {error}"))),
        };
        match written {
            Ok(()) => (changes.len(), Ok(())),
            // Some lines may be there; they come again.
            Err(trouble) => (0, Err(trouble)),
        }
    }
}

fn print(lines: &[u8]) -> Result<(), SendError> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(lines)
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => SendError::NobodyReads,
            _ => SendError::PutOff(format!("cannot write: {error}")),
        })
}

/// Opens the file anew each time, so that it can be moved away at any time, as logrotate does.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    // A pipe cannot be read from its end, or made safe against a power failure.
    if fs::metadata(path).is_ok_and(|known| !known.is_file()) {
        return File::options().write(true).open(path)?.write_all(lines);
    }
    let mut file = File::options()
        .create(true)
        .read(true)
        .append(true)
        .open(path)?;
    if is_torn(&mut file)? {
        file.write_all(b"\n")?;
    }
    file.write_all(lines)?;
    file.sync_data()
}

/// Whether the last line has no end: a full disk or a power failure has cut it off. What it said
/// comes again.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::Number;
    use crate::update::{BugId, When};

    #[test]
    fn lines_are_added_to_a_file_and_a_torn_line_costs_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out.jsonl");
        let mut lines = Lines::new(Settings::File(file.clone()));
        let updates = [1, 2].map(|bug| Entry {
            id: 0,
            update: Update {
                bug: BugId::new(bug).unwrap(),
                when: When::from_unix_seconds(0),
            },
            number: Number {
                stream: "a".to_owned(),
                number: 1,
                newest: None,
            },
        });
        let mut send = |updates: &[Entry]| lines.send(updates, &Stop::default(), &mut |_| {});
        assert_eq!(send(&updates), (2, Ok(())));
        let both = "{\"bug\":1,\"when\":\"1970-01-01T00:00:00\"}\n{\"bug\":2,\"when\":\"1970-01-01T00:00:00\"}\n";
        assert_eq!(fs::read_to_string(&file).unwrap(), both);
        fs::write(&file, "{\"bug\":").unwrap();
        assert_eq!(send(&updates), (2, Ok(())));
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            format!("{{\"bug\":\n{both}")
        );
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(matches!(send(&updates), (0, Err(SendError::PutOff(_)))));
    }
}
