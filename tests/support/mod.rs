//! What the tests start and stop: programs that are not ours.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod pika;
pub mod rabbitmq;
//! What several tests share: real programs to play against. Each test file uses a part of it.
#![allow(dead_code)]

pub mod client;
pub mod server;
