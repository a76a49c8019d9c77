//! Who the clients are, where somebody wants to know: which address each has, by the kernel or by a
//! proxy that is believed, and how many have the same. Where nobody does, there is none of this, and
//! a client costs nothing for it.

use std::collections::HashMap;

use core::net::IpAddr;

use log::debug;

use super::Server;
use crate::connection::{CloseReason, Phase, Stream};
use crate::http::{self, Refusal, Room};
use crate::moment::Moment;
use crate::proxy::{self, Block, TrustedProxy};
use crate::subscriptions::ClientId;

/// How many connections of an address there may be beyond the limit, to be told so. Others are
/// closed at once: silent ones would hold their files for as long as a handshake may take.
const BEYOND_MAX: u32 = 8;

/// What is to be known of clients' addresses, and for what.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressRules {
    /// Proxies that are believed.
    pub trusted: Vec<TrustedProxy>,
    /// Whether connections from them begin with a PROXY header.
    pub expects_header: bool,
    /// How many connections one address may have.
    pub connections_max: Option<u32>,
}

/// The addresses of all clients.
#[derive(Debug)]
pub(super) struct Visitors {
    rules: AddressRules,
    /// By client. `None` for one that has come by a Unix socket, and of whom nobody has said more.
    visitors: Vec<Visitor>,
    /// How many connections each address has, where that is limited.
    crowd: HashMap<Block, u32, foldhash::fast::RandomState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Visitor {
    /// Who has connected, or was named in a PROXY header.
    peer: Option<IpAddr>,
    /// Who is behind that, as far as is known.
    client: Option<IpAddr>,
}

impl Visitors {
    /// Notes a client's address, and returns how many connections count for it.
    fn set(&mut self, client: ClientId, visitor: Visitor) -> u32 {
        self.forget(client);
        if self.visitors.len() <= client.index() {
            self.visitors.resize(client.index() + 1, Visitor::default());
        }
        self.visitors[client.index()] = visitor;
        let Some(block) = self.limited(visitor.client) else {
            return 0;
        };
        let count = self.crowd.entry(block).or_default();
        *count += 1;
        *count
    }

    fn forget(&mut self, client: ClientId) {
        let Some(visitor) = self.visitors.get_mut(client.index()) else {
            return;
        };
        let address = std::mem::take(visitor).client;
        if let Some(block) = self.limited(address)
            && let Some(count) = self.crowd.get_mut(&block)
        {
            *count -= 1;
            if *count == 0 {
                self.crowd.remove(&block);
            }
        }
    }

    /// As what an address is counted, if it is: many clients may be behind a proxy that does not say
    /// who they are.
    fn limited(&self, address: Option<IpAddr>) -> Option<Block> {
        let rules = &self.rules;
        let is_counted = |_: &IpAddr| {
            rules.connections_max.is_some() && !proxy::is_trusted(&rules.trusted, address)
        };
        address.filter(is_counted).map(Block::from)
    }
}

impl<S: Stream> Server<S> {
    /// Has the addresses of clients known from now on, by these rules, or forgotten. Those who are
    /// connected count by the new rules, and stay; of whom nothing is known yet, the kernel knows who
    /// has connected, and nobody who is behind that.
    pub(crate) fn know_addresses(&mut self, rules: Option<AddressRules>) {
        let known = self.visitors.take().map(|it| it.visitors);
        let Some(rules) = rules else {
            return;
        };
        let mut visitors = Visitors {
            rules,
            visitors: Vec::new(),
            crowd: HashMap::default(),
        };
        for (key, connection) in &self.connections {
            let visitor = known.as_ref().and_then(|it| it.get(key).copied());
            let visitor = visitor.unwrap_or_else(|| {
                let peer = connection.stream.peer();
                Visitor { peer, client: peer }
            });
            visitors.set(ClientId(key as u32), visitor);
        }
        self.visitors = Some(Box::new(visitors));
    }

    /// Notes who has just been accepted: an address, or `None` by a Unix socket. One who is not to
    /// be told that its address has too many connections is gone when this returns.
    pub(crate) fn introduce(&mut self, client: ClientId, peer: Option<IpAddr>, now: Moment) {
        if let Some(traffic) = &mut self.traffic {
            traffic.begin(client, self.unix_time);
        }
        let Some(visitors) = &mut self.visitors else {
            return;
        };
        let peer = peer.map(|address| address.to_canonical());
        let is_trusted = proxy::is_trusted(&visitors.rules.trusted, peer);
        if visitors.rules.expects_header && is_trusted {
            self.connections[client.index()].phase = Phase::Proxied;
        }
        self.set_address(client, peer);
        self.reap(now);
    }

    fn set_address(&mut self, client: ClientId, peer: Option<IpAddr>) {
        let Some(visitors) = &mut self.visitors else {
            return;
        };
        let visitor = Visitor { peer, client: peer };
        let count = visitors.set(client, visitor);
        let connections_max = visitors.rules.connections_max.unwrap_or(u32::MAX);
        if count > connections_max.saturating_add(BEYOND_MAX) {
            self.break_off(client, CloseReason::Crowded);
        }
    }

    /// Handles bytes of a client whose PROXY header is not complete; what follows it is handled as
    /// the first that has come.
    pub(super) fn take_header(&mut self, client: ClientId, bytes: &[u8], now: Moment) {
        let connection = &mut self.connections[client.index()];
        let mut kept = connection.unfinished.take_input();
        kept.extend_from_slice(bytes);
        match proxy::parse(&kept) {
            Ok(None) => connection.unfinished.keep_input(kept, now),
            Ok(Some(header)) => {
                connection.phase = Phase::Handshaking;
                connection.unfinished.discard_input();
                if header.client.is_some() {
                    self.set_address(client, header.client);
                }
                self.take_received(client, &kept[header.bytes..], now);
            }
            Err(_) if self.has_session(client) => {
                self.break_off(client, CloseReason::NoProxyHeader);
            }
            Err(_) => self.refuse(client, Refusal::NoProxyHeader, now),
        }
    }

    /// Finds out who sends the request at the start of `input`, where a proxy says so.
    pub(super) fn recognize(&mut self, client: ClientId, input: &[u8]) {
        let Some(visitors) = &mut self.visitors else {
            return;
        };
        let Some(visitor) = visitors.visitors.get(client.index()).copied() else {
            return;
        };
        let trusted = &visitors.rules.trusted;
        if proxy::is_trusted(trusted, visitor.peer)
            && let Some(address) = http::client(input, trusted, visitor.peer)
        {
            visitors.set(
                client,
                Visitor {
                    client: Some(address),
                    ..visitor
                },
            );
        }
    }

    /// Whether there is a place for another WebSocket, which is to be this client's.
    pub(super) fn room_for(&self, client: ClientId) -> Room {
        if self.open >= self.connections_max() {
            return Room::Full;
        }
        let Some(visitors) = &self.visitors else {
            return Room::Free;
        };
        let counted = visitors
            .limited(self.address_of(client))
            .and_then(|block| visitors.crowd.get(&block));
        match (counted, visitors.rules.connections_max) {
            (Some(count), Some(most)) if *count > most => Room::FullForAddress,
            _ => Room::Free,
        }
    }

    /// The address of a client, where it is known.
    pub(super) fn address_of(&self, client: ClientId) -> Option<IpAddr> {
        let visitors = &self.visitors.as_ref()?.visitors;
        visitors.get(client.index())?.client
    }

    /// Whether a client is on this machine: who has connected, and who was named in a PROXY header.
    pub(super) fn is_local(&self, client: ClientId) -> bool {
        let visitors = self.visitors.as_ref().map(|it| &it.visitors);
        let named = visitors.and_then(|it| it.get(client.index())?.peer);
        let peer = self.connections[client.index()].stream.peer();
        let mut addresses = peer.into_iter().chain(named);
        addresses.all(|address| address.is_loopback())
    }

    /// Whether who has connected is a proxy that is believed.
    pub(super) fn has_trusted_peer(&self, client: ClientId) -> bool {
        let peer = self.connections[client.index()].stream.peer();
        let visitors = self.visitors.as_ref();
        visitors.is_some_and(|visitors| proxy::is_trusted(&visitors.rules.trusted, peer))
    }

    /// To be called when a client is removed.
    pub(super) fn forget_visitor(&mut self, client: ClientId, reason: CloseReason) {
        if let Some(address) = self.address_of(client) {
            debug!("client {} was {address}: {reason:?}", client.0);
        }
        if let Some(visitors) = &mut self.visitors {
            visitors.forget(client);
        }
    }

    /// Gives back memory that was needed for more clients than there are now.
    pub(super) fn shrink_visitors(&mut self) {
        let slots = self.connections.capacity();
        if let Some(traffic) = &mut self.traffic {
            traffic.shrink(slots);
        }
        if let Some(visitors) = &mut self.visitors {
            visitors.visitors.truncate(slots);
            visitors.visitors.shrink_to_fit();
            visitors.crowd.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::deadlines::LINGER;
    use super::super::tests::{Actor, HANDSHAKE, Stage, UPGRADE};
    use super::*;
    use crate::http::Webhook;
    use crate::post::Answer;
    use crate::secure;
    use crate::update::FeedId;

    const HERE: &str = "192.0.2.7";
    const THERE: &str = "192.0.2.8";
    const PROXY: &str = "10.0.0.1";

    /// Rules by which one address has so many connections.
    fn at_most(connections: u32) -> AddressRules {
        AddressRules {
            connections_max: Some(connections),
            ..AddressRules::default()
        }
    }

    /// The same where a proxy is believed.
    fn behind_proxy(expects_header: bool) -> AddressRules {
        AddressRules {
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            expects_header,
            ..at_most(1)
        }
    }

    fn header(client: &str) -> String {
        format!("PROXY TCP4 {client} {PROXY} 1000 80\r\n")
    }

    /// A head that asks for a WebSocket, of a client that a proxy names.
    fn upgrade_of(client: &str) -> String {
        UPGRADE.replacen("\r\n", &format!("\r\nX-Forwarded-For: {client}\r\n"), 1)
    }

    fn status(answer: &str) -> &str {
        answer.get(9..12).unwrap_or_default()
    }

    /// The status of the answer to somebody who connects from here and says this.
    fn status_of(stage: &mut Stage, peer: &str, said: &str) -> String {
        let actor = stage.connect(peer);
        status(&stage.ask(&actor, said)).to_owned()
    }

    #[test]
    fn an_address_has_so_many_connections_and_the_next_eight_are_told_so() {
        let mut stage = Stage::with(at_most(2));
        let first = stage.open(HERE);
        stage.open(HERE);
        for at in 1..=BEYOND_MAX {
            assert_eq!(status_of(&mut stage, HERE, UPGRADE), "429", "number {at}");
        }
        let last = stage.connect(HERE);
        assert!(last.is_gone() && last.takes().is_empty());
        stage.open(THERE);
        let mapped = stage.connect("::ffff:192.0.2.7");
        assert!(mapped.is_gone(), "it is the same address");
        stage.pass(LINGER + 1_000);
        assert_eq!(status_of(&mut stage, HERE, UPGRADE), "429");
        stage.pass(LINGER + 1_000);
        stage.reset(&first);
        stage.open(HERE);
        let closed = &stage.server.counts().closed;
        let expected = [("answered", 9), ("crowded", 2), ("gone", 1)];
        assert_eq!(*closed, expected.into());
    }

    #[test]
    fn who_comes_by_a_proxy_is_who_its_header_names_in_whatever_pieces_it_comes() {
        let mut stage = Stage::with(behind_proxy(true));
        let whole = header(HERE) + UPGRADE;
        assert_eq!(status_of(&mut stage, PROXY, &whole), "101");
        assert_eq!(status_of(&mut stage, PROXY, &whole), "429");
        let actor = stage.connect(PROXY);
        for byte in header(THERE).chars() {
            assert_eq!(stage.ask(&actor, &byte.to_string()), "");
        }
        assert_eq!(stage.server.address_of(actor.id), THERE.parse().ok());
        assert_eq!(status(&stage.ask(&actor, UPGRADE)), "101");
        // The proxy's own connections have no limit, nor have others a header.
        for _ in 0..2 {
            let own = "PROXY UNKNOWN\r\n".to_owned() + UPGRADE;
            assert_eq!(status_of(&mut stage, PROXY, &own), "101");
        }
        assert_eq!(status_of(&mut stage, "192.0.2.9", UPGRADE), "101");
    }

    #[test]
    fn a_header_that_names_one_of_a_crowd_is_not_answered() {
        let mut stage = Stage::with(behind_proxy(true));
        let crowd: Vec<Actor> = (0..=BEYOND_MAX)
            .map(|_| {
                let actor = stage.connect(PROXY);
                stage.ask(&actor, &header(HERE));
                actor
            })
            .collect();
        assert!(!crowd.iter().any(Actor::is_gone));
        assert_eq!(status_of(&mut stage, PROXY, &(header(HERE) + UPGRADE)), "");
        assert_eq!(stage.server.len(), crowd.len());
    }

    #[test]
    fn without_its_header_a_connection_of_a_proxy_is_refused_in_time() {
        let mut stage = Stage::with(behind_proxy(true));
        let (wrong, silent) = (stage.connect(PROXY), stage.connect(PROXY));
        let answer = stage.ask(&wrong, UPGRADE);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("a PROXY header is expected"), "{answer}");
        stage.pass(HANDSHAKE);
        assert_eq!(status(&silent.takes()), "408");
    }

    #[test]
    fn without_its_header_a_connection_with_tls_ends_without_a_word() {
        let mut stage = Stage::with(behind_proxy(true));
        stage.server.secure(secure::tests::sessions());
        let wrong = stage.connect(PROXY);
        assert_eq!(stage.ask(&wrong, "\u{16}\u{3}\u{1}"), "");
        assert!(wrong.is_gone());
        let closed = &stage.server.counts().closed;
        assert_eq!(*closed, [("no_proxy_header", 1)].into());
        let right = stage.connect(PROXY);
        for byte in header(HERE).chars() {
            assert_eq!(stage.ask(&right, &byte.to_string()), "");
        }
        assert_eq!(stage.server.unfinished_len(), 0);
    }

    #[test]
    fn who_comes_by_a_proxy_while_the_server_departs_is_let_in_and_told_to_come_back() {
        let mut stage = Stage::with(behind_proxy(true));
        let actors = [stage.connect(PROXY), stage.connect(PROXY)];
        stage.server.drain(1_000, stage.now);
        // By now one of them would have been closed: there is a millisecond for each.
        stage.pass(1);
        for (actor, client) in actors.iter().zip([HERE, THERE]) {
            let answer = stage.ask(actor, &(header(client) + UPGRADE));
            assert_eq!(status(&answer), "101");
        }
        stage.pass(1);
        for actor in &actors {
            assert!(actor.takes().ends_with("the server is going away"));
        }
    }

    #[test]
    fn a_field_of_a_trusted_proxy_says_who_the_client_is_and_of_nobody_else() {
        let mut stage = Stage::with(behind_proxy(false));
        assert_eq!(status_of(&mut stage, PROXY, &upgrade_of(HERE)), "101");
        assert_eq!(status_of(&mut stage, PROXY, &upgrade_of(HERE)), "429");
        assert_eq!(status_of(&mut stage, PROXY, &upgrade_of(THERE)), "101");
        let liar = stage.connect("192.0.2.9");
        assert_eq!(status(&stage.ask(&liar, &upgrade_of(HERE))), "101");
        let own = "192.0.2.9".parse().ok();
        assert_eq!(stage.server.address_of(liar.id), own);
    }

    #[test]
    fn a_client_counts_once_however_often_it_is_recognized() {
        let mut stage = Stage::with(behind_proxy(false));
        stage.server.site.webhooks = vec![Webhook {
            path: "/webhook".to_owned(),
            feed: FeedId(0),
            field: "X-Key".to_owned(),
            key: "open".to_owned(),
        }];
        let post = format!(
            "POST /webhook HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {HERE}\r\nX-Key: open\r\n\
             Content-Length: 4\r\n\r\nbody"
        );
        let actor = stage.connect(PROXY);
        for _ in 0..2 {
            assert_eq!(stage.ask(&actor, &post), "");
            let post = stage.server.take_posts().remove(0).1.id;
            stage.server.answer(post, Answer::Kept, stage.now);
            stage.turn();
            assert_eq!(status(&actor.takes()), "200");
            stage.server.resume(stage.now);
        }
        stage.pass(HANDSHAKE + LINGER);
        assert_eq!(stage.server.counts().closed, [("idle", 1)].into());
        assert_eq!(status_of(&mut stage, PROXY, &upgrade_of(HERE)), "101");
    }

    #[test]
    fn new_rules_count_those_who_are_connected_and_send_nobody_away() {
        let mut stage = Stage::new();
        let first = stage.open(HERE);
        stage.open(HERE);
        stage.server.know_addresses(Some(at_most(2)));
        assert_eq!(stage.server.address_of(first.id), HERE.parse().ok());
        assert_eq!(status_of(&mut stage, HERE, UPGRADE), "429");
        stage.server.know_addresses(Some(at_most(4)));
        stage.open(HERE);
        assert_eq!(status_of(&mut stage, HERE, UPGRADE), "429");
        stage.server.know_addresses(None);
        assert_eq!(stage.server.address_of(first.id), None);
        stage.open(HERE);
        assert_eq!(stage.server.open_len(), 4);
    }

    #[test]
    fn who_a_proxy_has_named_is_known_under_new_rules() {
        let mut stage = Stage::with(behind_proxy(false));
        assert_eq!(status_of(&mut stage, PROXY, &upgrade_of(HERE)), "101");
        stage.server.know_addresses(Some(behind_proxy(false)));
        assert_eq!(status_of(&mut stage, PROXY, &upgrade_of(HERE)), "429");
    }

    #[test]
    fn addresses_of_those_who_have_gone_take_no_memory() {
        let mut stage = Stage::with(at_most(10));
        let crowd: Vec<Actor> = (0..1_100)
            .map(|at| stage.connect(&format!("10.0.{}.{}", at / 256, at % 256)))
            .collect();
        crowd.iter().for_each(|actor| stage.reset(actor));
        assert_eq!(stage.server.visitors.as_ref().unwrap().crowd.len(), 0);
        stage.pass(1_000);
        let visitors = stage.server.visitors.as_ref().unwrap();
        let places = (visitors.visitors.capacity(), visitors.crowd.capacity());
        assert_eq!(places, (0, 0));
    }
}
