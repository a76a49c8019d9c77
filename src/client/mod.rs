//! A client of a feed, for the commands that are one: blocking, one connection. Owns the
//! connection, its deadlines, and what is said when it ends. Knows no subscription, no retry, and
//! nothing of the server's insides.

mod handshake;
mod message;
mod stream;
mod url;

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Message as Frame, Utf8Bytes, WebSocket};

pub(crate) use handshake::Rejection;
#[cfg(any(test, fuzzing))]
pub(crate) use handshake::upgrade;
pub(crate) use message::{Message, Reply};
pub(crate) use url::FeedUrl;

pub(crate) use stream::Stream;

use crate::tls;

/// The longest message that is read, in bytes: a reply with a hundred thousand subscriptions has 1
/// MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// tungstenite's own default is allocated for each connection, and 32 times as much.
const READ_BUFFER_BYTES: usize = 4 << 10;
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A way to a feed: what is needed to connect to it again and again.
#[derive(Clone, Debug)]
pub struct Connector {
    url: FeedUrl,
    /// Present exactly when the URL asks for it.
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    /// What the header field Authorization says.
    authorization: Option<HeaderValue>,
}

/// Why there is no connection. The text is a part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The host cannot be reached, does not answer in time, or does not speak WebSocket.
    Unreachable(String),
    /// The server's certificate was issued by nobody who is trusted here.
    Untrusted,
    /// The server answered with an HTTP status that says no.
    Rejected(Rejection),
}

/// How a connection ended. The text is a part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The server sent a Close frame.
    Closed {
        /// The close code, where the frame had one.
        code: Option<u16>,
        /// The server's words; fit to be shown on a terminal.
        reason: String,
    },
    /// The connection broke, or the server broke the protocol.
    Broken(String),
}

/// What came from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A text message.
    Text(Utf8Bytes),
    /// A ping, which has been answered, or a pong: the server is there.
    SignOfLife,
    /// Nothing until the deadline.
    Nothing,
}

/// A connection to a feed.
#[derive(Debug)]
pub struct Client {
    socket: WebSocket<Stream>,
}

impl Connector {
    /// Prepares to connect to `url`, and to give up an attempt after `timeout`, beside what the
    /// system needs to resolve the host's name. A `wss://` URL is trusted by the certificates in
    /// `ca_file`, or by this machine's own where that is `None`.
    ///
    /// # Errors
    /// When no certificate can be trusted.
    pub fn new(
        url: FeedUrl,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, tls::Error> {
        let tls = if url.is_encrypted() {
            Some(tls::client_config(ca_file)?)
        } else {
            None
        };
        Ok(Self {
            url,
            tls,
            timeout,
            authorization: None,
        })
    }

    /// Shows a token from now on. The URL must be one that [`FeedUrl::keeps_secrets`].
    ///
    /// # Errors
    /// When no token looks like that.
    pub(crate) fn show_token(&mut self, token: &str) -> Result<(), String> {
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::try_from(format!("Bearer {token}")).ok();
        let mut value = value
            .filter(|_| is_token)
            .ok_or("it holds no token: one word, in ASCII")?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(())
    }

    /// The certificates that the server shows to whoever comes, its own first, each in DER, whoever
    /// has issued them; none without TLS, and where it cannot be reached.
    pub(crate) fn shown(&self) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + self.timeout;
        let tls = self.tls.is_some().then(tls::unverified_client_config);
        let stream = Stream::connect(&self.url, tls.as_ref(), deadline);
        stream.map_or_else(|_| Vec::new(), Stream::certificates_shown)
    }

    /// Connects without a word: what is to be said on it is not this client's.
    ///
    /// # Errors
    /// When there is no connection at `deadline`.
    pub(crate) fn stream(&self, deadline: Instant) -> io::Result<Stream> {
        Stream::connect(&self.url, self.tls.as_ref(), deadline)
    }

    /// The header field that shows the token, as a whole line; empty without one.
    pub(crate) fn authorization_field(&self) -> String {
        let value = self.authorization.as_ref().and_then(|it| it.to_str().ok());
        value.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"))
    }

    pub(crate) fn url(&self) -> &FeedUrl {
        &self.url
    }

    /// Connects: TCP, TLS where the URL asks for it, and the WebSocket handshake.
    ///
    /// # Errors
    /// When there is no connection after the timeout, or the server refuses.
    pub fn connect(&self) -> Result<Client, ConnectError> {
        let mut stream =
            Stream::connect(&self.url, self.tls.as_ref(), Instant::now() + self.timeout)?;
        let tail = handshake::upgrade(&mut stream, &self.url, self.authorization.as_ref())?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Ok(Client {
            socket: WebSocket::from_partially_read(stream, tail, Role::Client, Some(config)),
        })
    }
}

impl Client {
    /// Sends a command.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn send(&mut self, command: &str) -> Result<(), Lost> {
        Ok(self.socket.send(Frame::text(command))?)
    }

    /// Pings the server.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn ping(&mut self) -> Result<(), Lost> {
        Ok(self.socket.send(Frame::Ping(Bytes::new()))?)
    }

    /// Waits for the next message until `deadline`; what has arrived is read even when that has
    /// passed. To be called again and again: the server's pings are answered here.
    ///
    /// # Errors
    /// When the connection has ended. The client is of no more use then.
    pub fn read(&mut self, deadline: Instant) -> Result<Heard, Lost> {
        self.socket.get_mut().set_deadline(deadline);
        match self.socket.read() {
            Ok(Frame::Text(text)) => Ok(Heard::Text(text)),
            Ok(Frame::Close(close)) => {
                // Our answer; whether it can still be sent makes no difference.
                let _ = self.socket.flush();
                Err(Lost::closed(close))
            }
            Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Binary(_) | Frame::Frame(_)) => {
                Ok(Heard::SignOfLife)
            }
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                Ok(Heard::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The certificates that the server has shown, its own first, each in DER; none without TLS.
    pub(crate) fn certificates(&self) -> Vec<Vec<u8>> {
        self.socket.get_ref().certificates()
    }

    /// Sends a Close frame, and waits up to a second for the server's. Closing a socket with unread
    /// messages resets the connection, which could overtake our Close frame.
    pub(crate) fn close(mut self) {
        let deadline = Instant::now() + GOODBYE_TIMEOUT;
        // A connection that is lost already is closed as well.
        let _ = self.socket.close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: Utf8Bytes::default(),
        }));
        while Instant::now() < deadline
            && matches!(self.read(deadline), Ok(Heard::Text(_) | Heard::SignOfLife))
        {}
    }
}

impl Lost {
    fn closed(close: Option<CloseFrame>) -> Self {
        // A terminal must not obey what a server wrote.
        let words = |text: &str| {
            text.chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect()
        };
        match close {
            Some(close) => Lost::Closed {
                code: Some(close.code.into()),
                reason: words(&close.reason),
            },
            None => Lost::Closed {
                code: None,
                reason: String::new(),
            },
        }
    }
}

impl From<tungstenite::Error> for Lost {
    fn from(error: tungstenite::Error) -> Self {
        use tungstenite::error::ProtocolError;
        Lost::Broken(match error {
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                "the server hung up".to_owned()
            }
            tungstenite::Error::Io(error) if error.kind() == ErrorKind::WouldBlock => {
                "the server takes no more bytes".to_owned()
            }
            tungstenite::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        })
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Closed { code: None, .. } => f.write_str("the server closed the connection"),
            Lost::Closed {
                code: Some(code),
                reason,
            } if reason.is_empty() => {
                write!(f, "the server closed the connection with code {code}")
            }
            Lost::Closed {
                code: Some(code),
                reason,
            } => write!(
                f,
                "the server closed the connection with code {code}, {reason}"
            ),
            Lost::Broken(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Lost {}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        use rustls::{CertificateError, Error};
        match (
            error.kind(),
            error
                .get_ref()
                .and_then(|error| error.downcast_ref::<Error>()),
        ) {
            (_, Some(Error::InvalidCertificate(CertificateError::UnknownIssuer))) => {
                ConnectError::Untrusted
            }
            // Reading has reached its deadline.
            (ErrorKind::WouldBlock, _) => {
                ConnectError::Unreachable("the server does not answer".to_owned())
            }
            _ => ConnectError::Unreachable(
                tls::flaw(&error).map_or_else(|| error.to_string(), str::to_owned),
            ),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Unreachable(reason) => f.write_str(reason),
            ConnectError::Untrusted => {
                f.write_str("the server's certificate was issued by nobody who is trusted here")
            }
            ConnectError::Rejected(rejection) => write!(f, "the server answers {rejection}"),
        }
    }
}

impl std::error::Error for ConnectError {}
