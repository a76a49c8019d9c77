//! Looks at what goes by, without taking anybody's messages: an exclusive, bounded queue of the
//! user's own, which goes with the connection.

use std::fmt;
use std::ops::ControlFlow;

use amiquip::{AmqpValue, ConsumerMessage, ConsumerOptions, Delivery, FieldTable};
use crossbeam_channel::{Receiver, select};

use super::attempt::{ChannelException as Refusal, attempt};
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

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.exchange, self.pattern)
    }
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

/// Who looks at what goes by, and may ask meanwhile to look at something else.
pub(crate) trait Audience {
    /// What is asked for, by another thread.
    type Request;

    /// The queue is there and read, and nothing is bound to it yet.
    ///
    /// # Errors
    /// When it cannot go on.
    fn begin(&mut self, queue: &mut OwnQueue<'_>) -> Result<(), Error>;

    /// Something was asked for.
    fn answer(&mut self, request: Self::Request, queue: &mut OwnQueue<'_>) -> ControlFlow<()>;

    /// A message has gone by.
    fn see(&mut self, seen: Seen) -> ControlFlow<()>;
}

/// The queue that what goes by is put into, for the exchanges that are bound to it.
pub(crate) struct OwnQueue<'a> {
    session: &'a mut Session,
    name: &'a str,
}

impl OwnQueue<'_> {
    /// Has copies of what an exchange gets put into the queue from now on. The inner error says that
    /// there is no such exchange, or that the user may not read it.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn bind(&mut self, binding: &Binding) -> Result<Result<(), Refusal>, Error> {
        let Binding { exchange, pattern } = binding;
        attempt(self.session, |channel| {
            channel.queue_bind(self.name, &**exchange, &**pattern, FieldTable::new())
        })
    }

    /// Ends that; where it was not so, nothing happens.
    ///
    /// # Errors
    /// When the connection has ended, or the exchange has gone.
    pub(crate) fn unbind(&mut self, binding: &Binding) -> Result<(), Error> {
        let Binding { exchange, pattern } = binding;
        attempt(self.session, |channel| {
            channel.queue_unbind(self.name, &**exchange, &**pattern, FieldTable::new())
        })?
        .map_err(Error::from)
    }
}

/// Hands over each message that goes by, and each of the `requests`, until the audience has enough
/// or `stop` is requested.
///
/// # Errors
/// When the broker cannot be reached, does not permit it, or goes.
pub(crate) fn tap<A: Audience>(
    settings: &Settings,
    stop: &Stop,
    requests: Option<&Receiver<A::Request>>,
    audience: &mut A,
) -> Result<(), Error> {
    let mut session = Session::open(settings, stop)?;
    if let Err(error) = read(&mut session, settings, stop, requests, audience) {
        return Err(session.why(error));
    }
    // What becomes of the farewell matters no more.
    let _ = session.close();
    Ok(())
}

fn read<A: Audience>(
    session: &mut Session,
    settings: &Settings,
    stop: &Stop,
    requests: Option<&Receiver<A::Request>>,
    audience: &mut A,
) -> Result<(), Error> {
    let settings = Settings {
        messages_max: MESSAGES_MAX,
        ..settings.clone()
    };
    let name = &*topology::declare_own(session, &settings, "inspect")?;
    let channel = session.channel()?;
    let hang_up = session.hang_up();
    channel
        .qos(0, PREFETCH, false)
        .map_err(|error| session.error(error))?;
    let consumer = channel
        .basic_consume(name, ConsumerOptions::default())
        .map_err(|error| session.error(error))?;
    let hang_up_first = session.hang_up();
    let stopped = session.end_gently(stop);
    let nobody = crossbeam_channel::never();
    let requests = requests.unwrap_or(&nobody);
    audience.begin(&mut OwnQueue { session, name })?;
    loop {
        let flow = select! {
            recv(consumer.receiver()) -> message => match message {
                Ok(ConsumerMessage::Delivery(mut delivery)) => {
                    let seen = Seen::take(&mut delivery);
                    delivery.ack(&channel).map_err(|error| session.error(error))?;
                    audience.see(seen)
                }
                Ok(ConsumerMessage::ServerCancelled) => return Err("the queue was deleted".into()),
                Ok(ConsumerMessage::ServerClosedChannel(error) | ConsumerMessage::ServerClosedConnection(error)) => {
                    return Err(session.error(error));
                }
                Ok(_) | Err(_) => return Err(Ended.into()),
            },
            recv(requests) -> request => match request {
                Ok(request) => audience.answer(request, &mut OwnQueue { session, name }),
                Err(_) => ControlFlow::Break(()),
            },
            recv(stopped) -> _ => ControlFlow::Break(()),
        };
        if flow.is_break() {
            break;
        }
    }
    hang_up_first.let_be();
    hang_up.let_be();
    Ok(())
}
