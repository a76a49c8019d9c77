//! How far the bench is, for whoever watches: one line that is rewritten on a terminal, with the time that is left; elsewhere a plain
//! line for each step. Knows nothing of what is measured.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is rewritten.
const REWRITE: Duration = Duration::from_millis(100);

/// The line on stderr.
#[derive(Debug)]
pub struct Line {
    is_terminal: bool,
    is_quiet: bool,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    /// What stands before each step: the round and the server.
    title: String,
    step: String,
    total: u64,
    begun: Instant,
    shown: Option<Instant>,
}

impl Line {
    /// A line on stderr; nothing at all where `is_quiet`.
    pub fn new(is_quiet: bool) -> Self {
        let state = State { title: String::new(), step: String::new(), total: 0, begun: Instant::now(), shown: None };
        Self { is_terminal: io::stderr().is_terminal(), is_quiet, state: RefCell::new(state) }
    }

    /// Sets what stands before each step.
    pub fn title(&self, title: &str) {
        self.state.borrow_mut().title = title.to_owned();
    }

    /// Begins a step of so many units.
    pub fn begin(&self, step: &str, total: u64) {
        let mut state = self.state.borrow_mut();
        if !self.is_terminal && !self.is_quiet && state.step != step {
            eprintln!("{}: {step}", state.title);
        }
        *state = State { title: state.title.clone(), step: step.to_owned(), total, begun: Instant::now(), shown: None };
    }

    /// Shows how many units of the step are done.
    pub fn show(&self, done: u64) {
        let mut state = self.state.borrow_mut();
        if !self.is_terminal || self.is_quiet || state.shown.is_some_and(|shown| shown.elapsed() < REWRITE) {
            return;
        }
        state.shown = Some(Instant::now());
        let share = done as f64 / state.total.max(1) as f64;
        let left = state.begun.elapsed().as_secs_f64() * (1.0 - share) / share.max(1e-9);
        let left = if done == 0 { "?".to_owned() } else { format!("{left:.0}") };
        eprint!("\r\x1b[K{}: {} {done}/{} ({:.0} %), {left} s left", state.title, state.step, state.total, share * 100.0);
        let _ = io::stderr().flush();
    }

    /// Removes the line.
    pub fn end(&self) {
        if self.is_terminal && !self.is_quiet {
            eprint!("\r\x1b[K");
        }
    }
}
