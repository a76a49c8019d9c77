//! What this process logs. Tests run side by side, so each looks for lines that name its own
//! exchange.

use std::sync::{Condvar, Mutex, Once, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::feed::PATIENCE;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LOGGED: Condvar = Condvar::new();

struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("bugzfeed")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("{}: {}", record.level(), record.args()));
            LOGGED.notify_all();
        }
    }

    fn flush(&self) {}
}

/// Keeps what is logged from now on.
pub fn keep() {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&Lines).unwrap();
        log::set_max_level(LevelFilter::Debug);
    });
}

/// Waits for a line about the address that contains `about`, at `level`, with `text` in it. Returns
/// all such lines up to now.
pub fn said(about: &str, level: Level, text: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let level = level.as_str();
    let matches =
        |line: &&String| line.starts_with(level) && line.contains(about) && line.contains(text);
    let (lines, waited) = LOGGED
        .wait_timeout_while(lines, PATIENCE, |lines| {
            !lines.iter().any(|line| matches(&line))
        })
        .unwrap();
    let about: Vec<&String> = lines.iter().filter(|line| line.contains(about)).collect();
    assert!(
        !waited.timed_out(),
        "never logged: '{text}', but {about:#?}"
    );
    lines.iter().filter(matches).cloned().collect()
}

/// The same for a warning.
pub fn warned(about: &str, text: &str) -> Vec<String> {
    said(about, Level::Warn, text)
}

/// All lines about the address up to now.
pub fn all(about: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = lines.iter().filter(|line| line.contains(about));
    lines.cloned().collect()
}
