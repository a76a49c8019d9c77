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
//! and not durable, so that a restart ends it. It carries the name of its reader, which changes with
//! each connection and is kept with the history: another reader in between, or a history from a
//! copy, does not know it.
//!
//! What falls out of a queue that we have made is a known loss, too: `lost`.

use std::fmt;

use amiquip::{
    AmqpValue, Channel, ExchangeDeclareOptions, ExchangeType, FieldTable, QueueDeclareOptions,
};
use log::warn;

use super::attempt::{ChannelException, attempt};
use super::lost::{self, declare_lost};
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
    /// Messages have fallen out of the queue.
    Overflow,
    /// The queue was read by another server, or by this one with another history.
    OtherReader,
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
            Gap::Overflow => {
                "messages have fallen out of the queue: it was full, or a policy bounds them"
            }
            Gap::OtherReader => "somebody else has read the queue, or the history is a copy",
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
/// `reader` is what [`mark`] has returned last, if the history knows it.
pub(crate) fn bind(
    session: &mut Session,
    settings: &Settings,
    reader: Option<&str>,
    gap: &mut Option<Gap>,
) -> Result<String, Error> {
    let Some((queue, marker)) = settings.queue_name().zip(settings.marker_name()) else {
        gap.get_or_insert(Gap::NewConnection);
        let queue = random_queue(settings, "bugzfeed");
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
            declare_lost(session, settings)?;
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
    } else if let Some(reader) = reader
        && declare_marker(session, settings, &marker, reader)?.is_err()
    {
        gap.get_or_insert(Gap::OtherReader);
    }
    bind_queue(session, settings, &queue)?;
    find_lost(session, settings, gap)?;
    Ok(queue)
}

/// Declares the marker anew. The queue is bound by then, and a gap that was found has been reported.
/// Returns what is to be noted in the history: the marker says the same, and so who has read last.
pub(crate) fn mark(session: &mut Session, settings: &Settings) -> Result<Option<String>, Error> {
    let Some(marker) = settings.marker_name() else {
        return Ok(None);
    };
    let reader = format!("{:016x}", fastrand::u64(..));
    // It may not be there.
    let _ = attempt(session, |channel| {
        channel.exchange_declare_passive(&*marker)?.delete(false)
    })?;
    match declare_marker(session, settings, &marker, &reader)? {
        Ok(()) => Ok(Some(reader)),
        Err(why) => {
            warn!(
                "{settings}: without the exchange {marker}, each connection counts as one that may have missed updates: {why}"
            );
            Ok(None)
        }
    }
}

/// Declares the marker with the name of its reader in the argument `alternate-exchange`. RabbitMQ
/// refuses it where the marker is there with another one, and asks for no such exchange.
fn declare_marker(
    session: &mut Session,
    settings: &Settings,
    marker: &str,
    reader: &str,
) -> Result<Result<(), ChannelException>, Error> {
    let mut arguments = FieldTable::new();
    arguments.insert(
        "alternate-exchange".to_owned(),
        AmqpValue::LongString(settings.reader_name(reader)),
    );
    let options = ExchangeDeclareOptions {
        arguments,
        ..ExchangeDeclareOptions::default()
    };
    attempt(session, |channel| {
        channel
            .exchange_declare(ExchangeType::Fanout, marker, options)
            .map(drop)
    })
}

/// Looks whether anything has fallen out of the queue.
pub(crate) fn find_lost(
    session: &mut Session,
    settings: &Settings,
    gap: &mut Option<Gap>,
) -> Result<(), Error> {
    if lost::has_lost(session, settings)? {
        gap.get_or_insert(Gap::Overflow);
    }
    Ok(())
}

/// Makes sure that messages can come from the exchange, as far as the user may ask for its type.
///
/// # Errors
/// When it is of a type that sends nothing to a queue that wants all messages.
pub(crate) fn check_type(session: &mut Session, settings: &Settings) -> Result<(), Error> {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let declared = attempt(session, |channel| {
        channel
            .exchange_declare(ExchangeType::Topic, &*settings.exchange, options)
            .map(drop)
    })?;
    match declared {
        Err(why) if why.code == 406 && why.message.contains("current is 'direct'") => Err(format!(
            "the exchange {} is of the type direct, from which nothing comes; accepted are topic and fanout",
            settings.exchange
        )
        .into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether anybody reads from a queue.
pub(crate) fn is_read(session: &mut Session, queue: &str) -> Result<bool, Error> {
    let readers = attempt(session, |channel| {
        Ok(channel
            .queue_declare_passive(queue)?
            .declared_consumer_count())
    })?;
    Ok(readers.is_ok_and(|readers| readers != Some(0)))
}

/// How many messages are in a queue, and how many read it; `None` where there is no such queue.
pub(super) fn waiting(session: &mut Session, queue: &str) -> Result<Option<(u32, u32)>, Error> {
    let declared = attempt(session, |channel| {
        let queue = channel.queue_declare_passive(queue)?;
        Ok((
            queue.declared_message_count().unwrap_or_default(),
            queue.declared_consumer_count().unwrap_or_default(),
        ))
    })?;
    Ok(declared.ok())
}

/// Makes a queue of this connection's own, and binds it where the exchange is there: whether the
/// account may.
pub(super) fn try_own(
    session: &mut Session,
    settings: &Settings,
    has_exchange: bool,
) -> Result<(), Error> {
    let queue = declare_own(session, settings, "doctor")?;
    if has_exchange {
        bind_queue(session, settings, &queue)?;
    }
    Ok(())
}

/// Warns of a queue that was made with other arguments, which it keeps.
pub(crate) fn compare(
    session: &mut Session,
    settings: &Settings,
    queue: &str,
) -> Result<(), Error> {
    if settings.queue.is_some()
        && let Err(why) = try_declare_queue(session, settings, queue, true)?
        && why.code == 406
    {
        let policy = lost::policy(session, settings, queue, &why)?.map(|command| {
            format!("; or, unless it does so already, this lets bugzfeed know what falls out of it: {command}")
        });
        warn!(
            "{settings}: the queue is not as asked for, and cannot be changed: {}; rabbitmqctl delete_queue {queue} ends it, with what it holds, and it is made anew{}",
            why.message,
            policy.unwrap_or_default()
        );
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
        // A connection that has ended says nothing about the exchange.
        if matches!(error, amiquip::Error::ServerClosedChannel { code: 404, .. }) {
            *gap = Some(Gap::NoExchange);
        }
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

/// Declares a queue of this connection's own, of length 1, for what the relay announces. Returns
/// `None` where the user may not have it.
pub(crate) fn declare_announcements(
    session: &mut Session,
    settings: &Settings,
) -> Result<Option<String>, Error> {
    let settings = Settings {
        messages_max: 1,
        ..settings.clone()
    };
    Ok(declare_own(session, &settings, "announcements").ok())
}

/// Declares a queue of this connection's own, which nobody else can read, and returns its name; `of`
/// says in it what it is for.
pub(super) fn declare_own(
    session: &mut Session,
    settings: &Settings,
    of: &str,
) -> Result<String, Error> {
    let queue = random_queue(settings, of);
    declare_queue(session, settings, &queue, false)?;
    Ok(queue)
}

/// Binds that queue, where the relay's exchange exists. Returns whether it does.
pub(crate) fn bind_announcements(
    session: &mut Session,
    settings: &Settings,
    queue: &str,
) -> Result<bool, Error> {
    let exchange = settings.announcements_name();
    let bound = attempt(session, |channel| {
        channel.queue_bind(queue, &*exchange, "", FieldTable::new())
    })?;
    Ok(bound.is_ok())
}

/// Declares the relay's exchange for announcements.
pub(crate) fn declare_announcer(session: &mut Session, settings: &Settings) -> Result<bool, Error> {
    let exchange = settings.announcements_name();
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let declared = attempt(session, |channel| {
        channel
            .exchange_declare(ExchangeType::Fanout, &*exchange, options)
            .map(drop)
    })?;
    if let Err(why) = &declared {
        warn!(
            "{settings}: cannot announce on {exchange} how far this relay is, so that servers notice less of what they miss: {why}"
        );
    }
    Ok(declared.is_ok())
}

/// A name that no other queue has.
fn random_queue(settings: &Settings, of: &str) -> String {
    let (user, a, b) = (&settings.user, fastrand::u64(..), fastrand::u64(..));
    format!("queue/{user}/{of}-{a:016x}{b:016x}")
}

fn declare_queue(
    session: &mut Session,
    settings: &Settings,
    queue: &str,
    is_durable: bool,
) -> Result<(), Error> {
    Ok(try_declare_queue(session, settings, queue, is_durable)??)
}

fn try_declare_queue(
    session: &mut Session,
    settings: &Settings,
    queue: &str,
    is_durable: bool,
) -> Result<Result<(), ChannelException>, Error> {
    let mut arguments = FieldTable::new();
    arguments.insert(
        "x-max-length".to_owned(),
        AmqpValue::LongInt(settings.messages_max as i32),
    );
    arguments.insert(
        "x-overflow".to_owned(),
        AmqpValue::LongString("drop-head".to_owned()),
    );
    if let Some((exchange, _)) = settings.lost_names().filter(|_| is_durable) {
        let exchange = AmqpValue::LongString(exchange);
        arguments.insert("x-dead-letter-exchange".to_owned(), exchange);
    }
    let options = QueueDeclareOptions {
        durable: is_durable,
        exclusive: !is_durable,
        auto_delete: !is_durable,
        arguments,
    };
    attempt(session, |channel| {
        channel.queue_declare(queue, options).map(drop)
    })
}

fn bind_queue(session: &mut Session, settings: &Settings, queue: &str) -> Result<(), Error> {
    Ok(attempt(session, |channel| {
        channel.queue_bind(queue, &*settings.exchange, "#", FieldTable::new())
    })??)
}
