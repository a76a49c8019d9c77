//! Publishes a change once, as Bugzilla's shim does, and knows at the end that a queue has it: what
//! `bugzfeed notify` needs.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use amiquip::{Channel, Confirm, ConfirmSmoother};

use super::publisher::send;
use super::session::{Ended, Session};
use super::settings::Settings;
use super::topology::declare_exchange;
use crate::update::{BugId, Update, When};
use crate::work::{Error, Stop, unix_now};

/// How long the broker may take to confirm that it has the messages.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// How long messages are sent again that no queue took: a server that waited for the exchange may
/// be about to bind its queue.
const LISTENER_TIMEOUT: Duration = Duration::from_secs(5);
const LISTENER_PAUSE: Duration = Duration::from_millis(200);

/// Records that bugs changed just now.
///
/// # Errors
/// When the broker does not confirm it, or nobody listens to the exchange.
pub fn notify(settings: &Settings, bugs: &[BugId]) -> Result<(), Error> {
    let mut session = Session::open(settings, &Stop::default())?;
    if let Err(error) = publish(&mut session, settings, bugs) {
        return Err(session.why(error));
    }
    // The broker has confirmed everything; what becomes of the farewell matters no more.
    let _ = session.close();
    Ok(())
}

fn publish(session: &mut Session, settings: &Settings, bugs: &[BugId]) -> Result<(), Error> {
    if !declare_exchange(session, settings, true)? {
        return Err(format!(
            "the exchange {} does not exist, and '{}' may not make it",
            settings.exchange, settings.user
        )
        .into());
    }
    let mut why_blocked = session.why_blocked()?;
    let channel = session.channel()?;
    // Dropped before the channel: a broker short of memory does not even answer to a farewell.
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

    let when = When::from_unix_seconds(unix_now());
    let mut due: BTreeSet<BugId> = bugs.iter().copied().collect();
    let mut smoother = ConfirmSmoother::new();
    let give_up = Instant::now() + LISTENER_TIMEOUT;
    loop {
        for &bug in &due {
            send(
                &channel,
                settings,
                &Update {
                    bug,
                    when: when.clone(),
                },
            )
            .map_err(|error| session.error(error))?;
        }
        let deadline = Instant::now() + CONFIRM_TIMEOUT;
        let mut unconfirmed = due.len();
        while unconfirmed > 0 {
            let confirm =
                confirms
                    .recv_deadline(deadline)
                    .map_err(|error| match why_blocked() {
                        _ if !error.is_timeout() => why_closed(session, &channel),
                        Some(why) => format!("the broker takes no messages now: {why}").into(),
                        None => format!(
                            "the broker did not confirm the message within {} seconds",
                            CONFIRM_TIMEOUT.as_secs()
                        )
                        .into(),
                    })?;
            if matches!(confirm, Confirm::Nack(_)) {
                return Err("the broker could not store the message".into());
            }
            unconfirmed -= smoother.process(confirm).count();
        }
        // The broker returns what no queue took before it confirms it.
        due = returns
            .try_iter()
            .filter_map(|returned| returned.routing_key.parse().ok())
            .collect();
        if due.is_empty() {
            hang_up.let_be();
            return Ok(());
        }
        if Instant::now() >= give_up {
            return Err(format!(
                "nobody listens to the exchange {}: no queue is bound to it",
                settings.exchange
            )
            .into());
        }
        thread::sleep(LISTENER_PAUSE);
    }
}

/// Why a channel takes no more: whatever is asked, the answer is the reason.
fn why_closed(session: &Session, channel: &Channel) -> Error {
    channel
        .enable_publisher_confirms()
        .err()
        .map_or_else(|| Ended.into(), |error| session.error(error))
}
