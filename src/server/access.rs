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

#[cfg(test)]
mod tests {
    use super::super::tests::{Actor, SUBSCRIBE, Stage, UPGRADE, frame};
    use super::super::{AddressRules, deadlines};
    use super::*;
    use crate::access::{Answer, Rights, Said};
    use crate::http::Credentials;

    const FAR: &str = "192.0.2.7";

    fn tokens(names: &[&str]) -> Tokens {
        let line = |name: &&str| Tokens::line(name, name.as_bytes());
        let lines: Vec<String> = names.iter().map(line).collect();
        Tokens::parse(&lines.join("\n")).unwrap()
    }

    /// A server behind this proxy, which lets in these, each with its name for a token.
    fn stage(proxy: &str, expects_header: bool, names: &[&str]) -> Stage {
        let mut stage = Stage::with(AddressRules {
            trusted: vec![proxy.parse().unwrap()],
            expects_header,
            connections_max: None,
        });
        stage.server.site.credentials = Some(Credentials {
            in_address: false,
            cookies_of: None,
        });
        stage.server.require_tokens(tokens(names), stage.now);
        stage
    }

    fn upgrade(fields: &str) -> String {
        UPGRADE.replacen("\r\n", &format!("\r\n{fields}"), 1)
    }

    fn enter(stage: &mut Stage, token: &str) -> Actor {
        let actor = stage.connect("127.0.0.1");
        let request = upgrade(&format!("Authorization: Bearer {token}\r\n"));
        let answer = stage.ask(&actor, &request);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        actor
    }

    #[test]
    fn a_token_is_taken_where_nobody_in_between_can_have_read_it() {
        const SECURELY: &str = "X-Forwarded-Proto: https\r\n";
        const OPENLY: &str = "X-Forwarded-Proto: http\r\n";
        for (peer, fields, expected) in [
            ("127.0.0.1", "", "101"),
            ("::1", "", "101"),
            ("unix", "", "101"),
            ("127.0.0.1", SECURELY, "101"),
            ("127.0.0.1", OPENLY, "403"),
            ("10.0.0.1", SECURELY, "101"),
            ("10.0.0.1", OPENLY, "403"),
            ("10.0.0.1", "", "403"),
            (FAR, SECURELY, "403"),
            (FAR, "", "403"),
        ] {
            let mut stage = stage("10.0.0.1", false, &["alice"]);
            let actor = stage.connect(peer);
            let fields = format!("{fields}Authorization: Bearer alice\r\n");
            let answer = stage.ask(&actor, &upgrade(&fields));
            assert_eq!(&answer[9..12], expected, "{peer} {fields}");
        }
    }

    #[test]
    fn who_is_named_by_a_proxy_on_this_machine_is_not_on_it() {
        let mut stage = stage("127.0.0.1", true, &["alice"]);
        for (client, expected) in [("127.0.0.2", "101"), (FAR, "403")] {
            let actor = stage.connect("127.0.0.1");
            let header = format!("PROXY TCP4 {client} 127.0.0.1 1 2\r\n");
            let request = upgrade("Authorization: Bearer alice\r\n");
            let answer = stage.ask(&actor, &(header + &request));
            assert_eq!(&answer[9..12], expected, "{client}");
        }
    }

    #[test]
    fn those_whose_token_has_gone_end_and_the_others_stay_wherever_it_stands() {
        let mut stage = stage("10.0.0.1", false, &["alice", "bob", "carol"]);
        let clients = ["alice", "bob", "carol", "alice"].map(|name| enter(&mut stage, name));
        let visitor = stage.connect(FAR);
        let mut after = |names: &[&str]| {
            stage.server.require_tokens(tokens(names), stage.now);
            stage.turn();
            let got = clients.each_ref().map(Actor::takes);
            got.map(|text| text.ends_with("access has ended"))
        };
        assert_eq!(after(&["carol", "alice"]), [false, true, false, false]);
        assert_eq!(after(&["bob", "carol"]), [true, false, false, true]);
        assert_eq!(after(&[]), [false, false, true, false]);
        assert!(!visitor.is_gone());
    }

    /// A server whose clients are readers of a Bugzilla.
    fn stage_of_readers() -> Stage {
        let mut stage = stage("10.0.0.1", false, &[]);
        stage.server.site.credentials = Some(Credentials {
            in_address: false,
            cookies_of: Some("https://bugzilla.example".parse().unwrap()),
        });
        stage.server.ask_bugzilla(Rights::new(b"key", 1_000), false);
        stage
    }

    /// Bugzilla shows whatever it is asked for.
    fn answer(stage: &mut Stage) {
        let question = stage.server.take_question(stage.now).unwrap();
        let (number, said) = (question.number, Some(Said::Sees(question.bugs)));
        stage.server.take_answer(Answer { number, said }, stage.now);
        stage.server.resume(stage.now);
        stage.turn();
    }

    #[test]
    fn bugzilla_is_asked_of_what_nobody_in_between_can_have_read() {
        const KEY: &str = "Authorization: Bearer alice\r\n";
        const COOKIES: &str = "Origin: https://bugzilla.example\r\n\
            Cookie: Bugzilla_login=2; Bugzilla_logincookie=abc\r\n";
        for (peer, fields, expected, is_asked) in [
            ("127.0.0.1", KEY, "", true),
            (FAR, KEY, "HTTP/1.1 403", false),
            ("127.0.0.1", COOKIES, "", true),
            // A browser adds them by itself: they count for nothing.
            (FAR, COOKIES, "HTTP/1.1 101", false),
        ] {
            let mut stage = stage_of_readers();
            let actor = stage.connect(peer);
            let answer = stage.ask(&actor, &upgrade(fields));
            assert_eq!(answer.get(..12).unwrap_or_default(), expected, "{peer}");
            let question = stage.server.take_question(stage.now);
            assert_eq!(question.is_some(), is_asked, "{peer} {fields}");
        }
    }

    #[test]
    fn while_somebody_waits_for_bugzilla_it_is_looked_each_second_who_has_waited_too_long() {
        let mut stage = stage_of_readers();
        let nobody = stage.open(FAR);
        assert!(stage.server.until_tick(stage.now) > Some(1_000));
        assert_eq!(stage.say(&nobody, SUBSCRIBE), "");
        let counts = stage.server.rights_counts().unwrap();
        assert_eq!((counts.waiting, counts.answered), (2, 0));
        stage.server.take_question(stage.now).unwrap();
        assert_eq!(stage.server.until_tick(stage.now), Some(1_000));
    }

    #[test]
    fn newcomers_behind_a_proxy_keep_out_those_of_their_own_address_and_nobody_else() {
        const WAITING_MAX: usize = 1_000;
        let mut stage = stage_of_readers();
        let mut enter = |client: &str, key: usize| {
            let actor = stage.connect("10.0.0.1");
            let fields = format!(
                "X-Forwarded-For: {client}\r\nX-Forwarded-Proto: https\r\n\
                 Authorization: Bearer key{key}\r\n"
            );
            stage.ask(&actor, &upgrade(&fields))
        };
        for key in 0..WAITING_MAX {
            assert_eq!(enter(FAR, key), "");
        }
        assert!(enter(FAR, WAITING_MAX).starts_with("HTTP/1.1 503 "));
        assert_eq!(enter("192.0.2.8", WAITING_MAX + 1), "");
    }

    #[test]
    fn who_waits_to_come_in_is_told_to_come_back_when_bugzilla_has_not_answered_in_time() {
        let mut stage = stage_of_readers();
        let reader = stage.connect("127.0.0.1");
        stage.ask(&reader, &upgrade("Authorization: Bearer alice\r\n"));
        stage.server.take_question(stage.now).unwrap();
        stage.pass(9_000);
        assert_eq!(reader.takes(), "");
        stage.pass(2_000);
        assert!(reader.takes().starts_with("HTTP/1.1 503 "));
    }

    #[test]
    fn a_reader_is_remembered_while_somebody_is_in_and_for_a_time_after_that() {
        const HOUR: u32 = 3_600_000;
        let mut stage = stage_of_readers();
        let reader = stage.connect("127.0.0.1");
        stage.ask(&reader, &upgrade("Authorization: Bearer alice\r\n"));
        answer(&mut stage);
        assert!(reader.takes().starts_with("HTTP/1.1 101 "));
        let readers = |stage: &Stage| stage.server.rights_counts().unwrap().readers;
        for _ in 0..18 {
            stage.pass(HOUR / 6);
            stage.hear(&reader, &frame(0x8a, b""));
        }
        assert_eq!(readers(&stage), 1);
        stage.reset(&reader);
        stage.pass(2 * HOUR);
        assert_eq!(readers(&stage), 0);
    }

    #[test]
    fn a_crowd_of_readers_that_has_left_leaves_no_memory_behind() {
        let mut stage = stage_of_readers();
        let crowd: Vec<Actor> = (0..1_100).map(|_| stage.open(FAR)).collect();
        for actor in &crowd {
            stage.say(actor, SUBSCRIBE);
        }
        answer(&mut stage);
        stage.pass(120_000);
        // What was said is too old to show it, and Bugzilla is slow.
        stage.change(1);
        stage.server.take_question(stage.now).unwrap();
        let owned = |stage: &Stage| match &stage.server.access {
            Access::Readers(readers) => (readers.guests.capacity(), readers.withheld.capacity()),
            Access::Everybody | Access::Holders(_) => panic!("Bugzilla decides"),
        };
        let (guests, withheld) = owned(&stage);
        assert!(guests >= crowd.len() && withheld >= crowd.len());
        crowd.iter().for_each(|actor| stage.reset(actor));
        stage.pass(deadlines::SWEEP_INTERVAL);
        assert_eq!(owned(&stage), (0, 0));
    }

    #[test]
    fn whose_token_each_of_a_crowd_had_is_forgotten_when_it_has_left() {
        let mut stage = stage("10.0.0.1", false, &["alice"]);
        let crowd: Vec<Actor> = (0..1_100).map(|_| enter(&mut stage, "alice")).collect();
        crowd.iter().for_each(|actor| stage.reset(actor));
        stage.pass(deadlines::SWEEP_INTERVAL);
        let Access::Holders(holders) = &stage.server.access else {
            panic!("tokens are needed");
        };
        assert_eq!(holders.of.capacity(), 0);
    }
}
