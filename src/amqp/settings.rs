//! What an `amqp:` or `amqps:` address says, and its defaults. Knows no broker.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::{Password, Place, ServerUrl, decode, read_options, value};

/// Mozilla's exchange of production, and what an own broker should use, too.
const EXCHANGE: &str = "exchange/bugzilla/simple";

/// The longest name that AMQP can carry, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// How long what no queue takes waits unless the address says otherwise.
const PATIENCE: Duration = Duration::from_secs(600);

/// A heartbeat above it would leave a dead connection unnoticed for more than a minute.
const HEARTBEAT_MAX: Duration = Duration::from_secs(30);

const ACCEPTED: &str =
    "amqp://USER:PASSWORD@HOST[:PORT]/VHOST?exchange=NAME&queue=LABEL, or amqps:// for TLS";
const OPTIONS: &str =
    "exchange, queue, max_length, prefetch, heartbeat, patience, password_file and cacert";

/// How to reach a broker, and what to read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) vhost: String,
    pub(crate) user: String,
    pub(crate) password: Password,
    pub(crate) exchange: String,
    /// The queue's label; a queue without one goes with its connection.
    pub(crate) queue: Option<String>,
    /// How many messages the queue holds before the oldest go.
    pub(crate) messages_max: u32,
    /// How many messages the broker sends ahead.
    pub(crate) prefetch: u16,
    pub(crate) heartbeat: Duration,
    /// How long what no queue takes waits, for whoever publishes.
    pub(crate) patience: Duration,
    /// Certificates that are believed in place of the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Settings {
    /// Reads an address.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted, without any part of the address
    /// that may hold the password.
    pub(crate) fn parse(address: &str) -> Result<Self, String> {
        let url = ServerUrl::parse(address, ACCEPTED)?;
        if url.host.is_empty() {
            return Err(format!("the host is missing; accepted is {ACCEPTED}"));
        }
        let is_tls = url.scheme == "amqps";
        let vhost = vhost(&url.path)?;
        let mut password = url.password;
        let mut settings = Self {
            is_tls,
            host: url.host,
            port: url.port.unwrap_or(if is_tls { 5671 } else { 5672 }),
            vhost,
            user: url.user,
            password: Password::Text(String::new()),
            exchange: EXCHANGE.to_owned(),
            queue: None,
            messages_max: 100_000,
            prefetch: 500,
            heartbeat: HEARTBEAT_MAX,
            patience: PATIENCE,
            ca_file: None,
        };
        read_options(&url.options, OPTIONS, |name, value| match name {
            "password_file" => Password::set_file(&mut password, value).map(|()| true),
            _ => settings.set(name, value),
        })?;
        settings.log_in(password)?;
        settings.check()?;
        Ok(settings)
    }

    /// Reads an address of an exchange that is published to.
    ///
    /// # Errors
    /// As [`Settings::parse`], and when it names a queue.
    pub(crate) fn parse_exchange(address: &str) -> Result<Self, String> {
        let settings = Self::parse(address)?;
        match settings.queue {
            Some(_) => Err(
                "queue: nothing is read from this broker, so that no queue is needed".to_owned(),
            ),
            None => Ok(settings),
        }
    }

    /// Sets an option; returns whether there is one of this name.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "exchange" => self.exchange = value.to_owned(),
            "queue" => self.queue = Some(value.to_owned()),
            "max_length" => self.messages_max = number(value, 1, i32::MAX as u32)?,
            "prefetch" => self.prefetch = number(value, 1, u16::MAX.into())? as u16,
            "heartbeat" => self.heartbeat = heartbeat(value)?,
            "patience" => self.patience = crate::duration::parse(value)?,
            "cacert" => self.ca_file = Some(value.into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Sets how to log in.
    fn log_in(&mut self, password: Option<Password>) -> Result<(), String> {
        match password {
            None if self.user.is_empty() => {
                // What RabbitMQ accepts from its own machine only.
                (self.user, self.password) =
                    ("guest".to_owned(), Password::Text("guest".to_owned()));
            }
            Some(_) if self.user.is_empty() => {
                return Err(format!("the user is missing; accepted is {ACCEPTED}"));
            }
            None => {
                return Err(
                    "the password is missing; it stands behind the user and a ':', or in a file that password_file= names".to_owned()
                );
            }
            Some(password) => self.password = password,
        }
        Ok(())
    }

    /// What can be wrong only in the whole.
    fn check(&self) -> Result<(), String> {
        if self.ca_file.is_some() && !self.is_tls {
            return Err("cacert: only amqps:// uses certificates".to_owned());
        }
        let names = [
            Some(self.exchange.clone()),
            Some(self.announcements_name()),
            self.lost_names().map(|(_, queue)| queue),
            self.queue_name(),
            self.marker_name(),
            Some(self.vhost.clone()),
        ];
        if let Some(name) = names
            .into_iter()
            .flatten()
            .find(|name| name.len() > NAME_BYTES_MAX)
        {
            return Err(format!(
                "the name '{name}' is longer than {NAME_BYTES_MAX} bytes"
            ));
        }
        Ok(())
    }

    /// The name of the queue, if it has a label: what belongs to a user must say so in its name.
    pub(crate) fn queue_name(&self) -> Option<String> {
        self.queue
            .as_ref()
            .map(|label| format!("queue/{}/{label}", self.user))
    }

    /// The name of an exchange that exists as long as the queue is bound and the broker has not
    /// been restarted.
    pub(crate) fn marker_name(&self) -> Option<String> {
        self.queue
            .as_ref()
            .map(|label| format!("exchange/{}/{label}/bound-to/{}", self.user, self.exchange))
    }

    /// The name of an exchange, and of a queue bound to it, for what falls out of the queue.
    pub(crate) fn lost_names(&self) -> Option<(String, String)> {
        self.queue.as_ref().map(|label| {
            let user = &self.user;
            (
                format!("exchange/{user}/{label}/lost"),
                format!("queue/{user}/{label}/lost"),
            )
        })
    }

    /// The name of an exchange that nobody makes: it says which history has read the queue last.
    pub(crate) fn reader_name(&self, id: &str) -> String {
        format!("exchange/{}/read-by/{id}", self.user)
    }

    /// The name of the exchange on which a relay announces how far it is: below the exchange of the
    /// messages, so that who may make the one may make the other.
    pub(crate) fn announcements_name(&self) -> String {
        format!("{}/announce", self.exchange)
    }

    /// Whether the exchange is the user's own, who may and should declare it.
    pub(crate) fn is_own_exchange(&self) -> bool {
        self.exchange
            .strip_prefix("exchange/")
            .and_then(|rest| rest.strip_prefix(&self.user))
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for Settings {
    /// The address without its password, and with what says which updates come from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place {
            scheme: if self.is_tls { "amqps" } else { "amqp" },
            user: &self.user,
            host: &self.host,
            port: self.port,
            name: &self.vhost,
        };
        write!(f, "{place}?exchange={}", value(&self.exchange))?;
        match &self.queue {
            Some(label) => write!(f, "&queue={}", value(label)),
            None => Ok(()),
        }
    }
}

/// The virtual host is the path; without one it is RabbitMQ's default, which is called `/`.
fn vhost(path: &str) -> Result<String, String> {
    match path {
        "" => Ok("/".to_owned()),
        name if name.contains('/') => {
            Err("a '/' in the virtual host's name must be written %2F".to_owned())
        }
        name => decode(name),
    }
}

fn number(text: &str, min: u32, max: u32) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("'{text}' is no whole number from {min} to {max}")),
    }
}

/// Seconds without a unit are what other AMQP addresses have.
fn heartbeat(text: &str) -> Result<Duration, String> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => crate::duration::parse(text)?,
    };
    if duration.subsec_nanos() > 0 || duration.is_zero() || duration > HEARTBEAT_MAX {
        return Err(format!(
            "'{text}' is none; accepted are whole seconds from 1s to {}s",
            HEARTBEAT_MAX.as_secs()
        ));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> Settings {
        Settings::parse(address).unwrap_or_else(|why| panic!("{address}: {why}"))
    }

    #[test]
    fn an_address_without_options_means_pulses_exchange_and_a_queue_that_goes_with_the_connection()
    {
        let settings = parse("amqp://bugzfeed:secret@broker.example");
        assert_eq!(
            settings,
            Settings {
                is_tls: false,
                host: "broker.example".to_owned(),
                port: 5672,
                vhost: "/".to_owned(),
                user: "bugzfeed".to_owned(),
                password: Password::Text("secret".to_owned()),
                exchange: "exchange/bugzilla/simple".to_owned(),
                queue: None,
                messages_max: 100_000,
                prefetch: 500,
                heartbeat: Duration::from_secs(30),
                patience: Duration::from_secs(600),
                ca_file: None,
            }
        );
        assert_eq!(
            (settings.queue_name(), settings.marker_name()),
            (None, None)
        );
    }

    #[test]
    fn an_address_says_everything() {
        let settings = parse(
            "amqps://u%40x:p%2Fw%3a%25@[::1]:1234/my%2Fhost?exchange=exchange/u%40x/simple&queue=blue&max_length=1500&prefetch=1&heartbeat=4s&cacert=/a+b/ca%20.pem",
        );
        assert_eq!(
            (
                settings.is_tls,
                settings.host.as_str(),
                settings.port,
                settings.vhost.as_str(),
                settings.user.as_str()
            ),
            (true, "::1", 1234, "my/host", "u@x")
        );
        assert_eq!(settings.password, Password::Text("p/w:%".to_owned()));
        assert_eq!(
            parse("amqp://u@h?password_file=/x").password,
            Password::File("/x".into())
        );
        assert_eq!(
            (settings.messages_max, settings.prefetch, settings.heartbeat),
            (1500, 1, Duration::from_secs(4))
        );
        assert_eq!(settings.ca_file, Some("/a+b/ca .pem".into()));
        assert_eq!(settings.queue_name().as_deref(), Some("queue/u@x/blue"));
        assert!(settings.is_own_exchange());
        assert_eq!(parse("amqps://u:p@h").port, 5671);
        assert_eq!(
            parse("amqp://u:p@h?heartbeat=10").heartbeat,
            Duration::from_secs(10)
        );
        assert_eq!(parse("amqp://h/").user, "guest");
        assert!(!parse("amqp://u:p@h?exchange=exchange/user/simple").is_own_exchange());
    }

    #[test]
    fn what_is_printed_holds_no_password_and_is_an_address_of_the_same_updates() {
        for (address, printed) in [
            (
                "amqp://u:secret@h",
                "amqp://u@h:5672/%2F?exchange=exchange/bugzilla/simple",
            ),
            (
                "amqps://u%40x:secret@[::1]/v%3Fw?queue=a%26b",
                "amqps://u%40x@[::1]:5671/v%3Fw?exchange=exchange/bugzilla/simple&queue=a%26b",
            ),
        ] {
            let settings = parse(address);
            assert_eq!(settings.to_string(), printed);
            assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
            assert_eq!(
                parse(&format!("{settings}&password_file=/x")).to_string(),
                printed
            );
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said_without_its_password() {
        for (address, said) in [
            ("amqp:", "host"),
            ("amqp://", "host"),
            ("amqp:///vhost", "host"),
            ("amqp://u:secret@", "no URL"),
            ("amqp://u:sec/ret@h", "no URL"),
            ("amqp://u:1?secret@h/v", "accepted are exchange"),
            ("amqp://u:1?secret@h/v=", "accepted are exchange"),
            ("amqp://u:1/secret@h/v", "%2F"),
            ("amqp://u:1#secret@h/v", "%23"),
            ("amqp://u:secret@h:99999", "no URL"),
            ("amqp://u:secret%ff@h", "UTF-8"),
            ("amqp://u@h", "password is missing"),
            ("amqp://:secret@h", "user is missing"),
            ("amqp://u:secret@h?password_file=/x", "one is enough"),
            ("amqp://u:secret@h/a/b", "%2F"),
            (
                "amqp://u:secret@h?colour=red",
                "colour: there is no such option; accepted are exchange",
            ),
            ("amqp://u:secret@h?queue", "queue: it has no value"),
            ("amqp://u:secret@h?exchange=", "exchange: it has no value"),
            (
                "amqp://u:secret@h?max_length=0",
                "max_length: '0' is no whole number from 1",
            ),
            ("amqp://u:secret@h?prefetch=65536", "to 65535"),
            (
                "amqp://u:secret@h?heartbeat=0",
                "heartbeat: '0' is none; accepted are whole seconds from 1s to 30s",
            ),
            ("amqp://u:secret@h?heartbeat=31s", "30s"),
            ("amqp://u:secret@h?heartbeat=1500ms", "30s"),
            ("amqp://u:secret@h?cacert=/x", "amqps://"),
        ] {
            let why = Settings::parse(address).unwrap_err();
            assert!(why.contains(said), "{address}: {why}");
            assert!(
                !why.contains("sec") || why.contains("seconds"),
                "{address}: {why}"
            );
        }
        Settings::parse(&format!("amqp://u:p@h?queue={}", "x".repeat(256))).unwrap_err();
    }
}
