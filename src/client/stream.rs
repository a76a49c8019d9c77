//! The bytes below the WebSocket: TCP, with or without TLS, with a deadline for reading. Knows no
//! HTTP and no WebSocket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::FeedUrl;

/// How long the server's system may refuse our bytes. We send a few hundred bytes in all, so that
/// it can only be gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a feed's host. Reading ends with [`ErrorKind::WouldBlock`] at the deadline, and
/// can be taken up again.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Stream {
    /// Connects to the first address of the URL's host that answers; with TLS where there is a
    /// configuration for it. The handshake of TLS comes with the first byte that is sent.
    pub(super) fn connect(
        url: &FeedUrl,
        tls: Option<&Arc<ClientConfig>>,
        deadline: Instant,
    ) -> io::Result<Self> {
        let tcp = connect_to_any(
            &(url.host(), url.port())
                .to_socket_addrs()?
                .collect::<Vec<_>>(),
            deadline,
        )?;
        // Commands are small and wait for their replies: nothing is gained by holding them back.
        tcp.set_nodelay(true)?;
        tcp.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let timed = Timed { tcp, deadline };
        let Some(tls) = tls else {
            return Ok(Self::Plain(timed));
        };
        let name = ServerName::try_from(url.host().to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, timed))))
    }

    /// The certificates that the server has shown, its own first.
    pub(super) fn certificates(&self) -> Vec<Vec<u8>> {
        let chain = match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.conn.peer_certificates(),
        };
        let chain = chain.unwrap_or_default().iter();
        chain.map(|certificate| certificate.to_vec()).collect()
    }

    /// Shakes hands, and says what the server has shown.
    pub(super) fn certificates_shown(mut self) -> Vec<Vec<u8>> {
        if let Self::Tls(tls) = &mut self {
            // Whatever ends it, what was shown is known by then.
            let _ = tls.conn.complete_io(&mut tls.sock);
        }
        self.certificates()
    }

    /// From now on, reading gives up at `deadline`.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Plain(timed) => timed.deadline = deadline,
            Self::Tls(tls) => tls.sock.deadline = deadline,
        }
    }
}

/// Tries each address with its share of the time that is left, so that one that swallows everything
/// does not hide the next.
fn connect_to_any(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last_error = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for (at, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// TCP with a deadline. It stands below TLS, so that neither handshake nor records that trickle in
/// can outlast it by much.
#[derive(Debug)]
pub(crate) struct Timed {
    tcp: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // What has arrived already is read even when the deadline has passed, and a timeout of
            // 0 would mean none at all.
            let left = self
                .deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            self.tcp.set_read_timeout(Some(left))?;
            match self.tcp.read(buffer) {
                // A stopped process that is continued finds its system calls interrupted.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.tcp.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
