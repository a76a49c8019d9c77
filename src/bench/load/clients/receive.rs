//! What the clients read, and what they make of it: heads, updates, replies, pings and closes.

use std::io::{self, Read, Write};

use rustls::HandshakeKind;

use super::{Client, Clients, Phase, TICK, ticks};
use crate::bench::load::ledger::{Delivery, Grace};
use crate::bench::load::now;
use crate::bench::load::tls::Received;
use crate::bench::load::wire::{self, Said};

/// The last bytes that were nothing but updates, and which those were: the next client mostly gets
/// the same.
#[derive(Debug, Default)]
pub(super) struct Seen {
    bytes: Vec<u8>,
    deliveries: Vec<Delivery>,
}

impl Seen {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl Clients {
    pub(super) fn readable(&mut self, client: u32) {
        let mut received = std::mem::take(&mut self.received);
        while let Some(Client {
            stream: Some(stream),
            is_stopped: false,
            ..
        }) = self.clients.get_mut(client as usize)
        {
            match stream.read(&mut received) {
                Ok(0) => {
                    self.ended(client, "closed without a close frame");
                    break;
                }
                Ok(bytes) => {
                    self.receive(client, &received[..bytes]);
                    if bytes < received.len() && self.phase(client) != Some(Phase::Closing) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended(client, &error.to_string());
                    break;
                }
            }
        }
        self.received = received;
    }

    fn receive(&mut self, client: u32, bytes: &[u8]) {
        let (Some(tls), Some(terms)) = (&mut self.clients[client as usize].tls, &self.terms) else {
            return self.take(client, bytes);
        };
        let mut opened = std::mem::take(&mut self.opened);
        opened.clear();
        self.sealed.clear();
        let result = tls.receive(bytes, terms, &mut opened, &mut self.sealed);
        if !self.sealed.is_empty()
            && let Some(stream) = &mut self.clients[client as usize].stream
        {
            // As for all that a client writes: the kernel has room, or the next read fails.
            let _ = stream.write(&self.sealed);
        }
        match result {
            Ok(Received {
                finished,
                is_closed,
            }) => {
                match finished {
                    None => {}
                    Some(HandshakeKind::Resumed) => self.tally.resumed += 1,
                    Some(_) => self.tally.full += 1,
                }
                if !opened.is_empty() {
                    self.take(client, &opened);
                }
                if is_closed {
                    self.ended(client, "closed without a close frame");
                }
            }
            Err(why) => self.ended(client, &why),
        }
        self.opened = opened;
    }

    fn take(&mut self, client: u32, bytes: &[u8]) {
        if !self.partial.is_empty()
            && let Some(mut begun) = self.partial.remove(&client)
        {
            begun.extend_from_slice(bytes);
            return self.take_whole(client, &begun);
        }
        self.take_whole(client, bytes);
    }

    fn take_whole(&mut self, client: u32, bytes: &[u8]) {
        let phase = self.clients[client as usize].phase;
        if phase == Phase::Open && bytes == self.seen.bytes {
            let time = now();
            for at in 0..self.seen.deliveries.len() {
                let delivery = self.seen.deliveries[at];
                self.enter(client, &delivery, time);
            }
            return;
        }
        let mut rest = bytes;
        if phase == Phase::Upgrading {
            match wire::upgraded(rest) {
                Ok(Some(head)) => {
                    rest = &rest[head..];
                    self.subscribe(client);
                }
                Ok(None) => {
                    self.partial.insert(client, rest.to_vec());
                    return;
                }
                Err(why) if self.setup.may_refuse && why.contains("503") => {
                    self.tally.refused += 1;
                    return self.forget(client);
                }
                Err(why) => return self.fail(client, &why),
            }
        }
        self.take_frames(client, rest);
    }

    fn take_frames(&mut self, client: u32, bytes: &[u8]) {
        let mut rest = bytes;
        let mut deliveries = std::mem::take(&mut self.seen.deliveries);
        deliveries.clear();
        let mut is_pure = true;
        let time = now();
        while !rest.is_empty() && !matches!(self.clients[client as usize].phase, Phase::Absent) {
            let frame = match wire::frame(rest) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.partial.insert(client, rest.to_vec());
                    is_pure = false;
                    break;
                }
                Err(why) => {
                    self.ended(client, why);
                    break;
                }
            };
            match (
                frame.opcode,
                if frame.opcode == wire::TEXT {
                    wire::read(frame.payload)
                } else {
                    Said::Other
                },
            ) {
                (_, Said::Update { bug, when }) => {
                    let delivery = self.ledger.identify(bug, when);
                    self.enter(client, &delivery, time);
                    deliveries.push(delivery);
                }
                (opcode, said) => {
                    is_pure = false;
                    self.take_other(client, opcode, said, frame.payload);
                }
            }
            rest = &rest[frame.bytes..];
        }
        self.seen.deliveries = deliveries;
        self.seen.bytes.clear();
        if is_pure {
            self.seen.bytes.extend_from_slice(bytes);
        }
    }

    fn take_other(&mut self, client: u32, opcode: u8, said: Said, payload: &[u8]) {
        match (opcode, said) {
            (wire::TEXT, Said::Ok { is_incomplete }) => {
                self.tally.incomplete += u64::from(is_incomplete);
                if self.phase(client) == Some(Phase::Subscribing) {
                    self.opened(client);
                }
            }
            (wire::TEXT, _) => self.fail(
                client,
                &format!("answered {:?}", String::from_utf8_lossy(payload)),
            ),
            (wire::PING, _) => {
                let mut pong = Vec::new();
                wire::write_frame(&mut pong, wire::PONG, payload);
                self.write(client, &pong);
            }
            (wire::CLOSE, _) => {
                let code = payload
                    .first_chunk::<2>()
                    .map_or(1005, |code| u16::from_be_bytes(*code));
                self.ended(client, &format!("closed with {code}"));
            }
            _ => {}
        }
    }

    fn enter(&mut self, client: u32, delivery: &Delivery, time: u64) {
        let grace = self.grace(client, delivery, time);
        let is_repetition = self.ledger.enter(client as usize, delivery, grace, time);
        // The oldest comes first: what is repeated later was not asked for.
        let state = &mut self.clients[client as usize];
        state.repeats_from = is_repetition.then(|| delivery.seq + 1);
        state.was_stopped =
            state.was_stopped && (state.is_stopped || !self.ledger.is_up_to_date(client as usize));
    }

    /// What a client must put up with. What was due before it came was late by its own doing.
    fn grace(&self, client: u32, delivery: &Delivery, time: u64) -> Grace {
        let client = &self.clients[client as usize];
        let open_for = if client.phase == Phase::Open {
            ticks(time).wrapping_sub(client.begun)
        } else {
            0
        };
        Grace {
            may_repeat: client.repeats_from.is_some_and(|from| delivery.seq >= from),
            was_stopped: client.was_stopped,
            may_combine: self.setup.may_combine,
            open_for: u64::from(open_for) * TICK,
        }
    }
}
