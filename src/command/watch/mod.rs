//! `bugzfeed watch`: tells of each update of some bugs, for as long as it runs. Owns what happens when
//! a connection ends. How a connection works is the client's business, what counts as a repeat is that
//! of `resume`, and how updates are shown is that of `output` and `screen`.

mod exec;
mod facts;
mod options;
mod output;
mod resume;
mod screen;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, ConnectError, Connector, Heard, Lost, Message, Reply};
use crate::failure::Failure;
use crate::update::{BugId, Update};
use crate::work::{Backoff, unix_now};
use exec::Runner;
pub use options::Options;
use output::{Next, Output};
use resume::Resume;

/// How long an attempt to connect may take.
/// A balancer may have waited for a server that hangs before it asks another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Watches until the wanted number of updates has come, or nobody reads them any more.
///
/// # Errors
/// When the settings make no sense, the server refuses the URL or the bugs for good, or a retry is
/// not wanted.
pub fn run(options: &Options) -> Result<(), Failure> {
    if options.wants_table() && screen::is_possible() {
        return screen::run(options);
    }
    let output = Output::Lines {
        json: options.json,
        is_quiet: options.quiet,
    };
    finish(Watch::new(options, output)?)
}

/// Runs a watch to its end, and the commands that it has still to run.
fn finish(mut watch: Watch) -> Result<(), Failure> {
    let result = watch.run();
    if let Some(runner) = watch.runner.take() {
        runner.finish();
    }
    result
}

/// How a connection ended, where the watch did not end with it as it should.
enum Interruption {
    /// Another attempt may help.
    Lost(String),
    Final(Failure),
}

impl From<Lost> for Interruption {
    fn from(lost: Lost) -> Self {
        Interruption::Lost(lost.to_string())
    }
}

/// A watch, over all its connections.
struct Watch {
    options: Options,
    output: Output,
    bugs: BTreeSet<BugId>,
    connector: Connector,
    resume: Resume,
    backoff: Backoff,
    runner: Option<Runner>,
    /// How many updates are still wanted, where there is a limit.
    wanted: Option<u64>,
}

impl Watch {
    fn new(options: &Options, output: Output) -> Result<Self, Failure> {
        let (url, bugs) = options.feed_and_bugs()?;
        if options.cacert.is_some() && !url.is_encrypted() {
            return Err(Failure::Usage(format!(
                "--cacert is for wss:// only, and {url} is not encrypted."
            )));
        }
        if options.token_file.is_some() && !url.keeps_secrets() {
            return Err(Failure::Usage(format!(
                "--token-file is for wss:// and for this machine, and {url} would show the token to all on the way."
            )));
        }
        let connector = Connector::new(url, options.cacert.as_deref(), CONNECT_TIMEOUT)
            .map_err(|error| Failure::Configuration(format!("{error} (setting --cacert).")))?;
        let runner = match &options.exec {
            Some(command) => Some(start_runner(options, command, output.clone())?),
            None => None,
        };
        Ok(Self {
            options: options.clone(),
            output,
            bugs,
            connector,
            resume: Resume::new(options.since.as_ref()),
            backoff: Backoff::new(PAUSE_FIRST, PAUSE_MAX),
            runner,
            wanted: options.count,
        })
    }

    /// Connects again and again.
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            let why = match self.connect_and_follow() {
                Ok(()) => return Ok(()),
                Err(Interruption::Final(failure)) => return Err(failure),
                Err(Interruption::Lost(why)) => why,
            };
            if self.options.no_retry {
                return Err(Failure::Unavailable(format!("{why}.")));
            }
            let pause = self.backoff.next_pause(fastrand::f64());
            self.output
                .state(&format!("{why}; retrying in {:.1} s", pause.as_secs_f64()));
            thread::sleep(pause);
        }
    }

    /// One connection, from its start to its end.
    fn connect_and_follow(&mut self) -> Result<(), Interruption> {
        let mut client = self.connect()?;
        let start = Instant::now();
        let result = self
            .subscribe(&mut client)
            .and_then(|()| self.follow(&mut client));
        if start.elapsed() > PAUSE_MAX {
            self.backoff.reset();
        }
        match result {
            Ok(()) => client.close(),
            Err(Interruption::Lost(why)) => {
                return Err(Interruption::Lost(format!(
                    "lost {}: {why}",
                    self.connector.url()
                )));
            }
            Err(Interruption::Final(_)) => {}
        }
        result
    }

    fn connect(&mut self) -> Result<Client, Interruption> {
        self.show_token().map_err(Interruption::Final)?;
        let url = self.connector.url();
        self.connector.connect().map_err(|error| match error {
            ConnectError::Rejected(rejection) if rejection.is_final() => {
                Interruption::Final(Failure::Unavailable(format!(
                    "there is no feed for us at {url}: the server answers {rejection}."
                )))
            }
            ConnectError::Untrusted => Interruption::Lost(format!(
                "cannot connect to {url}: {error}; --cacert FILE names a certificate to trust"
            )),
            ConnectError::Rejected(_) | ConnectError::Unreachable(_) => {
                Interruption::Lost(format!("cannot connect to {url}: {error}"))
            }
        })
    }

    /// Reads the token, if there is one: it may have been replaced.
    fn show_token(&mut self) -> Result<(), Failure> {
        let Some(file) = &self.options.token_file else {
            return Ok(());
        };
        let cannot_use = |why: &dyn Display| {
            let file = file.display();
            Failure::Configuration(format!("cannot use {file} (setting --token-file): {why}."))
        };
        let token = fs::read_to_string(file).map_err(|error| cannot_use(&error))?;
        let shown = self.connector.show_token(token.trim_end());
        shown.map_err(|why| cannot_use(&why))
    }

    /// Subscribes to all bugs at once. The reply to `version` behind it marks the end of the
    /// missed updates: replies come in the order of the commands, and the missed updates follow the
    /// reply to `subscribe` at once.
    fn subscribe(&mut self, client: &mut Client) -> Result<(), Interruption> {
        let bugs = self
            .bugs
            .iter()
            .map(BugId::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let since = self
            .resume
            .connected()
            .map(|since| format!(r#","since":"{since}""#))
            .unwrap_or_default();
        client.send(&format!(
            r#"{{"command":"subscribe","bugs":[{bugs}]{since}}}"#
        ))?;
        Ok(client.send(r#"{"command":"version"}"#)?)
    }

    /// Handles what comes, until no more is wanted. A silent connection is
    /// pinged.
    fn follow(&mut self, client: &mut Client) -> Result<(), Interruption> {
        let silence_max = self.options.silence_max;
        let mut is_asked = false;
        loop {
            let patience = if is_asked {
                silence_max / 3
            } else {
                silence_max
            };
            let next = match client.read(Instant::now() + patience)? {
                Heard::Nothing if is_asked => {
                    return Err(Interruption::Lost(format!(
                        "silent for {:.1?} and does not answer",
                        silence_max + patience
                    )));
                }
                Heard::Nothing => {
                    client.ping()?;
                    is_asked = true;
                    continue;
                }
                Heard::SignOfLife => Next::GoOn,
                Heard::Text(text) => self.receive(&text)?,
            };
            if next == Next::End {
                return Ok(());
            }
            is_asked = false;
        }
    }

    fn receive(&mut self, text: &str) -> Result<Next, Interruption> {
        match Message::read(text) {
            Ok(Message::Update(update)) => self.show(update, text).map_err(Interruption::Final),
            Ok(Message::Reply(reply)) => self.receive_reply(&reply).map(|()| Next::GoOn),
            Err(_) => {
                self.output.warning(&format!(
                    "passed over what is neither an update nor a reply: {}",
                    text.escape_debug().take(200).collect::<String>()
                ));
                Ok(Next::GoOn)
            }
        }
    }

    fn receive_reply(&mut self, reply: &Reply) -> Result<(), Interruption> {
        match (reply.command.as_str(), &reply.error) {
            ("version", _) => self.resume.caught_up(),
            (_, Some(error)) => {
                let error = error.escape_debug();
                let url = self.connector.url();
                return Err(Interruption::Final(Failure::CheckFailed(format!(
                    "{url} refuses the subscription: {error}."
                ))));
            }
            ("subscribe", None) => {
                let count = self.bugs.len();
                self.output.state(&format!(
                    "connected to {}, watching {count} bug{}",
                    self.connector.url(),
                    if count == 1 { "" } else { "s" }
                ));
                if !reply.denied.is_empty() {
                    let denied = reply.denied.iter().map(u32::to_string);
                    self.output.warning(&format!(
                        "Bugzilla does not show us these bugs, or they are not there: {}",
                        denied.collect::<Vec<_>>().join(", ")
                    ));
                }
                if let (Some(false), Some(since)) = (reply.complete, self.resume.since()) {
                    self.output.warning(&format!(
                        "the server does not remember all that changed since {since}: ask Bugzilla once what became of these bugs"
                    ));
                }
                self.resume.subscribed(unix_now());
            }
            (_, None) => {}
        }
        Ok(())
    }

    /// Shows an update, and runs the command for it, unless it is one that was shown before. A
    /// connection that brings a new one is useful, however short.
    fn show(&mut self, update: Update, text: &str) -> Result<Next, Failure> {
        if !self.resume.is_new(&update) {
            return Ok(Next::GoOn);
        }
        if self.output.update(&update, text)? == Next::End {
            return Ok(Next::End);
        }
        self.resume.shown(&update, unix_now());
        self.backoff.reset();
        if let Some(runner) = &self.runner {
            runner.run(update);
        }
        self.wanted = self.wanted.map(|wanted| wanted - 1);
        Ok(if self.wanted == Some(0) {
            Next::End
        } else {
            Next::GoOn
        })
    }
}

fn start_runner(options: &Options, command: &str, output: Output) -> Result<Runner, Failure> {
    let bugzilla = options.bugzilla.clone().zip(options.fact_finder()?);
    Runner::start(command.to_owned(), output, bugzilla).map_err(|error| {
        Failure::Unavailable(format!("cannot start a thread for --exec: {error}."))
    })
}
