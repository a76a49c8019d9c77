//! TCP: from a host's name to a connection, within a deadline, and its end at once, whoever waits
//! for it. Knows no TLS and no AMQP.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::work::{Error, Stop};

/// How long a connection lives when its peer acknowledges no bytes. It matters with brokers that
/// switch heartbeats off.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(60);

/// Cuts a connection when dropped: everything that waits for it fails at once. A farewell would
/// wait for the peer's answer, and a peer that hangs gives none.
#[derive(Clone, Debug)]
pub(crate) struct HangUp(Option<Arc<Socket>>);

impl HangUp {
    /// A handle that does not keep the connection open.
    pub(crate) fn later(&self) -> HangUpLater {
        HangUpLater(self.0.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    /// Leaves the connection as it is.
    pub(crate) fn let_be(mut self) {
        self.0 = None;
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Can be made a [`HangUp`] again as long as the connection is open.
#[derive(Clone, Debug)]
pub(crate) struct HangUpLater(Weak<Socket>);

impl HangUpLater {
    /// The connection, if it has not ended.
    pub(crate) fn upgrade(&self) -> Option<HangUp> {
        self.0.upgrade().map(|socket| HangUp(Some(socket)))
    }
}

/// Connects to the first address of `host` that accepts, until `deadline` at the latest, or until
/// `stop` is requested, which cuts the connection at any later time, too.
///
/// # Errors
/// A sentence about the last address that was tried.
pub(super) fn connect(
    host: &str,
    port: u16,
    stop: &Stop,
    deadline: Instant,
) -> Result<(TcpStream, HangUp), Error> {
    let addresses = resolve(host, port, stop, deadline)?;
    let mut failure = Error::from(format!("the host {host} has no address"));
    for (at, address) in addresses.iter().enumerate() {
        // An address that does not answer must leave time for the others.
        let share =
            deadline.saturating_duration_since(Instant::now()) / (addresses.len() - at) as u32;
        match connect_to(*address, stop, share) {
            Ok(connected) => return Ok(connected),
            Err(error) => failure = format!("cannot connect to {address}: {error}").into(),
        }
        if stop.is_requested() {
            break;
        }
    }
    Err(failure)
}

/// The addresses of a host. The system's resolver cannot be interrupted, so a thread of its own
/// waits for it.
fn resolve(
    host: &str,
    port: u16,
    stop: &Stop,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Error> {
    let (resolved, result) = mpsc::channel();
    let stopped = resolved.clone();
    stop.on_request(move || drop(stopped.send(Ok(Vec::new()))));
    let name = (host.to_owned(), port);
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || drop(resolved.send(name.to_socket_addrs().map(Iterator::collect))))?;
    match result.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(format!("cannot find the host {host}: {error}").into()),
        Err(_) => {
            Err(format!("cannot find the host {host}: the name server does not answer").into())
        }
    }
}

fn connect_to(
    address: SocketAddr,
    stop: &Stop,
    timeout: Duration,
) -> io::Result<(TcpStream, HangUp)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    let twin = Arc::new(socket.try_clone()?);
    let hang_up = HangUp(Some(twin));
    let cut = hang_up.later();
    stop.on_request(move || drop(cut.upgrade()));
    if stop.is_requested() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    socket.connect_timeout(&address.into(), timeout)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(UNCONFIRMED_MAX / 2)
            .with_interval(UNCONFIRMED_MAX / 6)
            .with_retries(3),
    )?;
    socket.set_tcp_user_timeout(Some(UNCONFIRMED_MAX))?;
    Ok((socket.into(), hang_up))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn what_cannot_be_reached_is_named() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let why = connect("127.0.0.1", port, &Stop::default(), soon())
            .unwrap_err()
            .to_string();
        assert!(why.contains(&format!("127.0.0.1:{port}")), "{why}");
        let why = connect("nowhere.invalid", 1, &Stop::default(), soon())
            .unwrap_err()
            .to_string();
        assert!(why.contains("nowhere.invalid"), "{why}");
    }

    #[test]
    fn a_stop_cuts_a_connection_while_somebody_reads_from_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = Stop::default();
        let (mut stream, _hang_up) = connect(
            "localhost",
            listener.local_addr().unwrap().port(),
            &stop,
            soon(),
        )
        .unwrap();
        let reader = thread::spawn(move || stream.read(&mut [0]).unwrap());
        stop.request();
        assert_eq!(reader.join().unwrap(), 0);
    }

    #[test]
    fn a_stop_ends_the_wait_for_an_address_that_does_not_answer() {
        // Linux keeps a connection waiting when the listener's queue is full.
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let _queued = TcpStream::connect(address).unwrap();
        let stop = Stop::default();
        let waiting = {
            let stop = stop.clone();
            thread::spawn(move || {
                connect(
                    "127.0.0.1",
                    address.port(),
                    &stop,
                    Instant::now() + Duration::from_secs(60),
                )
                .map(drop)
            })
        };
        let started = Instant::now();
        stop.request();
        waiting.join().unwrap().unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
