//! The only door between the sources' threads and the loop: a bounded channel, and a waker that
//! ends the loop's wait. A full inbox makes a source wait, so a slow loop slows the sources down
//! and nothing is lost. Knows no client and no socket.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

use mio::{Registry, Token, Waker};

use crate::post::Answer;
use crate::promise::Promise;
use crate::update::{FeedId, Update};

/// How many events wait at most; each carries at most one read of a source.
const EVENTS_MAX: usize = 256;

/// What a source has to say to the loop.
#[derive(Debug)]
pub enum Event {
    /// Bugs changed: in order of arrival.
    Updates {
        /// The feed that the source fills.
        feed: FeedId,
        /// What changed.
        updates: Vec<Update>,
        /// Times after this one (Unix seconds) are not to be believed.
        credible_until: i64,
    },
    /// Bugs changed before the source began to read: to be remembered in this order, and sent to
    /// nobody.
    Earlier {
        /// The feed that the source fills.
        feed: FeedId,
        /// Each with its watermark, in Unix seconds.
        updates: Vec<(i64, Update)>,
    },
    /// What the feed can promise from now on.
    Promise {
        /// The feed that the source fills.
        feed: FeedId,
        /// What it can promise.
        promise: Promise,
    },
    /// Updates were missed, which clients that are connected now may have been waiting for.
    Gap {
        /// The feed that the source fills.
        feed: FeedId,
    },
    /// What a client has posted was seen to.
    Answer {
        /// The post's number.
        post: u64,
        /// What came of it.
        answer: Answer,
    },
}

/// The loop is gone: nobody will read what is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server has stopped")
    }
}

impl std::error::Error for Closed {}

/// A source's end.
#[derive(Clone, Debug)]
pub struct Sender {
    events: SyncSender<Event>,
    wake: Arc<Wake>,
}

#[derive(Debug)]
struct Wake {
    /// A wake-up that the loop has not answered yet; a second one would cost a system call and
    /// change nothing.
    is_due: AtomicBool,
    waker: Waker,
}

/// The loop's end.
#[derive(Debug)]
pub struct Inbox {
    events: Receiver<Event>,
    wake: Arc<Wake>,
}

/// Makes an inbox whose arrivals end the wait of the poll behind `registry` with `token`.
///
/// # Errors
/// When the kernel gives no file for the waker.
pub fn open(registry: &Registry, token: Token) -> io::Result<(Sender, Inbox)> {
    let wake = Arc::new(Wake {
        is_due: AtomicBool::new(false),
        waker: Waker::new(registry, token)?,
    });
    let (sender, receiver) = mpsc::sync_channel(EVENTS_MAX);
    Ok((
        Sender {
            events: sender,
            wake: Arc::clone(&wake),
        },
        Inbox {
            events: receiver,
            wake,
        },
    ))
}

impl Sender {
    /// Hands an event to the loop; waits while the inbox is full.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn send(&self, event: Event) -> Result<(), Closed> {
        self.events.send(event).map_err(|_| Closed)?;
        if !self.wake.is_due.swap(true, Ordering::AcqRel) && self.wake.waker.wake().is_err() {
            return Err(Closed);
        }
        Ok(())
    }
}

impl Inbox {
    /// Says that the loop is awake and is about to take events: those sent from now on wake it
    /// again.
    pub fn begin(&self) {
        // Takes part in the order of the senders' swaps, so that an event whose sender saw no need
        // to wake the loop is seen now.
        self.wake.is_due.swap(false, Ordering::AcqRel);
    }

    /// The next event, if one has arrived.
    pub fn take(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}
