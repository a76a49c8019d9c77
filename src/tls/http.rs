//! An HTTP client that trusts what all other connections trust. Knows no request.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    TcpConnector, Transport, TransportAdapter,
};
use ureq::{Agent, Error as HttpError};
use url::Url;

use super::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that talks to the server of `url`: with TLS where it is `https:`, trusting the
/// certificates in the PEM file `ca_file`, or this machine's own where none is given. A status is
/// no error, and no redirect is followed: a post would become a GET, or go to somebody who was not
/// named. A request may take `timeout`, and the body of its answer `body_timeout`.
///
/// # Errors
/// When no certificate is left to trust.
pub(crate) fn http_agent(
    ca_file: Option<&Path>,
    url: &Url,
    timeout: Duration,
    body_timeout: Duration,
) -> Result<Agent, Error> {
    let tls = match url.scheme() {
        "https" => Some(super::client_config(ca_file)?),
        _ => None,
    };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(timeout))
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_body(Some(body_timeout))
        .user_agent(concat!("bugzfeed/", env!("CARGO_PKG_VERSION")))
        .build();
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(TlsConnector(tls));
    Ok(Agent::with_parts(
        config,
        connector,
        DefaultResolver::default(),
    ))
}

/// Puts TLS on a connection. ureq's own takes certificates to trust, but no way to look at them.
#[derive(Debug)]
struct TlsConnector(Option<Arc<ClientConfig>>);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, HttpError> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        let config = match &self.0 {
            Some(config) if details.needs_tls() && !transport.is_tls() => Arc::clone(config),
            _ => return Ok(Some(Either::A(transport))),
        };
        let host = details.uri.host().unwrap_or_default();
        let name = ServerName::try_from(host.trim_matches(['[', ']']))
            .map_err(|_| HttpError::Tls("the host has no name that a certificate can have"))?
            .to_owned();
        let mut conn = ClientConnection::new(config, name)
            .map_err(|error| HttpError::Io(std::io::Error::other(error)))?;
        let boxed: Box<dyn Transport> = Box::new(transport);
        let mut sock = TransportAdapter::new(boxed, details.current_time.clone());
        sock.set_timeout(details.timeout);
        conn.complete_io(&mut sock)?;
        Ok(Some(Either::B(TlsTransport {
            buffers: LazyBuffers::new(
                details.config.input_buffer_size(),
                details.config.output_buffer_size(),
            ),
            stream: StreamOwned { conn, sock },
        })))
    }
}

/// A connection with TLS on it.
struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, bytes: usize, timeout: NextTimeout) -> Result<(), HttpError> {
        self.stream.sock.set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..bytes])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, HttpError> {
        self.stream.sock.set_timeout(timeout);
        let bytes = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(bytes);
        Ok(bytes > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
