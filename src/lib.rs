//! bugzfeed pushes Bugzilla's changes to WebSocket clients. This crate is the inside of the program
//! of that name, and no library for others: what is public is so for its tests and benches.
//!
//! # The path of an update
//!
//! A row in a database, or a message of a broker → [`source`] reads it, in a thread of its own →
//! `source::sink` keeps it in the history file (`source::history_file`) and hands it on →
//! [`inbox`], the only door to the loop → [`server`] publishes it → [`hub`] remembers it and finds
//! who wants it → `turn` writes it once for all of them → one write to the socket of each client.
//!
//! # The rooms
//!
//! - What all speak of: [`update`], [`moment`], [`post`], [`promise`], [`access`], `duration`,
//!   `failure`.
//! - One feed, without any I/O: [`protocol`], [`subscriptions`], [`history`], [`hub`].
//! - Bytes of clients, without any I/O: [`frame`], `encoding`, [`http`], `record`, [`secure`], `page`, `proxy`, `turn`.
//! - How it looks to those who run it: [`metrics`], `status`.
//! - All clients, with the stream and the time passed in: [`connection`], [`server`].
//! - The loop: `reactor`, [`inbox`], `memory`.
//! - Who may see which bug: [`access`], with `asker`, which asks Bugzilla.
//! - Where updates come from: [`source`], by [`database`], `amqp`, `pulse` and [`bugzilla`].
//! - Where else they go to: `relay`.
//! - A broker that strangers share: `management` and `guard`, by the rules in `pulse`.
//! - The command line: [`command`], [`settings`], with [`schema`], `bench`, [`check`], `doctor` and [`client`].
//! - TLS for clients: `certificate`, [`secure`].
//! - What many need: [`work`], `address`, `tls`, `machine`, `systemd`, `allocator`, `logging`.
//!
//! docs/architecture.md says which room may name which others, and why things are as they are.

#![warn(unreachable_pub)]

pub mod access;
mod address;
mod allocator;
mod amqp;
mod asker;
mod bench;
pub mod bugzilla;
mod certificate;
pub mod check;
pub mod client;
pub mod command;
pub mod connection;
pub mod database;
mod doctor;
mod duration;
mod encoding;
mod failure;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guard;
pub mod history;
pub mod http;
pub mod hub;
pub mod inbox;
mod inspector;
pub mod logging;
mod machine;
mod management;
mod memory;
pub mod metrics;
pub mod moment;
mod page;
pub mod post;
pub mod promise;
pub mod protocol;
mod proxy;
mod pulse;
mod reactor;
mod record;
mod relay;
pub mod schema;
pub mod secure;
pub mod server;
pub mod settings;
pub mod source;
mod status;
pub mod subscriptions;
mod systemd;
mod tls;
mod turn;
pub mod update;
pub mod work;
