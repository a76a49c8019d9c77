//! The relay with its backlog, and the broker with a queue for each server. Knows no server.

use std::collections::VecDeque;

use fastrand::Rng;

/// The numbers of commits.
pub(super) type Messages = VecDeque<usize>;

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub exists: bool,
    /// To the exchange.
    pub is_bound: bool,
    pub messages: Messages,
}

#[derive(Debug)]
pub(super) struct Broker {
    pub is_up: bool,
    pub has_exchange: bool,
    pub queues: [Queue; 2],
}

#[derive(Debug)]
pub(super) struct Relay {
    pub is_up: bool,
    /// Rows of the table that are not in the backlog.
    pub rows: Messages,
    pub backlog: Messages,
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

impl Relay {
    pub(super) fn new() -> Self {
        Self {
            is_up: true,
            rows: Messages::new(),
            backlog: Messages::new(),
        }
    }

    /// Takes what is in the table, and publishes what it can. What would go to no queue waits.
    pub(super) fn work(&mut self, broker: &mut Broker, random: &mut Rng) {
        if !self.is_up {
            return;
        }
        self.backlog.append(&mut self.rows);
        if !broker.is_up {
            return;
        }
        broker.has_exchange = true;
        let mut bound: Vec<&mut Queue> = broker
            .queues
            .iter_mut()
            .filter(|queue| queue.is_bound)
            .collect();
        while !bound.is_empty()
            && let Some(message) = self.backlog.pop_front()
        {
            // It may have been killed before it knew of the last confirm.
            let copies = 1 + usize::from(random.u8(0..50) == 0);
            for queue in &mut bound {
                queue.messages.extend(std::iter::repeat_n(message, copies));
            }
        }
    }
}
