//! The manager that has started the service, and is told how it is: ready, alive, stopping
//! (sd_notify(3)). Nothing here blocks: what its socket does not take is sent again.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use log::warn;
use rustix::time::{ClockId, clock_gettime};

use crate::moment::Moment;

/// The least time between two changes of the status, in milliseconds.
const STATUS_INTERVAL: u32 = 5_000;

/// After how many milliseconds what the socket did not take is sent again.
const RETRY: u32 = 100;

/// How many messages wait at most for a socket that takes none.
const UNSENT_MAX: usize = 16;

/// systemd, where it has started this process and wants to know how it is.
#[derive(Debug)]
pub(crate) struct Manager(Option<Told>);

#[derive(Debug)]
struct Told {
    socket: UnixDatagram,
    address: SocketAddr,
    unsent: VecDeque<String>,
    watchdog: Option<Watchdog>,
    status: Status,
}

/// When the manager must hear from the loop, or starts it anew.
#[derive(Debug)]
struct Watchdog {
    /// Half of what the manager allows, in milliseconds.
    interval: u32,
    next: Moment,
}

/// What `systemctl status` shows.
#[derive(Debug, Default)]
struct Status {
    connections: Option<usize>,
    shown: Option<(usize, Moment)>,
}

impl Manager {
    /// The manager that the environment names.
    pub(crate) fn of_this_process() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match Told::at(name.as_encoded_bytes()) {
            Ok(told) => Self(Some(told)),
            Err(error) => {
                warn!(
                    "cannot tell systemd anything at {} ($NOTIFY_SOCKET): {error}",
                    name.display()
                );
                Self(None)
            }
        }
    }

    /// The service does its work from now on.
    pub(crate) fn ready(&mut self) {
        self.tell(|| "READY=1".to_owned());
    }

    /// The service reads its settings anew, until [`Manager::ready`].
    pub(crate) fn reloading(&mut self) {
        self.tell(|| {
            let now = clock_gettime(ClockId::Monotonic);
            let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
            format!("RELOADING=1\nMONOTONIC_USEC={microseconds}")
        });
    }

    /// The service ends, within `patience` at most.
    pub(crate) fn stopping(&mut self, patience: Duration) {
        self.tell(|| format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", patience.as_micros()));
    }

    /// To be called in each turn of the loop: says that it is alive, and how many connections it
    /// has.
    pub(crate) fn tick(&mut self, connections: usize, now: Moment) {
        let Some(told) = &mut self.0 else {
            return;
        };
        if let Some(watchdog) = &mut told.watchdog
            && watchdog.next.since(now) == 0
        {
            watchdog.next = now.plus(watchdog.interval);
            told.unsent.push_back("WATCHDOG=1".to_owned());
        }
        told.status.connections = Some(connections);
        if told.status.until_change(now) == Some(0) {
            told.status.shown = Some((connections, now));
            told.unsent
                .push_back(format!("STATUS={connections} connections"));
        }
        told.send();
    }

    /// The milliseconds until [`Manager::tick`] has something to do, if it ever has.
    pub(crate) fn until_tick(&self, now: Moment) -> Option<u32> {
        let told = self.0.as_ref()?;
        let by_watchdog = told.watchdog.as_ref().map(|it| it.next.since(now));
        let by_retry = (!told.unsent.is_empty()).then_some(RETRY);
        let by_status = told.status.until_change(now);
        by_watchdog
            .into_iter()
            .chain(by_retry)
            .chain(by_status)
            .min()
    }

    fn tell(&mut self, message: impl FnOnce() -> String) {
        if let Some(told) = &mut self.0 {
            told.unsent.push_back(message());
            told.send();
        }
    }
}

impl Told {
    /// A socket for `$NOTIFY_SOCKET`: a path, or an abstract name behind an '@'.
    fn at(name: &[u8]) -> io::Result<Self> {
        let address = match name.split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            Some((b'/', _)) => SocketAddr::from_pathname(OsStr::from_bytes(name))?,
            _ => {
                let why = "accepted are a path and an abstract name behind an '@'";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            address,
            unsent: VecDeque::new(),
            watchdog: Watchdog::of_this_process(),
            status: Status::default(),
        })
    }

    /// Sends what has not been sent, as far as the socket takes it.
    fn send(&mut self) {
        while let Some(message) = self.unsent.front() {
            match self.socket.send_to_addr(message.as_bytes(), &self.address) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Where nobody listens, nobody wants to know.
                Ok(_) | Err(_) => drop(self.unsent.pop_front()),
            }
        }
        self.unsent.truncate(UNSENT_MAX);
    }
}

impl Watchdog {
    /// The watchdog that the environment asks for: sd_watchdog_enabled(3).
    fn of_this_process() -> Option<Self> {
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        if env::var_os("WATCHDOG_PID").is_some()
            && number("WATCHDOG_PID")? != u64::from(process::id())
        {
            return None;
        }
        let milliseconds = number("WATCHDOG_USEC")? / 1_000 / 2;
        Some(Self {
            // Moments are compared within 24 days.
            interval: milliseconds.clamp(1, 1 << 30) as u32,
            next: Moment(0),
        })
    }
}

impl Status {
    /// The milliseconds until another number is to be shown; `None` while it is the same.
    fn until_change(&self, now: Moment) -> Option<u32> {
        match self.shown {
            None => self.connections.map(|_| 0),
            Some((shown, _)) if self.connections == Some(shown) => None,
            // Moments of more than 24 days ago seem to lie ahead.
            Some((_, at)) if at.since(now) > 0 => Some(0),
            Some((_, at)) => Some(STATUS_INTERVAL.saturating_sub(now.since(at))),
        }
    }
}
