//! How the bench makes bugs change, by the way that a server really learns of it: rows in its
//! table, messages to a broker, posts to a webhook, or lines to a socket. Knows no client.

mod http;

use std::fmt;
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};

use crate::amqp;
use crate::update::{BugId, Update};
use crate::work::Stop;

/// Where updates are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `sqlite:FILE`: the table of notifications of a server on this machine.
    Sqlite(PathBuf),
    /// `amqp://…`: a broker's exchange.
    Amqp(amqp::Settings),
    /// `http://[KEY@]HOST:PORT/PATH`: a POST for each update, with the push as its body, or as
    /// Bugzilla would post it where there is a key.
    Http(http::Settings),
    /// `lines:HOST:PORT`: a line for each update, its bug and its time, over TCP. The floor and the
    /// peers under benches/peers read it.
    Lines(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            "it is nowhere to publish; accepted are sqlite:FILE, amqp://USER:PASSWORD@HOST/?exchange=NAME, http://[KEY@]HOST:PORT/PATH and lines:HOST:PORT"
                .to_owned()
        };
        match text.split_once(':').unwrap_or((text, "")) {
            ("sqlite", file) if !file.is_empty() => Ok(Address::Sqlite(
                file.split_once('?').map_or(file, |(file, _)| file).into(),
            )),
            ("amqp" | "amqps", _) => amqp::Settings::parse_exchange(text).map(Address::Amqp),
            ("http", rest) => http::Settings::parse(rest)
                .map(Address::Http)
                .ok_or_else(refuse),
            ("lines", address) if address.contains(':') => Ok(Address::Lines(address.to_owned())),
            _ => Err(refuse()),
        }
    }
}

/// An update as it is published: its bug and its time.
pub type Change = (u32, String);

/// An open way to publish.
pub enum Publisher {
    /// To a table.
    Sqlite(Connection),
    /// To an exchange; what is published is confirmed.
    Amqp(Box<amqp::Publisher>),
    /// A request each.
    Http(http::Poster),
    /// A line each.
    Lines(TcpStream),
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Publisher::Sqlite(_) => "Sqlite",
            Publisher::Amqp(_) => "Amqp",
            Publisher::Http(_) => "Http",
            Publisher::Lines(_) => "Lines",
        })
    }
}

impl Publisher {
    /// Connects; a broker is connected to with the first update.
    ///
    /// # Errors
    /// When there is nothing to connect to.
    pub fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Sqlite(file) => {
                let database = Connection::open(file).map_err(io::Error::other)?;
                database
                    .busy_timeout(Duration::from_secs(5))
                    .map_err(io::Error::other)?;
                // The bench's rows need not survive a power failure, and waiting for the disk would
                // measure the disk.
                database
                    .pragma_update(None, "synchronous", "OFF")
                    .map_err(io::Error::other)?;
                Ok(Publisher::Sqlite(database))
            }
            Address::Amqp(settings) => Ok(Publisher::Amqp(Box::new(amqp::Publisher::new(
                settings.clone(),
                Duration::ZERO,
            )))),
            Address::Http(settings) => http::Poster::open(settings).map(Publisher::Http),
            Address::Lines(address) => connect(address).map(Publisher::Lines),
        }
    }

    /// Publishes updates, in one transaction, batch or write where there is such a thing.
    ///
    /// # Errors
    /// When the other end does not take them.
    pub fn publish(&mut self, changes: &[Change]) -> io::Result<()> {
        match self {
            Publisher::Sqlite(database) => insert(database, changes).map_err(io::Error::other),
            Publisher::Amqp(publisher) => {
                let update = |(bug, when): &Change| {
                    Some(Update {
                        bug: BugId::new(*bug)?,
                        when: when.parse().ok()?,
                    })
                };
                let messages: Vec<_> = changes
                    .iter()
                    .filter_map(update)
                    .map(amqp::Message::from)
                    .collect();
                let (_, result) = publisher.publish(&messages, &Stop::default(), &mut |_| ());
                result.map_err(|trouble| {
                    io::Error::other(match trouble {
                        amqp::PublishError::Refused(why) | amqp::PublishError::NotTaken(why) => why,
                        amqp::PublishError::Failed(error) => error.to_string(),
                    })
                })
            }
            Publisher::Http(poster) => changes
                .iter()
                .try_for_each(|(bug, when)| poster.post(*bug, when)),
            Publisher::Lines(stream) => {
                let lines: String = changes
                    .iter()
                    .map(|(bug, when)| format!("{bug} {when}\n"))
                    .collect();
                stream.write_all(lines.as_bytes())
            }
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn insert(database: &mut Connection, changes: &[Change]) -> rusqlite::Result<()> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut insert = transaction
            .prepare_cached("INSERT INTO push_notify (bug_id, delta_ts) VALUES (?1, ?2)")?;
        for (bug, when) in changes {
            insert.execute(params![bug, when])?;
        }
    }
    transaction.commit()
}

/// Reads a line of `lines:`.
pub fn read_line(line: &[u8]) -> Option<(u32, &str)> {
    let (bug, when) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((bug.parse().ok()?, when))
}
