//! `bugzfeed relay`, run as a program: from real tables to real brokers, to servers that the test
//! plays, and to files.

mod admin;
mod answers;
mod balancer;
mod broker;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod crashes;
mod crowd;
mod damage;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod database;
mod disk;
mod file;
mod given_up;
mod only_one;
mod order;
mod program;
mod receiver;
mod signature;
mod status;
mod stdout;
mod stop;
#[path = "../support/mod.rs"]
mod support;
mod table;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod tls;
mod webhook;

const WHEN: &str = "2014-04-03T21:13:45";
