//! What the Autobahn suite speaks to: an echo on the server's own handshake, frames and messages, and
//! one on tungstenite's `accept`, as one first writes it, beside it. Prints both ports. `run`, beside
//! this file, starts it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use bugzfeed::connection::{CloseReason, Unfinished};
use bugzfeed::frame;
use bugzfeed::http::{self, Outcome, Room, Site};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The suite's longest message has 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

fn main() -> io::Result<()> {
    let ours = TcpListener::bind("127.0.0.1:0")?;
    let library = TcpListener::bind("127.0.0.1:0")?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    println!("{} {}", port(&ours)?, port(&library)?);
    thread::spawn(move || serve(&library, echo_by_library));
    serve(&ours, |stream| {
        let _ = Echo::default().run(stream);
    });
    Ok(())
}

fn serve(listener: &TcpListener, echo: fn(TcpStream)) {
    for stream in listener.incoming().map_while(Result::ok) {
        let _ = stream.set_nodelay(true);
        thread::spawn(move || echo(stream));
    }
}

fn echo_by_library(stream: TcpStream) {
    let Ok(mut socket) = tungstenite::accept(stream) else {
        return;
    };
    while let Ok(message) = socket.read() {
        if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
            return;
        }
    }
}

/// One client of the echo.
#[derive(Default)]
struct Echo {
    /// What has come and is not handled.
    input: Vec<u8>,
    unfinished: Unfinished,
    /// Whether the message that has begun is binary.
    is_binary: bool,
    output: Vec<u8>,
}

impl Echo {
    fn run(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut is_open = false;
        loop {
            let bytes = stream.read(&mut buffer)?;
            if bytes == 0 {
                return Ok(());
            }
            self.input.extend_from_slice(&buffer[..bytes]);
            is_open = is_open || self.shake_hands();
            let result = if is_open { self.answer() } else { Ok(()) };
            if let Err(reason) = result
                && let Some((code, words)) = reason.close_frame()
            {
                frame::write_close(&mut self.output, code, words);
            }
            stream.write_all(&std::mem::take(&mut self.output))?;
            if result.is_err() {
                // What the client still sends is read, so that no reset overtakes the close.
                stream.shutdown(Shutdown::Write)?;
                return io::copy(&mut stream, &mut io::sink()).map(drop);
            }
        }
    }

    /// Answers the request for a WebSocket, once it is complete; returns whether it was.
    fn shake_hands(&mut self) -> bool {
        let site = Site {
            feeds: vec!["/".to_owned()],
            ..Site::default()
        };
        match http::respond(&site, &self.input, Room::Free, 0, &mut self.output) {
            Outcome::Upgraded { head_bytes, .. } => {
                self.input.drain(..head_bytes);
                true
            }
            _ => false,
        }
    }

    /// Answers the frames that are complete.
    fn answer(&mut self) -> Result<(), CloseReason> {
        let mut used = 0;
        let result = loop {
            match self.answer_frame(used) {
                Ok(0) => break Ok(()),
                Ok(bytes) => used += bytes,
                Err(reason) => break Err(reason),
            }
        };
        self.input.drain(..used);
        result
    }

    /// Answers the frame that begins there; returns its length, 0 where it is not complete.
    fn answer_frame(&mut self, at: usize) -> Result<usize, CloseReason> {
        let input = &self.input[at..];
        let left = MESSAGE_BYTES_MAX - self.unfinished.begun_bytes();
        let found = frame::find(input, left).map_err(|error| CloseReason::from(&*error))?;
        let Some(whole) = found else {
            return Ok(0);
        };
        match input[0] & 0x0f {
            1 => self.is_binary = false,
            2 => self.is_binary = true,
            _ => {}
        }
        let output = &mut self.output;
        let received = self
            .unfinished
            .receive(whole, input, MESSAGE_BYTES_MAX, output)?;
        if let Some(message) = received {
            let kind = if self.is_binary {
                Data::Binary
            } else {
                Data::Text
            };
            Frame::message(message, OpCode::Data(kind), true)
                .format(output)
                .expect("a Vec takes all that is written to it");
        }
        Ok(whole.bytes)
    }
}
