//! One client's TLS: the handshake, then records, then the end. Knows no socket and no other
//! client.

use std::fmt;
use std::io::{Read, Write};

use rustls::ServerConnection;

use super::handshake::{Done, Handshake, Terms, close};
use super::takeover::{cut, drain, feed};
use crate::record::{self, Alert, DATA_BYTES_MAX, Opened, Records};

/// What rustls keeps for a handshake, and for a client of TLS 1.2, on the heap, in bytes.
const RUSTLS_BYTES: usize = 10 * 1024;

/// A client's TLS between two events. An idle client of TLS 1.3 owns nothing but its keys.
#[derive(Debug)]
pub(super) struct Session {
    state: State,
    unfinished: Option<Box<Unfinished>>,
}

/// What has been begun and not finished.
#[derive(Debug, Default)]
struct Unfinished {
    /// The beginning of a record.
    input: Vec<u8>,
    /// What is to be sent before anything else.
    output: Vec<u8>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most sessions are in the large one, and a box would cost each of them 16 bytes"
)]
enum State {
    /// Nothing has come; whether its hello waits for its turn.
    Fresh { waits: bool },
    /// In the handshake.
    Shaking(Box<Handshake>),
    /// TLS 1.3.
    Records(Records),
    /// TLS 1.2.
    Rustls(Box<ServerConnection>),
    /// Neither read nor written any more, but for what is unfinished.
    Over,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Fresh { .. } => "Fresh",
            State::Shaking(_) => "Shaking",
            State::Records(_) => "Records",
            State::Rustls(_) => "Rustls",
            State::Over => "Over",
        })
    }
}

/// What a client's bytes have come to.
#[derive(Debug)]
pub(crate) enum Received {
    /// It may go on.
    More,
    /// The client will send nothing more, and has said so.
    Closed,
    /// The connection is over.
    Failed(Failure),
}

/// Why a client's TLS has failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It speaks HTTP without TLS.
    PlainHttp,
    /// The handshake, or TLS 1.2, has failed.
    Rustls(rustls::Error),
    /// A record breaks a rule.
    Broken(Alert),
    /// The client has ended it with this alert.
    Alerted(u8),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::PlainHttp => f.write_str("it speaks HTTP without TLS"),
            Failure::Rustls(error) => error.fmt(f),
            Failure::Broken(alert) => write!(f, "it breaks TLS: {alert:?}"),
            Failure::Alerted(description) => write!(f, "it sent the alert {description}"),
        }
    }
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            state: State::Fresh { waits: false },
            unfinished: None,
        }
    }

    /// Whether nothing has come of it that costs more than its bytes.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.state, State::Fresh { .. })
    }

    /// Whether it is in a handshake.
    pub(super) fn is_shaking(&self) -> bool {
        matches!(self.state, State::Shaking(_))
    }

    /// What it owns beyond its keys, in bytes.
    pub(super) fn owned(&self) -> usize {
        let rustls = match self.state {
            State::Shaking(_) | State::Rustls(_) => RUSTLS_BYTES,
            State::Fresh { .. } | State::Records(_) | State::Over => 0,
        };
        let unfinished = self.unfinished.as_ref().map_or(0, |unfinished| {
            size_of::<Unfinished>() + unfinished.input.capacity() + unfinished.output.capacity()
        });
        rustls + unfinished
    }

    /// Whether its hello waits for its turn.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Fresh { waits: true })
    }

    /// Notes whether its hello waits for its turn; returns whether it did.
    pub(super) fn set_waiting(&mut self, is_waiting: bool) -> bool {
        match &mut self.state {
            State::Fresh { waits } => std::mem::replace(waits, is_waiting),
            State::Shaking(_) | State::Records(_) | State::Rustls(_) | State::Over => false,
        }
    }

    /// Wipes the secrets, in place: what is moved leaves a copy behind.
    pub(super) fn wipe(&mut self) {
        if let State::Records(records) = &mut self.state {
            records.wipe();
        }
        (self.state, self.unfinished) = (State::Over, None);
    }

    /// Whether there is something to send before anything else.
    pub(super) fn has_output(&self) -> bool {
        let has_answer = self
            .unfinished
            .as_ref()
            .is_some_and(|unfinished| !unfinished.output.is_empty());
        has_answer || matches!(&self.state, State::Records(records) if records.owes_key_update())
    }

    /// Sets what is sent last, without TLS.
    pub(super) fn answer_plainly(&mut self, bytes: Vec<u8>) {
        self.unfinished.get_or_insert_default().output = bytes;
    }

    /// Takes bytes from the client; appends the data in them to `plain`.
    pub(super) fn receive(&mut self, bytes: &[u8], terms: &Terms, plain: &mut Vec<u8>) -> Received {
        let mut kept = self
            .unfinished
            .as_mut()
            .map(|unfinished| std::mem::take(&mut unfinished.input))
            .unwrap_or_default();
        let input = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let mut used = 0;
        let received = loop {
            match self.step(&input[used..], terms, plain) {
                Ok(Step::Used(bytes)) => used += bytes,
                Ok(Step::Incomplete) => break Received::More,
                Ok(Step::Closed) => break Received::Closed,
                Err(failure) => {
                    self.fail(&failure);
                    break Received::Failed(failure);
                }
            }
        };
        if matches!(received, Received::More) && used < input.len() {
            self.unfinished.get_or_insert_default().input = input[used..].to_vec();
        }
        self.tidy();
        received
    }

    /// Takes the next record, or what there is of it where that is enough.
    fn step(&mut self, input: &[u8], terms: &Terms, plain: &mut Vec<u8>) -> Result<Step, Failure> {
        match &mut self.state {
            State::Fresh { .. } => {
                let Some(&first) = input.first() else {
                    return Ok(Step::Incomplete);
                };
                if first.is_ascii_uppercase() {
                    return Err(Failure::PlainHttp);
                }
                if cut(input).is_none() {
                    return Ok(Step::Incomplete);
                }
                let handshake = Handshake::new(terms).map_err(Failure::Rustls)?;
                self.state = State::Shaking(Box::new(handshake));
                Ok(Step::Used(0))
            }
            State::Shaking(handshake) => {
                let Some(bytes) = cut(input) else {
                    return Ok(Step::Incomplete);
                };
                let output = &mut self.unfinished.get_or_insert_default().output;
                handshake
                    .take(&input[..bytes], terms, output)
                    .map_err(Failure::Rustls)?;
                if handshake.is_done() {
                    self.take_over().map_err(Failure::Rustls)?;
                }
                Ok(Step::Used(bytes))
            }
            State::Records(records) => {
                let Some(bytes) = record::find(input).map_err(Failure::Broken)? else {
                    return Ok(Step::Incomplete);
                };
                match records
                    .open(&input[..bytes], plain)
                    .map_err(Failure::Broken)?
                {
                    Opened::Data => Ok(Step::Used(bytes)),
                    Opened::Closed => Ok(Step::Closed),
                    Opened::Failed(alert) => Err(Failure::Alerted(alert)),
                }
            }
            State::Rustls(connection) => {
                let Some(bytes) = cut(input) else {
                    return Ok(Step::Incomplete);
                };
                let result = feed(connection, &input[..bytes]);
                let output = &mut self.unfinished.get_or_insert_default().output;
                drain(connection, output);
                result.map_err(Failure::Rustls)?;
                Ok(match connection.reader().read_to_end(plain) {
                    // Nothing more will come.
                    Ok(_) => Step::Closed,
                    // There is nothing more yet.
                    Err(_) => Step::Used(bytes),
                })
            }
            State::Over => Ok(Step::Incomplete),
        }
    }

    /// Takes over from rustls, at the first moment at which it would write data.
    fn take_over(&mut self) -> Result<(), rustls::Error> {
        let state = std::mem::replace(&mut self.state, State::Records(Records::default()));
        let (State::Shaking(handshake), State::Records(records)) = (state, &mut self.state) else {
            return Ok(());
        };
        match handshake.finish(records) {
            Ok(Done::Records) => {}
            Ok(Done::Rustls(connection)) => self.state = State::Rustls(connection),
            Err(error) => {
                self.state = State::Over;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the connection, with the alert that says why. rustls has written its own already.
    fn fail(&mut self, failure: &Failure) {
        match &mut self.state {
            State::Records(records) => match failure {
                Failure::Broken(alert) => {
                    let output = &mut self.unfinished.get_or_insert_default().output;
                    records.close(*alert, output);
                }
                Failure::PlainHttp | Failure::Rustls(_) | Failure::Alerted(_) => records.wipe(),
            },
            State::Fresh { .. } | State::Shaking(_) | State::Rustls(_) | State::Over => {
                self.state = State::Over;
            }
        }
    }

    /// Appends to `output` what is to be sent first, then as much of `data` as fits one record;
    /// returns how many bytes of it that was. Where no data can be sent, it is dropped.
    pub(super) fn seal(&mut self, data: &[u8], output: &mut Vec<u8>) -> usize {
        if let Some(unfinished) = &mut self.unfinished {
            output.append(&mut unfinished.output);
            self.tidy();
        }
        match &mut self.state {
            State::Records(records) => records.seal(data, output),
            State::Rustls(connection) => {
                let data = &data[..data.len().min(DATA_BYTES_MAX)];
                connection
                    .writer()
                    .write_all(data)
                    .expect("rustls takes a record's worth while nothing waits in it");
                drain(connection, output);
                data.len()
            }
            State::Fresh { .. } | State::Shaking(_) | State::Over => data.len(),
        }
    }

    /// Appends the notice that nothing more will come.
    pub(super) fn close(&mut self, output: &mut Vec<u8>) {
        match &mut self.state {
            State::Records(records) => records.close(Alert::CloseNotify, output),
            State::Shaking(handshake) => handshake.close(output),
            State::Rustls(connection) => close(connection, output),
            State::Fresh { .. } | State::Over => {}
        }
    }

    /// Gives the memory back where nothing is unfinished.
    fn tidy(&mut self) {
        self.unfinished
            .take_if(|unfinished| unfinished.input.is_empty() && unfinished.output.is_empty());
    }
}

/// How far one step came.
enum Step {
    /// So many bytes were used.
    Used(usize),
    /// More bytes are needed.
    Incomplete,
    /// Nothing more will come.
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_of_tls_13_owns_its_keys_and_little_more() {
        assert!(size_of::<Session>() <= 224, "{}", size_of::<Session>());
    }
}
