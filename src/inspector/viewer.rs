//! A page that looks, and the connection to the broker on its behalf: a queue of its own, bound to
//! what the page asks for, which goes when the page stops or goes. A page that reads slowly delays
//! nobody else: its queue is bounded, and the oldest messages in it go first.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::reader::{self, Request};
use super::wish::{self, Wish};
use crate::amqp::{self, Audience, Binding, OwnQueue, Seen};
use crate::frame;
use crate::work::{Backoff, Error, Stop, unix_now};

/// How long a page may be silent before it is pinged, and after that.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How many requests of a page wait for the broker; the page's kernel keeps the rest.
const REQUESTS_MAX: usize = 16;

/// How many exchanges and patterns a page may look at.
const BINDINGS_MAX: usize = 100;

/// The pauses between attempts to reach the broker.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Shows a page what it asks for, until it goes.
///
/// # Errors
/// When there is no thread to read it by.
pub(super) fn serve(stream: TcpStream, rest: Vec<u8>, broker: &amqp::Settings) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let (sender, requests) = crossbeam_channel::bounded(REQUESTS_MAX);
    let stop = Stop::default();
    let (reading, gone) = (stream.try_clone()?, stop.clone());
    thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || {
            reader::read(reading, rest, &sender);
            drop(sender);
            gone.request();
        })?;
    let mut viewer = Viewer {
        stream,
        bindings: Vec::new(),
        is_started: false,
        is_gone: false,
    };
    viewer.look(broker, &requests, &stop);
    // Ends the reader.
    viewer.stream.shutdown(Shutdown::Both)
}

struct Viewer {
    stream: TcpStream,
    /// What the page wants to see.
    bindings: Vec<Binding>,
    is_started: bool,
    is_gone: bool,
}

impl Viewer {
    fn look(&mut self, broker: &amqp::Settings, requests: &Receiver<Request>, stop: &Stop) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !self.is_gone && !stop.is_requested() {
            if !self.is_started {
                self.wait(requests, None);
                continue;
            }
            self.say(&wish::about_state("connecting", None));
            match amqp::tap(broker, stop, Some(requests), self) {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    self.say(&wish::about_state("waiting", Some(&error.to_string())));
                    let pause = FIRST_PAUSE / 2 + backoff.next_pause(fastrand::f64());
                    self.wait(requests, Some(Instant::now() + pause));
                }
            }
        }
    }

    /// Does what the page asks for while there is no connection to the broker, until the time has
    /// come, or the page has started or stopped.
    fn wait(&mut self, requests: &Receiver<Request>, until: Option<Instant>) {
        let was_started = self.is_started;
        while !self.is_gone && self.is_started == was_started {
            let request = match until {
                Some(until) => requests.recv_deadline(until),
                None => requests.recv().map_err(RecvTimeoutError::from),
            };
            match request {
                Ok(Request::Wish(Wish::Bind(pair))) => self.add(&pair.into()),
                Ok(Request::Wish(Wish::Unbind(pair))) => self.forget(&pair.into()),
                Ok(request) => self.obey(request),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.is_gone = true,
            }
        }
    }

    /// Does what needs no broker.
    fn obey(&mut self, request: Request) {
        match request {
            Request::Wish(Wish::Start) => self.is_started = true,
            Request::Wish(Wish::Stop) => {
                self.is_started = false;
                self.say(&wish::about_state("stopped", None));
            }
            Request::Wish(Wish::Bind(_) | Wish::Unbind(_)) => {}
            Request::Write(bytes) => self.write(&bytes),
            Request::Ping => {
                let mut bytes = Vec::new();
                frame::write_ping(&mut bytes);
                self.write(&bytes);
            }
        }
    }

    /// Puts a binding on the list, unless that is full.
    fn add(&mut self, binding: &Binding) {
        if self.bindings.contains(binding) {
            return;
        }
        if self.bindings.len() == BINDINGS_MAX {
            let why = format!("one page may look at {BINDINGS_MAX} of them");
            return self.say(&wish::about_binding("refused", binding, Some(&why)));
        }
        self.bindings.push(binding.clone());
    }

    fn forget(&mut self, binding: &Binding) {
        self.bindings.retain(|own| own != binding);
    }

    /// Binds what is on the list, and says what became of it. What the broker refuses is on the
    /// list no more.
    fn bind(&mut self, binding: &Binding, queue: &mut OwnQueue<'_>) -> Result<(), Error> {
        match queue.bind(binding)? {
            Ok(()) => self.say(&wish::about_binding("bound", binding, None)),
            Err(why) => {
                self.forget(binding);
                self.say(&wish::about_binding(
                    "refused",
                    binding,
                    Some(&why.to_string()),
                ));
            }
        }
        Ok(())
    }

    fn say(&mut self, text: &str) {
        let mut bytes = Vec::with_capacity(text.len() + 10);
        frame::write_text(&mut bytes, text.as_bytes());
        self.write(&bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.is_gone |= self.stream.write_all(bytes).is_err();
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.is_gone || !self.is_started {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Audience for Viewer {
    type Request = Request;

    fn begin(&mut self, queue: &mut OwnQueue<'_>) -> Result<(), Error> {
        for binding in self.bindings.clone() {
            self.bind(&binding, queue)?;
        }
        self.say(&wish::about_state("live", None));
        Ok(())
    }

    fn answer(&mut self, request: Request, queue: &mut OwnQueue<'_>) -> ControlFlow<()> {
        // Where the connection has ended, what reads the queue says so, and all that is on the list
        // is bound anew.
        match request {
            Request::Wish(Wish::Bind(pair)) => {
                let binding = pair.into();
                self.add(&binding);
                if self.bindings.contains(&binding) {
                    let _ = self.bind(&binding, queue);
                }
            }
            Request::Wish(Wish::Unbind(pair)) => {
                let binding = pair.into();
                let _ = queue.unbind(&binding);
                self.forget(&binding);
            }
            request => self.obey(request),
        }
        self.flow()
    }

    fn see(&mut self, seen: Seen) -> ControlFlow<()> {
        self.say(&wish::message(&seen, unix_now()));
        self.flow()
    }
}
