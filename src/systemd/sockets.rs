//! The sockets that systemd listens on for the service, and hands over at its start
//! (sd_listen_fds(3)). They stay open while the service is away: who connects then waits.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// A socket that was handed over, and the name that its unit gives it (`FileDescriptorName=`).
#[derive(Debug)]
pub(crate) struct Passed {
    /// Empty where it has none; the name of the unit where that gives it no other.
    pub name: String,
    /// What was handed over.
    pub socket: Socket,
}

/// What connections are accepted from.
#[derive(Debug)]
pub(crate) enum Socket {
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Takes over the sockets that were handed to this process. To be called before any thread is
/// started: it removes the variables that say so, which are for nobody else.
///
/// # Errors
/// When one of them is no socket for connections.
pub(crate) fn passed() -> io::Result<Vec<Passed>> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut files = ListenFd::from_env();
    let mut all = Vec::new();
    for at in 0..files.len() {
        let tcp = files.take_tcp_listener(at).ok().flatten();
        let socket = match tcp {
            Some(listener) => Socket::Tcp(listener),
            None => match files.take_unix_listener(at)? {
                Some(listener) => Socket::Unix(listener),
                None => continue,
            },
        };
        all.push(Passed {
            name: names.next().unwrap_or_default().to_owned(),
            socket,
        });
    }
    Ok(all)
}
