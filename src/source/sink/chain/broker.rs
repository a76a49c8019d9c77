//! The broker with a queue for each server, and what the relay announces. Knows no server and no
//! relay.

use std::collections::VecDeque;

use crate::amqp::{Announcement, Number};

/// What the relay has made of a commit.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub commit: usize,
    /// None where the relay is of a version without numbers.
    pub number: Option<Number>,
}

pub(super) type Messages = VecDeque<Message>;

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub exists: bool,
    /// To the exchange.
    pub is_bound: bool,
    pub messages: Messages,
    /// In the queue of length 1 that a connected server has beside it.
    pub announced: Option<Announcement>,
}

#[derive(Debug)]
pub(super) struct Broker {
    pub is_up: bool,
    pub has_exchange: bool,
    pub queues: [Queue; 2],
}

impl Queue {
    pub(super) fn contains(&self, commit: usize) -> bool {
        self.messages.iter().any(|message| message.commit == commit)
    }
}

impl Broker {
    pub(super) fn new() -> Self {
        Self {
            is_up: true,
            has_exchange: true,
            queues: Default::default(),
        }
    }

    /// Everything is gone, as after a restart without its disk.
    pub(super) fn wipe(&mut self) {
        self.has_exchange = false;
        self.queues = Default::default();
    }

    /// The exchange is deleted, and with it who was bound to it.
    pub(super) fn delete_exchange(&mut self) {
        self.has_exchange = false;
        for queue in &mut self.queues {
            queue.is_bound = false;
        }
    }
}
