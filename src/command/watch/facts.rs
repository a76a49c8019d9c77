//! What the bugs are about, as Bugzilla tells us: for the table, and for the command of `--exec`.
//! Asks for many bugs at once, and not too often. Knows no feed and no terminal.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::output::{Event, Mailbox};
use crate::bugzilla::rest::FactFinder;
use crate::update::BugId;
use crate::work::Backoff;

/// Bugzilla answers no address that is much longer.
const BUGS_MAX: usize = 100;
/// After a question; what is wanted meanwhile is one question.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Looks up all bugs that are wanted, and tells the screen, until that is gone.
pub(super) fn look_up_all(
    finder: &FactFinder,
    questions: &Receiver<Vec<BugId>>,
    mailbox: &Mailbox,
) {
    let mut wanted = BTreeSet::new();
    let mut backoff = Backoff::new(PAUSE_AFTER_FAILURE, PAUSE_MAX);
    loop {
        if !wait_for_more(questions, &mut wanted) {
            return;
        }
        let bugs: Vec<BugId> = wanted.iter().take(BUGS_MAX).copied().collect();
        let pause = match finder.find(&bugs) {
            Ok(facts) => {
                for bug in &bugs {
                    wanted.remove(bug);
                }
                mailbox.send(Event::Facts(facts));
                backoff.reset();
                PAUSE
            }
            Err(error) => {
                mailbox.send(Event::Warning(format!(
                    "Bugzilla tells us nothing: {error}"
                )));
                backoff.next_pause(fastrand::f64())
            }
        };
        thread::sleep(pause);
    }
}

/// Takes what is wanted by now, and waits where that is nothing; false when nobody will want
/// anything any more.
fn wait_for_more(questions: &Receiver<Vec<BugId>>, wanted: &mut BTreeSet<BugId>) -> bool {
    if wanted.is_empty() {
        match questions.recv() {
            Ok(bugs) => wanted.extend(bugs),
            Err(_) => return false,
        }
    }
    loop {
        match questions.recv_timeout(Duration::ZERO) {
            Ok(bugs) => wanted.extend(bugs),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}
