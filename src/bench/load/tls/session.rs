//! One client's TLS: the handshake by rustls, until the first data has come; in TLS 1.3 nothing but
//! keys from then on. Knows no socket.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::{ClientConnection, HandshakeKind, ProtocolVersion, Side};

use super::Terms;
use crate::record::{self, Opened, Records};
use crate::secure::takeover::{Secrets, cut, drain, feed, install};

/// A client's TLS.
#[derive(Debug)]
pub(crate) struct Session {
    state: State,
    /// The beginning of a record.
    input: Vec<u8>,
}

enum State {
    /// Until the first data: what comes before it may be a ticket.
    Rustls {
        connection: Box<ClientConnection>,
        secrets: Option<Secrets>,
        has_finished: bool,
    },
    Records(Records),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Rustls { .. } => "Rustls",
            State::Records(_) => "Records",
        })
    }
}

/// What the server's bytes have come to.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The kind of the handshake, if this was the end of it.
    pub finished: Option<HandshakeKind>,
    /// Whether the server will send nothing more.
    pub is_closed: bool,
}

impl Session {
    /// Begins; appends the hello to `output`. The `request` follows the handshake.
    ///
    /// # Errors
    /// A word on why it cannot.
    pub(crate) fn new(terms: &Terms, request: &[u8], output: &mut Vec<u8>) -> Result<Self, String> {
        let config = Arc::clone(&terms.config);
        let mut connection = ClientConnection::new(config, terms.name.clone())
            .map_err(|error| format!("TLS: {error}"))?;
        connection
            .writer()
            .write_all(request)
            .map_err(|error| format!("TLS: {error}"))?;
        drain(&mut connection, output);
        Ok(Self {
            state: State::Rustls {
                connection: Box::new(connection),
                secrets: None,
                has_finished: false,
            },
            input: Vec::new(),
        })
    }

    /// Takes bytes of the server; appends the data in them to `plain`, and what is to be sent for
    /// it to `output`.
    ///
    /// # Errors
    /// A word on what is wrong with them.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        terms: &Terms,
        plain: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<Received, String> {
        let mut kept = std::mem::take(&mut self.input);
        let input = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let mut received = Received::default();
        let mut used = 0;
        while !received.is_closed
            && let Some(bytes) = self.find(&input[used..])?
        {
            let record = &input[used..used + bytes];
            used += bytes;
            match &mut self.state {
                State::Records(records) => {
                    received.is_closed = open(records, record, plain, output)?;
                }
                State::Rustls { .. } => self.step(record, terms, plain, output, &mut received)?,
            }
        }
        self.input.extend_from_slice(&input[used..]);
        Ok(received)
    }

    /// The length of the first record of `input`, if it is complete.
    fn find(&self, input: &[u8]) -> Result<Option<usize>, String> {
        match self.state {
            State::Rustls { .. } => Ok(cut(input)),
            State::Records(_) => record::find(input).map_err(|alert| format!("TLS: {alert:?}")),
        }
    }

    /// Has rustls take one record, and takes over with the first data.
    fn step(
        &mut self,
        record: &[u8],
        terms: &Terms,
        plain: &mut Vec<u8>,
        output: &mut Vec<u8>,
        received: &mut Received,
    ) -> Result<(), String> {
        let State::Rustls {
            connection,
            secrets,
            has_finished,
        } = &mut self.state
        else {
            return Ok(());
        };
        let result = feed(connection, record);
        if let Some(latest) = terms.secrets.take() {
            *secrets = Some(latest);
        }
        drain(connection, output);
        result.map_err(|error| format!("TLS: {error}"))?;
        if !connection.is_handshaking() && !std::mem::replace(has_finished, true) {
            received.finished = connection.handshake_kind();
        }
        let before = plain.len();
        // What is no error is the end; WouldBlock says that there is nothing more yet.
        received.is_closed = connection.reader().read_to_end(plain).is_ok();
        if plain.len() > before
            && connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && let Some(secrets) = secrets.take()
        {
            self.take_over(&secrets)
                .map_err(|error| format!("TLS: {error}"))?;
        }
        Ok(())
    }

    fn take_over(&mut self, secrets: &Secrets) -> Result<(), rustls::Error> {
        let state = std::mem::replace(&mut self.state, State::Records(Records::default()));
        let (State::Rustls { connection, .. }, State::Records(records)) = (state, &mut self.state)
        else {
            return Ok(());
        };
        let extracted = connection.dangerous_extract_secrets()?;
        install(records, Side::Client, secrets, &extracted)
    }

    /// Appends `data`, sealed.
    pub(crate) fn seal(&mut self, mut data: &[u8], output: &mut Vec<u8>) {
        match &mut self.state {
            State::Records(records) => {
                while !data.is_empty() {
                    let sealed = records.seal(data, output);
                    data = &data[sealed..];
                }
            }
            State::Rustls { connection, .. } => {
                // A client says little at a time; what does not fit is missed, and shown as that.
                let _ = connection.writer().write_all(data);
                drain(connection, output);
            }
        }
    }
}

/// Opens a record; returns whether it was the last.
fn open(
    records: &mut Records,
    record: &[u8],
    plain: &mut Vec<u8>,
    output: &mut Vec<u8>,
) -> Result<bool, String> {
    let opened = records
        .open(record, plain)
        .map_err(|alert| format!("TLS: {alert:?}"))?;
    if records.owes_key_update() {
        records.seal(&[], output);
    }
    match opened {
        Opened::Data => Ok(false),
        Opened::Closed => Ok(true),
        Opened::Failed(alert) => Err(format!("TLS: the server sent the alert {alert}")),
    }
}
