//! Work that goes on in threads of its own: sources, the relay's table and destinations. Owns how
//! such a thread is supervised, stopped and waited for, and what a process may have only once.
//! Knows no feed, no broker and no database.

mod backoff;
mod clock;
mod health;
mod lock;
mod stop;
mod supervise;
mod threads;

pub(crate) use backoff::Backoff;
pub(crate) use clock::Now;
pub use clock::unix_now;
pub(crate) use health::{Health, HealthView};
pub(crate) use lock::FileLock;
pub use stop::Stop;
pub(crate) use supervise::{Panicked, Supervised, catch_panic, supervise};
pub(crate) use threads::Threads;

/// Why work could not go on; the text is a sentence for the log.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
