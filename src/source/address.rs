//! `--source`: which source, and where. The one place that knows all kinds of source.

use std::fmt;
use std::str::FromStr;

use super::Source;
use super::amqp::Queue;
use super::poller::Poller;
use super::watcher::Watcher;
use super::webhook::{self, Webhook};
use crate::amqp;
use crate::database::{Database, Mode};
use crate::inbox::PostSender;
use crate::update::BugId;
use crate::work::Error;

/// A source as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `sqlite:FILE`, `mysql://…` or `postgres://…`: the table of notifications, or Bugzilla's own
    /// tables.
    Database(Database),
    /// `amqp://…` or `amqps://…`: a queue of a broker.
    Amqp(amqp::Settings),
    /// `webhook:`: what Bugzilla posts to the server.
    Webhook(webhook::Settings),
}

impl Address {
    /// The source behind this address, not yet connected, and where it takes posts, if it does. A
    /// standby waits while another server or relay has a table of notifications.
    pub fn open(&self, is_standby: bool) -> (Box<dyn Source>, Option<PostSender>) {
        match self {
            Address::Database(database) => (read(database.clone(), is_standby), None),
            Address::Amqp(settings) => (Box::new(Queue::new(settings.clone())), None),
            Address::Webhook(settings) => {
                let (source, posts) = Webhook::new(settings);
                (Box::new(source), Some(posts))
            }
        }
    }

    /// Records that bugs changed just now, where this source will read it.
    ///
    /// # Errors
    /// When the place cannot be reached or written to.
    pub fn notify(&self, bugs: &[BugId]) -> Result<(), Error> {
        match self {
            Address::Database(database) => database.notify(bugs),
            Address::Amqp(settings) => amqp::notify(settings, bugs),
            Address::Webhook(_) => {
                Err("a webhook takes posts, which bugzfeed notify does not send".into())
            }
        }
    }
}

/// The source that reads a database as its options say.
fn read(database: Database, is_standby: bool) -> Box<dyn Source> {
    let options = database.options().clone();
    match options.mode {
        Mode::Table => Box::new(Poller::new(&database, is_standby)),
        Mode::Bugs => Box::new(Watcher::new(
            Box::new(move || database.bugs()),
            options.poll,
            options.window,
        )),
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        match scheme {
            scheme if Database::has_scheme(scheme) => {
                text.parse().map(Address::Database)
            }
            "webhook" => webhook::Settings::parse(rest).map(Address::Webhook),
            "amqp" | "amqps" => amqp::Settings::parse(text).map(Address::Amqp),
            // Nothing of it is repeated: with the scheme forgotten, it may start with a user and a
            // password.
            _ => Err("it is no source; accepted are sqlite:FILE, mysql://USER:PASSWORD@HOST/DATABASE, postgres://…, amqp://USER:PASSWORD@HOST/VHOST, amqps://… and webhook:?key_file=FILE"
                .to_owned()),
        }
    }
}

impl fmt::Display for Address {
    /// The address without its password, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Database(database) => database.fmt(f),
            Address::Amqp(settings) => settings.fmt(f),
            Address::Webhook(settings) => settings.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_by_its_scheme_and_shown_without_its_secret() {
        for (text, start, takes_posts) in [
            ("sqlite:b.db", "sqlite:b.db", false),
            ("sqlite:b.db?mode=bugs", "sqlite:b.db", false),
            ("amqp://user:secret@host/v?queue=q", "amqp://", false),
            ("amqps://user:secret@host/v?queue=q", "amqps://", false),
            (
                "webhook:?key=secret&header=X-Key",
                "webhook:?header=X-Key",
                true,
            ),
        ] {
            let address: Address = text.parse().unwrap();
            let shown = address.to_string();
            assert!(shown.starts_with(start), "{shown}");
            assert!(!shown.contains("secret"), "{shown}");
            assert_eq!(address.open(false).1.is_some(), takes_posts, "{text}");
        }
        for text in [
            "",
            "user:secret@host/v",
            "http://user:secret@host/",
            "amqp:secret",
        ] {
            let why = text.parse::<Address>().unwrap_err();
            assert!(!why.is_empty() && !why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn a_change_is_recorded_where_the_source_reads_it_and_a_webhook_has_no_such_place() {
        let folder = tempfile::tempdir().unwrap();
        let bugs = [BugId::new(7).unwrap()];
        let text = format!("sqlite:{}", folder.path().join("b.db").display());
        let address: Address = text.parse().unwrap();
        address.notify(&bugs).unwrap();
        let Address::Database(database) = address else {
            panic!("{text}");
        };
        assert_eq!(database.table().unwrap().read().unwrap()[0].bug_id, 7);
        let address: Address = "webhook:?key=a".parse().unwrap();
        address.notify(&bugs).unwrap_err();
    }
}
