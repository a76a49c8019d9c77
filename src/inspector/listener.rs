//! HTTP for the inspector's page: accepts connections, gives pages, and hands those on that become
//! WebSockets. Owns how many there may be. Knows no broker.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Inspector, viewer};
use crate::http::{self, Outcome, Room};
use crate::work::unix_now;

/// Connections at once, each with a thread; those beyond are cut.
const CONNECTIONS_MAX: usize = 64;

/// Of them, those that look.
const VIEWERS_MAX: usize = 16;

/// How long a request may take, from the first byte to the last.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the kernel may refuse bytes for somebody.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long somebody may take to close who has got a response.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause after a connection that could not be accepted: the files of this process may be used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for ever.
pub(super) fn accept(listener: &TcpListener, inspector: &Arc<Inspector>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => begin(stream, inspector),
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
}

fn begin(stream: TcpStream, inspector: &Arc<Inspector>) {
    let shared = Arc::clone(inspector);
    // Without a thread, too, the connection is cut.
    let _ = thread::Builder::new()
        .name("connection".to_owned())
        .spawn(move || {
            if let Some(_place) = Place::take(&shared.connections, CONNECTIONS_MAX) {
                // Whatever went wrong, nobody is left to be told.
                let _ = serve(stream, &shared);
            }
        });
}

fn serve(mut stream: TcpStream, inspector: &Inspector) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let viewer = Place::take(&inspector.viewers, VIEWERS_MAX);
    let room = if viewer.is_some() {
        Room::Free
    } else {
        Room::Full
    };
    let (mut request, mut response) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        let outcome = http::respond(&inspector.site, &request, room, unix_now(), &mut response);
        match outcome {
            Outcome::Incomplete | Outcome::Receiving => {
                receive(&mut stream, &mut request, deadline)?
            }
            Outcome::Upgraded { head_bytes, .. } => {
                stream.write_all(&response)?;
                return viewer::serve(stream, request.split_off(head_bytes), &inspector.broker);
            }
            // Only a site with webhooks or events, or one that asks who somebody is, has these.
            Outcome::Posted { .. } | Outcome::Listening { .. } | Outcome::Asked(_) => {
                return Ok(());
            }
            Outcome::Answered | Outcome::Refused(_) => {
                drop(viewer);
                stream.write_all(&response)?;
                return say_goodbye(&mut stream);
            }
        }
    }
}

fn receive(stream: &mut TcpStream, request: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            request.extend_from_slice(&bytes[..count]);
            Ok(())
        }
    }
}

/// Ends a connection so that its peer reads what was written: what it still sends would reset the
/// connection, and overtake that.
fn say_goodbye(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + FAREWELL_TIMEOUT;
    loop {
        receive(stream, &mut Vec::new(), deadline)?;
    }
}

/// One of those that there may be at once.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize, places: usize) -> Option<Self> {
        let place = Self(taken);
        // Given back at once where that is one too many.
        (taken.fetch_add(1, Ordering::Relaxed) < places).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
