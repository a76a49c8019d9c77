//! Destination `amqp:` and `amqps:`: an exchange of a RabbitMQ broker, such as Mozilla's Pulse.
//! Knows no AMQP: that is the publisher's.

use super::destination::{Destination, Trouble};
use crate::amqp::{self, Publisher, Settings};
use crate::update::Update;
use crate::work::Stop;

/// How many changes are on their way to the broker at once. Some 40 KB, which the kernel holds even
/// when the broker does not read: a broker that is short of memory would otherwise look like a dead
/// one.
const BATCH_MAX: usize = 100;

/// The exchange.
pub struct Exchange(Publisher);

impl Exchange {
    /// The exchange that `settings` name.
    pub fn new(settings: Settings) -> Self {
        Self(Publisher::new(settings))
    }
}

impl Destination for Exchange {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn connect(&mut self, stop: &Stop) -> Result<(), Trouble> {
        self.0
            .connect(stop)
            .map_err(|error| Trouble::Failed(error.to_string()))
    }

    fn send(
        &mut self,
        updates: &[Update],
        stop: &Stop,
        waiting: &mut dyn FnMut(&str),
    ) -> (usize, Result<(), Trouble>) {
        let (count, result) = self.0.publish(updates, stop, waiting);
        let trouble = |trouble| match trouble {
            amqp::Trouble::Refused(why) => Trouble::Refused(why),
            amqp::Trouble::Failed(error) => Trouble::Failed(error.to_string()),
        };
        (count, result.map_err(trouble))
    }

    fn close(&mut self) {
        self.0.close();
    }
}
