//! How the bench makes bugs change, by the way that a server really learns of it: rows in its
//! table, messages to a broker, posts to a webhook, or lines to a socket. Knows no client.

mod http;

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use self::http::{HttpAddress, Poster};
use crate::amqp;
use crate::database::{Database, Recorder};
use crate::update::{BugId, Update};
use crate::work::Stop;

/// What `--publish` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InletAddress {
    /// `sqlite:FILE`: the table of notifications of a server on this machine.
    Sqlite(PathBuf),
    /// `mysql://…` or `postgres://…`: the table of notifications in a database.
    Database(Box<Database>),
    /// `amqp://…`: a broker's exchange.
    Amqp(amqp::Settings),
    /// `http://[KEY@]HOST:PORT/PATH`: a POST for each update, with the push as its body, or as
    /// Bugzilla would post it where there is a key.
    Http(HttpAddress),
    /// `lines:HOST:PORT`: a line for each update, its bug and its time, over TCP. The floor and the
    /// peers under benches/peers read it.
    Lines(String),
}

impl FromStr for InletAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ACCEPTED: &str = "accepted are sqlite:FILE, mysql://USER:PASSWORD@HOST/DATABASE, postgres://…, amqp://USER:PASSWORD@HOST/?exchange=NAME, http://[KEY@]HOST:PORT/PATH and lines:HOST:PORT";
        match text.split_once(':').unwrap_or((text, "")) {
            ("sqlite", file) if !file.is_empty() => Ok(Self::Sqlite(
                file.split_once('?').map_or(file, |(file, _)| file).into(),
            )),
            (scheme, _) if scheme != "sqlite" && Database::has_scheme(scheme) => text
                .parse()
                .map(|database| Self::Database(Box::new(database))),
            ("amqp" | "amqps", _) => amqp::Settings::parse_exchange(text).map(Self::Amqp),
            ("http", _) => HttpAddress::parse(text)
                .map(Self::Http)
                .map_err(|why| format!("{why}; {ACCEPTED}")),
            ("lines", address) if address.contains(':') => Ok(Self::Lines(address.to_owned())),
            _ => Err(format!("it is nowhere to publish; {ACCEPTED}")),
        }
    }
}

impl InletAddress {
    /// Whether the server may hand over updates of one bug that it reads together as one: where it
    /// cannot tell an edit's second row from a second edit.
    pub(crate) fn may_combine(&self) -> bool {
        match self {
            #[cfg(feature = "mysql")]
            Self::Database(database) => matches!(**database, Database::Mysql(_)),
            _ => false,
        }
    }

    /// Whether nobody on another machine, and no Bugzilla, is behind it, as far as can be seen.
    pub(crate) fn is_private(&self) -> bool {
        match self {
            Self::Sqlite(file) => !has_bugs(file),
            // Who else reads it cannot be seen.
            Self::Database(_) => false,
            Self::Amqp(settings) => is_loopback(&settings.host),
            Self::Http(address) => is_loopback(address.host()),
            Self::Lines(address) => {
                is_loopback(address.rsplit_once(':').map_or("", |(host, _)| host))
            }
        }
    }
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
}

/// Whether an SQLite file is a Bugzilla's.
fn has_bugs(file: &Path) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let select = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'bugs')";
    Connection::open_with_flags(file, flags)
        .and_then(|database| database.query_row(select, [], |row| row.get(0)))
        .unwrap_or(false)
}

/// An update as it is published: its bug and its time.
pub(crate) type Change = (u32, String);

/// A way into a server, open.
pub(crate) enum Inlet {
    Sqlite(Connection),
    Database(Box<dyn Recorder>),
    /// The broker confirms what is published.
    Amqp(Box<amqp::Publisher>),
    Http(Poster),
    Lines(TcpStream),
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            Self::Database(_) => "Database",
            Self::Amqp(_) => "Amqp",
            Self::Http(_) => "Http",
            Self::Lines(_) => "Lines",
        })
    }
}

impl Inlet {
    /// Connects; a broker is connected to with the first update.
    pub(crate) fn open(address: &InletAddress) -> io::Result<Self> {
        match address {
            InletAddress::Sqlite(file) => {
                open_table(file).map(Self::Sqlite).map_err(io::Error::other)
            }
            InletAddress::Database(database) => database
                .recorder()
                .map(Self::Database)
                .map_err(io::Error::other),
            InletAddress::Amqp(settings) => {
                let publisher = amqp::Publisher::new(settings.clone(), Duration::ZERO);
                Ok(Self::Amqp(Box::new(publisher)))
            }
            InletAddress::Http(address) => Poster::open(address).map(Self::Http),
            InletAddress::Lines(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Lines(stream))
            }
        }
    }

    /// Publishes updates, in one transaction, batch or write where there is such a thing.
    pub(crate) fn publish(&mut self, changes: &[Change]) -> io::Result<()> {
        match self {
            Self::Sqlite(database) => insert(database, changes).map_err(io::Error::other),
            Self::Database(recorder) => record(recorder.as_mut(), changes),
            Self::Amqp(publisher) => send(publisher, changes),
            Self::Http(poster) => changes
                .iter()
                .try_for_each(|(bug, when)| poster.post(*bug, when)),
            Self::Lines(stream) => {
                let line = |(bug, when): &Change| format!("{bug} {when}\n");
                stream.write_all(changes.iter().map(line).collect::<String>().as_bytes())
            }
        }
    }
}

fn open_table(file: &PathBuf) -> rusqlite::Result<Connection> {
    let database = Connection::open(file)?;
    database.busy_timeout(Duration::from_secs(5))?;
    // The bench's rows need not survive a power failure, and waiting for the disk would measure the
    // disk.
    database.pragma_update(None, "synchronous", "OFF")?;
    Ok(database)
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

fn update((bug, when): &Change) -> Option<Update> {
    Some(Update {
        bug: BugId::new(*bug)?,
        when: when.parse().ok()?,
    })
}

fn record(recorder: &mut dyn Recorder, changes: &[Change]) -> io::Result<()> {
    let updates = changes.iter().filter_map(update);
    let changes: Vec<_> = updates
        .map(|update| (update.bug, Some(update.when)))
        .collect();
    recorder.record(&changes).map_err(io::Error::other)
}

fn send(publisher: &mut amqp::Publisher, changes: &[Change]) -> io::Result<()> {
    let updates = changes.iter().filter_map(update);
    let messages: Vec<_> = updates.map(amqp::Message::from).collect();
    let (_, result) = publisher.publish(&messages, &Stop::default(), &mut |_| ());
    result.map_err(|trouble| {
        io::Error::other(match trouble {
            amqp::PublishError::Refused(why) | amqp::PublishError::NotTaken(why) => why,
            amqp::PublishError::Failed(error) => error.to_string(),
        })
    })
}

/// Reads a line of `lines:`.
pub(crate) fn read_line(line: &[u8]) -> Option<(u32, &str)> {
    let (bug, when) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((bug.parse().ok()?, when))
}
