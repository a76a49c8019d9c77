//! A connection that changes are published through, kept from one batch to the next: what a relay
//! needs. A change counts as published when the broker has confirmed it: RabbitMQ does so when each
//! queue that takes it has it on disk. Knows no backlog, and pauses for nobody.

use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use log::warn;

use super::connect::HangUp;
use super::outgoing::Outgoing;
use super::session::{Ended, Session};
use super::settings::Settings;
use crate::update::Update;
use crate::work::{Error, Stop};

/// How long the broker may take to confirm anything at all. A busy one writes many messages to its
/// disk at once.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a broker that confirms nothing is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Publishes to the exchange that its settings name.
pub(crate) struct Publisher {
    settings: Settings,
    open: Option<Open>,
    /// Whether a queue took one of the last messages.
    is_heard: bool,
}

/// Why an update was not published.
#[derive(Debug)]
pub(crate) enum PublishError {
    /// The broker will never take this one: it broke a rule of the broker's.
    Refused(String),
    /// It may work later.
    Failed(Error),
}

struct Open {
    /// In front of the others, so that it is dropped first: they would wait for the broker's
    /// answer.
    hang_up: HangUp,
    outgoing: Outgoing,
    session: Session,
}

impl Publisher {
    /// A publisher that is not connected yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            open: None,
            is_heard: true,
        }
    }

    /// Connects, if need be, and makes sure that the exchange exists: servers that wait for it can
    /// bind their queues before the first message comes. A request to stop cuts the connection
    /// after a moment.
    ///
    /// # Errors
    /// A sentence that says which step failed, and why.
    pub(crate) fn connect(&mut self, stop: &Stop) -> Result<(), Error> {
        if self.open.is_none() {
            self.open = Some(Open::new(&self.settings, stop)?);
        }
        Ok(())
    }

    /// Publishes updates in order, and waits until the broker has confirmed them. A broker that
    /// takes no messages for now, since it is short of memory or disk, is waited for as long as it
    /// takes, and its reason is passed to `blocked`. A request to stop cuts the connection after a
    /// moment.
    ///
    /// Returns how many were published, counted from the first, and what came of the next one, if
    /// there is one. Those behind it may have been published, too; published again behind it, they
    /// come in order.
    pub(crate) fn publish(
        &mut self,
        updates: &[Update],
        stop: &Stop,
        blocked: &mut dyn FnMut(&str),
    ) -> (usize, Result<(), PublishError>) {
        let (mut done, mut at_once) = (0, updates.len());
        // The end of a connection that is not in use is noticed only now. It does not mean that a
        // new connection would fail.
        let mut may_be_stale = self.open.is_some();
        while done < updates.len() {
            let end = updates.len().min(done + at_once);
            let result = self.publish_once(&updates[done..end], &mut done, stop, blocked);
            let Err(error) = result else { continue };
            match error {
                // The broker does not name the message that it refused.
                PublishError::Refused(_) if at_once > 1 => at_once = 1,
                PublishError::Failed(_) if may_be_stale && !stop.is_requested() => {
                    may_be_stale = false
                }
                PublishError::Refused(_) | PublishError::Failed(_) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Says goodbye to the broker, after a request to stop, which has limited how long that may
    /// take.
    pub(crate) fn close(&mut self) {
        if let Some(Open {
            hang_up,
            outgoing,
            session,
        }) = self.open.take()
        {
            hang_up.let_be();
            drop(outgoing);
            // Everything is confirmed; what becomes of the farewell matters no more.
            let _ = session.close();
        }
    }

    fn publish_once(
        &mut self,
        updates: &[Update],
        done: &mut usize,
        stop: &Stop,
        blocked: &mut dyn FnMut(&str),
    ) -> Result<(), PublishError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.settings, stop).map_err(PublishError::Failed)?,
        };
        if let Err(error) = publish(&mut open.outgoing, &self.settings, updates, done, blocked) {
            return Err(open.publish_error(error));
        }
        // The broker returns what no queue takes before it confirms it. That is nobody's fault, but
        // often a mistake.
        let is_heard = open.outgoing.returns.try_iter().count() < updates.len();
        if self.is_heard && !is_heard {
            warn!(
                "{}: no queue is bound to the exchange, so that nobody gets what is sent there",
                self.settings
            );
        }
        self.is_heard = is_heard;
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    fn new(settings: &Settings, stop: &Stop) -> Result<Self, Error> {
        let mut session = Session::open(settings, stop)?;
        match Outgoing::open(&mut session, settings) {
            Ok(outgoing) => {
                // What is on its way when the stop is requested has a moment left to be confirmed,
                // and need not be sent again.
                session.end_gently(stop);
                Ok(Self {
                    hang_up: session.hang_up(),
                    outgoing,
                    session,
                })
            }
            Err(error) => Err(session.why(error)),
        }
    }

    /// Ends the connection, and finds out what has happened to it.
    fn publish_error(self, failure: Failure) -> PublishError {
        let Self {
            hang_up,
            outgoing,
            session,
        } = self;
        let error = match failure {
            Failure::Said(why) => why.into(),
            Failure::Amqp(amiquip::Error::ServerClosedChannel { code, message, .. })
                if is_about_message(code) =>
            {
                return PublishError::Refused(message);
            }
            Failure::Amqp(error) => session.error(error),
        };
        drop(hang_up);
        drop(outgoing);
        PublishError::Failed(session.why(error))
    }
}

/// Whether a broker that closes a channel with this code will say the same whenever the message
/// comes again.
fn is_about_message(code: u16) -> bool {
    const CONTENT_TOO_LARGE: u16 = 311;
    const PRECONDITION_FAILED: u16 = 406;
    matches!(code, CONTENT_TOO_LARGE | PRECONDITION_FAILED)
}

/// Why a batch was not confirmed.
enum Failure {
    Amqp(amiquip::Error),
    Said(String),
}

/// Adds to `done` how many were confirmed, counted from the first.
fn publish(
    outgoing: &mut Outgoing,
    settings: &Settings,
    updates: &[Update],
    done: &mut usize,
    blocked: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let mut confirms = outgoing.send(settings, updates).map_err(Failure::Amqp)?;
    let done_before = *done;
    let mut heard = Instant::now();
    while !confirms.is_complete() {
        match outgoing.confirms.recv_timeout(LOOK_EVERY) {
            Ok(confirm) => {
                heard = Instant::now();
                confirms.note(confirm);
                *done = done_before + confirms.stored();
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some(why) = (outgoing.why_blocked)() {
                    blocked(&format!("the broker takes no messages now: {why}"));
                    heard = Instant::now();
                } else if heard.elapsed() >= CONFIRM_TIMEOUT {
                    let seconds = CONFIRM_TIMEOUT.as_secs();
                    return Err(Failure::Said(format!(
                        "the broker did not confirm the message within {seconds} seconds"
                    )));
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                let why = outgoing.why_closed();
                return Err(why.map_or_else(|| Failure::Said(Ended.to_string()), Failure::Amqp));
            }
        }
    }
    if confirms.stored() == updates.len() {
        Ok(())
    } else {
        Err(Failure::Said(
            "the broker could not store the message".to_owned(),
        ))
    }
}
