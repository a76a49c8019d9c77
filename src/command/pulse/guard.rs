//! `bugzfeed pulse guard`: watches the queues of a Pulse. Owns the settings and the signals.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::super::discreet::Discreet;
use super::super::log::LogOptions;
use super::{Broker, mail, watch_signals};
use crate::duration;
use crate::failure::Failure;
use crate::guard::{self, Guard, Limits, MailSettings, Rules};
use crate::logging::Log;
use crate::management::{Client, Error};
use crate::protocol::VERSION;
use crate::relay::WebhookSettings;
use crate::systemd::Manager;
use crate::work::unix_now;
use clap::Args;

/// How long the end of the guard may take, for systemd.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Settings of `bugzfeed pulse guard`.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    broker: Broker,
    /// Messages in a queue above which its owners are told
    #[arg(
        long,
        env = "BUGZFEED_GUARD_WARN",
        value_name = "MESSAGES",
        default_value_t = 2_000
    )]
    warn: u64,
    /// Messages in a queue above which it is deleted
    #[arg(
        long,
        env = "BUGZFEED_GUARD_DELETE",
        value_name = "MESSAGES",
        default_value_t = 8_000
    )]
    delete: u64,
    /// How long a queue may hold more than that; it stays if its consumers would empty it within 20
    /// times as long
    #[arg(long, env = "BUGZFEED_GUARD_GRACE", value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    grace: Duration,
    /// How often the queues are looked at; less often where the broker is slow to answer
    #[arg(long, env = "BUGZFEED_GUARD_EVERY", value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    every: Duration,
    /// How long the broker may be away before the administrators are told
    #[arg(long, env = "BUGZFEED_GUARD_OUTAGE", value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    outage: Duration,
    /// What the names of queues begin with that are left alone, as those with "amq." are; may be
    /// given several times
    #[arg(long, value_name = "PREFIX")]
    reserved: Vec<String>,
    /// Mail address of an administrator, who is told of outages and of what has no owner; may be
    /// given several times
    #[arg(long, value_name = "MAIL", value_parser = mail::address)]
    administrator: Vec<String>,
    /// Tell by mail: smtp://HOST/?from=NAME@HOST or smtps://USER@HOST/?from=…&password_file=FILE
    #[arg(long, env = "BUGZFEED_GUARD_MAIL", hide_env_values = true, value_name = "URL", value_parser = Discreet(str::parse::<MailSettings>))]
    mail: Option<MailSettings>,
    /// Tell by posts to https://HOST/PATH#secret_file=FILE, signed like the relay's
    #[arg(long, env = "BUGZFEED_GUARD_WEBHOOK", hide_env_values = true, value_name = "URL", value_parser = Discreet(WebhookSettings::parse))]
    webhook: Option<WebhookSettings>,
    /// File that remembers what was told
    #[arg(
        long,
        env = "BUGZFEED_GUARD_STATE",
        value_name = "FILE",
        default_value = "bugzfeed-guard.json"
    )]
    state: PathBuf,
    /// Delete nothing, and tell nobody but the log
    #[arg(long)]
    dry_run: bool,
    /// Print what the guard has seen and what is still to be told, and end
    #[arg(long)]
    status: bool,
    /// Print that as a JSON object
    #[arg(long, requires = "status")]
    json: bool,
    #[command(flatten)]
    log: LogOptions,
}

/// Watches until a signal ends it, or prints the status of a guard.
///
/// # Errors
/// When a setting is wrong, or another guard is at work.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    if options.status {
        let text = guard::status(&options.state, options.json, unix_now())?;
        // A reader that closes the pipe early is no failure.
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(());
    }
    if options.delete < options.warn {
        return Err(Failure::Usage(format!(
            "--delete {} is less than --warn {}; an owner must be told before.",
            options.delete, options.warn
        )));
    }
    let log = options.log.start()?;
    let result = watch(options, &log);
    log.finish();
    result
}

fn watch(options: &Options, log: &Log) -> Result<(), Failure> {
    let cannot_watch = |error| Failure::Unavailable(format!("cannot watch for signals: {error}."));
    let mut signals = watch_signals().map_err(cannot_watch)?;
    let client = client(&options.broker)?;
    let guard = Guard::start(client, options.settings())?;
    log.announce(&format!(
        "bugzfeed {VERSION} guards {}",
        options.broker.management
    ));
    let mut manager = Manager::of_this_process();
    manager.ready();
    signals.read_exact(&mut [0]).map_err(cannot_watch)?;
    manager.stopping(STOP_PATIENCE);
    guard.stop();
    Ok(())
}

/// A broker that is away may come back; one that does not let the guard in never will by itself.
fn client(broker: &Broker) -> Result<Client, Failure> {
    match broker.client() {
        Ok(client) => Ok(client),
        Err(Failure::Unavailable(_)) => {
            Ok(Client::new(broker.management.clone())
                .map_err(|error: Error| Failure::from(error))?)
        }
        Err(failure) => Err(failure),
    }
}

impl Options {
    fn settings(&self) -> guard::Settings {
        guard::Settings {
            rules: Rules {
                vhost: self.broker.vhost.clone(),
                limits: Limits {
                    warn: self.warn,
                    delete: self.delete,
                    grace: self.grace,
                },
                every: self.every,
                outage: self.outage,
                reserved: self.reserved.clone(),
                administrators: self.administrator.clone(),
                is_dry: self.dry_run,
            },
            mail: self.mail.clone(),
            webhook: self.webhook.clone(),
            memory: self.state.clone(),
        }
    }
}
