//! The feed's own state: what it can promise, and who is told when it changes. Those who do not ask
//! for that cost nothing for it. Knows no update.

use super::{Asked, Hub, Sight};
use crate::promise::Promise;
use crate::protocol::Status;
use crate::subscriptions::ClientId;

impl Hub {
    /// Sets what the feed can promise from now on.
    pub fn promise(&mut self, promise: Promise) {
        self.promise = promise;
        if let Promise::After(floor) = promise {
            self.history.raise_floor(floor);
        }
    }

    /// Whether it will be known soon if updates are missing.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.promise == Promise::InDoubt
    }

    /// Tells a client of the feed's own state from now on, or not any more.
    pub(super) fn follow(&mut self, client: ClientId, wants: Option<bool>) {
        match wants {
            None => {}
            Some(true) => {
                self.followers.insert(client);
            }
            Some(false) => {
                self.followers.remove(&client);
            }
        }
    }

    /// How the feed is. Who sees some bugs only is not told when another one has changed.
    pub(super) fn status(
        &self,
        client: ClientId,
        asked: Asked,
        sight: Option<&dyn Sight>,
    ) -> Status {
        Status {
            is_up: !self.is_in_doubt(),
            watermark: self.watermark(sight),
            // The clocks may differ by a little.
            delay: asked.delay.filter(|_| sight.is_none()).map(|it| it.max(0)),
            clients: asked.clients,
            follows: self.follows(client),
        }
    }

    /// Those who are told of the feed's own state, ascending.
    pub(crate) fn followers(&self) -> impl Iterator<Item = ClientId> {
        self.followers.iter().copied()
    }

    /// Whether a client is told of the feed's own state.
    pub(crate) fn follows(&self, client: ClientId) -> bool {
        self.followers.contains(&client)
    }
}
