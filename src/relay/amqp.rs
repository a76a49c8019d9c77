//! Destination `amqp:` and `amqps:`: an exchange of a RabbitMQ broker, such as Mozilla's Pulse.
//! Knows no AMQP: that is the publisher's.

use super::backlog::Entry;
use super::destination::{Destination, SendError};
use crate::amqp::{self, Announcement, Message, Publisher};
use crate::work::Stop;

/// How many changes are on their way to the broker at once. Some 40 KB, which the kernel holds even
/// when the broker does not read: a broker that is short of memory would otherwise look like a dead
/// one.
const BATCH_MAX: usize = 100;

/// The exchange.
pub(super) struct Exchange(Publisher);

impl Exchange {
    /// The exchange that `settings` name.
    pub(super) fn new(settings: amqp::Settings) -> Self {
        let patience = settings.patience;
        Self(Publisher::new(settings, patience))
    }
}

impl Destination for Exchange {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn connect(&mut self, stop: &Stop) -> Result<(), SendError> {
        self.0
            .connect(stop)
            .map_err(|error| SendError::Failed(error.to_string()))
    }

    fn send(
        &mut self,
        changes: &[Entry],
        stop: &Stop,
        waiting: &mut dyn FnMut(&str),
    ) -> (usize, Result<(), SendError>) {
        let message = |change: &Entry| Message {
            update: change.update.clone(),
            number: Some(change.number.clone()),
        };
        let messages: Vec<_> = changes.iter().map(message).collect();
        let (count, result) = self.0.publish(&messages, stop, waiting);
        let trouble = |trouble| match trouble {
            amqp::PublishError::NotTaken(why) => SendError::NotTaken(why),
            amqp::PublishError::Refused(why) => SendError::Refused(why),
            amqp::PublishError::Failed(error) => SendError::Failed(error.to_string()),
        };
        (count, result.map_err(trouble))
    }

    fn is_announced_to(&self) -> bool {
        true
    }

    fn announce(&mut self, announcement: &Announcement) {
        self.0.announce(announcement);
    }

    fn close(&mut self) {
        self.0.close();
    }
}
