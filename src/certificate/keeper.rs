//! What has to be done about certificates and tickets' keys while the server runs, in a thread of
//! its own, since files may be slow: reading them anew when asked to, warning of the end once a
//! day, renewing keys. Knows no connection.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use log::{error, info, warn};

use super::{Certificates, DAY_SECONDS, Tickets};
use crate::work::{Stop, unix_now};

/// How often it is looked whether a key must be renewed, or another server has done so.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// What wakes the keeper.
enum Wake {
    Reload,
    Stop,
}

/// Asks for the certificates to be read anew.
#[derive(Clone, Debug)]
pub(crate) struct Reload(SyncSender<Wake>);

impl Reload {
    /// Asks, and waits for nothing. Where it was asked already and not done yet, once is enough.
    pub(crate) fn request(&self) {
        let _ = self.0.try_send(Wake::Reload);
    }
}

/// Keeps certificates and tickets' keys up to date.
pub(crate) struct Keeper {
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
    wakes: Receiver<Wake>,
}

impl Keeper {
    /// A keeper that ends when `stop` is requested, and what asks it to read files anew.
    pub(crate) fn new(
        certificates: Arc<Certificates>,
        tickets: Arc<Tickets>,
        stop: &Stop,
    ) -> (Self, Reload) {
        let (sender, wakes) = sync_channel(2);
        let reload = Reload(sender.clone());
        stop.on_request(move || {
            // Where it is full of requests, it sees after them that the stop was requested.
            let _ = sender.try_send(Wake::Stop);
        });
        let keeper = Self {
            certificates,
            tickets,
            wakes,
        };
        (keeper, reload)
    }

    /// Works until the stop is requested.
    pub(crate) fn run(self, stop: &Stop) {
        let mut warned_at = unix_now();
        self.certificates.warn_of_ends(warned_at);
        let mut can_renew = true;
        while !stop.is_requested() {
            match self.wakes.recv_timeout(LOOK_INTERVAL) {
                Ok(Wake::Reload) => {
                    match self.certificates.reload() {
                        Ok(()) => info!("certificates were read anew"),
                        Err(why) => error!("certificates stay what they were: {why}"),
                    }
                    warned_at = 0;
                }
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
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
