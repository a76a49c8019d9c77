//! All that happens by the clock: handshakes and messages that take too long, pings, silent and stalled clients.
//! A coarse sweep over all clients does what is due and finds the time
//! of the next; there is no timer per client.

use super::Server;
use crate::connection::{CloseReason, Connection, Phase, Presence, Stream};
use crate::http::Refusal;
use crate::hub::Hub;
use crate::moment::Moment;
use crate::subscriptions::ClientId;

/// How long a connection may linger or leave, in milliseconds, before it is broken off.
pub(super) const LINGER: u32 = 2_000;

/// How long Bugzilla may take to say who somebody is, in milliseconds.
pub(super) const PRESENT: u32 = 10_000;

/// How long a source may take to deal with a post, in milliseconds.
pub(super) const POST: u32 = 10_000;

/// The pause, in milliseconds, after which refused bytes are written again without an event. The
/// kernel notifies when the client makes room, but not when it had refused because the buffers of
/// all sockets together were too large (net.ipv4.tcp_mem; see tcp(7)).
pub(super) const RETRY: u32 = 2_000;

/// The least time between two sweeps, in milliseconds: a deadline may be noticed that much late.
pub(super) const SWEEP_INTERVAL: u32 = 500;

/// What is due for a client.
enum Due {
    In(u32),
    Retry { left: u32 },
    Ping,
    Timeout,
    NotPresented,
    NotKept,
    End(CloseReason),
    BreakOff(CloseReason),
}

impl<S: Stream> Server<S> {
    /// Does all that is due. To be called every few days at least, since moments can be compared within
    /// 24 days.
    pub fn tick(&mut self, now: Moment) {
        self.continue_drain(now);
        self.continue_gap_reports(now);
        self.release(now);
        self.tick_readers(now);
        if let Some(at) = self.sweep_at
            && at.since(now) == 0
        {
            self.sweep(now);
        }
    }

    /// The milliseconds until [`Server::tick`] has something to do; `None` while only an event can
    /// change that.
    pub fn until_tick(&self, now: Moment) -> Option<u32> {
        let until_sweep = self.sweep_at.map(|at| at.since(now));
        let until_close = self.drain.as_ref().and_then(|drain| drain.until_next(now));
        until_sweep
            .into_iter()
            .chain(until_close)
            .chain(self.until_gap_report(now))
            .chain(self.until_release(now))
            .chain(self.until_readers(now))
            .min()
    }

    /// Makes sure that a sweep comes soon after `deadline`.
    pub(super) fn sweep_by(&mut self, deadline: Moment) {
        self.sweep_at = Some(self.sweep_at.map_or(deadline, |at| at.min(deadline)));
    }

    fn sweep(&mut self, now: Moment) {
        let mut next = None;
        let mut due = Vec::new();
        for (key, connection) in &self.connections {
            match self.due(connection, now) {
                Due::In(wait) => next = Some(next.unwrap_or(wait).min(wait)),
                action => due.push((ClientId(key as u32), action)),
            }
        }
        // Whoever is heard of in the meantime is due after `ping`, which may be sooner than what
        // was due before.
        self.sweep_at = next.map(|wait| now.plus(wait.min(self.limits.ping).max(SWEEP_INTERVAL)));
        for (client, action) in due {
            self.act_on(client, action, now);
        }
        if self.has_too_much_memory() {
            self.connections.shrink_to_fit();
            self.hubs.iter_mut().for_each(Hub::shrink);
            self.shrink_visitors();
            self.shrink_access();
        }
    }

    fn due(&self, connection: &Connection<S>, now: Moment) -> Due {
        if self.is_held_up() && connection.listing.place().is_some() {
            // The ping that it is to answer, or the last output before its end, is not written yet.
            return Due::In(LINGER);
        }
        let limits = &self.limits;
        let silent = now.since(connection.heard);
        let left = |allowed: u32| allowed.checked_sub(silent).filter(|&left| left > 0);
        if let Some(stalled) = connection.unfinished.stalled(now)
            && connection.phase == Phase::Open
        {
            return match limits.stall.checked_sub(stalled).filter(|&left| left > 0) {
                Some(left) => Due::Retry { left },
                // The close frame waits behind the rest; a client that wakes up in time gets it.
                None => Due::End(CloseReason::Stalled),
            };
        }
        let by_message = match connection.unfinished.incomplete(now) {
            Some(incomplete) if connection.phase == Phase::Open => {
                match limits
                    .message
                    .checked_sub(incomplete)
                    .filter(|&left| left > 0)
                {
                    Some(left) => left,
                    None => return Due::End(CloseReason::Unfinished),
                }
            }
            _ => u32::MAX,
        };
        match connection.phase {
            Phase::Proxied | Phase::Handshaking if self.waits(connection) => {
                Due::In(limits.handshake)
            }
            Phase::Proxied | Phase::Handshaking => {
                left(limits.handshake).map_or(Due::Timeout, Due::In)
            }
            Phase::Presenting => left(PRESENT).map_or(Due::NotPresented, Due::In),
            Phase::Posting => left(POST).map_or(Due::NotKept, Due::In),
            Phase::Kept => left(limits.handshake).map_or(Due::End(CloseReason::Idle), Due::In),
            Phase::Open if connection.presence == Presence::Pinged => {
                left(limits.ping.saturating_add(limits.pong))
                    .map_or(Due::End(CloseReason::Silent), |left| {
                        Due::In(left.min(by_message))
                    })
            }
            Phase::Open => {
                left(limits.ping).map_or(Due::Ping, |left| Due::In(left.min(by_message)))
            }
            Phase::Lingering(reason) | Phase::Leaving(reason) => {
                left(LINGER).map_or(Due::BreakOff(reason), Due::In)
            }
            Phase::Ended(_) => Due::In(LINGER),
        }
    }

    fn act_on(&mut self, client: ClientId, action: Due, now: Moment) {
        match action {
            Due::In(_) => {}
            Due::Retry { left } => {
                self.writable(client, now);
                self.sweep_by(now.plus(RETRY.min(left)));
            }
            Due::Ping => {
                let connection = &mut self.connections[client.index()];
                match connection.presence {
                    // It cannot answer: it gets one each time.
                    Presence::Listens => connection.heard = now,
                    Presence::Heard | Presence::Pinged => connection.presence = Presence::Pinged,
                }
                let encoding = connection.encoding();
                self.reply(client, |output| encoding.write_ping(output));
                self.sweep_by(now.plus(self.limits.pong.min(self.limits.ping)));
            }
            Due::Timeout => self.refuse(client, Refusal::Timeout, now),
            Due::NotPresented => self.refuse(client, Refusal::RightsUnknown, now),
            Due::NotKept => self.refuse(client, Refusal::NotKept, now),
            Due::End(reason) => self.end(client, reason, now),
            Due::BreakOff(reason) => self.break_off(client, reason),
        }
    }

    pub(super) fn refuse(&mut self, client: ClientId, refusal: Refusal, now: Moment) {
        let unix_time = self.unix_time;
        self.note_refusal(refusal);
        self.reply(client, |response| refusal.write(response, false, unix_time));
        self.end(client, CloseReason::Answered, now);
    }
}
