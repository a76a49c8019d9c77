//! What a broker tells of an exchange and a queue to whoever only looks: nothing is made that stays.

use super::session::Session;
use super::settings::Settings;
use super::topology;
use crate::work::{Error, Stop};

/// What there is on a broker.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// Whether the exchange is there.
    pub(crate) has_exchange: bool,
    /// Why nothing can come from it, if that is known.
    pub(crate) wrong_type: Option<String>,
    /// What is in the labelled queue, and how many read it; `None` where it is not there.
    pub(crate) queue: Option<Waiting>,
    /// Why the account may not have a queue of its own, or bind it to the exchange.
    pub(crate) not_permitted: Option<String>,
}

/// What is in a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) messages: u32,
    pub(crate) readers: u32,
}

/// Logs in, and looks. A queue of this connection's own shows what the account may do; it goes with
/// the connection.
///
/// # Errors
/// When the broker cannot be reached, or does not let the account in.
pub(crate) fn examine(settings: &Settings) -> Result<Examined, Error> {
    let mut session = Session::open(settings, &Stop::default())?;
    let mut examined = Examined {
        has_exchange: topology::declare_exchange(&mut session, settings, false)?,
        ..Examined::default()
    };
    if examined.has_exchange {
        let wrong = topology::check_type(&mut session, settings).err();
        examined.wrong_type = wrong.map(|error| error.to_string());
    }
    if let Some(queue) = settings.queue_name() {
        examined.queue = topology::waiting(&mut session, &queue)?
            .map(|(messages, readers)| Waiting { messages, readers });
    }
    let tried = topology::try_own(&mut session, settings, examined.has_exchange);
    examined.not_permitted = tried.err().map(|error| error.to_string());
    // It ends anyway.
    let _ = session.close();
    Ok(examined)
}
