//! `bugzfeed watch`, run as a program: against a feed that the test plays, and against a real
//! server.

mod endings;
mod exec;
mod feed;
mod output;
mod program;
mod reconnecting;
mod serve;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod tls;
