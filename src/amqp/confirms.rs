//! What a broker has confirmed of a batch of messages. Knows no connection.
//!
//! A broker confirms in any order: a single message, or all messages up to one that are not
//! confirmed yet. amiquip's own `ConfirmSmoother` lets the latter include messages that the broker
//! has refused before, so that a message counts as stored that is not: when a queue with a limit
//! was full for a moment, messages were lost.

use amiquip::{Confirm, ConfirmPayload};

/// Which messages of a batch are stored.
#[derive(Debug)]
pub(super) struct Confirms {
    /// The delivery tag of the first message; those of the others follow.
    first: u64,
    /// Whether each message was stored; `None` until the broker has confirmed or refused it.
    is_stored: Vec<Option<bool>>,
}

impl Confirms {
    /// A batch of `count` messages, of which nothing is confirmed yet.
    pub(super) fn new(first: u64, count: usize) -> Self {
        Self {
            first,
            is_stored: vec![None; count],
        }
    }

    /// Notes a confirm, or a refusal, of the broker.
    pub(super) fn note(&mut self, confirm: Confirm) {
        let (
            is_stored,
            ConfirmPayload {
                delivery_tag,
                multiple,
            },
        ) = match confirm {
            Confirm::Ack(payload) => (true, payload),
            Confirm::Nack(payload) => (false, payload),
        };
        let Some(at) = delivery_tag
            .checked_sub(self.first)
            .and_then(|at| usize::try_from(at).ok())
        else {
            return;
        };
        let end = self.is_stored.len().min(at.saturating_add(1));
        let start = if multiple { 0 } else { at.min(end) };
        for fate in &mut self.is_stored[start..end] {
            fate.get_or_insert(is_stored);
        }
    }

    /// Whether the broker has confirmed or refused each message.
    pub(super) fn is_complete(&self) -> bool {
        self.is_stored.iter().all(Option::is_some)
    }

    /// How many are stored, counted from the first.
    pub(super) fn stored(&self) -> usize {
        self.is_stored
            .iter()
            .take_while(|fate| **fate == Some(true))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(delivery_tag: u64, multiple: bool) -> Confirm {
        Confirm::Ack(ConfirmPayload {
            delivery_tag,
            multiple,
        })
    }

    fn nack(delivery_tag: u64, multiple: bool) -> Confirm {
        Confirm::Nack(ConfirmPayload {
            delivery_tag,
            multiple,
        })
    }

    #[track_caller]
    fn check(said: &[Confirm], stored: usize, is_complete: bool) {
        let mut confirms = Confirms::new(11, 4);
        said.iter().for_each(|&confirm| confirms.note(confirm));
        assert_eq!(
            (confirms.stored(), confirms.is_complete()),
            (stored, is_complete)
        );
    }

    #[test]
    fn messages_are_confirmed_in_any_order_one_or_many_at_once() {
        check(&[], 0, false);
        check(&[ack(11, false), ack(12, false), ack(13, false)], 3, false);
        check(&[ack(14, true)], 4, true);
        check(&[ack(14, false)], 0, false);
        check(&[ack(14, false), ack(12, true)], 2, false);
        check(&[ack(14, false), ack(12, false), ack(13, true)], 4, true);
        check(&[nack(14, true)], 0, true);
        // Confirms of another batch.
        check(&[ack(10, true), ack(0, true), ack(15, false)], 0, false);
        check(&[ack(15, true)], 4, true);
    }

    #[test]
    fn what_was_refused_before_is_not_confirmed_with_the_others() {
        check(&[nack(13, false), ack(14, true)], 2, true);
        check(&[nack(11, false), nack(12, false), ack(14, true)], 0, true);
        check(&[ack(12, false), nack(14, true)], 0, true);
    }
}
