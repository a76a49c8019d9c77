//! The log on stderr, written by a thread of its own: a terminal that is stopped, or a pipe that
//! nobody reads, must not stall the loop. Knows nothing of what is logged.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};

/// How many lines wait at most; while stderr takes none, further ones are dropped.
const LINES_MAX: usize = 1_024;

/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Stands in front of a line of progress. No line of the log starts with it.
const PROGRESS: u8 = b'\r';

/// Goes to the start of a terminal's line and removes what is on it.
const CLEAR_LINE: &[u8] = b"\r\x1b[K";

/// Keeps the log going; dropping it writes what is left.
#[derive(Debug)]
pub(crate) struct Log {
    lines: SyncSender<Vec<u8>>,
    /// Disconnected when the writer has ended.
    end: Receiver<()>,
}

/// Starts to log everything at `level` and above to stderr.
///
/// # Errors
/// When no thread can be started, or something logs already.
pub(crate) fn start(level: LevelFilter) -> io::Result<Log> {
    let (lines, waiting) = mpsc::sync_channel(LINES_MAX);
    let (ended, end) = mpsc::channel();
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            write_lines(&waiting);
            drop(ended);
        })?;
    let config = ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Debug)
        // amiquip warns each time that an exchange does not exist yet. The source logs what matters
        // of that.
        .add_filter_ignore_str("amiquip")
        .build();
    WriteLogger::init(
        level,
        config,
        Lines {
            lines: lines.clone(),
            line: Vec::new(),
        },
    )
    .map_err(io::Error::other)?;
    Ok(Log { lines, end })
}

impl Log {
    /// Shows a line on the terminal that the next one replaces, and that goes before a line of the
    /// log; an empty one removes it.
    pub(crate) fn progress(&self, line: &str) {
        let _ = self.lines.try_send([&[PROGRESS], line.as_bytes()].concat());
    }

    /// Waits until what was logged so far is written, for a moment at most.
    pub(crate) fn finish(self) {
        // An empty line is never logged: it asks the writer to end.
        let _ = self.lines.try_send(Vec::new());
        let _ = self.end.recv_timeout(LAST_LINES);
    }
}

fn write_lines(waiting: &Receiver<Vec<u8>>) {
    let mut stderr = io::stderr();
    let mut shows_progress = false;
    for line in waiting {
        if line.is_empty() {
            return;
        }
        let progress = line.strip_prefix(&[PROGRESS]);
        let clear = if shows_progress || progress.is_some_and(|line| !line.is_empty()) {
            CLEAR_LINE
        } else {
            b""
        };
        shows_progress = progress.is_some_and(|line| !line.is_empty());
        // When stderr is gone, nothing is left to report it to.
        if stderr
            .write_all(&[clear, progress.unwrap_or(&line)].concat())
            .is_err()
        {
            return;
        }
    }
}

/// Gathers what the logger writes piece by piece into lines.
struct Lines {
    lines: SyncSender<Vec<u8>>,
    line: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if bytes.ends_with(b"\n") {
            // A full channel means that stderr is stuck: the line is lost, and the loop goes on.
            let _ = self.lines.try_send(std::mem::take(&mut self.line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
