//! `bugzfeed pulse` with a real RabbitMQ and its management plugin, which all of these tests share.
//! Each has accounts or a virtual host of its own.

mod between;
mod check;
mod docs;
mod guard;
mod init;
mod inspect;
mod old_tools;
mod place;
mod rights;
mod sink;
#[path = "../support/mod.rs"]
mod support;
mod user;
mod web;
