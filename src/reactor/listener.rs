//! Where connections come from: TCP over IPv4 and IPv6, and Unix sockets. Knows no server.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::address::{Address, UnixFile};
use crate::connection::Stream;
use crate::secure::SessionId;
use crate::systemd;

/// How many connections the kernel completes before they are accepted. mio's own bind, and
/// Tornado's, stop at 128, which a storm of 15,000 clients does not survive.
const BACKLOG: i32 = 4_096;

/// The same while memory is short: each one costs the kernel some 3 KB, and a client whose SYN is
/// dropped tries again by itself.
const BACKLOG_WHEN_SHORT: i32 = 256;

/// A socket that connections are accepted from.
#[derive(Debug)]
pub(crate) enum Listener {
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// The same, with TLS.
    Tls(TcpListener),
    /// A Unix socket; its file goes with it where this process has made it.
    Unix(UnixListener, Option<OwnFile>),
}

/// The file of a Unix socket that this process has made.
#[derive(Debug)]
pub(crate) struct OwnFile {
    file: UnixFile,
    /// Device and inode: another server may have put its own file in this place.
    identity: (u64, u64),
}

impl Listener {
    /// Binds to an address and listens. `is_shared` lets other sockets listen on the same port, if
    /// they are shared, too (SO_REUSEPORT; see socket(7)); `takes_ipv4` lets `[::]` take IPv4, too.
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or not allowed.
    pub(crate) fn bind(address: &Address, is_shared: bool, takes_ipv4: bool) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => bind_tcp(*address, is_shared, takes_ipv4).map(Listener::Tcp),
            Address::Tls(address) => bind_tcp(*address, is_shared, takes_ipv4).map(Listener::Tls),
            Address::Unix(file) => bind_unix(file),
        }
    }

    /// Takes over a socket that somebody else listens on; with TLS or without.
    ///
    /// # Errors
    /// When nobody can connect to it, or by TLS and it is a Unix socket.
    pub(crate) fn inherit(socket: systemd::Socket, with_tls: bool) -> io::Result<Self> {
        let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let is_listening = match &socket {
            systemd::Socket::Tcp(listener) => SockRef::from(listener).is_listener()?,
            systemd::Socket::Unix(listener) => SockRef::from(listener).is_listener()?,
        };
        if !is_listening {
            return invalid(
                "it is the socket of one connection (Accept=yes); accepted is Accept=no",
            );
        }
        match (socket, with_tls) {
            (systemd::Socket::Tcp(listener), with_tls) => {
                listener.set_nonblocking(true)?;
                set_options(&SockRef::from(&listener))?;
                let listener = TcpListener::from_std(listener);
                match with_tls {
                    true => Ok(Listener::Tls(listener)),
                    false => Ok(Listener::Tcp(listener)),
                }
            }
            (systemd::Socket::Unix(listener), false) => {
                listener.set_nonblocking(true)?;
                Ok(Listener::Unix(UnixListener::from_std(listener), None))
            }
            (systemd::Socket::Unix(_), true) => {
                invalid("it is a Unix socket; accepted for TLS is a port")
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
            Listener::Tcp(listener) | Listener::Tls(listener) => {
                SockRef::from(listener).listen(backlog)
            }
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
            Listener::Tls(listener) => listener.local_addr().map(Address::Tls),
            Listener::Unix(_, Some(own)) => Ok(Address::Unix(own.file.clone())),
            Listener::Unix(listener, None) => {
                let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
                Ok(Address::Unix(UnixFile::at(path.unwrap_or_default())))
            }
        }
    }

    /// The next connection that waits.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise any error of accept(2).
    pub(crate) fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok(Accepted::Plain(Socket::Tcp(stream), Some(peer.ip())))
            }
            Listener::Tls(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok(Accepted::Tls(stream, peer.ip()))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                Ok(Accepted::Plain(Socket::Unix(stream), None))
            }
        }
    }
}

/// A connection that was accepted, with the address of the peer, which a Unix socket's has not.
#[derive(Debug)]
pub(crate) enum Accepted {
    Plain(Socket, Option<IpAddr>),
    /// It becomes a socket with its session.
    Tls(TcpStream, IpAddr),
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, Some(own)) = self
            && identity(&own.file.path).is_ok_and(|identity| identity == own.identity)
        {
            // Somebody may have removed it already, which is as good.
            let _ = fs::remove_file(&own.file.path);
        }
    }
}

/// How much the kernel takes for a client that does not read, in bytes; it doubles the number for
/// what it needs itself (socket(7), `SO_SNDBUF`). Otherwise it takes megabytes, which count for
/// nobody; what it refuses counts for the client, and updates in it are conflated.
const SEND_BUFFER: usize = 64 * 1024;

fn bind_tcp(address: SocketAddr, is_shared: bool, takes_ipv4: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!takes_ipv4)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    set_options(&SockRef::from(&socket))?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// What accepted sockets inherit, on Linux: a system call here instead of one for each client.
fn set_options(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)
}

fn bind_unix(file: &UnixFile) -> io::Result<Listener> {
    let path = &file.path;
    let is_stale = path
        .metadata()
        .is_ok_and(|file| file.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_stale {
        fs::remove_file(path)?;
    }
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let own = OwnFile {
        identity: identity(path)?,
        file: file.clone(),
    };
    let listener = Listener::Unix(UnixListener::from_std(socket.into()), Some(own));
    // Nobody can connect before it listens, so that nobody does with other rights than these. On a
    // failure the file goes with the listener.
    if file.group.is_some() {
        std::os::unix::fs::chown(path, None, file.group)?;
    }
    if let Some(mode) = file.mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    listener.set_backlog(false)?;
    Ok(listener)
}

/// Device and inode of a file.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Which of all addresses to listen on lets IPv4 in at the address of all IPv6 interfaces: `[::]`,
/// as long as `0.0.0.0` is not listened on at the same port.
pub(crate) fn takes_ipv4(address: &Address, all: &[Address]) -> bool {
    let (Address::Tcp(address) | Address::Tls(address)) = address else {
        return false;
    };
    let is_ipv4_twin = |other: &Address| match other {
        Address::Tcp(SocketAddr::V4(other)) | Address::Tls(SocketAddr::V4(other)) => {
            other.ip().is_unspecified() && other.port() == address.port()
        }
        _ => false,
    };
    address.ip() == Ipv6Addr::UNSPECIFIED && !all.iter().any(is_ipv4_twin)
}

/// A client's socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Accepted from a TCP listener.
    Tcp(TcpStream),
    /// Accepted from a listener with TLS. The session is in the server's hands; the three bytes by
    /// which it is found are free here.
    Tls(TcpStream, SessionId),
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
            Socket::Tcp(stream) | Socket::Tls(stream, _) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Stream for Socket {
    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) | Socket::Tls(stream, _) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    fn peer(&self) -> Option<IpAddr> {
        match self {
            Socket::Tcp(stream) | Socket::Tls(stream, _) => {
                let peer = stream.peer_addr().map(|peer| peer.ip().to_canonical());
                // One that has gone already is nobody's any more.
                Some(peer.unwrap_or(Ipv6Addr::UNSPECIFIED.into()))
            }
            Socket::Unix(_) => None,
        }
    }

    fn give_up_after(&self, milliseconds: u32) {
        match self {
            Socket::Tcp(stream) | Socket::Tls(stream, _) => {
                let patience = Duration::from_millis(milliseconds.into());
                // Without it, the kernel gives up after its own time.
                let _ = SockRef::from(stream).set_tcp_user_timeout(Some(patience));
            }
            Socket::Unix(_) => {}
        }
    }

    fn session(&self) -> Option<SessionId> {
        match self {
            Socket::Tls(_, session) => Some(*session),
            Socket::Tcp(_) | Socket::Unix(_) => None,
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

impl_source!(Socket {
    Socket::Tcp(stream) => stream,
    Socket::Tls(stream, _) => stream,
    Socket::Unix(stream) => stream
});
impl_source!(Listener {
    Listener::Tcp(listener) => listener,
    Listener::Tls(listener) => listener,
    Listener::Unix(listener, _) => listener
});

// In debug builds, mio's sockets also remember their poll.
#[cfg(test)]
#[cfg(not(debug_assertions))]
mod tests {
    #[cfg(not(debug_assertions))]
    use super::*;

    #[test]
    fn a_socket_is_eight_bytes() {
        assert_eq!(size_of::<Option<Socket>>(), 8);
    }
}
