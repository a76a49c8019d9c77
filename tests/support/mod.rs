//! What the tests start and stop: programs that are not ours.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod pika;
pub mod rabbitmq;
