//! Looks at what goes by, without taking anybody's messages: an exclusive, bounded queue of the
//! user's own, which goes with the connection.

use std::ops::ControlFlow;

use amiquip::{AmqpValue, ConsumerMessage, ConsumerOptions, Delivery, FieldTable};
use crossbeam_channel::select;

use super::session::{Ended, Session};
use super::settings::Settings;
use super::{routes, topology};
use crate::pulse;
use crate::work::{Error, Stop};

/// How many messages wait for somebody who reads slowly; the oldest go first.
const MESSAGES_MAX: u32 = 1_000;

/// How many of them the broker sends ahead.
const PREFETCH: u16 = 100;

/// What goes by: an exchange, and a pattern of its routing keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) exchange: String,
    pub(crate) pattern: String,
}

/// A message that has gone by.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    /// What its publisher has added to the routing key.
    pub(crate) cc: Vec<String>,
    pub(crate) body: Vec<u8>,
    /// Whether the body was longer.
    pub(crate) is_cut: bool,
}

impl Seen {
    fn take(delivery: &mut Delivery) -> Self {
        let headers = delivery.properties.headers().as_ref();
        let cc = match headers.and_then(|headers| headers.get(routes::HEADER)) {
            Some(AmqpValue::FieldArray(keys)) => keys
                .iter()
                .filter_map(|key| match key {
                    AmqpValue::LongString(key) => Some(key.clone()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let mut body = std::mem::take(&mut delivery.body);
        let is_cut = body.len() > pulse::MESSAGE_BYTES_MAX;
        body.truncate(pulse::MESSAGE_BYTES_MAX);
        Self {
            exchange: std::mem::take(&mut delivery.exchange),
            routing_key: std::mem::take(&mut delivery.routing_key),
            cc,
            body,
            is_cut,
        }
    }
}

/// Hands over each message that goes by, until `see` breaks or `stop` is requested; `begun` is
/// called when nothing is missed any more.
///
/// # Errors
/// When the broker cannot be reached, does not permit it, or goes.
pub(crate) fn tap(
    settings: &Settings,
    bindings: &[Binding],
    stop: &Stop,
    begun: impl FnOnce(),
    see: &mut dyn FnMut(Seen) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut session = Session::open(settings, stop)?;
    if let Err(error) = read(&mut session, settings, bindings, stop, begun, see) {
        return Err(session.why(error));
    }
    // What becomes of the farewell matters no more.
    let _ = session.close();
    Ok(())
}

fn read(
    session: &mut Session,
    settings: &Settings,
    bindings: &[Binding],
    stop: &Stop,
    begun: impl FnOnce(),
    see: &mut dyn FnMut(Seen) -> ControlFlow<()>,
) -> Result<(), Error> {
    let settings = Settings {
        messages_max: MESSAGES_MAX,
        ..settings.clone()
    };
    let queue = topology::declare_own(session, &settings, "inspect")?;
    let channel = session.channel()?;
    let hang_up = session.hang_up();
    for Binding { exchange, pattern } in bindings {
        channel
            .queue_bind(&*queue, &**exchange, &**pattern, FieldTable::new())
            .map_err(|error| session.error(error))?;
    }
    channel
        .qos(0, PREFETCH, false)
        .map_err(|error| session.error(error))?;
    let consumer = channel
        .basic_consume(&*queue, ConsumerOptions::default())
        .map_err(|error| session.error(error))?;
    let hang_up_first = session.hang_up();
    let stopped = session.end_gently(stop);
    begun();
    loop {
        select! {
            recv(consumer.receiver()) -> message => match message {
                Ok(ConsumerMessage::Delivery(mut delivery)) => {
                    let seen = Seen::take(&mut delivery);
                    delivery.ack(&channel).map_err(|error| session.error(error))?;
                    if see(seen).is_break() {
                        break;
                    }
                }
                Ok(ConsumerMessage::ServerCancelled) => return Err("the queue was deleted".into()),
                Ok(ConsumerMessage::ServerClosedChannel(error) | ConsumerMessage::ServerClosedConnection(error)) => {
                    return Err(session.error(error));
                }
                Ok(_) | Err(_) => return Err(Ended.into()),
            },
            recv(stopped) -> _ => break,
        }
    }
    hang_up_first.let_be();
    hang_up.let_be();
    Ok(())
}
