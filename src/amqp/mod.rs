//! The broker: connections to RabbitMQ, the exchanges and queues on it, and publishing. What reads
//! a queue is a source: `source::amqp`. These two are the only modules that know amiquip; this one
//! knows the old mio that amiquip is built on.

mod attempt;
mod confirms;
mod connect;
mod examine;
mod lost;
mod notify;
mod number;
mod outgoing;
mod publisher;
mod routes;
mod session;
mod settings;
mod sieve;
mod stream;
mod tap;
pub(crate) mod topology;

pub(crate) use examine::{Examined, examine};
pub(crate) use notify::notify;
pub(crate) use number::{Announcement, Number};
pub(crate) use outgoing::Message;
pub(crate) use publisher::{PublishError, Publisher};
pub(crate) use session::{Ended, Session};
pub(crate) use settings::Settings;
#[cfg(any(test, fuzzing))]
pub(crate) use sieve::Sieve;
pub(crate) use tap::{Audience, Binding, OwnQueue, Seen, tap};
