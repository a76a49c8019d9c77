//! A connection that changes are published through, kept from one batch to the next: what a relay
//! needs. A change counts as published when the broker has confirmed it: RabbitMQ does so when each
//! queue that takes it has it on disk. Knows no backlog, and pauses for nobody.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use log::warn;

use super::connect::HangUp;
use super::number::Announcement;
use super::outgoing::{Message, Outgoing};
use super::session::{Ended, Session};
use super::settings::Settings;
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
    /// How long a message is kept that no queue takes, counted from the first one.
    patience: Duration,
    /// Since when no queue has taken a whole batch.
    untaken: Option<Untaken>,
}

/// No queue takes what is published.
struct Untaken {
    since: Instant,
    /// Whether it was logged that messages are no longer kept.
    is_over: bool,
}

/// Why a message was not published.
#[derive(Debug)]
pub(crate) enum PublishError {
    /// The broker will never take this one: it broke a rule of the broker's.
    Refused(String),
    /// The broker has taken it, but a queue has not, or there is none.
    NotTaken(String),
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
    /// What no queue takes is to be published again for `patience`.
    pub(crate) fn new(settings: Settings, patience: Duration) -> Self {
        Self {
            settings,
            open: None,
            patience,
            untaken: None,
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

    /// Announces how far a stream is, if there is a connection. One that turns out to have ended is
    /// given up.
    pub(crate) fn announce(&mut self, announcement: &Announcement) {
        let settings = &self.settings;
        let has_failed = |open: &mut Open| open.outgoing.announce(settings, announcement).is_err();
        if let Some(open) = self.open.take_if(has_failed) {
            drop(open.publish_error(Failure::Said(String::new())));
        }
    }

    /// Publishes messages in order, and waits until the broker has confirmed them. A broker that
    /// takes no messages for now, since it is short of memory or disk, is waited for as long as it
    /// takes, and its reason is passed to `blocked`. A request to stop cuts the connection after a
    /// moment.
    ///
    /// Returns how many were published, counted from the first, and what came of the next one, if
    /// there is one. Those behind it may have been published, too; published again behind it, they
    /// come in order.
    pub(crate) fn publish(
        &mut self,
        messages: &[Message],
        stop: &Stop,
        blocked: &mut dyn FnMut(&str),
    ) -> (usize, Result<(), PublishError>) {
        let mut done = 0;
        // One alone finds out whether anybody is there, before others that come behind it are
        // taken without it.
        let mut at_once = match (&self.open, &self.untaken) {
            (Some(_), None) => messages.len(),
            (None, _) | (_, Some(_)) => 1,
        };
        // The end of a connection that is not in use is noticed only now. It does not mean that a
        // new connection would fail.
        let mut may_be_stale = self.open.is_some();
        let mut is_picking = false;
        while done < messages.len() {
            let end = messages.len().min(done + at_once);
            let result = self.publish_once(&messages[done..end], &mut done, stop, blocked);
            let Err(error) = result else {
                if !is_picking {
                    at_once = messages.len();
                }
                continue;
            };
            match error {
                // The broker does not name the message that it refused.
                PublishError::Refused(_) if at_once > 1 => (at_once, is_picking) = (1, true),
                PublishError::Failed(_) if may_be_stale && !stop.is_requested() => {
                    may_be_stale = false
                }
                PublishError::Refused(_) | PublishError::NotTaken(_) | PublishError::Failed(_) => {
                    return (done, Err(error));
                }
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
        messages: &[Message],
        done: &mut usize,
        stop: &Stop,
        blocked: &mut dyn FnMut(&str),
    ) -> Result<(), PublishError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.settings, stop).map_err(PublishError::Failed)?,
        };
        let end = *done + messages.len();
        match publish(&mut open.outgoing, &self.settings, messages, done, blocked) {
            Ok(()) => self.untaken = None,
            Err(Failure::NotTaken(why)) => {
                self.open = Some(open);
                if !self.give_up(&why) {
                    return Err(PublishError::NotTaken(why));
                }
                *done = end;
                return Ok(());
            }
            Err(error) => return Err(open.publish_error(error)),
        }
        self.open = Some(open);
        Ok(())
    }

    /// Whether messages that no queue takes are kept no longer, which is logged once.
    fn give_up(&mut self, why: &str) -> bool {
        let untaken = self.untaken.get_or_insert(Untaken {
            since: Instant::now(),
            is_over: false,
        });
        if untaken.since.elapsed() < self.patience {
            return false;
        }
        if !std::mem::replace(&mut untaken.is_over, true) {
            warn!(
                "{}: {why}; changes are not kept any longer for who does not take them (option patience)",
                self.settings
            );
        }
        true
    }
}

impl Open {
    fn new(settings: &Settings, stop: &Stop) -> Result<Self, Error> {
        let mut session = Session::open(settings, stop)?;
        let opened = Outgoing::open(&mut session, settings).and_then(|mut outgoing| {
            outgoing.open_announcing(&mut session, settings)?;
            Ok(outgoing)
        });
        match opened {
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
            Failure::Said(why) | Failure::NotTaken(why) => why.into(),
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
    NotTaken(String),
}

/// Adds to `done` how many were confirmed, counted from the first.
fn publish(
    outgoing: &mut Outgoing,
    settings: &Settings,
    messages: &[Message],
    done: &mut usize,
    blocked: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let mut confirms = outgoing.send(settings, messages).map_err(Failure::Amqp)?;
    let done_before = *done;
    let mut returned = Returned::default();
    let mut heard = Instant::now();
    while !confirms.is_complete() {
        match outgoing.confirms.recv_timeout(LOOK_EVERY) {
            Ok(confirm) => {
                heard = Instant::now();
                confirms.note(confirm);
                returned.look(outgoing);
                *done = done_before + confirms.stored().min(returned.first(messages));
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
    let stored = confirms.stored();
    let returned = returned.first(messages);
    if returned <= stored && returned < messages.len() {
        Err(Failure::NotTaken(
            "no queue is bound to the exchange, so that nobody gets what is sent there".to_owned(),
        ))
    } else if stored < messages.len() {
        Err(Failure::NotTaken(
            "a queue refuses the message, or cannot store it: is it full, with overflow=reject-publish?"
                .to_owned(),
        ))
    } else {
        Ok(())
    }
}

/// What the broker has returned of a batch, since no queue takes it: by bug and number. It returns a
/// message before it confirms it.
#[derive(Default)]
struct Returned(HashSet<(String, Option<String>)>);

impl Returned {
    fn look(&mut self, outgoing: &Outgoing) {
        self.0.extend(outgoing.returns.try_iter().map(|returned| {
            let number = returned.properties.message_id().clone();
            (returned.routing_key, number)
        }));
    }

    /// How many messages were not returned, counted from the first.
    fn first(&self, messages: &[Message]) -> usize {
        if self.0.is_empty() {
            return messages.len();
        }
        let is_returned = |message: &Message| {
            let number = message.number.as_ref().map(ToString::to_string);
            self.0.contains(&(message.update.bug.to_string(), number))
        };
        let first = messages.iter().position(is_returned);
        first.unwrap_or(messages.len())
    }
}
