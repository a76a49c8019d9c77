//! A channel to publish on, and what the broker says about it meanwhile. Knows no deadline, and
//! sends nothing twice.

use amiquip::{AmqpProperties, Channel, Confirm, Publish, Return};
use crossbeam_channel::Receiver;

use super::confirms::Confirms;
use super::number::{Announcement, Number};
use super::session::Session;
use super::settings::Settings;
use super::topology::{declare_announcer, declare_exchange};
use crate::pulse;
use crate::update::Update;
use crate::work::{Error, unix_now};

/// What is published.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The change.
    pub update: Update,
    /// Its place in a relay's stream, if it has one.
    pub number: Option<Number>,
}

impl From<Update> for Message {
    fn from(update: Update) -> Self {
        Self {
            update,
            number: None,
        }
    }
}

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
    /// Where announcements are published; none where the user may not.
    announcing: Option<Channel>,
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
            announcing: None,
            published: 0,
        })
    }

    /// Gets ready to announce, where the user may.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(super) fn open_announcing(
        &mut self,
        session: &mut Session,
        settings: &Settings,
    ) -> Result<(), Error> {
        if declare_announcer(session, settings)? {
            self.announcing = Some(session.channel()?);
        }
        Ok(())
    }

    /// Announces, where the user may.
    ///
    /// # Errors
    /// When the channel was closed: the connection has ended, or the exchange was deleted.
    pub(super) fn announce(
        &self,
        settings: &Settings,
        announcement: &Announcement,
    ) -> amiquip::Result<()> {
        let Some(channel) = &self.announcing else {
            return Ok(());
        };
        let text = announcement.to_string();
        let message = Publish::new(text.as_bytes(), "");
        channel.basic_publish(settings.announcements_name(), message)
    }

    /// Publishes messages. Returns what takes note of the broker's confirms.
    ///
    /// # Errors
    /// When the channel was closed.
    pub(super) fn send(
        &mut self,
        settings: &Settings,
        messages: &[Message],
    ) -> amiquip::Result<Confirms> {
        for message in messages {
            publish(&self.channel, settings, message)?;
        }
        let confirms = Confirms::new(self.published + 1, messages.len());
        self.published += messages.len() as u64;
        Ok(confirms)
    }

    /// Why the broker has closed the channel: whatever is asked, the answer is the reason. `None`
    /// when the connection has ended.
    pub(super) fn why_closed(&self) -> Option<amiquip::Error> {
        self.channel.enable_publisher_confirms().err()
    }
}

/// Publishes a message, which is returned when no queue takes it.
fn publish(channel: &Channel, settings: &Settings, message: &Message) -> amiquip::Result<()> {
    const PERSISTENT: u8 = 2;
    let update = &message.update;
    let body = pulse::write(update, &settings.exchange, unix_now());
    let mut properties = AmqpProperties::default()
        .with_content_type("application/json".to_owned())
        .with_delivery_mode(PERSISTENT);
    if let Some(number) = &message.number {
        properties = properties.with_message_id(number.to_string());
    }
    let message = Publish {
        mandatory: true,
        ..Publish::with_properties(body.as_bytes(), update.bug.to_string(), properties)
    };
    channel.basic_publish(&*settings.exchange, message)
}
