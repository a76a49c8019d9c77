//! The exchange, the queue, and what ties them: declares what is missing, and finds out whether
//! messages may be missing. Knows no message.
//!
//! The broker keeps messages for a queue with a label while no server reads it, and sends them all,
//! unless
//! - the queue or the exchange was deleted: seen when it is missing;
//! - the broker was restarted, which ends the messages that were not sent as persistent, or not yet
//!   written;
//! - the queue was not bound: its exchange was deleted and made again, or a server was killed
//!   between declaring and binding it;
//! - the queue was full.
//!
//! AMQP cannot be asked about a restart or a binding. So there is a **marker**: an exchange that
//! nobody uses, declared when the queue has been bound, deleted when the exchange is found missing,
//! and not durable, so that a restart ends it.

use std::fmt;

use amiquip::{
    AmqpValue, Channel, ExchangeDeclareOptions, ExchangeType, FieldTable, QueueDeclareOptions,
};
use log::warn;

use super::session::Session;
use super::settings::Settings;
use crate::work::Error;

/// Why updates may be missing up to the moment when the queue was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// A queue without a label begins with its connection.
    NewConnection,
    /// The queue was deleted while it was read.
    QueueDeleted,
    /// There was no queue.
    NoQueue,
    /// There was no exchange.
    NoExchange,
    /// The marker was missing.
    NoMarker,
    /// The queue was full.
    QueueFull,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gap::NewConnection => {
                "a queue without a label (option queue) begins with its connection"
            }
            Gap::QueueDeleted => "the queue was deleted",
            Gap::NoQueue => "the queue did not exist",
            Gap::NoExchange => "the exchange did not exist",
            Gap::NoMarker => "the broker was restarted, or the queue was not bound",
            Gap::QueueFull => "the queue was full (option max_length)",
        })
    }
}

/// Makes sure that the exchange exists, by declaring one of the user's own. Returns whether it
/// does; one that does not is a gap.
pub(crate) fn find_exchange(
    session: &mut Session,
    settings: &Settings,
    gap: &mut Option<Gap>,
) -> Result<bool, Error> {
    if declare_exchange(session, settings, settings.is_own_exchange())? {
        return Ok(true);
    }
    *gap = Some(Gap::NoExchange);
    if let Some(marker) = settings.marker_name() {
        // It may be missing, too.
        let _ = attempt(session, |channel| {
            channel.exchange_declare_passive(&*marker)?.delete(false)
        })?;
    }
    Ok(false)
}

/// Makes sure that the exchange exists, by making it if `may_make`. Returns whether it does.
pub(crate) fn declare_exchange(
    session: &mut Session,
    settings: &Settings,
    may_make: bool,
) -> Result<bool, Error> {
    let name = &*settings.exchange;
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    if may_make
        && attempt(session, |channel| {
            channel
                .exchange_declare(ExchangeType::Topic, name, options)
                .map(drop)
        })?
        .is_ok()
    {
        return Ok(true);
    }
    // It may exist with other properties, or the user may use it, but not make it.
    match attempt(session, |channel| {
        channel.exchange_declare_passive(name).map(drop)
    })? {
        Ok(()) => Ok(true),
        Err(ChannelException { code: 404, .. }) => Ok(false),
        Err(exception) => Err(exception.into()),
    }
}

/// Makes sure that the queue exists and is bound, and returns its name. Messages that are published
/// from now on are in it.
pub(crate) fn bind(
    session: &mut Session,
    settings: &Settings,
    gap: &mut Option<Gap>,
) -> Result<String, Error> {
    let Some((queue, marker)) = settings.queue_name().zip(settings.marker_name()) else {
        gap.get_or_insert(Gap::NewConnection);
        let queue = format!(
            "queue/{}/bugzfeed-{:016x}{:016x}",
            settings.user,
            fastrand::u64(..),
            fastrand::u64(..)
        );
        declare_queue(session, settings, &queue, false)?;
        bind_queue(session, settings, &queue)?;
        return Ok(queue);
    };
    match attempt(session, |channel| {
        Ok(channel
            .queue_declare_passive(&*queue)?
            .declared_message_count())
    })? {
        // A queue that exists is taken as it is: it may have been made by somebody else, or with
        // another length.
        Ok(messages) if messages.is_some_and(|messages| messages >= settings.messages_max) => {
            *gap = Some(Gap::QueueFull)
        }
        Ok(_) => {}
        Err(ChannelException { code: 404, .. }) => {
            gap.get_or_insert(Gap::NoQueue);
            declare_queue(session, settings, &queue, true)?;
        }
        Err(exception) => return Err(exception.into()),
    }
    if attempt(session, |channel| {
        channel.exchange_declare_passive(&*marker).map(drop)
    })?
    .is_err()
    {
        gap.get_or_insert(Gap::NoMarker);
    }
    bind_queue(session, settings, &queue)?;
    Ok(queue)
}

/// Declares the marker. The queue is bound by then, and a gap that was found has been reported.
pub(crate) fn mark(session: &mut Session, settings: &Settings) -> Result<(), Error> {
    if let Some(marker) = settings.marker_name() {
        let options = ExchangeDeclareOptions::default();
        if let Err(why) = attempt(session, |channel| {
            channel
                .exchange_declare(ExchangeType::Fanout, &*marker, options)
                .map(drop)
        })? {
            warn!(
                "{settings}: without the exchange {marker}, each connection counts as one that may have missed updates: {why}"
            );
        }
    }
    Ok(())
}

/// Binds the queue once more, and looks how full it is. Where the exchange was deleted, binding
/// fails; where only the binding was, this restores it; else it does nothing.
pub(crate) fn check(
    session: &Session,
    channel: &Channel,
    queue: &str,
    settings: &Settings,
    gap: &mut Option<Gap>,
) -> Result<(), Error> {
    if let Err(error) = channel.queue_bind(queue, &*settings.exchange, "#", FieldTable::new()) {
        *gap = Some(Gap::NoExchange);
        return Err(session.error(error));
    }
    let declared = channel
        .queue_declare_passive(queue)
        .map_err(|error| session.error(error))?;
    if declared
        .declared_message_count()
        .is_some_and(|messages| messages >= settings.messages_max)
    {
        *gap = Some(Gap::QueueFull);
    }
    Ok(())
}

fn declare_queue(
    session: &mut Session,
    settings: &Settings,
    queue: &str,
    is_durable: bool,
) -> Result<(), Error> {
    let mut arguments = FieldTable::new();
    arguments.insert(
        "x-max-length".to_owned(),
        AmqpValue::LongInt(settings.messages_max as i32),
    );
    arguments.insert(
        "x-overflow".to_owned(),
        AmqpValue::LongString("drop-head".to_owned()),
    );
    let options = QueueDeclareOptions {
        durable: is_durable,
        exclusive: !is_durable,
        auto_delete: !is_durable,
        arguments,
    };
    Ok(attempt(session, |channel| {
        channel.queue_declare(queue, options).map(drop)
    })??)
}

fn bind_queue(session: &mut Session, settings: &Settings, queue: &str) -> Result<(), Error> {
    Ok(attempt(session, |channel| {
        channel.queue_bind(queue, &*settings.exchange, "#", FieldTable::new())
    })??)
}

/// The broker has refused something, and closed the channel for it.
#[derive(Debug)]
struct ChannelException {
    code: u16,
    message: String,
}

impl fmt::Display for ChannelException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            403 => write!(f, "the broker does not permit it: {}", self.message),
            _ => write!(f, "the broker refused: {}", self.message),
        }
    }
}

impl std::error::Error for ChannelException {}

/// Asks for something on a channel of its own, which an exception closes.
fn attempt<T>(
    session: &mut Session,
    ask: impl FnOnce(&Channel) -> amiquip::Result<T>,
) -> Result<Result<T, ChannelException>, Error> {
    let channel = session.channel()?;
    match ask(&channel) {
        Ok(answer) => Ok(Ok(answer)),
        Err(amiquip::Error::ServerClosedChannel { code, message, .. }) => {
            Ok(Err(ChannelException { code, message }))
        }
        Err(error) => Err(session.error(error)),
    }
}
