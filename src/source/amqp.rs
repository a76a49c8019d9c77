//! Source `amqp:` and `amqps:`: a queue of a RabbitMQ broker, such as Mozilla's Pulse. Reads what
//! arrives in the queue and acknowledges it when it has been handed over. Knows no connection.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use amiquip::{Channel, Consumer, ConsumerMessage, ConsumerOptions, Delivery};
use crossbeam_channel::{Receiver, select};
use log::{debug, info, warn};

use super::streams::{Missed, Proof};
use super::{Sink, Source};
use crate::amqp::topology::{self, Gap};
use crate::amqp::{Ended, Number, Session, Settings};
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

/// How often it is seen whether what is in doubt has become known.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

/// The note that says which numbered messages have been delivered.
const STREAMS: &str = "streams";

/// The note that says what the marker is to say.
const READER: &str = "reader";

/// The queue, read by [`super::supervise`].
#[derive(Debug)]
pub(super) struct Queue {
    settings: Settings,
    proof: Proof,
    /// What is noted of it; read from the history's notes at the first connection.
    noted: Option<String>,
    is_in_doubt: bool,
    /// Whether the queue was compared with what is asked for.
    has_compared: bool,
    /// Whether the marker says that this connection reads.
    is_marked: bool,
    /// When this process last had the queue to itself.
    had_at: Option<Instant>,
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
            proof: Proof::default(),
            noted: None,
            is_in_doubt: true,
            is_marked: false,
            has_compared: false,
            had_at: None,
            dropped: HashMap::new(),
        }
    }
}

impl Source for Queue {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        loop {
            match self.run_once(sink, stop) {
                // A server that takes over from another one need not wait longer than this.
                Err(error) if error.is::<Taken>() && self.may_hold_it_itself() => sink.down(
                    "the broker has not noticed yet that the connection before has ended, and lets no other one read until it misses heartbeats",
                ),
                Err(error) if error.is::<Taken>() => sink.down(&error.to_string()),
                result => return result,
            }
            if stop.wait(LOOK_EVERY) {
                return Ok(());
            }
        }
    }
}

impl Queue {
    fn run_once(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        self.doubt(sink)?;
        let mut session = Session::open(&self.settings, stop)?;
        if let Err(error) = self.read(&mut session, sink, stop) {
            if !error.is::<Taken>() {
                self.had_at = self.had_at.map(|_| Instant::now());
            }
            self.doubt(sink)?;
            return Err(session.why(error));
        }
        // All is acknowledged; what becomes of the farewell matters no more.
        let _ = session.close();
        Ok(())
    }
}

impl Queue {
    /// Whether the broker may still take the connection before for alive. It notices the end of one
    /// that was cut somewhere in between by its silence, some heartbeats after we did.
    fn may_hold_it_itself(&self) -> bool {
        self.had_at
            .is_some_and(|had| had.elapsed() < 4 * self.settings.heartbeat)
    }

    fn read(&mut self, session: &mut Session, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        if !self.wait_for_exchange(session, sink, stop)? {
            return Ok(());
        }
        let reader = sink.note(READER);
        let queue = topology::bind(
            session,
            &self.settings,
            reader.as_deref(),
            &mut self.proof.gap,
        )?;
        if !std::mem::replace(&mut self.has_compared, true) {
            topology::compare(session, &self.settings, &queue)?;
        }
        let channel = session.channel()?;
        let hang_up = session.hang_up();
        let consumer = match consume(&channel, &queue, self.settings.prefetch, session) {
            Err(error) if error.is::<Taken>() && !topology::is_read(session, &queue)? => {
                return Err(format!(
                    "the broker lets nobody read {queue} alone, which nobody reads: was it made with x-single-active-consumer? rabbitmqctl delete_queue {queue} ends it, and it is made anew"
                )
                .into());
            }
            result => result?,
        };
        topology::check_type(session, &self.settings)?;
        let announcing = session.channel()?;
        let mut announcements = Announcements::listen(&announcing, session, &self.settings)?;
        // Dropped before the consumers, whose own end would wait for the broker's answer.
        let hang_up_first = session.hang_up();
        self.begin(sink);
        self.settle(session, sink)?;
        sink.health().working();
        let stopped = session.end_gently(stop);
        let mut checked = Instant::now();
        loop {
            if checked.elapsed() >= CHECK_EVERY {
                topology::check(
                    session,
                    &channel,
                    &queue,
                    &self.settings,
                    &mut self.proof.gap,
                )?;
                topology::find_lost(session, &self.settings, &mut self.proof.gap)?;
                announcements.bind(session, &self.settings)?;
                checked = Instant::now();
            }
            select! {
                recv(consumer.receiver()) -> first => {
                    let first = first.map_err(|_| Ended)?;
                    self.take(std::iter::once(first).chain(consumer.receiver().try_iter()), session, &channel, sink)?;
                }
                recv(announcements.receiver()) -> message => {
                    let message = message.map_err(|_| Ended)?;
                    self.hear(message, session, &announcing, sink)?;
                }
                recv(stopped) -> _ => break,
                default(SETTLE_EVERY) => {}
            }
            self.settle(session, sink)?;
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
        while !topology::find_exchange(session, &self.settings, &mut self.proof.gap)? {
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
                    if let Some(update) = self.update(&delivery) {
                        self.number(&delivery, sink)?;
                        updates.push(update);
                    }
                    last = Some(delivery);
                }
                ConsumerMessage::ServerCancelled => {
                    self.proof.gap = Some(Gap::QueueDeleted);
                    end = Some("the queue was deleted".into());
                }
                other => end = Some(why_ended(other, session)),
            }
        }
        self.deliver(updates, sink)?;
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

    /// Hands updates over, with the numbers that they have come to.
    fn deliver(&mut self, updates: Vec<Update>, sink: &mut Sink) -> Result<(), Error> {
        let note = self.proof.note();
        if self.noted.as_ref() == Some(&note) {
            sink.deliver(updates)?;
        } else {
            sink.deliver_with_notes(updates, &[(STREAMS, note.clone())])?;
            self.noted = Some(note);
        }
        Ok(())
    }

    /// Takes the number of a message. What is lost is reported before the number is noted.
    fn number(&mut self, delivery: &Delivery, sink: &mut Sink) -> Result<(), Error> {
        let id = delivery.properties.message_id().as_deref();
        let number = id.and_then(|id| id.parse::<Number>().ok());
        let missed = self
            .proof
            .arrived(number.as_ref(), sink.has_history(), Instant::now());
        report(missed, sink)
    }

    /// Takes an announcement.
    fn hear(
        &mut self,
        message: ConsumerMessage,
        session: &Session,
        channel: &Channel,
        sink: &mut Sink,
    ) -> Result<(), Error> {
        let ConsumerMessage::Delivery(delivery) = message else {
            return Err(why_ended(message, session));
        };
        let text = std::str::from_utf8(&delivery.body).unwrap_or_default();
        if let Ok(announcement) = text.parse() {
            let missed = self
                .proof
                .announced(&announcement, sink.has_history(), Instant::now());
            report(missed, sink)?;
            self.deliver(Vec::new(), sink)?;
        }
        delivery.ack(channel).map_err(|error| session.error(error))
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

    /// A connection begins to read.
    fn begin(&mut self, sink: &Sink) {
        if self.noted.is_none() {
            let noted = self.noted.insert(sink.note(STREAMS).unwrap_or_default());
            self.proof.read(Some(noted));
        }
        self.proof.connected(Instant::now());
        self.had_at = Some(Instant::now());
        self.is_marked = false;
    }

    /// Reports what is known by now: that updates are missing, that they may be, or that none are.
    fn settle(&mut self, session: &mut Session, sink: &mut Sink) -> Result<(), Error> {
        let settled = self.proof.settle(sink.has_history(), Instant::now());
        report(settled.missed, sink)?;
        if let Some(gap) = settled.disproved {
            info!(
                "{}: {gap}, but the relay's numbers show that nothing is missing",
                self.settings
            );
        }
        match (self.is_in_doubt, settled.is_in_doubt) {
            (false, true) => self.doubt(sink)?,
            (true, false) => {
                if !std::mem::replace(&mut self.is_marked, true)
                    && let Some(reader) = topology::mark(session, &self.settings)?
                {
                    sink.deliver_with_notes(Vec::new(), &[(READER, reader)])?;
                }
                self.is_in_doubt = false;
                sink.connected()?;
            }
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    fn doubt(&mut self, sink: &Sink) -> Result<(), Error> {
        self.is_in_doubt = true;
        Ok(sink.doubt()?)
    }
}

fn report(missed: impl IntoIterator<Item = Missed>, sink: &Sink) -> Result<(), Error> {
    for Missed { reason, until } in missed {
        sink.missed(&reason, until)?;
    }
    Ok(())
}

/// Somebody else reads from the queue.
#[derive(Debug)]
struct Taken(String);

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "another server reads from {}, or this one does over a connection whose end the broker has not noticed yet; give each server its own queue=LABEL",
            self.0
        )
    }
}

impl std::error::Error for Taken {}

/// What the relay announces, as far as it does and may be heard.
struct Announcements<'a> {
    queue: Option<String>,
    is_bound: bool,
    consumer: Option<Consumer<'a>>,
    none: Receiver<ConsumerMessage>,
}

impl<'a> Announcements<'a> {
    fn listen(
        channel: &'a Channel,
        session: &mut Session,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let queue = topology::declare_announcements(session, settings)?;
        let consumer = match &queue {
            // One at a time: meanwhile the queue keeps the newest.
            Some(queue) => Some(consume(channel, queue, 1, session)?),
            None => None,
        };
        let mut announcements = Self {
            queue,
            is_bound: false,
            consumer,
            none: crossbeam_channel::never(),
        };
        announcements.bind(session, settings)?;
        Ok(announcements)
    }

    /// Binds the queue as soon as there is something to bind it to.
    fn bind(&mut self, session: &mut Session, settings: &Settings) -> Result<(), Error> {
        if let (Some(queue), false) = (&self.queue, self.is_bound) {
            self.is_bound = topology::bind_announcements(session, settings, queue)?;
        }
        Ok(())
    }

    fn receiver(&self) -> &Receiver<ConsumerMessage> {
        match &self.consumer {
            Some(consumer) => consumer.receiver(),
            None => &self.none,
        }
    }
}

/// Why nothing more comes from a queue.
fn why_ended(message: ConsumerMessage, session: &Session) -> Error {
    match message {
        ConsumerMessage::ServerClosedChannel(error)
        | ConsumerMessage::ServerClosedConnection(error) => session.error(error),
        ConsumerMessage::Delivery(_)
        | ConsumerMessage::ServerCancelled
        | ConsumerMessage::ClientCancelled
        | ConsumerMessage::ClientClosedChannel
        | ConsumerMessage::ClientClosedConnection => Ended.into(),
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
            } if message.contains("exclusive") => Taken(queue.to_owned()).into(),
            error => session.error(error),
        })
}
