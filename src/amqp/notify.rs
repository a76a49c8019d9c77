//! Publishes a change once, as Bugzilla's shim does, and knows at the end that a queue has it: what
//! `bugzfeed notify` needs.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use amiquip::Confirm;

use super::confirms::Confirms;
use super::outgoing::{Message, Outgoing};
use super::session::{Ended, Session};
use super::settings::Settings;
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
pub(crate) fn notify(settings: &Settings, bugs: &[BugId]) -> Result<(), Error> {
    let mut session = Session::open(settings, &Stop::default())?;
    if let Err(error) = publish(&mut session, settings, bugs) {
        return Err(session.why(error));
    }
    // The broker has confirmed everything; what becomes of the farewell matters no more.
    let _ = session.close();
    Ok(())
}

fn publish(session: &mut Session, settings: &Settings, bugs: &[BugId]) -> Result<(), Error> {
    let mut outgoing = Outgoing::open(session, settings)?;
    // Dropped before the channel, whose own end would wait for the broker's answer.
    let hang_up = session.hang_up();
    let when = When::from_unix_seconds(unix_now());
    let mut due: BTreeSet<BugId> = bugs.iter().copied().collect();
    let give_up = Instant::now() + LISTENER_TIMEOUT;
    loop {
        let update = |bug| Update {
            bug,
            when: when.clone(),
        };
        let updates: Vec<Message> = due.into_iter().map(update).map(Message::from).collect();
        let confirms = outgoing
            .send(settings, &updates)
            .map_err(|error| session.error(error))?;
        wait_for(confirms, &mut outgoing, session)?;
        due = outgoing
            .returns
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

/// Waits until the broker has confirmed that it has all of the messages.
fn wait_for(
    mut confirms: Confirms,
    outgoing: &mut Outgoing,
    session: &Session,
) -> Result<(), Error> {
    let deadline = Instant::now() + CONFIRM_TIMEOUT;
    while !confirms.is_complete() {
        let confirm = outgoing.confirms.recv_deadline(deadline).map_err(|error| {
            if !error.is_timeout() {
                let why = outgoing.why_closed();
                return why.map_or_else(|| Ended.into(), |error| session.error(error));
            }
            match (outgoing.why_blocked)() {
                Some(why) => format!("the broker takes no messages now: {why}").into(),
                None => format!(
                    "the broker did not confirm the message within {} seconds",
                    CONFIRM_TIMEOUT.as_secs()
                )
                .into(),
            }
        })?;
        if matches!(confirm, Confirm::Nack(_)) {
            return Err("the broker could not store the message".into());
        }
        confirms.note(confirm);
    }
    Ok(())
}
