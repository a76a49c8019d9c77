//! A connection to a broker: how it is made, and what went wrong with it, as a sentence. Knows no
//! queue and no message.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use amiquip::{
    Auth, Channel, Connection, ConnectionBlockedNotification, ConnectionOptions, ConnectionTuning,
};
use crossbeam_channel::Receiver;
use mio_amqp::net::TcpStream;
use rustls::pki_types::ServerName;

use super::connect::{HangUp, connect};
use super::settings::Settings;
use super::sieve::Sieve;
use super::stream::{Sieved, TlsStream, handshake};
use crate::pulse;
use crate::work::{Error, Stop};

/// For each step of connecting: to the address, TLS, and AMQP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker has to answer to a farewell.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(300);

/// How many channels are open at once: for messages, for announcements, and for a question.
const CHANNELS: u16 = 3;

/// RabbitMQ's own default. The sieve relies on it.
const FRAME_BYTES_MAX: u32 = 128 << 10;

/// An open connection.
pub(crate) struct Session {
    /// Before the connection, so that it is dropped first: amiquip's own end would wait for the
    /// broker's answer.
    hang_up: HangUp,
    connection: Connection,
    heartbeat: Duration,
}

/// The connection has ended while something waited for it; [`Session::why`] knows the reason.
#[derive(Debug)]
pub(crate) struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection to the broker has ended")
    }
}

impl std::error::Error for Ended {}

impl Session {
    /// Connects and logs in. From now on a request to stop cuts the connection.
    ///
    /// # Errors
    /// A sentence that says which step failed, and why.
    pub(crate) fn open(settings: &Settings, stop: &Stop) -> Result<Self, Error> {
        let password = settings.password.read()?;
        let options = ConnectionOptions::default()
            .auth(Auth::Plain {
                username: settings.user.clone(),
                password,
            })
            .virtual_host(&*settings.vhost)
            .heartbeat(settings.heartbeat.as_secs() as u16)
            .frame_max(FRAME_BYTES_MAX)
            .connection_timeout(Some(CONNECT_TIMEOUT))
            .information(Some(
                concat!("bugzfeed ", env!("CARGO_PKG_VERSION")).to_owned(),
            ));
        let (mut stream, hang_up) = connect(&settings.host, settings.port, stop, deadline())?;
        // Larger by one than what is read, so that what was cut off is known to be too large.
        let sieve = Sieve::new(pulse::MESSAGE_BYTES_MAX as u64 + 1);
        let started = Instant::now();
        let opened = if settings.is_tls {
            let config = crate::tls::client_config(settings.ca_file.as_deref())?;
            let name = ServerName::try_from(settings.host.clone())?;
            let tls = handshake(&mut stream, config, name, deadline())
                .map_err(|error| about_tls(&error))?;
            let stream = TlsStream::new(tls, TcpStream::from_stream(stream)?);
            Connection::insecure_open_stream(
                Sieved::new(stream, sieve),
                options,
                ConnectionTuning::default(),
            )
        } else {
            let stream = TcpStream::from_stream(stream)?;
            Connection::insecure_open_stream(
                Sieved::new(stream, sieve),
                options,
                ConnectionTuning::default(),
            )
        };
        match opened {
            Ok(connection) => Ok(Self { hang_up, connection, heartbeat: settings.heartbeat }),
            // What amiquip says about any failure at this point, a broker that hangs among them.
            Err(amiquip::Error::InvalidCredentials) if started.elapsed() < CONNECT_TIMEOUT => {
                Err(format!("the broker refused to log in '{}': is the password right, and may the user log in from here?", settings.user)
                    .into())
            }
            Err(amiquip::Error::InvalidCredentials) => Err(sentence(&amiquip::Error::ConnectionTimeout, settings.heartbeat).into()),
            Err(error) if !settings.is_tls && is_no_amqp(&error) && started.elapsed() < CONNECT_TIMEOUT => {
                let hint = "if this is its port for TLS, write amqps://";
                Err(format!("{}; {hint}", sentence(&error, settings.heartbeat)).into())
            }
            Err(error) => Err(sentence(&error, settings.heartbeat).into()),
        }
    }

    /// Opens a channel.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn channel(&mut self) -> Result<Channel, Error> {
        self.connection
            .open_channel(None)
            .map_err(|error| self.error(error))
    }

    /// A function that returns why the broker takes no messages, if it does not take any.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn why_blocked(
        &mut self,
    ) -> Result<impl FnMut() -> Option<String> + Send + use<>, Error> {
        let notifications = self
            .connection
            .listen_for_connection_blocked()
            .map_err(|error| self.error(error))?;
        let mut blocked = None;
        Ok(move || {
            for notification in notifications.try_iter() {
                blocked = match notification {
                    ConnectionBlockedNotification::Blocked(why) => Some(why),
                    ConnectionBlockedNotification::Unblocked => None,
                };
            }
            blocked.clone()
        })
    }

    /// Cuts the connection when dropped. Whoever holds channels and consumers holds this, and drops
    /// it first: the end of a channel waits for the broker's answer.
    pub(crate) fn hang_up(&self) -> HangUp {
        self.hang_up.clone()
    }

    /// From now on, a request to stop disconnects the channel that is returned, and cuts the
    /// connection only after a moment. Meanwhile messages that were handed over can be
    /// acknowledged, so that they need not come again.
    pub(crate) fn end_gently(&self, stop: &Stop) -> Receiver<Infallible> {
        let (asked, is_asked) = crossbeam_channel::bounded(0);
        let cut = self.hang_up.later();
        stop.on_request(move || {
            drop(asked);
            thread::spawn(move || {
                thread::sleep(FAREWELL_TIMEOUT);
                drop(cut.upgrade());
            });
        });
        is_asked
    }

    /// What went wrong, as a sentence.
    pub(crate) fn error(&self, error: amiquip::Error) -> Error {
        match error {
            amiquip::Error::EventLoopDropped => Ended.into(),
            error => sentence(&error, self.heartbeat).into(),
        }
    }

    /// Says goodbye and waits for the broker to do the same.
    ///
    /// # Errors
    /// Why the connection had ended before.
    pub(crate) fn close(self) -> Result<(), Error> {
        let Self {
            hang_up,
            connection,
            heartbeat,
        } = self;
        let closed = connection.close();
        drop(hang_up);
        closed.map_err(|error| sentence(&error, heartbeat).into())
    }

    /// Ends the connection; returns `error`, or why the connection had ended where `error` says
    /// only that.
    pub(crate) fn why(self, error: Error) -> Error {
        if !error.is::<Ended>() {
            return error;
        }
        self.close().err().unwrap_or(error)
    }
}

fn deadline() -> Instant {
    Instant::now() + CONNECT_TIMEOUT
}

fn about_tls(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            sentence(&amiquip::Error::ConnectionTimeout, Duration::ZERO)
        }
        _ => match crate::tls::flaw(error) {
            Some(flaw) => flaw.to_owned(),
            None => format!("the broker does not speak TLS as it should: {error}"),
        },
    }
}

/// Whether the other side has not said anything that a broker says.
fn is_no_amqp(error: &amiquip::Error) -> bool {
    use amiquip::Error as E;
    matches!(
        error,
        E::UnexpectedSocketClose
            | E::IoErrorReadingSocket { .. }
            | E::IoErrorWritingSocket { .. }
            | E::MalformedFrame
            | E::ConnectionTimeout
    )
}

fn sentence(error: &amiquip::Error, heartbeat: Duration) -> String {
    use amiquip::Error as E;
    match error {
        E::ServerClosedConnection { message, .. } => {
            format!("the broker closed the connection: {message}")
        }
        E::ServerClosedChannel {
            code: 403, message, ..
        } => format!("the broker does not permit it: {message}"),
        E::ServerClosedChannel { message, .. } => format!("the broker refused: {message}"),
        E::ExhaustedChannelIds => format!(
            "the broker allows a connection fewer channels than bugzfeed needs; accepted is a channel_max of {CHANNELS} or more in rabbitmq.conf"
        ),
        E::UnexpectedSocketClose => "the broker closed the connection without a word".to_owned(),
        E::IoErrorReadingSocket { source } | E::IoErrorWritingSocket { source } => {
            format!("the connection to the broker broke: {source}")
        }
        E::MalformedFrame => "what answers there does not speak AMQP".to_owned(),
        E::ConnectionTimeout => format!(
            "the broker did not answer within {} seconds",
            CONNECT_TIMEOUT.as_secs()
        ),
        // amiquip waits for two heartbeats.
        E::MissedServerHeartbeats => format!(
            "the broker has been silent for {} seconds",
            2 * heartbeat.as_secs()
        ),
        other => other.to_string(),
    }
}
