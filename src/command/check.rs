//! `bugzfeed check`: plays the conformance list against a server. Owns its options, and how what came
//! of it is printed.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::bench::server::inlet::{Inlet, InletAddress, is_loopback};
use crate::check::{self, Check, Group, Target, Verdict};
use crate::client::{Connector, FeedUrl};
use crate::duration;
use crate::failure::Failure;

/// Settings of `bugzfeed check`.
#[derive(Args, Debug)]
pub struct Options {
    /// Feed to check: ws:// or wss://HOST[:PORT]/PATH, or http:// or https:// for the same
    url: FeedUrl,
    /// Where that server learns of changes: sqlite:FILE, amqp://…, http://[KEY@]HOST:PORT/PATH or
    /// lines:HOST:PORT; without it, what takes changes is not tried
    #[arg(long, value_name = "DESTINATION")]
    publish: Option<InletAddress>,
    /// Yes, publish invented updates to a server or a database that real users may read
    #[arg(long, requires = "publish")]
    invent: bool,
    /// Only those checks whose group or name has this text in it
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How long the server may take for each thing that is waited for; an answer to since may take
    /// five seconds
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    patience: Duration,
    /// PEM file with the certificates to trust, in place of this machine's own (wss:// only)
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// File with the token to show to a server that wants one (wss://, or on this machine)
    #[arg(long, env = "BUGZFEED_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// A check and what has come of it.
#[derive(Serialize)]
struct Tried {
    group: Group,
    name: String,
    #[serde(flatten)]
    verdict: Verdict,
}

/// All results, for programs.
#[derive(Serialize)]
struct Report<'a> {
    checks: &'a [Tried],
    passed: usize,
    failed: usize,
    not_tried: usize,
}

/// Plays the checks, and prints what has come of each.
///
/// # Errors
/// When the server fails one, or cannot be reached.
pub fn run(options: &Options) -> Result<(), Failure> {
    let checks: Vec<Check> = check::all()
        .into_iter()
        .filter(|check| options.is_chosen(check))
        .collect();
    if checks.is_empty() {
        return Err(Failure::Usage(
            "no check's group or name has the text of --only in it; without it, all are played."
                .to_owned(),
        ));
    }
    let mut target = options.target()?;
    let tried: Vec<Tried> = checks
        .iter()
        .map(|check| Tried {
            group: check.group,
            name: check.name.clone(),
            verdict: target.try_out(check),
        })
        .collect();
    let count = |is_it: fn(&Verdict) -> bool| tried.iter().filter(|it| is_it(&it.verdict)).count();
    let report = Report {
        checks: &tried,
        passed: count(|it| matches!(it, Verdict::Passed)),
        failed: count(|it| matches!(it, Verdict::Failed(_))),
        not_tried: count(|it| matches!(it, Verdict::NotTried(_))),
    };
    print(&report, options.json)?;
    match report.failed {
        0 => Ok(()),
        failed => Err(Failure::CheckFailed(format!(
            "{failed} of {} checks failed.",
            tried.len()
        ))),
    }
}

fn print(report: &Report<'_>, as_json: bool) -> Result<(), Failure> {
    let text = match as_json {
        true => serde_json::to_string_pretty(report).unwrap_or_default() + "\n",
        false => {
            let lines: String = report.checks.iter().map(line).collect();
            let Report {
                passed,
                failed,
                not_tried,
                ..
            } = report;
            format!("{lines}{passed} passed, {failed} failed, {not_tried} not tried\n")
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Unavailable(format!(
            "cannot write the output: {error}."
        ))),
        _ => Ok(()),
    }
}

/// A line of the table, and below it why something is wrong.
fn line(tried: &Tried) -> String {
    let (state, why) = match &tried.verdict {
        Verdict::Passed => ("ok  ", ""),
        Verdict::Failed(why) => ("FAIL", why.as_str()),
        Verdict::NotTried(why) => ("-   ", why.as_str()),
    };
    let reason = match why {
        "" => String::new(),
        why => format!("                {why}\n"),
    };
    format!(
        "{state}  {:8}  {}\n{reason}",
        tried.group.word(),
        tried.name
    )
}

impl Options {
    fn is_chosen(&self, check: &Check) -> bool {
        let has = |text: &String| check.name.contains(text) || check.group.word() == text;
        self.only.as_ref().is_none_or(has)
    }

    /// The server, when it can be connected to.
    fn target(&self) -> Result<Target, Failure> {
        let url = self.url.clone();
        let mut connector = Connector::new(url, self.cacert.as_deref(), self.patience)
            .map_err(|error| Failure::Configuration(format!("{error} (setting --cacert).")))?;
        if let Some(file) = &self.token_file {
            if !self.url.keeps_secrets() {
                return Err(Failure::Usage(
                    "a token is shown by wss:// or on this machine only (setting --token-file)."
                        .to_owned(),
                ));
            }
            let text = fs::read_to_string(file).map_err(|error| error.to_string());
            let shown = text.and_then(|text| connector.show_token(text.trim()));
            shown.map_err(|why| {
                let file = file.display();
                Failure::Configuration(format!("cannot use {file} (setting --token-file): {why}."))
            })?;
        }
        connector.connect().map_err(|error| {
            Failure::Unavailable(format!("cannot check {}: {error}.", self.url))
        })?;
        let target = Target::new(connector, self.patience);
        let Some(address) = &self.publish else {
            return Ok(target);
        };
        let is_private = is_loopback(self.url.host()) && address.is_private();
        if !self.invent && !is_private {
            return Err(Failure::Usage(
                "--publish invents updates, and real users may get them: the server is on another machine, or the database is Bugzilla's; \
                 --invent says that this is meant."
                    .to_owned(),
            ));
        }
        let inlet = Inlet::open(address);
        let inlet = inlet.map_err(|error| {
            Failure::Unavailable(format!("cannot publish (setting --publish): {error}."))
        })?;
        Ok(target.publishing_by(inlet))
    }
}
