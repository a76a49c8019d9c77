//! What a destination can do, and why it cannot. Knows no kind of destination.

use std::time::Duration;

use super::backlog::Entry;
use crate::amqp::Announcement;
use crate::work::Stop;

/// A place that changes are sent to, one batch after the other, by a blocking thread of its own.
pub(crate) trait Destination: Send {
    /// How many changes it is given at once. Those that were sent, but not deleted from the backlog
    /// before a crash, are sent again.
    fn batch_max(&self) -> usize;

    /// Gets ready to send, so that what is wrong is known before the first change comes.
    ///
    /// # Errors
    /// When that fails; it may work later.
    fn connect(&mut self, _stop: &Stop) -> Result<(), SendError> {
        Ok(())
    }

    /// Sends changes in order, as far as it can, until `stop` is requested. Returns how many have
    /// arrived, counted from the first, and what came of the next one, if there is one. While it
    /// must wait, it passes the reason to `waiting`.
    fn send(
        &mut self,
        changes: &[Entry],
        stop: &Stop,
        waiting: &mut dyn FnMut(&str),
    ) -> (usize, Result<(), SendError>);

    /// Whether those behind the destination are to know how far it is.
    fn is_announced_to(&self) -> bool {
        false
    }

    /// Lets those behind the destination know how far it is, if it is connected.
    fn announce(&mut self, _announcement: &Announcement) {}

    /// Says goodbye, in a moment at most: the stop was requested.
    fn close(&mut self) {}
}

/// Why a change has not arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The destination will never take this one.
    Refused(String),
    /// The destination could not be reached, or broke off: it may be back at any moment.
    Failed(String),
    /// The destination was reached, and does not take this one for now.
    PutOff(String),
    /// The same, and it has said how long it wants to be left alone.
    PutOffFor(String, Duration),
    /// Nobody is there who would get it, or who gets it does not take it for now.
    NotTaken(String),
    /// Nobody reads what this program prints, so that it has nothing left to do.
    NobodyReads,
}
