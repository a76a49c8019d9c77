//! Starts what a feed lives on: its source, and what asks Bugzilla for what the source has lost, each
//! in a thread of its own.

use super::Options;
use crate::failure::Failure;
use crate::inbox::{PostSender, Sender};
use crate::source::{self, CatchUp, CatchUpAddress, Feed, HistoryFile, Kept, Sink, Source};
use crate::update::FeedId;
use crate::work::{Stop, Threads};

impl Options {
    /// Starts what `feed` lives on; returns where posts for its source go, if that takes any.
    ///
    /// # Errors
    /// When what is asked cannot be asked so, or there is no thread to be had.
    pub(super) fn start_feed(
        &self,
        feed: FeedId,
        address: &source::Address,
        (file, kept): (Option<HistoryFile>, Kept),
        catch_up: Option<(CatchUpAddress, bool)>,
        inbox: Sender,
        threads: &mut Threads,
    ) -> Result<Option<PostSender>, Failure> {
        let (source, posts) = address.open(self.wait);
        let feed = Feed {
            id: feed,
            source: address.to_string(),
            updates_max: self.history_size,
            catch_up: catch_up.as_ref().map(|(address, _)| address.sees()),
        };
        let sink = Sink::new(feed, file, &kept, inbox);
        if let Some((address, is_optional)) = catch_up {
            start_catch_up(&address, is_optional, &sink, threads)?;
        }
        start(source, sink, threads)?;
        Ok(posts)
    }
}

/// Starts a source in a thread of its own.
fn start(mut source: Box<dyn Source>, sink: Sink, threads: &mut Threads) -> Result<(), Failure> {
    let stop = Stop::default();
    let seen = stop.clone();
    let run = move || source::supervise(&mut *source, sink, &seen);
    threads.start("source", stop, run).map_err(|error| {
        Failure::Unavailable(format!("cannot start a thread for a source: {error}."))
    })
}

fn start_catch_up(
    address: &CatchUpAddress,
    is_optional: bool,
    sink: &Sink,
    threads: &mut Threads,
) -> Result<(), Failure> {
    let catch_up = CatchUp::new(address, is_optional, sink)
        .map_err(|why| Failure::Configuration(format!("--catch-up {address}: {why}.")))?;
    let stop = Stop::default();
    let seen = stop.clone();
    let run = move || catch_up.keep_up(&seen);
    threads.start("catch-up", stop, run).map_err(|error| {
        Failure::Unavailable(format!("cannot start a thread for the catch-up: {error}."))
    })
}
