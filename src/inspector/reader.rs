//! What a page says, read from its WebSocket. Writes nothing itself: what is to be answered to a
//! ping or a close goes to the viewer's thread, which is the only one that writes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use crossbeam_channel::Sender;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::wish::Wish;

/// The longest message of a page, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// What is to be done by the viewer's thread.
#[derive(Debug)]
pub(super) enum Request {
    /// What the page asks for.
    Wish(Wish),
    /// These bytes are to be written.
    Write(Vec<u8>),
    /// The page has been silent for as long as the stream's read timeout.
    Ping,
}

/// Reads until the page goes, is silent for twice the stream's read timeout, or says what no page
/// of ours says. `rest` has come behind the handshake.
pub(super) fn read(stream: TcpStream, rest: Vec<u8>, requests: &Sender<Request>) {
    let config = WebSocketConfig::default()
        .read_buffer_size(MESSAGE_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let wire = Wire { stream, requests };
    let mut socket = WebSocket::from_partially_read(wire, rest, Role::Server, Some(config));
    let mut is_pinged = false;
    loop {
        let request = match socket.read() {
            Ok(Message::Text(text)) => Wish::parse(&text).map(Request::Wish),
            Ok(Message::Close(_)) => None,
            Ok(_) => {
                is_pinged = false;
                continue;
            }
            Err(Error::Io(error)) if is_timeout(&error) && !is_pinged => {
                is_pinged = true;
                Some(Request::Ping)
            }
            Err(_) => None,
        };
        is_pinged &= matches!(request, Some(Request::Ping));
        if request.is_none_or(|request| requests.send(request).is_err()) {
            break;
        }
    }
    // The answer to a close.
    let _ = socket.flush();
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A stream to read from, and a thread that writes.
struct Wire<'a> {
    stream: TcpStream,
    requests: &'a Sender<Request>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.requests
            .send(Request::Write(bytes.to_vec()))
            .map_err(|_| ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
