//! The bytes of a WebSocket's client, right ones and wrong ones, and what comes from its server:
//! written from RFC 6455 alone. Knows no check.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::client::{Connector, Stream};

pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CONTINUATION: u8 = 0;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Set in the first byte of a frame that ends its message.
pub(super) const FIN: u8 = 0x80;

/// The key of the example in RFC 6455 section 1.3.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What comes from a server is held against limits of its own.
const BYTES_MAX: usize = 64 << 20;

/// The mask of each frame; which one makes no difference.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame, masked, whose first byte is `first`.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0x80, payload.len() as u64);
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame that is not masked.
pub(super) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [header(first, 0, payload.len() as u64), payload.to_vec()].concat()
}

/// A header that announces more than comes.
pub(super) fn announced(first: u8, length: u64) -> Vec<u8> {
    [header(first, 0x80, length), MASK.to_vec()].concat()
}

/// The first bytes of a frame, without the mask: RFC 6455 section 5.2.
pub(super) fn header(first: u8, mask_bit: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..126 => header.push(mask_bit | length as u8),
        126..0x1_0000 => {
            header.push(mask_bit | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(mask_bit | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header
}

/// A whole text message.
pub(super) fn text(message: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | TEXT, message.as_ref())
}

/// A close with a code.
pub(super) fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(FIN | CLOSE, &close_payload(code, reason))
}

/// What stands in it.
pub(super) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// Text in fragments, one for each part.
pub(super) fn fragments(parts: &[&[u8]]) -> Vec<u8> {
    let last = parts.len() - 1;
    let first = |at: usize| {
        let opcode = if at == 0 { TEXT } else { CONTINUATION };
        opcode | if at == last { FIN } else { 0 }
    };
    let frames = parts.iter().enumerate();
    frames
        .flat_map(|(at, part)| frame(first(at), part))
        .collect()
}

/// The answer to a key: RFC 6455 section 4.2.2.
pub(super) fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// A frame of the server.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) first: u8,
    pub(super) payload: Vec<u8>,
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    /// The value of a field, where it stands there once.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self
            .fields
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

/// A connection to the server.
pub(super) struct Wire {
    stream: Stream,
    received: Vec<u8>,
    patience: Duration,
}

impl Wire {
    pub(super) fn connect(connector: &Connector, patience: Duration) -> io::Result<Self> {
        Ok(Self {
            stream: connector.stream(Instant::now() + patience)?,
            received: Vec::new(),
            patience,
        })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next frame; `None` at the end of the stream.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, String> {
        self.take(|received| {
            let [first, second, ..] = *received else {
                return Ok(None);
            };
            if second & 0x80 != 0 {
                return Err("a frame of the server is masked".to_owned());
            }
            let (start, length) = match second {
                126 => (4, received.get(2..4).map(number)),
                127 => (10, received.get(2..10).map(number)),
                length => (2, Some(u64::from(length))),
            };
            let end = length.and_then(|length| usize::try_from(length).ok()?.checked_add(start));
            let Some(payload) = end.and_then(|end| received.get(start..end)) else {
                return Ok(None);
            };
            let payload = payload.to_vec();
            let bytes = start + payload.len();
            Ok(Some((Frame { first, payload }, bytes)))
        })
    }

    /// The head of a response; `None` at the end of the stream.
    pub(super) fn head(&mut self) -> Result<Option<Head>, String> {
        self.take(|received| {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut fields);
            let parsed = response.parse(received);
            let parsed = parsed.map_err(|error| format!("the response is no HTTP: {error}"))?;
            let httparse::Status::Complete(bytes) = parsed else {
                return Ok(None);
            };
            let field = |field: &httparse::Header<'_>| {
                let value = String::from_utf8_lossy(field.value);
                (field.name.to_owned(), value.trim().to_owned())
            };
            let head = Head {
                status: response.code.unwrap_or_default(),
                fields: response.headers.iter().map(field).collect(),
            };
            Ok(Some((head, bytes)))
        })
    }

    /// The next server-sent event, as its lines; `None` at the end of the stream.
    pub(super) fn event(&mut self) -> Result<Option<String>, String> {
        self.take(|received| {
            let end = received.windows(2).position(|end| end == b"\n\n");
            Ok(end.map(|end| {
                (
                    String::from_utf8_lossy(&received[..end]).into_owned(),
                    end + 2,
                )
            }))
        })
    }

    /// Takes what is whole at the start of what has come; `None` at the end of the stream.
    fn take<T>(
        &mut self,
        whole: impl Fn(&[u8]) -> Result<Option<(T, usize)>, String>,
    ) -> Result<Option<T>, String> {
        self.stream.set_deadline(Instant::now() + self.patience);
        loop {
            if let Some((taken, bytes)) = whole(&self.received)? {
                self.received.drain(..bytes);
                return Ok(Some(taken));
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) if self.received.is_empty() => return Ok(None),
                Ok(0) => return Err("the connection ends in the middle of something".to_owned()),
                Ok(bytes) if self.received.len() + bytes <= BYTES_MAX => {
                    self.received.extend(&buffer[..bytes]);
                }
                Ok(_) => return Err("it is too long".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err("nothing comes".to_owned());
                }
                // A server that ends a connection at once resets what it has not read.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
