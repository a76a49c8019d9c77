//! The source `amqp:` and `bugzfeed notify` with real brokers. Each test has an exchange of its
//! own; those that harm a broker have one of their own, too.

mod feed;
mod forwarder;
mod log;
mod messages;
mod notify;
mod numbers;
mod queue;
mod refusals;
mod serve;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod trouble;

const WHEN: &str = "2014-04-03T21:13:45";
