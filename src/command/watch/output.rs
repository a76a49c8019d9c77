//! Where a watch tells what it hears: lines on stdout and stderr, or messages to a screen.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::bugzilla::rest::Facts;
use crate::failure::Failure;
use crate::update::{BugId, Update};

/// Whether a watch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    End,
}

/// Where a watch tells what it hears.
#[derive(Clone, Debug)]
pub(super) enum Output {
    Lines {
        json: bool,
        /// Says nothing of connections.
        is_quiet: bool,
    },
    Screen(Mailbox),
}

/// What a screen is told.
#[derive(Debug)]
pub(super) enum Event {
    Update(Update),
    Facts(HashMap<BugId, Facts>),
    State(String),
    Warning(String),
    End(Result<(), Failure>),
}

/// The way to a screen, which sleeps until there is a byte for it.
#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    events: Sender<Event>,
    bell: Arc<UnixStream>,
}

impl Mailbox {
    pub(super) fn new(events: Sender<Event>, bell: UnixStream) -> Self {
        let bell = Arc::new(bell);
        Self { events, bell }
    }

    /// Tells the screen, if it is still there.
    pub(super) fn send(&self, event: Event) {
        let _ = self.events.send(event);
        // Where it is full, the screen will wake up anyway.
        let _ = (&*self.bell).write(&[0]);
    }
}

impl Output {
    /// Shows an update, which came as `text`.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(super) fn update(&self, update: &Update, text: &str) -> Result<Next, Failure> {
        match self {
            Output::Lines { json, .. } => {
                let mut line = if *json {
                    // In JSON, a line break can only stand where a space can.
                    text.replace(['\n', '\r'], " ")
                } else {
                    format!("{} bug {}", update.when, update.bug)
                };
                line.push('\n');
                print(&line)
            }
            Output::Screen(mailbox) => {
                mailbox.send(Event::Update(update.clone()));
                Ok(Next::GoOn)
            }
        }
    }

    /// Tells how the connection is.
    pub(super) fn state(&self, text: &str) {
        match self {
            Output::Lines { is_quiet: true, .. } => {}
            Output::Lines { .. } => warn(text),
            Output::Screen(mailbox) => mailbox.send(Event::State(text.to_owned())),
        }
    }

    /// Tells what the user should know.
    pub(super) fn warning(&self, text: &str) {
        match self {
            Output::Lines { .. } => warn(text),
            Output::Screen(mailbox) => mailbox.send(Event::Warning(text.to_owned())),
        }
    }

    /// Whether what is written to stdout and stderr would spoil a screen.
    pub(super) fn is_screen(&self) -> bool {
        matches!(self, Output::Screen(_))
    }
}

fn print(line: &str) -> Result<Next, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(Next::GoOn),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Next::End),
        Err(error) => Err(Failure::Unavailable(format!(
            "cannot write to stdout: {error}."
        ))),
    }
}

/// Writes a warning to stderr. When that fails, nothing is left to report it to.
fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "bugzfeed: {text}");
}
