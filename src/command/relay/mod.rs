//! `bugzfeed relay`: takes changes from Bugzilla's database and sends them on, to a broker, a
//! webhook or a file. Owns the settings, the signals and the line of progress on a terminal.

mod answers;

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use log::warn;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::admin;
use super::discreet::Discreet;
use super::log::LogOptions;
use crate::database::Database;
use crate::doctor::Setup;
use crate::failure::Failure;
use crate::logging::Log;
use crate::protocol::VERSION;
use crate::reactor::AdminAddress;
use crate::relay::{self, End, Pauses, Relay};
use crate::settings;
use crate::source;
use crate::systemd::Manager;
use crate::work::unix_now;

/// How often a terminal shows how much is left.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How often it is seen whether the backlog can be used.
const BACKLOG_EVERY: Duration = Duration::from_secs(1);

/// How long the end of the relay may take, for systemd.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// The number of waiting changes from which on a terminal shows progress.
const PROGRESS_MIN: u64 = 1_000;

/// Settings of `bugzfeed relay`.
#[derive(Args, Debug)]
pub struct Options {
    /// File of settings, in TOML, with a table for each command; flags and the environment win over
    /// it; bugzfeed config default prints one
    #[arg(long, env = "BUGZFEED_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Table to take changes from: sqlite:FILE, mysql://… or postgres://…
    #[arg(long, env = "BUGZFEED_FROM", hide_env_values = true, value_name = "SOURCE", value_parser = Discreet(str::parse::<source::Address>))]
    from: Option<source::Address>,
    /// Where to send them: amqp(s)://…, http(s)://… or jsonl:FILE; may be given several times
    #[arg(long, env = "BUGZFEED_TO", hide_env_values = true, value_name = "DESTINATION", num_args = 1.., value_delimiter = ' ', value_parser = Discreet(str::parse::<relay::Address>))]
    to: Vec<relay::Address>,
    /// SQLite file that keeps changes until they have arrived
    #[arg(
        long,
        env = "BUGZFEED_BACKLOG",
        value_name = "FILE",
        default_value = "bugzfeed-relay.db"
    )]
    backlog: PathBuf,
    /// How many changes wait for one destination at most; beyond that, the oldest are dropped
    #[arg(long, env = "BUGZFEED_BACKLOG_SIZE", value_name = "CHANGES", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    backlog_size: u64,
    /// Wait while another server or relay takes changes from the table, or uses the backlog, and
    /// take over when it has gone
    #[arg(long, env = "BUGZFEED_WAIT")]
    wait: bool,
    /// Print what waits for each destination, what went wrong last, and when it is tried again
    #[arg(long)]
    status: bool,
    /// Print the changes that destinations have refused for good, the latest 10,000 of each, as
    /// JSON Lines
    #[arg(long)]
    refused: bool,
    /// Delete a destination of an earlier relay, and what waits for it; as --status names it
    #[arg(long, value_name = "DESTINATION")]
    forget: Option<String>,
    /// Pauses after failures in a row
    #[arg(
        long,
        env = "BUGZFEED_RETRY",
        value_name = "DURATIONS",
        hide = true,
        default_value = "5s,25s,125s,625s,900s"
    )]
    retry: Pauses,
    /// Address for those who run the relay: HOST:PORT, unix:FILE or off; /livez, /readyz, /metrics and
    /// /status are there, for everybody who can connect; by default 127.0.0.1:8847, or none where that
    /// is taken
    #[arg(long, env = "BUGZFEED_ADMIN", value_name = "ADDRESS")]
    admin: Option<AdminAddress>,
    #[command(flatten)]
    log: LogOptions,
}

impl Options {
    /// Adds what `bugzfeed doctor` looks at, where there is a relay.
    pub(super) fn complete(&self, setup: &mut Setup) {
        let Some(source::Address::Database(database)) = &self.from else {
            return;
        };
        setup.relayed = Some(database.clone());
        setup.kept.push(("backlog", self.backlog.clone()));
        let brokers = self.to.iter().filter_map(|to| match to {
            relay::Address::Amqp(settings) => Some(settings.clone()),
            relay::Address::Webhook(_) | relay::Address::Jsonl(_) => None,
        });
        setup.destinations.extend(brokers);
    }
}

/// Relays until a signal ends it, or prints the status of a relay.
///
/// # Errors
/// When a setting is wrong, or another relay is at work.
pub fn run(options: Options) -> Result<(), Failure> {
    let Options {
        config,
        from,
        to,
        backlog,
        wait,
        status,
        refused,
        forget,
        backlog_size,
        retry: pauses,
        admin,
        log,
    } = options;
    let text = match forget {
        Some(destination) => Some(relay::forget(&backlog, &destination)?),
        None if refused => Some(relay::refused(&backlog)?),
        None if status => Some(relay::status(&backlog, unix_now())?),
        None => None,
    };
    if let Some(text) = text {
        // A reader that closes the pipe early is no failure.
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(());
    }
    let from = table(from)?;
    expect_destination(&to)?;
    let log = log.start()?;
    settings::log_file(config.as_deref());
    let result = relay(
        &relay::Settings {
            from,
            to,
            backlog,
            is_standby: wait,
            pauses,
            backlog_size,
        },
        admin.as_ref(),
        &log,
    );
    log.finish();
    result
}

/// Checks the settings as a start does, and starts nothing.
///
/// # Errors
/// When nothing could be relayed with them.
pub(super) fn check(options: &Options) -> Result<(), Failure> {
    table(options.from.clone())?;
    expect_destination(&options.to)
}

/// The table that changes are taken from.
fn table(from: Option<source::Address>) -> Result<Database, Failure> {
    match from {
        Some(source::Address::Database(database)) => Ok(database),
        Some(other) => Err(relay::no_table(&other)),
        None => Err(Failure::Usage("--from is missing.".to_owned())),
    }
}

/// Without a destination, changes would be taken and sent to nobody.
fn expect_destination(to: &[relay::Address]) -> Result<(), Failure> {
    match to {
        [] => Err(Failure::Usage("--to is missing.".to_owned())),
        _ => Ok(()),
    }
}

fn relay(
    settings: &relay::Settings,
    admin: Option<&AdminAddress>,
    log: &Log,
) -> Result<(), Failure> {
    let cannot_watch = |error| Failure::Unavailable(format!("cannot watch for signals: {error}."));
    // Before anything is on its way: a signal must not end the program in the middle of it.
    let signals = watch_signals().map_err(cannot_watch)?;
    signals
        .set_read_timeout(Some(BACKLOG_EVERY))
        .map_err(cannot_watch)?;
    if settings.is_standby && !wait_for_backlog(settings, &signals) {
        return Ok(());
    }
    let admin = admin::listener(admin, admin::RELAY)?;
    let mut has_said = false;
    let started = Relay::start(settings, |why| {
        if !std::mem::replace(&mut has_said, true) {
            warn!("{why}; trying again until it works");
        }
        !is_ended(&signals)
    });
    let Some(relay) = started? else {
        return Ok(());
    };
    signals.set_read_timeout(None).map_err(cannot_watch)?;
    end_by_signal(signals, relay.end()).map_err(cannot_watch)?;
    let admin = admin
        .map(|listener| answers::give(listener, relay.monitor()))
        .transpose()?;
    let to: Vec<String> = settings.to.iter().map(ToString::to_string).collect();
    log.announce(&format!(
        "bugzfeed {VERSION} relays from {} to {}; admin: {}",
        settings.from,
        to.join(", "),
        admin.map_or("off".to_owned(), |address| address.to_string())
    ));
    let mut manager = Manager::of_this_process();
    manager.ready();
    let end = wait(&relay, log);
    manager.stopping(STOP_PATIENCE);
    relay.stop();
    match end {
        End::Requested | End::NobodyReads => Ok(()),
        End::Failed(failure) => Err(failure),
    }
}

/// What a byte can be read from for each SIGTERM and SIGINT.
fn watch_signals() -> io::Result<UnixStream> {
    let (received, signal) = UnixStream::pair()?;
    pipe::register(SIGTERM, signal.try_clone()?)?;
    pipe::register(SIGINT, signal)?;
    Ok(received)
}

/// A signal ends the relay; a second one ends the program at once.
fn end_by_signal(mut received: UnixStream, end: Sender<End>) -> io::Result<()> {
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while received.read_exact(&mut [0]).is_ok() {
                if end.send(End::Requested).is_err() {
                    std::process::exit(0);
                }
            }
        })?;
    Ok(())
}

/// Waits while another relay uses the backlog; returns false when a signal ends that.
fn wait_for_backlog(settings: &relay::Settings, signals: &UnixStream) -> bool {
    let mut has_said = false;
    while settings.is_backlog_in_use() {
        if !std::mem::replace(&mut has_said, true) {
            warn!(
                "another relay uses the backlog {}; waiting until it has gone",
                settings.backlog.display()
            );
        }
        if is_ended(signals) {
            return false;
        }
    }
    true
}

/// Waits for a moment, [`BACKLOG_EVERY`]; returns whether a signal has come meanwhile.
fn is_ended(mut signals: &UnixStream) -> bool {
    signals.read_exact(&mut [0]).is_ok()
}

/// Waits for the relay's end, and meanwhile shows on a terminal how much is left.
fn wait(relay: &Relay, log: &Log) -> End {
    let is_watched = io::stderr().is_terminal();
    let patience = if is_watched {
        PROGRESS_EVERY
    } else {
        Duration::MAX
    };
    let mut before = None;
    loop {
        if let Some(end) = relay.wait(patience) {
            log.progress("");
            return end;
        }
        // Without the backlog there is nothing to show, and the log says why.
        let depth = relay.depth().unwrap_or(0);
        let now = Instant::now();
        match (depth, before) {
            (PROGRESS_MIN.., before) => log.progress(&progress(depth, before, now)),
            (_, Some(_)) => log.progress(""),
            (_, None) => {}
        }
        before = (depth >= PROGRESS_MIN).then_some((depth, now));
    }
}

fn progress(depth: u64, before: Option<(u64, Instant)>, now: Instant) -> String {
    let Some((depth_before, then)) = before.filter(|(depth_before, _)| *depth_before > depth)
    else {
        return format!("{depth} changes wait");
    };
    let per_second = (depth_before - depth) as f64 / now.duration_since(then).as_secs_f64();
    format!(
        "{depth} changes wait, {per_second:.0} go out per second: {:.0} s left",
        depth as f64 / per_second
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_much_and_how_long() {
        let then = Instant::now();
        let now = then + Duration::from_secs(2);
        assert_eq!(progress(5_000, None, now), "5000 changes wait");
        assert_eq!(
            progress(5_000, Some((4_000, then)), now),
            "5000 changes wait"
        );
        assert_eq!(
            progress(5_000, Some((6_000, then)), now),
            "5000 changes wait, 500 go out per second: 10 s left"
        );
    }
}
