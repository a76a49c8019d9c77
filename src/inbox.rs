//! The inboxes through which the loop and the sources' threads talk; they share nothing else. Both
//! are bounded channels. Knows no client and no socket.
//!
//! The loop has one [`Inbox`] for the notices of all sources. A waker ends the loop's wait when one
//! arrives. While it is full the source waits, so a slow loop slows the sources down and nothing is
//! lost.
//!
//! A source that clients post to has a `PostInbox`, which its thread waits for. While that is
//! full the loop does not wait: the post is refused, and the client posts it again later.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use log::{LevelFilter, info, warn};
use mio::{Registry, Token, Waker};

use crate::access::News;
use crate::metrics::SourceState;
use crate::post::{Answer, Post, PostId};
use crate::promise::Promise;
use crate::server::Terms;
use crate::update::{FeedId, Update};

/// How many notices wait at most; each carries at most one read of a source.
const NOTICES_MAX: usize = 256;

/// How many posts wait at most for one source.
const POSTS_MAX: usize = 64;

/// What a source reports to the loop.
#[derive(Debug)]
pub enum Notice {
    /// Bugs changed: in order of arrival.
    Updates {
        /// The feed that the source fills.
        feed: FeedId,
        /// One for each change that was read.
        updates: Vec<Update>,
        /// Times after this one (Unix seconds) are not to be believed.
        credible_until: i64,
        /// When they were read.
        read_at: Instant,
    },
    /// The source is not how it was, or has failed once more.
    Source {
        /// The feed that the source fills.
        feed: FeedId,
        /// How it is.
        state: SourceState,
    },
    /// The history file can be written from now on, or it cannot.
    Keeping {
        /// The feed whose history it is.
        feed: FeedId,
        /// Whether it can.
        is_keeping: bool,
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
    /// The clock of Bugzilla's database is not where it was known to be.
    Clock {
        /// The feed that the source fills.
        feed: FeedId,
        /// How far it is ahead of this machine's, in seconds.
        ahead: i64,
    },
    /// The source may not read what it is to read: the server is to end.
    Refused {
        /// Why, as a sentence without its full stop.
        why: String,
    },
    /// Posts to the feed's webhook carry another key from now on.
    Key {
        /// The feed that the source fills.
        feed: FeedId,
        /// The key.
        key: String,
    },
    /// What is new about who may have the feeds.
    Access(News),
    /// The settings were read anew; `None` where they stay what they were.
    Reloaded(Option<Box<Reloaded>>),
    /// A post has been dealt with.
    Answer {
        /// The number that the post came with.
        post: PostId,
        /// What came of it.
        answer: Answer,
    },
}

/// The settings that take effect while the loop runs.
#[derive(Debug)]
pub struct Reloaded {
    pub(crate) terms: Terms,
    /// Over how long the clients are closed in the end, in milliseconds.
    pub(crate) drain: u32,
    /// How much memory is left alone, in bytes; by default a part of it.
    pub(crate) memory_reserve: Option<u64>,
    /// How many connections are accepted per second, where that is bounded.
    pub(crate) accept_rate: Option<u32>,
    /// How much is logged.
    pub(crate) level: LevelFilter,
    /// The flags of the settings that have changed.
    pub(crate) changed: Vec<String>,
    /// The flags of those whose new values take a restart.
    pub(crate) waiting: Vec<String>,
}

impl Reloaded {
    /// Says what has changed, by the more talkative level of the old one and the new one, which
    /// holds from then on.
    pub(crate) fn log(&self) {
        log::set_max_level(self.level.max(log::max_level()));
        match self.changed.join(", ") {
            changed if changed.is_empty() => info!("the settings were read anew; nothing changes"),
            changed => info!("the settings were read anew: {changed} changed"),
        }
        if !self.waiting.is_empty() {
            warn!("a restart is needed for {}", self.waiting.join(", "));
        }
        log::set_max_level(self.level);
    }
}

/// The loop is gone: nobody will read what is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server has stopped")
    }
}

impl std::error::Error for Closed {}

/// A source's end of the loop's inbox.
#[derive(Clone, Debug)]
pub struct Sender {
    notices: SyncSender<Notice>,
    wake: Arc<Wake>,
}

#[derive(Debug)]
struct Wake {
    /// A wake-up that the loop has not answered yet; a second one would cost a system call and
    /// change nothing.
    is_due: AtomicBool,
    waker: Waker,
}

/// The loop's end of its inbox.
#[derive(Debug)]
pub struct Inbox {
    notices: Receiver<Notice>,
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
    let (sender, receiver) = mpsc::sync_channel(NOTICES_MAX);
    Ok((
        Sender {
            notices: sender,
            wake: Arc::clone(&wake),
        },
        Inbox {
            notices: receiver,
            wake,
        },
    ))
}

impl Sender {
    /// Hands a notice to the loop; waits while the inbox is full.
    ///
    /// # Errors
    /// When the loop is gone.
    pub(crate) fn send(&self, notice: Notice) -> Result<(), Closed> {
        self.notices.send(notice).map_err(|_| Closed)?;
        if !self.wake.is_due.swap(true, Ordering::AcqRel) && self.wake.waker.wake().is_err() {
            return Err(Closed);
        }
        Ok(())
    }
}

impl Inbox {
    /// To be called when the loop is awake, before it takes notices: those sent from now on wake it
    /// again.
    pub fn begin(&self) {
        // Takes part in the order of the senders' swaps, so that a notice whose sender saw no need
        // to wake the loop is seen now.
        self.wake.is_due.swap(false, Ordering::AcqRel);
    }

    /// The next notice, if one has arrived.
    pub fn take(&self) -> Option<Notice> {
        self.notices.try_recv().ok()
    }
}

/// The loop's end of a source's inbox.
#[derive(Clone, Debug)]
pub struct PostSender(SyncSender<Option<Post>>);

/// The inbox of a source that clients post to.
#[derive(Debug)]
pub(crate) struct PostInbox {
    /// `None` wakes the source and carries nothing.
    posts: Receiver<Option<Post>>,
    sender: PostSender,
}

/// Makes an inbox for posts.
pub(crate) fn open_posts() -> (PostSender, PostInbox) {
    let (sender, posts) = mpsc::sync_channel(POSTS_MAX);
    let sender = PostSender(sender);
    let inbox = PostInbox {
        posts,
        sender: sender.clone(),
    };
    (sender, inbox)
}

impl PostSender {
    /// Hands a post to the source, unless the source is too busy or gone; returns whether it has
    /// it.
    pub(crate) fn try_send(&self, post: Post) -> bool {
        self.0.try_send(Some(post)).is_ok()
    }

    /// Ends the source's wait without a post.
    pub(crate) fn wake(&self) {
        // A full inbox means that the source is awake.
        let _ = self.0.try_send(None);
    }
}

impl PostInbox {
    pub(crate) fn sender(&self) -> PostSender {
        self.sender.clone()
    }

    /// Waits for the next post, for `patience` at most; `None` also when the wait was ended by
    /// [`PostSender::wake`].
    pub(crate) fn wait(&self, patience: Duration) -> Option<Post> {
        self.posts.recv_timeout(patience).ok().flatten()
    }
}
