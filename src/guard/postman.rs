//! Tells what is to be told, in order, by one way: mail or a webhook. What cannot be told now is
//! tried again; what is refused for good is logged. Knows no queue.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use log::{debug, warn};

use super::mail;
use super::memory::Keeper;
use super::notice::{Notice, TellError};
use super::webhook::Webhook;
use crate::work::{Error, Health, Stop, Supervised, unix_now};

/// How often it is seen whether the stop was requested.
const STOP_EVERY: Duration = Duration::from_millis(200);

/// How notices go out.
pub(super) enum Way {
    Mail(mail::Settings),
    Webhook(Webhook),
}

impl Way {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Way::Mail(_) => "mail",
            Way::Webhook(_) => "webhook",
        }
    }
}

/// Whoever tells, run by `work::supervise`.
pub(super) struct Postman {
    pub(super) way: Way,
    pub(super) keeper: Arc<Keeper>,
    pub(super) bell: Receiver<()>,
    pub(super) health: Health,
}

impl Supervised for Postman {
    fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        while !stop.is_requested() {
            if let Some(notice) = self.first() {
                self.tell(&notice)?;
                self.health.working();
                continue;
            }
            match self.bell.recv_timeout(STOP_EVERY) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn is_final(&mut self, _: &Error) -> bool {
        false
    }

    fn pause_max(&self) -> Duration {
        Duration::from_secs(300)
    }
}

impl Postman {
    /// What has waited longest for this way.
    fn first(&self) -> Option<Notice> {
        let memory = self.keeper.memory();
        let mut waiting = memory.waiting.iter();
        let (_, notice) = waiting.find(|(way, _)| way == self.way.name())?;
        Some(notice.clone())
    }

    fn tell(&self, notice: &Notice) -> Result<(), Error> {
        let told = match &self.way {
            Way::Mail(settings) => settings.send(notice),
            Way::Webhook(webhook) => webhook.post(notice),
        };
        let way = self.way.name();
        let trouble = match told {
            Ok(()) => None,
            Err(TellError::Refused(why)) => {
                warn!("{way}: refused for good: {why}: {}", notice.title());
                Some((why, unix_now()))
            }
            Err(TellError::Failed(why)) => {
                self.keeper
                    .change(|memory| memory.trouble = Some((why.clone(), unix_now())))?;
                return Err(why.into());
            }
        };
        debug!("{way}: told: {}", notice.title());
        self.keeper.change(|memory| {
            let mut waiting = memory.waiting.iter();
            let told = waiting.position(|(other, it)| other == way && it == notice);
            told.map(|at| memory.waiting.remove(at));
            if let Some(trouble) = trouble {
                memory.trouble = Some(trouble);
            }
        })?;
        Ok(())
    }
}
