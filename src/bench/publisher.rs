//! How the bench makes bugs change, by the way that a server really learns of it: rows in its table, lines to a socket, or requests by
//! HTTP. Knows no client.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};

/// Where updates are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `sqlite:FILE`: the table of notifications of a server on this machine.
    Sqlite(PathBuf),
    /// `lines:HOST:PORT`: a line for each update, its bug and its time, over TCP. The floor and the peers under benches/peers read it.
    Lines(String),
    /// `http://HOST:PORT/PATH`: a POST for each update, with the push as its body; `{bug}` in the path stands for the bug.
    Http {
        /// Host and port.
        authority: String,
        /// The path.
        path: String,
    },
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() => Ok(Address::Sqlite(file.split_once('?').map_or(file, |(file, _)| file).into())),
            Some(("lines", address)) if address.contains(':') => Ok(Address::Lines(address.to_owned())),
            Some(("http", rest)) if rest.starts_with("//") => {
                let (authority, path) = rest[2..].split_once('/').unwrap_or((&rest[2..], ""));
                Ok(Address::Http { authority: authority.to_owned(), path: format!("/{path}") })
            }
            _ => Err(format!("'{text}' is nowhere to publish; accepted are sqlite:FILE, lines:HOST:PORT and http://HOST:PORT/PATH")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Address::Lines(address) => write!(f, "lines:{address}"),
            Address::Http { authority, path } => write!(f, "http://{authority}{path}"),
        }
    }
}

/// An update as it is published: its bug and its time.
pub type Change = (u32, String);

/// An open way to publish.
#[derive(Debug)]
pub enum Publisher {
    /// To a table.
    Sqlite(Connection),
    /// To a socket, a line each.
    Lines(TcpStream),
    /// To a socket, a request each.
    Http {
        /// The connection, which is kept.
        stream: TcpStream,
        /// Host and port.
        authority: String,
        /// The path, with `{bug}` in it.
        path: String,
    },
}

impl Publisher {
    /// Connects.
    ///
    /// # Errors
    /// When there is nothing to connect to.
    pub fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Sqlite(file) => {
                let database = Connection::open(file).map_err(io::Error::other)?;
                database.busy_timeout(Duration::from_secs(5)).map_err(io::Error::other)?;
                // The bench's rows need not survive a power failure, and waiting for the disk would measure the disk.
                database.pragma_update(None, "synchronous", "OFF").map_err(io::Error::other)?;
                Ok(Publisher::Sqlite(database))
            }
            Address::Lines(address) => connect(address).map(Publisher::Lines),
            Address::Http { authority, path } => {
                let stream = connect(authority)?;
                Ok(Publisher::Http { stream, authority: authority.clone(), path: path.clone() })
            }
        }
    }

    /// Publishes updates, in one transaction or one write where there is such a thing.
    ///
    /// # Errors
    /// When the other end does not take them.
    pub fn publish(&mut self, changes: &[Change]) -> io::Result<()> {
        match self {
            Publisher::Sqlite(database) => insert(database, changes).map_err(io::Error::other),
            Publisher::Lines(stream) => {
                let lines: String = changes.iter().map(|(bug, when)| format!("{bug} {when}\n")).collect();
                stream.write_all(lines.as_bytes())
            }
            Publisher::Http { stream, authority, path } => {
                for (bug, when) in changes {
                    let path = path.replace("{bug}", &bug.to_string());
                    let body = format!(r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#);
                    let length = body.len();
                    write!(stream, "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {length}\r\n\r\n{body}")?;
                    read_answer(stream)?;
                }
                Ok(())
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
        let mut insert = transaction.prepare_cached("INSERT INTO push_notify (bug_id, delta_ts) VALUES (?1, ?2)")?;
        for (bug, when) in changes {
            insert.execute(params![bug, when])?;
        }
    }
    transaction.commit()
}

/// Reads an answer up to its end, as far as its Content-Length says where that is, and checks its status.
fn read_answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..bytes]);
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).and_then(|length| length.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            let status = head.lines().next().unwrap_or_default();
            let is_ok = status.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
            return if is_ok { Ok(()) } else { Err(io::Error::other(format!("answered {status:?}"))) };
        }
    }
}

/// Reads a line of `lines:`.
pub fn read_line(line: &[u8]) -> Option<(u32, &str)> {
    let (bug, when) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((bug.parse().ok()?, when))
}
