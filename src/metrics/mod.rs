//! What is counted while a server runs, in plain integers, and how Prometheus is told. Knows no clock
//! and nobody who counts.

mod counts;
mod histogram;
mod page;
mod program;

pub use counts::SourceState;
pub(crate) use counts::{
    CommandCounts, CommandName, Counts, Ended, FeedCounts, Passed, Process, RightsCounts,
};
pub(crate) use histogram::Histogram;
pub(crate) use page::{CONTENT_TYPE, Kind, Page};
