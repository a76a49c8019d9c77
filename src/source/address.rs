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
