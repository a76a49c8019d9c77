//! Source `amqp:` and `amqps:`: a queue of a RabbitMQ broker, such as Mozilla's Pulse. Reads what
//! arrives in the queue and acknowledges it when it has been handed over. Knows no connection.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use amiquip::{Channel, Consumer, ConsumerMessage, ConsumerOptions, Delivery};
use crossbeam_channel::select;
use log::{debug, warn};

use super::{Sink, Source};
use crate::amqp::topology::{self, Gap};
use crate::amqp::{Ended, Session, Settings};
use crate::pulse::{self, Unreadable};
use crate::update::Update;
use crate::work::{Error, Stop};

/// How many messages are handed over and acknowledged at once, when that many have arrived.
const BATCH_MESSAGES_MAX: usize = 500;

/// How often a missing exchange is looked for: often, since the broker is there, and asking costs
/// it a line in its log.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a quiet broker is asked whether the queue is still bound: nothing tells a consumer
/// that its exchange was deleted.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The queue, read by [`super::supervise`].
#[derive(Debug)]
pub(super) struct Queue {
    settings: Settings,
    /// Why updates may be missing, until [`Sink::missed`] has reported it.
    gap: Option<Gap>,
    /// How many messages were dropped, by reason.
    dropped: HashMap<Unusable, u64>,
}

/// Why a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unusable {
    Unreadable(Unreadable),
    /// The queue is bound to another exchange, too: that of another feed, or one that was read from
    /// in former times.
    OtherExchange,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Unreadable(why) => why.fmt(f),
            Unusable::OtherExchange => f.write_str("from another exchange"),
        }
    }
}

impl Queue {
    /// A source that reads the queue that `settings` name.
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            gap: None,
            dropped: HashMap::new(),
        }
    }
}

impl Source for Queue {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        sink.doubt()?;
        let mut session = Session::open(&self.settings, stop)?;
        if let Err(error) = self.read(&mut session, sink, stop) {
            sink.doubt()?;
            return Err(session.why(error));
        }
        // All is acknowledged; what becomes of the farewell matters no more.
        let _ = session.close();
        Ok(())
    }
}

impl Queue {
    fn read(&mut self, session: &mut Session, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        if !self.wait_for_exchange(session, sink, stop)? {
            return Ok(());
        }
        let queue = topology::bind(session, &self.settings, &mut self.gap)?;
        let channel = session.channel()?;
        let hang_up = session.hang_up();
        let consumer = consume(&channel, &queue, self.settings.prefetch, session)?;
        // Dropped before the consumer, whose own end would wait for the broker's answer.
        let hang_up_first = session.hang_up();
        self.report_gap(sink)?;
        topology::mark(session, &self.settings)?;
        sink.connected()?;
        let stopped = session.end_gently(stop);
        let mut checked = Instant::now();
        loop {
            if checked.elapsed() >= CHECK_EVERY {
                topology::check(session, &channel, &queue, &self.settings, &mut self.gap)?;
                self.report_gap(sink)?;
                checked = Instant::now();
            }
            select! {
                recv(consumer.receiver()) -> first => {
                    let first = first.map_err(|_| Ended)?;
                    self.take(std::iter::once(first).chain(consumer.receiver().try_iter()), session, &channel, sink)?;
                }
                recv(stopped) -> _ => break,
                default(CHECK_EVERY.saturating_sub(checked.elapsed())) => {}
            }
        }
        hang_up_first.let_be();
        hang_up.let_be();
        Ok(())
    }

    /// Returns false when `stop` was requested.
    fn wait_for_exchange(
        &mut self,
        session: &mut Session,
        sink: &mut Sink,
        stop: &Stop,
    ) -> Result<bool, Error> {
        while !topology::find_exchange(session, &self.settings, &mut self.gap)? {
            sink.down(&format!(
                "the exchange {} does not exist in the virtual host {}",
                self.settings.exchange, self.settings.vhost
            ));
            if stop.wait(LOOK_EVERY) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Hands over what has arrived, then acknowledges it.
    fn take(
        &mut self,
        messages: impl Iterator<Item = ConsumerMessage>,
        session: &Session,
        channel: &Channel,
        sink: &mut Sink,
    ) -> Result<(), Error> {
        let mut updates = Vec::new();
        let mut last = None;
        let mut end = None;
        for message in messages.take(BATCH_MESSAGES_MAX) {
            match message {
                ConsumerMessage::Delivery(delivery) => {
                    updates.extend(self.update(&delivery));
                    last = Some(delivery);
                }
                ConsumerMessage::ServerCancelled => {
                    self.gap = Some(Gap::QueueDeleted);
                    end = Some("the queue was deleted".into());
                }
                ConsumerMessage::ServerClosedChannel(error)
                | ConsumerMessage::ServerClosedConnection(error) => {
                    end = Some(session.error(error));
                }
                ConsumerMessage::ClientCancelled
                | ConsumerMessage::ClientClosedChannel
                | ConsumerMessage::ClientClosedConnection => {
                    end = Some(Ended.into());
                }
            }
        }
        sink.deliver(updates)?;
        if let Some(end) = end {
            return Err(end);
        }
        match last {
            Some(last) => last
                .ack_multiple(channel)
                .map_err(|error| session.error(error)),
            None => Ok(()),
        }
    }

    /// The update in a message. A message without one is counted and dropped: it would be no better
    /// if it came again.
    fn update(&mut self, delivery: &Delivery) -> Option<Update> {
        let why = if delivery.exchange == self.settings.exchange {
            match pulse::read(&delivery.body) {
                Ok(update) => return Some(update),
                Err(why) => Unusable::Unreadable(why),
            }
        } else {
            Unusable::OtherExchange
        };
        let count = self.dropped.entry(why).or_default();
        *count += 1;
        let bytes = delivery.body.len();
        if *count == 1 {
            warn!(
                "{}: dropped a message of {bytes} bytes: {why}; the log will not say so again",
                self.settings
            );
        } else {
            debug!(
                "{}: dropped message {count} of its kind, of {bytes} bytes: {why}",
                self.settings
            );
        }
        None
    }

    fn report_gap(&mut self, sink: &mut Sink) -> Result<(), Error> {
        if let Some(gap) = self.gap {
            sink.missed(&gap.to_string(), None)?;
            self.gap = None;
        }
        Ok(())
    }
}

/// Has the broker send what is in the queue, to this connection only.
fn consume<'a>(
    channel: &'a Channel,
    queue: &str,
    prefetch: u16,
    session: &Session,
) -> Result<Consumer<'a>, Error> {
    channel
        .qos(0, prefetch, false)
        .map_err(|error| session.error(error))?;
    // Two servers that share a queue would each get half of the updates.
    let options = ConsumerOptions {
        exclusive: true,
        ..ConsumerOptions::default()
    };
    channel
        .basic_consume(queue, options)
        .map_err(|error| match error {
            amiquip::Error::ServerClosedChannel {
                code: 403, message, ..
            } if message.contains("exclusive") => {
                format!("another server reads from {queue}; give each its own queue=LABEL").into()
            }
            error => session.error(error),
        })
}
