//! What has to be done about certificates and tickets' keys while the server runs, in a thread of
//! its own, since files may be slow: warning of the end once a day, renewing keys. Knows no
//! connection.

use std::sync::Arc;
use std::time::Duration;

use log::warn;

use super::{Certificates, DAY_SECONDS, Tickets};
use crate::work::{Stop, unix_now};

/// How often it is looked whether a key must be renewed, or another server has done so.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Keeps certificates and tickets' keys up to date.
pub(crate) struct Keeper {
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
}

impl Keeper {
    /// A keeper of these.
    pub(crate) fn new(certificates: Arc<Certificates>, tickets: Arc<Tickets>) -> Self {
        Self {
            certificates,
            tickets,
        }
    }

    /// Works until the stop is requested.
    pub(crate) fn run(self, stop: &Stop) {
        let mut warned_at = unix_now();
        self.certificates.warn_of_ends(warned_at);
        let mut can_renew = true;
        while !stop.wait(LOOK_INTERVAL) {
            let now = unix_now();
            if now - warned_at >= DAY_SECONDS {
                warned_at = now;
                self.certificates.warn_of_ends(now);
            }
            let result = self.tickets.refresh(now);
            if let Err(error) = &result
                && can_renew
            {
                warn!("cannot renew the keys of tickets: {error}");
            }
            can_renew = result.is_ok();
        }
    }
}
