//! `bugzfeed pulse inspect`: what goes by on a Pulse, a line each or in a browser. Owns how a message
//! is printed.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use clap::Args;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::super::discreet::Discreet;
use super::secret::NewPassword;
use super::{say, watch_signals};
use crate::address;
use crate::amqp::{self, Audience, Binding, OwnQueue, Seen};
use crate::duration;
use crate::failure::Failure;
use crate::inspector::{self, Content};
use crate::update::When;
use crate::work::{Error, Stop, unix_now};

/// How many characters of a payload a line shows.
const SHOWN_MAX: usize = 120;

/// Settings of `bugzfeed pulse inspect`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Exchanges, each with a pattern of routing keys behind a ':', or all of them [default: the
    /// exchange of --broker]
    #[arg(value_name = "EXCHANGE[:PATTERN]")]
    bindings: Vec<Target>,
    /// Broker, as any account: amqp(s)://USER@HOST/VHOST?password_file=FILE
    #[arg(long, env = "BUGZFEED_BROKER", hide_env_values = true, value_name = "URL", default_value = "amqp://127.0.0.1/", value_parser = Discreet(amqp::Settings::parse_exchange))]
    broker: amqp::Settings,
    /// Print a JSON object per message, with the whole payload
    #[arg(long)]
    json: bool,
    /// Show it in a browser instead: print a link to a page, which is served at this address until a
    /// signal ends it [default: 127.0.0.1:8846]
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:8846", value_parser = listening_address, conflicts_with_all = ["json", "count"])]
    web: Option<String>,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    r#for: Option<Duration>,
}

/// An exchange and a pattern as the user writes them.
#[derive(Clone, Debug)]
struct Target(Binding);

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (exchange, pattern) = text.split_once(':').unwrap_or((text, "#"));
        if exchange.is_empty() || pattern.is_empty() {
            return Err("accepted is EXCHANGE or EXCHANGE:PATTERN".to_owned());
        }
        if text.len() > 255 {
            return Err("it is longer than 255 bytes, the longest name in AMQP".to_owned());
        }
        Ok(Self(Binding {
            exchange: exchange.to_owned(),
            pattern: pattern.to_owned(),
        }))
    }
}

/// Prints what goes by until the count or the time is over, or nobody reads it; or shows it to
/// browsers until a signal ends it.
///
/// # Errors
/// When the broker cannot be reached, does not permit it, or goes; or the address of the page is
/// not to be had.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let mut bindings: Vec<Binding> = options.bindings.iter().map(|it| it.0.clone()).collect();
    if bindings.is_empty() {
        bindings.push(Binding {
            exchange: options.broker.exchange.clone(),
            pattern: "#".to_owned(),
        });
    }
    if let Some(address) = &options.web {
        return show(options, address, &bindings);
    }
    let stop = Stop::default();
    let mut terminal = Terminal {
        options,
        bindings,
        stop: stop.clone(),
        left: options.count,
    };
    amqp::tap(&options.broker, &stop, None, &mut terminal).map_err(|error| {
        Failure::Unavailable(format!("cannot inspect {}: {error}.", options.broker))
    })
}

/// Serves the page, and prints the link to it.
fn show(options: &Options, address: &str, bindings: &[Binding]) -> Result<(), Failure> {
    let cannot_watch = |error| Failure::Unavailable(format!("cannot watch for signals: {error}."));
    let mut signals = watch_signals().map_err(cannot_watch)?;
    let token = NewPassword::make(None)?;
    let token = token.text();
    let address = inspector::start(options.broker.clone(), address, token).map_err(|error| {
        Failure::Unavailable(format!(
            "cannot listen on {address} (setting --web): {error}."
        ))
    })?;
    if !address.ip().is_loopback() {
        eprintln!(
            "bugzfeed: whoever can read the network on the way to {address} can read the link's token, and what the page shows"
        );
    }
    let names = bindings.iter().map(Binding::to_string);
    let names: Vec<String> = names
        .map(|name| address::value(&name).to_string())
        .collect();
    say(&format!("http://{address}/{token}/#{}", names.join("&")));
    signals
        .set_read_timeout(options.r#for)
        .map_err(cannot_watch)?;
    match signals.read_exact(&mut [0]) {
        // The time is over.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        result => result.map_err(cannot_watch),
    }
}

/// Who reads the lines.
struct Terminal<'a> {
    options: &'a Options,
    bindings: Vec<Binding>,
    stop: Stop,
    /// How many messages are still to be printed, where that is bounded.
    left: Option<u64>,
}

impl Audience for Terminal<'_> {
    type Request = Infallible;

    fn begin(&mut self, queue: &mut OwnQueue<'_>) -> Result<(), Error> {
        for binding in &self.bindings {
            queue.bind(binding)??;
        }
        let names = self.bindings.iter().map(Binding::to_string);
        let names: Vec<String> = names.collect();
        eprintln!("bugzfeed: inspecting {}", names.join(" "));
        if let Some(time) = self.options.r#for {
            let stop = self.stop.clone();
            thread::spawn(move || {
                thread::sleep(time);
                stop.request();
            });
        }
        Ok(())
    }

    fn answer(&mut self, request: Infallible, _queue: &mut OwnQueue<'_>) -> ControlFlow<()> {
        match request {}
    }

    fn see(&mut self, seen: Seen) -> ControlFlow<()> {
        let line = match self.options.json {
            true => as_json(&seen, unix_now()),
            false => as_line(&seen, unix_now()),
        };
        if writeln!(io::stdout(), "{line}").is_err() {
            return ControlFlow::Break(());
        }
        self.left = self.left.map(|left| left - 1);
        match self.left {
            Some(0) => ControlFlow::Break(()),
            Some(_) | None => ControlFlow::Continue(()),
        }
    }
}

/// Reads the address of a page.
fn listening_address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err(
            "accepted is HOST:PORT, such as 127.0.0.1:8846; exchanges stand before --web"
                .to_owned(),
        ),
    }
}

/// A message for people; `now` is the time in Unix seconds.
fn as_line(seen: &Seen, now: i64) -> String {
    let time = When::from_unix_seconds(now);
    let cc = match seen.cc.is_empty() {
        true => String::new(),
        false => format!(" (CC {})", printable(&seen.cc.join(", "))),
    };
    let payload = match Content::of(&seen.body) {
        Content::Json(json) => shortened(json.get()),
        Content::Text(text) => format!("no JSON: {}", shortened(text)),
        Content::Bytes(bytes) => format!("no text: {} bytes", bytes.len()),
    };
    let exchange = printable(&seen.exchange);
    let key = printable(&seen.routing_key);
    format!("{time} {exchange} {key}{cc} {payload}")
}

/// A message for programs.
fn as_json(seen: &Seen, now: i64) -> String {
    let mut object = json!({
        "time": format!("{}Z", When::from_unix_seconds(now)),
        "exchange": seen.exchange, "routing_key": seen.routing_key, "cc": seen.cc,
    });
    if seen.is_cut {
        object["cut"] = true.into();
    }
    let (name, value) = match Content::of(&seen.body) {
        Content::Json(json) => ("payload", json.get().to_owned()),
        Content::Text(text) => ("text", Value::from(text).to_string()),
        Content::Bytes(bytes) => ("base64", Value::from(BASE64.encode(bytes)).to_string()),
    };
    // The payload as it came: numbers keep their digits, and objects their order.
    let mut line = object.to_string();
    line.pop();
    // Between two parts of JSON, a line break means nothing.
    let value = value.replace(['\n', '\r'], " ");
    format!("{line},\"{name}\":{value}}}")
}

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    printable(&shown)
}

/// Without what moves a terminal's cursor, or does worse.
fn printable(text: &str) -> String {
    let is_harmless = |c: char| {
        !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if is_harmless(c) { c } else { ' ' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(body: &[u8]) -> Seen {
        Seen {
            exchange: "exchange/u/x".to_owned(),
            routing_key: "a.b".to_owned(),
            cc: Vec::new(),
            body: body.to_vec(),
            is_cut: false,
        }
    }

    #[test]
    fn a_line_shows_what_a_message_is_and_moves_no_cursor() {
        let start = "1970-01-01T00:00:07 exchange/u/x a.b";
        for (body, shown) in [
            (&b"{\"a\": 1.0}"[..], "{\"a\": 1.0}".to_owned()),
            (b"hello\x1b[2J", "no JSON: hello [2J".to_owned()),
            (b"\xff\xfe", "no text: 2 bytes".to_owned()),
            (b"", "no JSON: ".to_owned()),
            (&[b'1'; 130], format!("{}…", "1".repeat(120))),
        ] {
            assert_eq!(as_line(&seen(body), 7), format!("{start} {shown}"));
        }
        let mut routed = seen(b"1");
        routed.cc = vec!["c".to_owned(), "d".to_owned()];
        assert_eq!(as_line(&routed, 7), format!("{start} (CC c, d) 1"));
    }

    #[test]
    fn an_object_has_the_whole_payload_as_it_came() {
        for (body, name, value) in [
            (
                &b"{\"z\":1.10,\n\"a\":12345678901234567890}"[..],
                "payload",
                r#"{"z":1.10, "a":12345678901234567890}"#,
            ),
            (b"hello", "text", r#""hello""#),
            (b"\xff", "base64", r#""/w==""#),
        ] {
            let line = as_json(&seen(body), 7);
            assert!(line.ends_with(&format!(",\"{name}\":{value}}}")), "{line}");
            let object: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(object["time"], "1970-01-01T00:00:07Z");
            assert_eq!(object["cc"], json!([]));
        }
    }

    #[test]
    fn an_exchange_has_a_pattern_or_means_all() {
        for (text, exchange, pattern) in [
            ("exchange/u/x", "exchange/u/x", "#"),
            ("exchange/u/x:a.*:b", "exchange/u/x", "a.*:b"),
        ] {
            let Target(binding) = text.parse().unwrap();
            assert_eq!((&*binding.exchange, &*binding.pattern), (exchange, pattern));
        }
        for text in ["", ":", "x:", ":#"] {
            text.parse::<Target>().unwrap_err();
        }
    }
}
