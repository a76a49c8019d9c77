//! The end of a connection: how it begins, and the one place that removes a client.

use log::debug;

use super::{Access, Server, deadlines};
use crate::connection::{CloseReason, Phase, Stream};
use crate::moment::Moment;
use crate::subscriptions::ClientId;

/// How a connection ends.
pub(super) enum Ending {
    /// The client has a moment to read what was sent last: [`Phase::Lingering`].
    Linger,
    /// At once when all output is sent: [`Phase::Leaving`].
    Leave,
}

impl<S: Stream> Server<S> {
    /// Ends a connection when all output is sent, with a close frame where the reason has one. One
    /// that is being ended keeps its first reason.
    pub(super) fn end(&mut self, client: ClientId, reason: CloseReason, now: Moment) {
        let ending = if reason.lingers() {
            Ending::Linger
        } else {
            Ending::Leave
        };
        self.end_by(client, ending, reason, now);
    }

    pub(super) fn end_by(
        &mut self,
        client: ClientId,
        ending: Ending,
        reason: CloseReason,
        now: Moment,
    ) {
        self.flush_before_reply(client, now);
        let connection = &mut self.connections[client.index()];
        if matches!(connection.phase, Phase::Ended(_) | Phase::Leaving(_)) {
            return;
        }
        let reason = connection.phase.end().unwrap_or(reason);
        if connection.unfinished.take_held().is_some() {
            // A client that leaves is not answered; what came behind its message is discarded.
            self.left.push(client);
        }
        let was_open = connection.phase == Phase::Open;
        let encoding = connection.encoding();
        self.begin_end(client);
        let connection = &mut self.connections[client.index()];
        connection.heard = now;
        connection.phase = match ending {
            Ending::Linger => Phase::Lingering(reason),
            Ending::Leave => Phase::Leaving(reason),
        };
        self.reply(client, |output| {
            if was_open && let Some((code, text)) = reason.close_frame() {
                encoding.write_close(output, code, text);
            }
        });
        self.sweep_by(now.plus(deadlines::LINGER));
    }

    /// Ends a connection with this turn, without another byte.
    pub(super) fn break_off(&mut self, client: ClientId, reason: CloseReason) {
        if !matches!(self.connections[client.index()].phase, Phase::Ended(_)) {
            self.begin_end(client);
            let phase = &mut self.connections[client.index()].phase;
            *phase = Phase::Ended(phase.end().unwrap_or(reason));
            self.ended.push(client);
        }
    }

    /// Ends a client that the poll cannot watch.
    pub(crate) fn abandon(&mut self, client: ClientId) {
        if self.connections.contains(client.index()) {
            self.break_off(client, CloseReason::Gone);
        }
    }

    /// Removes the clients that have ended.
    pub fn reap(&mut self, now: Moment) {
        for client in std::mem::take(&mut self.ended) {
            let connection = self.connections.remove(client.index());
            if let Phase::Ended(reason) = connection.phase {
                self.note_closed(client, &connection, reason);
                self.forget_visitor(client, reason);
            }
            if let Some(feed) = connection.feed() {
                self.hubs[usize::from(feed.0)].leave(client);
                if let Access::Readers(readers) = &mut self.access {
                    readers.leave(client);
                }
            }
            self.posts.forget(client);
            if let Some(session) = connection.stream.session() {
                self.end_session(session);
            }
            self.except_beyond(client);
            debug!("client {} ended: {:?}", client.0, connection.phase);
        }
        if self.has_too_much_memory() {
            self.sweep_by(now.plus(deadlines::SWEEP_INTERVAL));
        }
    }
}
