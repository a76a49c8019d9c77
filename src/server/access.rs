//! Who may have the feeds, where not everybody may: lets newcomers in or refuses them, and ends
//! those whose token has gone. Owns who each client is, in a list beside the connections that is
//! there only where it is needed.

use log::{debug, warn};

use super::seldom::Seldom;
use super::{Access, Server};
use crate::access::{HolderId, Shown, Tokens};
use crate::connection::{CloseReason, Phase, Stream};
use crate::http::{self, Entrance, Forwarded, Newcomer, Refusal};
use crate::metrics::RightsCounts;
use crate::moment::Moment;
use crate::subscriptions::ClientId;

/// What becomes of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    IsIn,
    /// It has its response, and gets nothing else.
    IsAnswered,
    /// It is to be asked who it is.
    Waits,
}

/// Those who hold a token.
#[derive(Debug)]
pub(super) struct Holders {
    tokens: Tokens,
    /// Whose token each client has, by client; of those who have left, what does not matter.
    of: Vec<HolderId>,
    refused: Seldom,
}

impl Holders {
    /// Whether a newcomer may come in, and as whom.
    fn holder(&self, newcomer: &Newcomer, is_private: bool) -> Result<HolderId, Refusal> {
        let Shown::Bearer(token) = &newcomer.shown else {
            return Err(Refusal::TokenMissing);
        };
        if !is_private {
            return Err(Refusal::TokenExposed);
        }
        self.tokens.holder_of(token).ok_or(Refusal::TokenUnknown)
    }

    fn note(&mut self, client: ClientId, holder: HolderId) {
        if self.of.len() <= client.index() {
            self.of.resize(client.index() + 1, HolderId(0));
        }
        self.of[client.index()] = holder;
    }

    /// Gives back memory that was needed for more clients than there are places for now.
    fn shrink(&mut self, places: usize) {
        self.of.truncate(places);
        self.of.shrink_to_fit();
    }
}

impl<S: Stream> Server<S> {
    /// Lets in only those who hold one of these tokens. Those who are in and whose token is not
    /// among them end.
    pub fn require_tokens(&mut self, tokens: Tokens, now: Moment) {
        let Access::Holders(holders) = &mut self.access else {
            self.access = Access::Holders(Holders {
                tokens,
                of: Vec::new(),
                refused: Seldom::default(),
            });
            return;
        };
        let before = std::mem::replace(&mut holders.tokens, tokens);
        let mut gone = Vec::new();
        for (key, connection) in &self.connections {
            if connection.phase != Phase::Open {
                continue;
            }
            match before.in_later(holders.of[key], &holders.tokens) {
                Some(holder) => holders.of[key] = holder,
                None => gone.push(ClientId(key as u32)),
            }
        }
        for client in gone {
            self.end(client, CloseReason::AccessEnded, now);
        }
    }

    /// Answers a newcomer, unless it is to be asked first who that is.
    pub(super) fn let_in(
        &mut self,
        client: ClientId,
        newcomer: &Newcomer,
        now: Moment,
    ) -> Admission {
        let is_private = self.is_private(client, newcomer.forwarded);
        let is_in = match &mut self.access {
            Access::Everybody => Ok(true),
            Access::Holders(holders) => holders.holder(newcomer, is_private).map(|holder| {
                holders.note(client, holder);
                true
            }),
            Access::Readers(_) => self.let_reader_in(client, newcomer, is_private, now),
        };
        match is_in {
            Ok(true) => self.welcome(client, newcomer, now),
            Ok(false) => Admission::Waits,
            Err(refusal) => {
                self.note_refused(client, refusal);
                self.refuse(client, refusal, now);
                Admission::IsAnswered
            }
        }
    }

    /// Answers a newcomer who may come in.
    fn welcome(&mut self, client: ClientId, newcomer: &Newcomer, now: Moment) -> Admission {
        let unix_time = self.unix_time;
        self.reply(client, |response| match &newcomer.entrance {
            Entrance::WebSocket(upgrade) => http::write_upgrade(response, upgrade),
            Entrance::Events(events) => events.write_head(response, unix_time),
            Entrance::Question => http::write_welcome(response, unix_time),
        });
        if newcomer.entrance == Entrance::Question {
            self.end(client, CloseReason::Answered, now);
            return Admission::IsAnswered;
        }
        Admission::IsIn
    }

    /// Whether nobody between a client and this server can read along: it came with TLS, from this
    /// machine, or by a proxy that is believed and got the request with TLS.
    fn is_private(&self, client: ClientId, forwarded: Forwarded) -> bool {
        let stream = &self.connections[client.index()].stream;
        if stream.session().is_some() {
            return true;
        }
        match forwarded {
            Forwarded::Openly => false,
            Forwarded::Securely => self.is_local(client) || self.has_trusted_peer(client),
            Forwarded::Unsaid => self.is_local(client),
        }
    }

    /// Logs the first refusal, and then the tenth, the hundredth …: anybody can cause them.
    fn note_refused(&mut self, client: ClientId, refusal: Refusal) {
        debug!("client {} is refused: {refusal}", client.0);
        let refused = match &mut self.access {
            Access::Everybody => return,
            Access::Holders(holders) => &mut holders.refused,
            Access::Readers(readers) => &mut readers.refused,
        };
        if let Some(number) = refused.note() {
            warn!("a client is refused, the number {number} of its kind: {refusal}");
        }
    }

    /// How Bugzilla is asked, where it decides who sees what.
    pub(crate) fn rights_counts(&self) -> Option<RightsCounts> {
        match &self.access {
            Access::Readers(readers) => Some(readers.rights.counts()),
            Access::Everybody | Access::Holders(_) => None,
        }
    }

    /// Gives back memory that was needed for more clients than there are now.
    pub(super) fn shrink_access(&mut self) {
        let places = self.connections.capacity();
        match &mut self.access {
            Access::Everybody => {}
            Access::Holders(holders) => holders.shrink(places),
            Access::Readers(readers) => readers.shrink(places),
        }
    }
}
