//! What several tests share: real programs to play against, our own among them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod chromium;
pub mod client;
pub mod disk;
pub mod docs;
#[cfg(feature = "mysql")]
pub mod mariadb;
pub mod nginx;
pub mod pika;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod rabbitmq;
pub mod server;
pub mod unprivileged;
