//! The two ends of a connection, and the kernel between them: it takes as many bytes as there is
//! room for, and notifies of a change once. With TLS, what the client says is sealed on the way, and
//! what the server has written is opened.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use bugzfeed::connection::Stream;
use bugzfeed::secure::SessionId;
use rustls::ClientConnection;

/// What the kernel knows of a connection.
#[derive(Debug, Default)]
pub struct Wire {
    /// The client's TLS, if it has some.
    pub tls: Option<Box<ClientConnection>>,
    /// The client's TLS has said something by itself.
    pub has_answered: bool,
    /// The client has said something by TLS that the server was not notified of.
    pub has_said: bool,
    /// What is no TLS was sent, so that the server sends nothing more that means something.
    pub is_garbled: bool,
    /// Sent by the client and not read yet.
    pub to_server: VecDeque<u8>,
    /// Read by the server so far.
    pub read_bytes: usize,
    /// By so many calls, those in vain included.
    pub reads: usize,
    /// The client sends no more.
    pub is_client_done: bool,
    /// The client's socket is closed: what is written from now on resets the connection.
    pub is_client_gone: bool,
    pub is_reset: bool,
    /// All that the server has written.
    pub written: Vec<u8>,
    /// How many bytes more the kernel takes.
    pub room: usize,
    /// A write was refused, wholly or in part, and no event has followed since that there is room again.
    pub is_refused: bool,
    /// The server writes no more.
    pub is_server_done: bool,
    /// The server's socket is closed.
    pub is_dropped: bool,
    /// Reads and writes until one is interrupted by a signal.
    pub until_interrupted: u32,
}

impl Wire {
    /// The client says something.
    pub fn say(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            None => self.to_server.extend(bytes),
            Some(tls) => tls.writer().write_all(bytes).unwrap(),
        }
        self.has_said |= !bytes.is_empty();
        self.seal();
    }

    /// Sends what the client's TLS has to say.
    fn seal(&mut self) {
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            tls.write_tls(&mut self.to_server).unwrap();
            self.has_answered = true;
        }
    }

    /// Takes what the server has written.
    fn open(&mut self, mut bytes: &[u8]) {
        let Some(tls) = &mut self.tls else {
            return self.written.extend(bytes);
        };
        while !bytes.is_empty() && !self.is_garbled {
            tls.read_tls(&mut bytes).unwrap();
            tls.process_new_packets().unwrap();
            // WouldBlock says that there is nothing more.
            let _ = tls.reader().read_to_end(&mut self.written);
        }
        if !self.is_client_done {
            self.seal();
        }
    }

    /// Whether what the client has said comes to be read now. New keys are nothing that is said.
    pub fn take_said(&mut self) -> bool {
        match self.tls {
            None => !self.to_server.is_empty(),
            Some(_) => self.can_end() && std::mem::take(&mut self.has_said),
        }
    }

    /// Whether the client can say that nothing more comes: not while its TLS has something to say.
    pub fn can_end(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    fn interrupt(&mut self) -> io::Result<()> {
        self.until_interrupted = self.until_interrupted.checked_sub(1).unwrap_or(17);
        if self.until_interrupted == 0 {
            Err(ErrorKind::Interrupted.into())
        } else {
            Ok(())
        }
    }
}

/// The world's view of a connection.
#[derive(Clone, Debug, Default)]
pub struct Handle(Rc<RefCell<Wire>>);

impl Handle {
    pub fn wire(&self) -> Ref<'_, Wire> {
        self.0.borrow()
    }

    pub fn wire_mut(&self) -> RefMut<'_, Wire> {
        self.0.borrow_mut()
    }

    /// The server's end.
    pub fn stream(&self) -> SimStream {
        SimStream(Rc::clone(&self.0), None)
    }

    /// The server's end of a client with TLS.
    pub fn secure_stream(&self, session: SessionId) -> SimStream {
        SimStream(Rc::clone(&self.0), Some(session))
    }
}

/// The server's end of a connection.
#[derive(Debug)]
pub struct SimStream(Rc<RefCell<Wire>>, Option<SessionId>);

impl Read for SimStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        wire.reads += 1;
        wire.interrupt()?;
        if wire.is_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if wire.to_server.is_empty() {
            return if wire.is_client_done {
                Ok(0)
            } else {
                Err(ErrorKind::WouldBlock.into())
            };
        }
        let bytes = wire.to_server.read(buffer)?;
        wire.read_bytes += bytes;
        // A ring gives its first part only; a kernel gives all.
        let more = wire.to_server.read(&mut buffer[bytes..])?;
        wire.read_bytes += more;
        Ok(bytes + more)
    }
}

impl Write for SimStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        assert!(!bytes.is_empty(), "a system call for nothing");
        assert!(
            !wire.is_server_done,
            "the server writes after it said that nothing more comes"
        );
        wire.interrupt()?;
        if wire.is_reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(wire.room);
        wire.room -= taken;
        wire.is_refused |= taken < bytes.len();
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.open(&bytes[..taken]);
        wire.is_reset |= wire.is_client_gone;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for SimStream {
    fn shutdown_write(&self) -> io::Result<()> {
        let wire = &mut *self.0.borrow_mut();
        wire.is_server_done = true;
        if wire.is_reset {
            Err(ErrorKind::NotConnected.into())
        } else {
            Ok(())
        }
    }

    fn session(&self) -> Option<SessionId> {
        self.1
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.0.borrow_mut().is_dropped = true;
    }
}
