//! How far the bench is, for whoever watches: one line that is rewritten on a terminal, with the
//! time that is left of the step and of all; elsewhere a plain line for each step. Knows nothing of
//! what is measured.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// How often the line is rewritten.
const REWRITE: Duration = Duration::from_millis(100);

/// The line on stderr.
#[derive(Debug)]
pub(crate) struct StatusLine {
    is_terminal: bool,
    is_quiet: bool,
    begun: Instant,
    step: RefCell<Step>,
}

#[derive(Debug)]
struct Step {
    /// What stands before each step: the round and the server.
    title: String,
    /// How much of all was done before, from 0 to 1, how long that took, and when it was done.
    share_done: f64,
    took: Duration,
    titled: Instant,
    name: String,
    total: u64,
    begun: Instant,
    shown: Option<Instant>,
}

impl StatusLine {
    /// A line on stderr; nothing at all where `is_quiet`.
    pub(crate) fn new(is_quiet: bool) -> Self {
        let begun = Instant::now();
        let step = Step {
            title: String::new(),
            share_done: 0.0,
            took: Duration::ZERO,
            titled: begun,
            name: String::new(),
            total: 0,
            begun,
            shown: None,
        };
        Self {
            is_terminal: io::stderr().is_terminal(),
            is_quiet,
            begun,
            step: RefCell::new(step),
        }
    }

    /// Sets what stands before each step from now on, and how much of all is done, from 0 to 1.
    pub(crate) fn title(&self, title: &str, share_done: f64) {
        let mut step = self.step.borrow_mut();
        step.title = title.to_owned();
        (step.share_done, step.took, step.titled) =
            (share_done, self.begun.elapsed(), Instant::now());
    }

    /// Begins a step of so many units.
    pub(crate) fn begin(&self, name: &str, total: u64) {
        let mut step = self.step.borrow_mut();
        if !self.is_terminal && !self.is_quiet && step.name != name {
            eprintln!("{}: {name}", step.title);
        }
        name.clone_into(&mut step.name);
        (step.total, step.begun, step.shown) = (total, Instant::now(), None);
    }

    /// Shows how many units of the step are done.
    pub(crate) fn show(&self, done: u64) {
        let mut step = self.step.borrow_mut();
        if !self.is_terminal
            || self.is_quiet
            || step.shown.is_some_and(|shown| shown.elapsed() < REWRITE)
        {
            return;
        }
        let now = Instant::now();
        step.shown = Some(now);
        eprint!("\r\x1b[K{}", step.text(done, now));
        let _ = io::stderr().flush();
    }

    /// Removes the line.
    pub(crate) fn end(&self) {
        if self.is_terminal && !self.is_quiet {
            eprint!("\r\x1b[K");
        }
    }
}

impl Step {
    fn text(&self, done: u64, now: Instant) -> String {
        let share = done as f64 / self.total.max(1) as f64;
        let mut text = format!(
            "{}: {} {done}/{} ({:.0} %)",
            self.title,
            self.name,
            self.total,
            share * 100.0
        );
        let mut of_step = 0.0;
        if done > 0 {
            of_step = (now - self.begun).as_secs_f64() * (1.0 - share).max(0.0) / share;
            let _ = write!(text, ", {of_step:.0} s left");
        }
        if self.share_done > 0.0 {
            // What was done took so long; the rest will take as long for its part. What this part
            // has taken is off it.
            let rest = self.took.as_secs_f64() * (1.0 - self.share_done) / self.share_done;
            let left = (rest - (now - self.titled).as_secs_f64()).max(of_step);
            let _ = write!(text, "; {left:.0} s of all");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_left_of_the_step_and_of_all() {
        let begun = Instant::now();
        let mut step = Step {
            title: "serve".to_owned(),
            share_done: 0.0,
            took: Duration::ZERO,
            titled: begun,
            name: "connecting".to_owned(),
            total: 200,
            begun,
            shown: None,
        };
        let later = begun + Duration::from_secs(10);
        assert_eq!(step.text(0, later), "serve: connecting 0/200 (0 %)");
        assert_eq!(
            step.text(50, later),
            "serve: connecting 50/200 (25 %), 30 s left"
        );
        (step.share_done, step.took) = (0.25, Duration::from_secs(40));
        assert_eq!(
            step.text(50, later),
            "serve: connecting 50/200 (25 %), 30 s left; 110 s of all"
        );
    }
}
