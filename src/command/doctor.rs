//! `bugzfeed doctor`: finds what is wrong before people ask. Owns its options, what it takes from the
//! settings of `serve` and `relay`, and how findings are printed.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use serde::Serialize;

use super::{config, relay, serve};
use crate::client::FeedUrl;
use crate::doctor::{self, Finding, Findings, Public, Setup, State};
use crate::duration;
use crate::failure::Failure;
use crate::management;
use crate::settings;

/// Settings of `bugzfeed doctor`.
#[derive(Args, Debug)]
pub struct Options {
    /// File of settings that the server, and the relay, are started with
    #[arg(id = "settings", long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The feed as clients reach it, through its proxy: wss://HOST/PATH
    #[arg(long, value_name = "URL")]
    url: Option<FeedUrl>,
    /// PEM file with the certificates to trust at --url, in place of this machine's own
    #[arg(long, value_name = "FILE", requires = "url")]
    cacert: Option<PathBuf>,
    /// File with the token to show at --url, where the server wants one
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// How long a silent connection to --url is watched; by default until two pings have come, or
    /// should have
    #[arg(long, value_name = "DURATION", requires = "url", value_parser = duration::parse)]
    hold: Option<Duration>,
    /// How many clients there shall be; by default as many as the setting connections says
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    clients: Option<u64>,
    /// RabbitMQ's management API, which knows more of a broker: http://USER@HOST:15672/#password_file=FILE
    #[arg(long, value_name = "URL")]
    management: Option<management::Settings>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Options of serve, where it is started with some beside the file
    #[arg(last = true, value_name = "OPTION")]
    serve: Vec<OsString>,
}

/// All findings, for programs.
#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
    /// How many must be mended.
    mend: usize,
}

/// Looks, and prints what was found.
///
/// # Errors
/// When something must be mended.
pub fn run(options: Options) -> Result<(), Failure> {
    let is_json = options.json;
    let mut findings = Findings::default();
    match options.setup() {
        Ok(setup) => doctor::examine(&setup, &mut findings),
        Err(failure) => findings.mend(
            "settings",
            failure.to_string(),
            "bugzfeed config check --config FILE    # names each mistake with its line",
        ),
    }
    let mend = findings.0.iter();
    let mend = mend.filter(|finding| finding.state == State::Mend).count();
    let text = if is_json {
        let report = Report {
            findings: &findings.0,
            mend,
        };
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        findings.0.iter().map(line).collect()
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(Failure::Unavailable(format!(
                "cannot write the output: {error}."
            )));
        }
        _ => {}
    }
    match mend {
        0 => Ok(()),
        1 => Err(Failure::CheckFailed("1 thing must be mended.".to_owned())),
        many => Err(Failure::CheckFailed(format!(
            "{many} things must be mended."
        ))),
    }
}

/// A finding, and below it what mends it.
fn line(finding: &Finding) -> String {
    let state = match finding.state {
        State::Ok => "ok  ",
        State::Note => "note",
        State::Mend => "MEND",
    };
    let mend = finding.mend.iter().map(|mend| format!("        {mend}\n"));
    format!("{state}  {}: {}\n", finding.check, finding.text) + &mend.collect::<String>()
}

impl Options {
    /// What is to be looked at.
    fn setup(self) -> Result<Setup, Failure> {
        let mut file = Vec::new();
        if let Some(config) = self.config {
            file.extend([OsString::from("--config"), config.into_os_string()]);
        }
        let arguments = |command: &str, more: Vec<OsString>| {
            let start = ["bugzfeed", command].map(OsString::from);
            let all = start.into_iter().chain(file.iter().cloned()).chain(more);
            all.collect::<Vec<_>>()
        };
        let (matches, _) = settings::parse(config::program(), &arguments("serve", self.serve))?;
        let serve = serve::Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let (matches, _) = settings::parse(config::program(), &arguments("relay", Vec::new()))?;
        let relay = relay::Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let token = match &self.token_file {
            Some(file) => Some(fs::read_to_string(file).map_err(|error| {
                let file = file.display();
                Failure::Configuration(format!(
                    "cannot read {file} (setting --token-file): {error}."
                ))
            })?),
            None => None,
        };
        let mut setup = serve.setup();
        relay.complete(&mut setup);
        setup.clients = self.clients.or(setup.clients);
        setup.management = self.management;
        setup.feed = self.url.map(|url| Public {
            url,
            ca_file: self.cacert,
            token: token.map(|token| token.trim_end().to_owned()),
            hold: self.hold,
        });
        Ok(setup)
    }
}
