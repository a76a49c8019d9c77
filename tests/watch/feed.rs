//! A feed that the test plays itself, word by word. Knows nothing of the program under test but how
//! it speaks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, SockAddr, Socket, Type};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Bytes, Message, Utf8Bytes, WebSocket};

use crate::support::server::PATIENCE;

/// A feed's address on this machine.
pub struct Feed {
    socket: Socket,
}

impl Feed {
    /// Takes a free port. Whoever connects is refused until [`Feed::open`].
    pub fn closed() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0))))
            .unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// Takes a free port and listens.
    pub fn open() -> Self {
        let feed = Self::closed();
        feed.listen();
        feed
    }

    pub fn listen(&self) {
        self.socket.listen(16).unwrap();
    }

    pub fn port(&self) -> u16 {
        self.socket
            .local_addr()
            .unwrap()
            .as_socket_ipv4()
            .unwrap()
            .port()
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port())
    }

    /// Waits for the next connection, before its first byte.
    pub fn accept_tcp(&self) -> TcpStream {
        let (socket, _) = self.socket.accept().expect("somebody connects");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nonblocking(false).unwrap();
        socket.into()
    }

    /// Waits for the next client and its handshake.
    pub fn accept(&self) -> Connection<TcpStream> {
        Connection::over(self.accept_tcp())
    }

    /// Answers the next request with `answer` and hangs up.
    pub fn answer(&self, answer: &str) {
        let mut stream = self.accept_tcp();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

/// A client of the played feed.
pub struct Connection<S: Read + Write> {
    socket: WebSocket<S>,
}

impl<S: Read + Write> Connection<S> {
    pub fn over(stream: S) -> Self {
        Self {
            socket: tungstenite::accept(stream)
                .unwrap_or_else(|error| panic!("no handshake: {error}")),
        }
    }

    /// Waits for what the client says next, pings and pongs included.
    pub fn read(&mut self) -> Message {
        self.socket.read().expect("the client says something")
    }

    /// Waits for the client's next command.
    pub fn expect(&mut self, command: &str) {
        assert_eq!(self.read(), Message::text(command));
    }

    /// Waits for a client that subscribes as `subscribe` says, and sends the reply, `missed`, and
    /// the end of what was missed.
    pub fn subscribed(&mut self, subscribe: &str, reply: &str, missed: &[String]) {
        self.expect(subscribe);
        self.expect(r#"{"command":"version"}"#);
        self.send(reply);
        for update in missed {
            self.send(update);
        }
        self.send(r#"{"command":"version","result":"ok","version":"0.9"}"#);
    }

    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    pub fn ping(&mut self, payload: &'static [u8]) {
        self.socket
            .send(Message::Ping(Bytes::from_static(payload)))
            .unwrap();
    }

    /// Closes, and waits until the client has hung up.
    pub fn close(mut self, code: Option<u16>, reason: &'static str) {
        let close = code.map(|code| CloseFrame {
            code: code.into(),
            reason: Utf8Bytes::from_static(reason),
        });
        self.socket.close(close.clone()).unwrap();
        assert_eq!(
            self.socket.read().expect("the client's answer"),
            Message::Close(close)
        );
    }

    /// Waits until the client has hung up, with or without a goodbye.
    pub fn expect_gone(mut self) {
        while let Ok(message) = self.socket.read() {
            assert!(!message.is_text(), "the client says {message}");
        }
        assert!(!self.socket.can_write(), "still connected");
    }
}

/// The push of an update.
pub fn update(bug: u32, when: &str) -> String {
    format!(r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#)
}
