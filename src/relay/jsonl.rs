//! Destination `jsonl:FILE` and `jsonl:-`: a line of JSON per change, in a file or on stdout.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
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
pub(super) enum Lines {
    Stdout(Stdout),
    File(PathBuf),
}

impl Lines {
    /// The file that `settings` name, not yet open.
    ///
    /// # Errors
    /// When it is stdout, and that is closed.
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        Ok(match settings {
            Settings::Stdout => Lines::Stdout(Stdout::open()?),
            Settings::File(file) => Lines::File(file),
        })
    }
}

#[derive(Serialize)]
struct Line {
    bug: u32,
    when: String,
    id: String,
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
                id: change.change_id(),
            };
            serde_json::to_writer(&mut lines, &line).expect("texts and numbers are always JSON");
            lines.push(b'\n');
        }
        match self {
            Lines::Stdout(stdout) => stdout.print(&lines),
            Lines::File(file) => match append(file, &lines) {
                Ok(()) => (changes.len(), Ok(())),
                // Some lines may be there; they come again.
                Err(trouble) => (0, Err(trouble)),
            },
        }
    }
}

/// Stdout, without the standard library's buffer: that would keep what a full disk has not taken.
pub(super) struct Stdout {
    file: File,
    is_file: bool,
    /// Whether a full disk has cut the last line off.
    is_torn: bool,
}

impl Stdout {
    fn open() -> Result<Self, String> {
        let why = |error: io::Error| format!("cannot use stdout: {error}");
        let file = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(why)?);
        // The standard library opens what is closed at the start, for both reading and writing.
        if is_null(&file).map_err(why)? && fcntl_getfl(&file).is_ok_and(is_read_and_write) {
            return Err("stdout is closed, so that nobody would get the changes".to_owned());
        }
        let is_file = file.metadata().map_err(why)?.is_file();
        let is_torn = is_file
            && File::open(STDOUT)
                .and_then(|mut file| is_torn(&mut file))
                .unwrap_or(false);
        Ok(Self {
            file,
            is_file,
            is_torn,
        })
    }

    /// Prints lines. Returns how many are there as a whole, and what came of the next one.
    fn print(&mut self, lines: &[u8]) -> (usize, Result<(), SendError>) {
        if self.is_torn {
            // What it said comes again, on a line of its own.
            match self.file.write_all(b"\n") {
                Ok(()) => self.is_torn = false,
                Err(error) => return (0, Err(cannot_print(&error))),
            }
        }
        let mut rest = lines;
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            match self.file.write(rest) {
                Ok(bytes) => rest = &rest[bytes..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => result = Err(cannot_print(&error)),
            }
        }
        let written = &lines[..lines.len() - rest.len()];
        self.is_torn = written.last().is_some_and(|last| *last != b'\n');
        if self.is_file
            && let Err(error) = self.file.sync_data()
        {
            return (0, Err(cannot_print(&error)));
        }
        let whole = written.iter().filter(|byte| **byte == b'\n').count();
        (whole, result)
    }
}

/// Where Linux shows the file that is this process's stdout.
const STDOUT: &str = "/proc/self/fd/1";

fn is_null(file: &File) -> io::Result<bool> {
    let (file, null) = (file.metadata()?, fs::metadata("/dev/null")?);
    Ok(file.file_type().is_char_device() && file.rdev() == null.rdev())
}

fn is_read_and_write(flags: OFlags) -> bool {
    flags & OFlags::RWMODE == OFlags::RDWR
}

fn cannot_print(error: &io::Error) -> SendError {
    match error.kind() {
        ErrorKind::BrokenPipe => SendError::NobodyReads,
        _ => SendError::PutOff(format!("cannot write: {error}")),
    }
}

/// Opens the file anew each time, so that it can be moved away at any time, as logrotate does.
fn append(path: &Path, lines: &[u8]) -> Result<(), SendError> {
    // A pipe cannot be read from its end, or made safe against a power failure.
    let result = match fs::metadata(path) {
        Ok(known) if known.file_type().is_fifo() => return append_to_fifo(path, lines),
        Ok(known) if !known.is_file() => File::options()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(lines)),
        _ => append_to_file(path, lines),
    };
    result.map_err(|error| SendError::PutOff(format!("cannot write: {error}")))
}

fn append_to_file(path: &Path, lines: &[u8]) -> io::Result<()> {
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

/// Opening a FIFO would wait for a program that reads it, without a word.
fn append_to_fifo(path: &Path, lines: &[u8]) -> Result<(), SendError> {
    let write = || {
        let mut fifo = File::options()
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)?;
        fcntl_setfl(&fifo, OFlags::WRONLY)?;
        fifo.write_all(lines)
    };
    write().map_err(|error: io::Error| {
        let is_unread = error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
            || error.kind() == ErrorKind::BrokenPipe;
        if is_unread {
            SendError::NotTaken("no program reads the FIFO".to_owned())
        } else {
            SendError::PutOff(format!("cannot write: {error}"))
        }
    })
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
        let mut lines = Lines::new(Settings::File(file.clone())).unwrap();
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
        let line =
            |bug| format!("{{\"bug\":{bug},\"when\":\"1970-01-01T00:00:00\",\"id\":\"a/1\"}}\n");
        let both = line(1) + &line(2);
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
