//! RabbitMQ's management API, version 3.10 and later: who is who on a broker, what is on it, and
//! what bugzfeed itself keeps there. Knows no AMQP and no rule of Pulse's.

mod calls;
mod client;
mod objects;
mod records;
mod settings;

#[cfg(any(test, fuzzing))]
pub(crate) use client::words;
pub(crate) use client::{Client, Error};
pub(crate) use objects::{Account, Exchange, Permission, Policy, Queue};
pub(crate) use records::Record;
pub(crate) use settings::Settings;
