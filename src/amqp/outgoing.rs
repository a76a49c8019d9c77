//! A channel to publish on, and what the broker says about it meanwhile. Knows no deadline, and
//! sends nothing twice.

use amiquip::{AmqpProperties, Channel, Confirm, Publish, Return};
use crossbeam_channel::Receiver;

use super::confirms::Confirms;
use super::session::Session;
use super::settings::Settings;
use super::topology::declare_exchange;
use crate::pulse;
use crate::update::Update;
use crate::work::{Error, unix_now};

/// An open channel. Whoever holds it holds the session's [`super::connect::HangUp`], too, and drops
/// that first.
pub(super) struct Outgoing {
    channel: Channel,
    /// Why the broker takes no messages now, if it does not.
    pub why_blocked: Box<dyn FnMut() -> Option<String> + Send>,
    /// What the broker has stored, and what it could not.
    pub confirms: Receiver<Confirm>,
    /// What no queue took. The broker returns a message before it confirms it.
    pub returns: Receiver<Return>,
    /// How many messages were published on the channel; the broker counts them, too.
    published: u64,
}

impl Outgoing {
    /// Makes sure that the exchange exists, and opens a channel.
    ///
    /// # Errors
    /// When there is no exchange, or the connection has ended.
    pub(super) fn open(session: &mut Session, settings: &Settings) -> Result<Self, Error> {
        if !declare_exchange(session, settings, true)? {
            return Err(format!(
                "the exchange {} does not exist, and '{}' may not make it",
                settings.exchange, settings.user
            )
            .into());
        }
        let why_blocked = Box::new(session.why_blocked()?);
        let channel = session.channel()?;
        // Dropped before the channel, whose own end would wait for the broker's answer: one that is
        // short of memory does not even answer to a farewell.
        let hang_up = session.hang_up();
        let confirms = channel
            .listen_for_publisher_confirms()
            .map_err(|error| session.error(error))?;
        let returns = channel
            .listen_for_returns()
            .map_err(|error| session.error(error))?;
        channel
            .enable_publisher_confirms()
            .map_err(|error| session.error(error))?;
        hang_up.let_be();
        Ok(Self {
            channel,
            why_blocked,
            confirms,
            returns,
            published: 0,
        })
    }

    /// Publishes updates. Returns what takes note of the broker's confirms.
    ///
    /// # Errors
    /// When the channel was closed.
    pub(super) fn send(
        &mut self,
        settings: &Settings,
        updates: &[Update],
    ) -> amiquip::Result<Confirms> {
        for update in updates {
            publish(&self.channel, settings, update)?;
        }
        let confirms = Confirms::new(self.published + 1, updates.len());
        self.published += updates.len() as u64;
        Ok(confirms)
    }

    /// Why the broker has closed the channel: whatever is asked, the answer is the reason. `None`
    /// when the connection has ended.
    pub(super) fn why_closed(&self) -> Option<amiquip::Error> {
        self.channel.enable_publisher_confirms().err()
    }
}

/// Publishes an update, which is returned when no queue takes it.
fn publish(channel: &Channel, settings: &Settings, update: &Update) -> amiquip::Result<()> {
    const PERSISTENT: u8 = 2;
    let body = pulse::write(update, &settings.exchange, unix_now());
    let properties = AmqpProperties::default()
        .with_content_type("application/json".to_owned())
        .with_delivery_mode(PERSISTENT);
    let message = Publish {
        mandatory: true,
        ..Publish::with_properties(body.as_bytes(), update.bug.to_string(), properties)
    };
    channel.basic_publish(&*settings.exchange, message)
}
