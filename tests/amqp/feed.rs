//! A source in its thread, seen from the loop's side of the inbox. Knows no broker.

use std::collections::VecDeque;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bugzfeed::inbox::{self, Inbox, Notice};
use bugzfeed::promise::Promise;
use bugzfeed::source::{self, Address, HistoryFile, Kept, Sink};
use bugzfeed::update::FeedId;
use bugzfeed::work::Stop;
use mio::{Events, Poll, Token};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running source. It is stopped when dropped, and must stop within a second.
pub struct Feed {
    poll: Poll,
    inbox: Inbox,
    updates: VecDeque<(u32, String)>,
    gaps: usize,
    is_in_doubt: bool,
    /// Whether the feed has promised anything yet.
    is_started: bool,
    /// Whether the last notice was its first promise, and that of nothing, which a gap may follow.
    is_gap_counted: bool,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    pub fn open(address: &str) -> Self {
        Self::open_with(address, None)
    }

    /// The same with a history in this file.
    pub fn open_with(address: &str, history: Option<&Path>) -> Self {
        let address: Address = address.parse().unwrap();
        let poll = Poll::new().unwrap();
        let (sender, inbox) = inbox::open(poll.registry(), Token(0)).unwrap();
        let feed = source::Feed {
            id: FeedId(0),
            source: address.to_string(),
            updates_max: 1_000,
            catch_up: None,
        };
        let (file, kept) = match history {
            Some(history) => {
                let (file, kept) = HistoryFile::open(history, "/", &feed.source, 1_000).unwrap();
                (Some(file), kept)
            }
            None => (None, Kept::default()),
        };
        let sink = Sink::new(feed, file, &kept, sender);
        let stop = Stop::default();
        let (mut source, _) = address.open(false);
        let thread = {
            let stop = stop.clone();
            thread::spawn(move || source::supervise(&mut *source, sink, &stop))
        };
        Self {
            poll,
            inbox,
            updates: VecDeque::new(),
            gaps: 0,
            is_in_doubt: true,
            is_started: false,
            is_gap_counted: false,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits for the next update: its bug and its time.
    pub fn update(&mut self) -> (u32, String) {
        self.wait_for(|feed| feed.updates.pop_front())
    }

    /// Waits for the bugs of the next updates.
    pub fn bugs(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.update().0).collect()
    }

    /// Waits until the source says that updates may have been missed, as it does when it has made
    /// its queue, and then until it knows that it misses no more.
    pub fn gap(&mut self) {
        self.wait_for(|feed| (feed.gaps > 0).then(|| feed.gaps -= 1));
        self.wait_for(|feed| (!feed.is_in_doubt).then_some(()));
    }

    /// Waits until it is not known whether anything is missing.
    pub fn doubt(&mut self) {
        self.wait_for(|feed| feed.is_in_doubt.then_some(()));
    }

    /// Waits until that is known.
    pub fn whole(&mut self) {
        self.wait_for(|feed| (!feed.is_in_doubt).then_some(()));
    }

    /// How many gaps were reported that no test has waited for.
    pub fn gaps(&self) -> usize {
        self.gaps
    }

    /// Asks for the stop, and waits until the thread has ended.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let asked = Instant::now();
        self.stop.request();
        thread.join().unwrap();
        // Far less than it takes to find out that a broker hangs; a busy machine may need some.
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "stopping took {:?}",
            asked.elapsed()
        );
    }

    fn wait_for<T>(&mut self, look: impl Fn(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut events = Events::with_capacity(1);
        loop {
            self.inbox.begin();
            while let Some(event) = self.inbox.take() {
                match event {
                    Notice::Updates { updates, .. } => {
                        self.is_gap_counted = false;
                        self.updates.extend(
                            updates
                                .into_iter()
                                .map(|update| (update.bug.get(), update.when.to_string())),
                        );
                    }
                    Notice::Gap { .. } => {
                        self.gaps += usize::from(!std::mem::take(&mut self.is_gap_counted));
                    }
                    Notice::Promise { promise, .. } => {
                        self.is_in_doubt = promise == Promise::InDoubt;
                        // Those who are connected hear of no gap from before the start.
                        let is_first = !self.is_in_doubt && !self.is_started;
                        self.is_started |= is_first;
                        self.is_gap_counted = is_first && promise == Promise::Nothing;
                        self.gaps += usize::from(self.is_gap_counted);
                    }
                    Notice::Clock { .. } => panic!("a broker knows no database"),
                    Notice::Earlier { .. } => panic!("a broker knows nothing from before"),
                    Notice::Access(_)
                    | Notice::Answer { .. }
                    | Notice::Key { .. }
                    | Notice::Reloaded(_) => {
                        panic!("a broker posts nothing")
                    }
                    Notice::Refused { why } => panic!("{why}"),
                    Notice::Source { .. } | Notice::Keeping { .. } => {}
                }
            }
            if let Some(found) = look(self) {
                return found;
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .expect("the source says nothing");
            self.poll.poll(&mut events, Some(left)).unwrap();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
        }
    }
}

/// Looks until it is so.
pub fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to be so");
    }
}
