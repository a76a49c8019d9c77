//! What falls out of a queue, whatever bounds it: the broker puts it into a queue of length 1 beside
//! it, where it is a known loss. Knows no reader.

use amiquip::{AmqpValue, ExchangeDeclareOptions, ExchangeType, FieldTable, QueueDeclareOptions};

use super::attempt::{ChannelException, attempt};
use super::session::Session;
use super::settings::Settings;
use crate::work::Error;

/// Declares where the broker puts what falls out of the queue. One message of it is enough.
pub(super) fn declare_lost(session: &mut Session, settings: &Settings) -> Result<(), Error> {
    let Some((exchange, queue)) = settings.lost_names() else {
        return Ok(());
    };
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    attempt(session, |channel| {
        channel
            .exchange_declare(ExchangeType::Fanout, &*exchange, options)
            .map(drop)
    })??;
    let mut arguments = FieldTable::new();
    arguments.insert("x-max-length".to_owned(), AmqpValue::LongInt(1));
    let options = QueueDeclareOptions {
        durable: true,
        arguments,
        ..QueueDeclareOptions::default()
    };
    attempt(session, |channel| {
        channel.queue_declare(&*queue, options).map(drop)
    })??;
    Ok(attempt(session, |channel| {
        channel.queue_bind(&*queue, &*exchange, "", FieldTable::new())
    })??)
}

/// Whether anything has fallen out of the queue since this was asked last. A queue without a
/// dead-letter exchange does not say so.
pub(super) fn has_lost(session: &mut Session, settings: &Settings) -> Result<bool, Error> {
    let Some((_, queue)) = settings.lost_names() else {
        return Ok(false);
    };
    let purged = attempt(session, |channel| {
        let lost = channel.queue_declare_passive(&*queue)?;
        match lost.declared_message_count() {
            Some(0) | None => Ok(0),
            Some(_) => lost.purge(),
        }
    })?;
    Ok(purged.is_ok_and(|count| count > 0))
}

/// What gives a queue without one its dead-letter exchange, where `why` says that it has none: it is
/// declared, and the command is returned with which an administrator ties the two.
pub(super) fn policy(
    session: &mut Session,
    settings: &Settings,
    queue: &str,
    why: &ChannelException,
) -> Result<Option<String>, Error> {
    let has_none = why.message.contains("'x-dead-letter-exchange'")
        && why.message.contains("but current is none");
    let Some((exchange, _)) = settings.lost_names().filter(|_| has_none) else {
        return Ok(None);
    };
    declare_lost(session, settings)?;
    let definition = serde_json::json!({ "dead-letter-exchange": exchange }).to_string();
    let arguments = [&*settings.vhost, queue, &pattern(queue), &definition].map(quoted);
    let [vhost, name, pattern, definition] = arguments;
    Ok(Some(format!(
        "rabbitmqctl set_policy -p {vhost} --apply-to queues {name} {pattern} {definition}"
    )))
}

/// The regular expression of a name.
fn pattern(name: &str) -> String {
    let mut pattern = String::from("^");
    for character in name.chars() {
        if !character.is_alphanumeric() && !"/-_ ".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "$"
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_matched_and_quoted_as_it_is() {
        assert_eq!(pattern("queue/a-b_c/1.2"), r"^queue/a-b_c/1\.2$");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
