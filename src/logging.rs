//! The log on stderr, written by a thread of its own: a terminal that is stopped, or a pipe that
//! nobody reads, must not stall the loop. Owns how a line looks. Knows nothing of what is logged.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Metadata, Record, warn};
use serde::Serialize;
use simplelog::{Config, ConfigBuilder, WriteLogger};
use time::OffsetDateTime;

use crate::systemd;

/// How many lines wait at most; while stderr takes none, further ones are dropped.
const LINES_MAX: usize = 1_024;

/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Stands in front of a line of progress. No line of the log starts with it.
const PROGRESS: u8 = b'\r';

/// Goes to the start of a terminal's line and removes what is on it.
const CLEAR_LINE: &[u8] = b"\r\x1b[K";

/// The form of the log that was started, if one was.
static FORM: OnceLock<Form> = OnceLock::new();

/// How many lines were dropped.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How the user wants a line to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For the journal where stderr is systemd's journal, else text.
    Auto,
    /// As it is.
    Always(Form),
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Time, level and message.
    Text,
    /// An object with the keys `time`, `level` and `message`, and `target` from debug on.
    Json,
    /// The level as `<N>` before the message (sd-daemon(3)). The journal knows the time.
    Journal,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Always(Form::Text)),
            "json" => Ok(LogFormat::Always(Form::Json)),
            "journal" => Ok(LogFormat::Always(Form::Journal)),
            _ => Err(format!(
                "'{text}' is none; accepted are auto, text, json and journal"
            )),
        }
    }
}

impl LogFormat {
    fn form(self) -> Form {
        match self {
            LogFormat::Auto if systemd::is_journal(io::stderr()) => Form::Journal,
            LogFormat::Auto => Form::Text,
            LogFormat::Always(form) => form,
        }
    }
}

/// A line as JSON.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    message: String,
}

/// Keeps the log going; dropping it writes what is left.
#[derive(Debug)]
pub(crate) struct Log {
    lines: SyncSender<Vec<u8>>,
    /// Disconnected when the writer has ended.
    end: Receiver<()>,
    form: Form,
}

/// Starts to log everything at `level` and above to stderr.
///
/// # Errors
/// When no thread can be started, or something logs already.
pub(crate) fn start(level: LevelFilter, format: LogFormat) -> io::Result<Log> {
    let form = *FORM.get_or_init(|| format.form());
    let (lines, waiting) = mpsc::sync_channel(LINES_MAX);
    let (ended, end) = mpsc::channel();
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            write_lines(&waiting);
            drop(ended);
        })?;
    let logger = form.logger(lines.clone());
    log::set_boxed_logger(logger).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(Log { lines, end, form })
}

impl Log {
    /// Writes the line that says what was started, whatever the level is.
    pub(crate) fn announce(&self, line: &str) {
        let line = match self.form {
            // For who looks at a terminal.
            Form::Text => format!("{line}\n"),
            // A notice (syslog(3)).
            Form::Journal => format!("<5>{line}\n"),
            Form::Json => json_line(Level::Info, None, &line),
        };
        let _ = self.lines.try_send(line.into_bytes());
    }

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

/// Writes why the program ends, in the form of the log.
pub fn report_failure(failure: &dyn Display) {
    let form = *FORM.get_or_init(|| LogFormat::Auto.form());
    let line = match form {
        Form::Text => format!("bugzfeed: {failure}\n"),
        Form::Json => json_line(Level::Error, None, failure),
        Form::Journal => journal_lines(Level::Error, None, failure),
    };
    // When stderr is gone, nothing is left to report it to.
    let _ = io::stderr().write_all(line.as_bytes());
}

impl Form {
    /// What makes lines of what is logged, and hands them to the writer.
    fn logger(self, lines: SyncSender<Vec<u8>>) -> Box<dyn log::Log> {
        let make_line = match self {
            Form::Text => {
                let lines = Lines {
                    lines,
                    line: Vec::new(),
                };
                // The level can change while the program runs: `log` itself keeps it.
                return WriteLogger::new(LevelFilter::Trace, text_config(), lines);
            }
            Form::Json => json_line,
            Form::Journal => journal_lines,
        };
        Box::new(Logger { make_line, lines })
    }
}

/// Of whom nothing is logged: amiquip warns each time that an exchange does not exist yet. The source
/// logs what matters of that.
const IGNORED: &str = "amiquip";

fn text_config() -> Config {
    ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Debug)
        .add_filter_ignore_str(IGNORED)
        .build()
}

fn json_line(level: Level, target: Option<&str>, message: &dyn Display) -> String {
    let line = JsonLine {
        time: now(),
        level: level.as_str().to_ascii_lowercase(),
        target,
        message: message.to_string(),
    };
    // Texts can always be written.
    let line = serde_json::to_string(&line).unwrap_or_default();
    format!("{line}\n")
}

fn journal_lines(level: Level, _: Option<&str>, message: &dyn Display) -> String {
    // Priorities of syslog(3).
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let mut lines = String::new();
    for line in message.to_string().lines() {
        let _ = writeln!(lines, "<{priority}>{line}");
    }
    lines
}

/// The time as RFC 3339 has it.
fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, millisecond) = now.to_hms_milli();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

fn write_lines(waiting: &Receiver<Vec<u8>>) {
    let mut stderr = io::stderr();
    let mut reported = 0;
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
        let lost = LOST.load(Ordering::Relaxed);
        if lost > reported {
            warn!(
                "{} lines of the log are lost: stderr took none",
                lost - reported
            );
            // This line can be lost, too.
            if LOST.load(Ordering::Relaxed) == lost {
                reported = lost;
            }
        }
    }
}

/// Hands a line to the writer. A full channel means that stderr is stuck: the line is lost, and the
/// loop goes on.
fn hand_over(lines: &SyncSender<Vec<u8>>, line: Vec<u8>) {
    if lines.try_send(line).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Gathers what simplelog writes piece by piece into lines.
struct Lines {
    lines: SyncSender<Vec<u8>>,
    line: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if bytes.ends_with(b"\n") {
            hand_over(&self.lines, std::mem::take(&mut self.line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes lines of what is logged in a form that simplelog does not know.
struct Logger {
    make_line: fn(Level, Option<&str>, &dyn Display) -> String,
    lines: SyncSender<Vec<u8>>,
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && !metadata.target().starts_with(IGNORED)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let target = (record.level() >= Level::Debug).then(|| record.target());
        let line = (self.make_line)(record.level(), target, record.args());
        hand_over(&self.lines, line.into_bytes());
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_one_object_a_line() {
        let line = json_line(Level::Error, Some("room"), &"two\n\"lines\"");
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["level"], "error");
        assert_eq!(read["message"], "two\n\"lines\"");
        assert_eq!(read["target"], "room");
        assert_eq!(read["time"].as_str().map(str::len), Some(24));
    }

    #[test]
    fn the_journal_gets_a_priority_with_each_line_and_no_time() {
        for (level, expected) in [
            (Level::Error, "<3>one\n<3>two\n"),
            (Level::Warn, "<4>one\n<4>two\n"),
            (Level::Info, "<6>one\n<6>two\n"),
            (Level::Trace, "<7>one\n<7>two\n"),
        ] {
            assert_eq!(journal_lines(level, None, &"one\ntwo"), expected);
        }
    }

    #[test]
    fn what_is_no_format_is_named_with_those_there_are() {
        let why = "xml".parse::<LogFormat>().unwrap_err();
        assert_eq!(
            why,
            "'xml' is none; accepted are auto, text, json and journal"
        );
        assert_eq!("json".parse(), Ok(LogFormat::Always(Form::Json)));
    }
}
