//! Where connections come from: TCP over IPv4 and IPv6, and Unix sockets. Knows no server.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::str::FromStr;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use crate::connection::Stream;

/// How many connections the kernel completes before they are accepted. mio's own bind, and
/// Tornado's, stop at 128, which a storm of 15,000 clients does not survive.
const BACKLOG: i32 = 4_096;

/// The same while memory is short: each one costs the kernel some 3 KB, and a client whose SYN is
/// dropped tries again by itself.
const BACKLOG_WHEN_SHORT: i32 = 256;

/// An address to listen on, as the user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `HOST:PORT`; port 0 takes a free one.
    Tcp(SocketAddr),
    /// `unix:FILE`.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(path.into()));
        }
        let refuse = |why: &str| {
            format!(
                "'{text}' is no address: {why}; \
                 accepted are 127.0.0.1:8844, [::1]:8844, localhost:8844 and unix:FILE"
            )
        };
        let mut found = text
            .to_socket_addrs()
            .map_err(|error| refuse(&error.to_string()))?;
        found
            .next()
            .map(Address::Tcp)
            .ok_or_else(|| refuse("nothing has that name"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that connections are accepted from.
#[derive(Debug)]
pub(crate) enum Listener {
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// A Unix socket; its file goes with it.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds to an address and listens; `is_shared` lets other sockets listen on the same port, if
    /// they are shared, too (SO_REUSEPORT; see socket(7)).
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or not allowed.
    pub(crate) fn bind(address: &Address, is_shared: bool) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let socket = socket2::Socket::new(
                    Domain::for_address(*address),
                    Type::STREAM.nonblocking(),
                    Some(Protocol::TCP),
                )?;
                if address.is_ipv6() {
                    // So that [::]:8844 and 0.0.0.0:8844 can be listened on both.
                    socket.set_only_v6(true)?;
                }
                socket.set_reuse_address(true)?;
                socket.set_reuse_port(is_shared)?;
                // On Linux, accepted sockets inherit it: one system call here instead of one for
                // each client.
                socket.set_tcp_nodelay(true)?;
                socket.bind(&SockAddr::from(*address))?;
                socket.listen(BACKLOG)?;
                Ok(Listener::Tcp(TcpListener::from_std(socket.into())))
            }
            Address::Unix(path) => {
                let is_stale = path
                    .metadata()
                    .is_ok_and(|file| file.file_type().is_socket())
                    && std::os::unix::net::UnixStream::connect(path)
                        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
                if is_stale {
                    std::fs::remove_file(path)?;
                }
                let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
                socket.bind(&SockAddr::unix(path)?)?;
                socket.listen(BACKLOG)?;
                Ok(Listener::Unix(
                    UnixListener::from_std(socket.into()),
                    path.clone(),
                ))
            }
        }
    }

    /// Sets how many connections may wait: as many as usual, or fewer while memory is short.
    ///
    /// # Errors
    /// When the kernel refuses; the number stays what it was.
    pub(crate) fn set_backlog(&self, is_short: bool) -> io::Result<()> {
        let backlog = if is_short {
            BACKLOG_WHEN_SHORT
        } else {
            BACKLOG
        };
        match self {
            Listener::Tcp(listener) => SockRef::from(listener).listen(backlog),
            Listener::Unix(listener, _) => SockRef::from(listener).listen(backlog),
        }
    }

    /// The address that it listens on, with the port that was chosen.
    ///
    /// # Errors
    /// When the kernel does not return it.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Listener::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }

    /// The next connection that waits.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise any error of accept(2).
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Socket::Tcp(stream)),
            Listener::Unix(listener, _) => {
                listener.accept().map(|(stream, _)| Socket::Unix(stream))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            // Somebody may have removed it already, which is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A client's socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Accepted from a TCP listener.
    Tcp(TcpStream),
    /// Accepted from a Unix listener.
    Unix(UnixStream),
}

/// Read and write by rustix, which makes the system call and nothing else: in a process with
/// several threads, the C library's functions also handle the cancellation of threads each time.
impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, _) = rustix::net::recv(&*self, buffer, RecvFlags::empty())?;
        Ok(bytes)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&*self, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Stream for Socket {
    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

/// Makes a mio source of an enum whose variants hold one each.
macro_rules! impl_source {
    ($name:ident { $($variant:pat => $inner:ident),+ }) => {
        impl Source for $name {
            fn register(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                match self { $($variant => $inner.register(registry, token, interests)),+ }
            }

            fn reregister(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                match self { $($variant => $inner.reregister(registry, token, interests)),+ }
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                match self { $($variant => $inner.deregister(registry)),+ }
            }
        }
    };
}

impl_source!(Socket { Socket::Tcp(stream) => stream, Socket::Unix(stream) => stream });
impl_source!(Listener {
    Listener::Tcp(listener) => listener,
    Listener::Unix(listener, _) => listener
});

#[cfg(test)]
mod tests {
    use super::*;

    /// In debug builds, mio's sockets also remember their poll.
    #[cfg(not(debug_assertions))]
    #[test]
    fn a_socket_is_eight_bytes() {
        assert_eq!(size_of::<Option<Socket>>(), 8);
    }

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_file() {
        for (text, shown) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:0", "[::1]:0"),
            ("unix:/run/b", "unix:/run/b"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "8844",
            "127.0.0.1",
            "127.0.0.1:99999",
            "::1:8844x",
            "unix:",
        ] {
            let why = text.parse::<Address>().unwrap_err();
            assert!(
                why.contains(&format!("'{text}'")) && why.contains("accepted are"),
                "{why}"
            );
        }
    }
}
