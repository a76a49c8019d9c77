//! The streams that amiquip reads and writes: TCP, or TLS over it, behind the sieve. Knows no
//! address, no message and no deadline but the handshake's.
//!
//! amiquip waits for readiness by the edge, reads until a stream would block, and writes again what
//! a stream refused. It never calls `flush`, and does not write at all when it has nothing of its
//! own left to send: a stream must not keep back what it accepted.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amiquip::IoStream;
use mio_amqp::{Evented, Poll, PollOpt, Ready, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::sieve::Sieve;

const READ_BYTES: usize = 16 << 10;

/// A stream whose reader gets only what passes the sieve.
pub(super) struct Sieved<S> {
    stream: S,
    sieve: Sieve,
    passed: Vec<u8>,
    /// How much of `passed` has been taken.
    taken: usize,
}

impl<S> Sieved<S> {
    pub(super) fn new(stream: S, sieve: Sieve) -> Self {
        Self {
            stream,
            sieve,
            passed: Vec::new(),
            taken: 0,
        }
    }
}

impl<S: Read> Read for Sieved<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut arrived = [0; READ_BYTES];
        while self.taken == self.passed.len() {
            self.passed.clear();
            self.taken = 0;
            let bytes = self.stream.read(&mut arrived)?;
            if bytes == 0 {
                return Ok(0);
            }
            self.sieve.pass(&arrived[..bytes], &mut self.passed)?;
        }
        let bytes = (&self.passed[self.taken..]).read(buffer)?;
        self.taken += bytes;
        Ok(bytes)
    }
}

impl<S: Write> Write for Sieved<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Evented> Evented for Sieved<S> {
    fn register(
        &self,
        poll: &Poll,
        token: Token,
        interest: Ready,
        options: PollOpt,
    ) -> io::Result<()> {
        self.stream.register(poll, token, interest, options)
    }

    fn reregister(
        &self,
        poll: &Poll,
        token: Token,
        interest: Ready,
        options: PollOpt,
    ) -> io::Result<()> {
        self.stream.reregister(poll, token, interest, options)
    }

    fn deregister(&self, poll: &Poll) -> io::Result<()> {
        self.stream.deregister(poll)
    }
}

impl<S: Read + Write + Evented + Send + 'static> IoStream for Sieved<S> {}

/// A TLS connection whose handshake is done.
pub(super) struct TlsStream<S: Read + Write> {
    tls: ClientConnection,
    stream: S,
    /// Bytes of the current write that have been encrypted, but not sent as a whole.
    encrypted: usize,
}

/// Shakes hands with the server `name` over a blocking stream, until `deadline` at the latest.
pub(super) fn handshake(
    stream: &mut TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    deadline: Instant,
) -> io::Result<ClientConnection> {
    let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while tls.is_handshaking() || tls.wants_write() {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        stream.set_write_timeout(Some(left))?;
        if tls.wants_write() {
            tls.write_tls(stream)?;
        } else {
            if tls.read_tls(stream)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = tls.process_new_packets() {
                // An alert for the server, if it still reads.
                let _ = tls.write_tls(stream);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    Ok(tls)
}

impl<S: Read + Write> TlsStream<S> {
    /// Goes on with a connection whose handshake is done, over the same stream, which does not
    /// block any more.
    pub(super) fn new(tls: ClientConnection, stream: S) -> Self {
        Self {
            tls,
            stream,
            encrypted: 0,
        }
    }
}

impl<S: Read + Write> Read for TlsStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The connection ended without a close_notify. A frame that is cut off does not go
                // unnoticed: it starts with its length.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            self.tls.read_tls(&mut self.stream)?;
            if let Err(error) = self.tls.process_new_packets() {
                let _ = self.tls.write_tls(&mut self.stream);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
}

impl<S: Read + Write> Write for TlsStream<S> {
    /// Reports bytes as written only when all of their ciphertext has been sent. Until then, the
    /// caller must pass the same bytes again.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.encrypted == 0 {
            self.encrypted = self.tls.writer().write(bytes)?;
        }
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.stream)?;
        }
        Ok(std::mem::take(&mut self.encrypted))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Read + Write> Drop for TlsStream<S> {
    fn drop(&mut self) {
        self.tls.send_close_notify();
        // The farewell is a courtesy; often the connection is gone already.
        let _ = self.tls.write_tls(&mut self.stream);
    }
}

impl<S: Read + Write + Evented> Evented for TlsStream<S> {
    fn register(
        &self,
        poll: &Poll,
        token: Token,
        interest: Ready,
        options: PollOpt,
    ) -> io::Result<()> {
        self.stream.register(poll, token, interest, options)
    }

    fn reregister(
        &self,
        poll: &Poll,
        token: Token,
        interest: Ready,
        options: PollOpt,
    ) -> io::Result<()> {
        self.stream.reregister(poll, token, interest, options)
    }

    fn deregister(&self, poll: &Poll) -> io::Result<()> {
        self.stream.deregister(poll)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::path::{Path, PathBuf};

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    /// One end of a connection whose kernel takes only so many bytes at once, and then none until
    /// it was asked again.
    #[derive(Default)]
    struct Pipe {
        incoming: VecDeque<u8>,
        outgoing: Vec<u8>,
        room: usize,
    }

    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.incoming.read(buffer)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                bytes => Ok(bytes),
            }
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let bytes = &bytes[..bytes.len().min(self.room)];
            self.room -= bytes.len();
            self.outgoing.extend(bytes);
            if bytes.is_empty() {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(bytes.len())
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/watch/tls")
            .join(name)
    }

    fn server() -> ServerConnection {
        let certificates = CertificateDer::pem_file_iter(file("server.pem"))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
        ServerConnection::new(Arc::new(
            ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(certificates, key)
                .unwrap(),
        ))
        .unwrap()
    }

    /// Both ends of a connection whose handshake is done.
    fn connected() -> (TlsStream<Pipe>, ServerConnection) {
        let mut server = server();
        let config = crate::tls::client_config(Some(&file("ca.pem"))).unwrap();
        let mut client =
            ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &*bytes).unwrap();
            server.process_new_packets().unwrap();
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &*bytes).unwrap();
            client.process_new_packets().unwrap();
        }
        (TlsStream::new(client, Pipe::default()), server)
    }

    #[test]
    fn what_was_said_to_be_written_has_been_sent_as_a_whole() {
        let (mut stream, mut server) = connected();
        let message: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        let (mut written, mut arrived) = (0, Vec::new());
        // As amiquip does: what was refused is written again, together with what was added behind
        // it.
        while written < message.len() {
            stream.stream.room = 1_000;
            match stream.write(&message[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            server
                .read_tls(&mut &*std::mem::take(&mut stream.stream.outgoing))
                .unwrap();
            server.process_new_packets().unwrap();
            let _ = server.reader().read_to_end(&mut arrived);
            assert!(
                arrived.len() >= written,
                "{written} written, but {} arrived",
                arrived.len()
            );
        }
        assert!(arrived == message);
    }

    #[test]
    fn what_has_arrived_can_be_read_until_the_stream_would_block() {
        let (mut stream, mut server) = connected();
        for part in [&b"first"[..], b"second", b"third"] {
            server.writer().write_all(part).unwrap();
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            stream.stream.incoming.extend(bytes);
        }
        // In one readiness, with a buffer smaller than a record.
        let mut read = Vec::new();
        let error = loop {
            let mut buffer = [0; 4];
            match stream.read(&mut buffer) {
                Ok(bytes) => read.extend(&buffer[..bytes]),
                Err(error) => break error,
            }
        };
        assert_eq!(
            (read.as_slice(), error.kind()),
            (&b"firstsecondthird"[..], io::ErrorKind::WouldBlock)
        );
        server.send_close_notify();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        stream.stream.incoming.extend(bytes);
        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0);
    }

    #[test]
    fn a_sieve_that_passes_nothing_does_not_look_like_the_end() {
        // A body that nobody wants is read and dropped.
        let header = b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0\xce";
        let body = b"\x03\0\x01\0\0\0\x01x\xce";
        let mut stream = Sieved::new(Pipe::default(), Sieve::new(0));
        let mut buffer = [0; 100];
        stream.stream.incoming.extend(header);
        assert_eq!(stream.read(&mut buffer).unwrap(), header.len());
        stream.stream.incoming.extend(body);
        assert_eq!(
            stream.read(&mut buffer).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }
}
