//! Named cases: what the runs meet too rarely, in the order in which it must happen.

use fastrand::Rng;

use super::broker::Broker;
use super::bugzilla::{Bugzilla, FIRST_SECOND};
use super::relay::Relay;
use super::server::Server;
use crate::hub::Asked;
use crate::inbox::Notice;
use crate::subscriptions::ClientId;

/// Two servers that read, and what feeds them.
struct Stage {
    random: Rng,
    now: i64,
    bugzilla: Bugzilla,
    relay: Relay,
    broker: Broker,
    servers: [Server; 2],
    /// What a client has got that is subscribed at the first server.
    got: Vec<(u32, i64)>,
}

impl Stage {
    fn new() -> Self {
        let mut random = Rng::with_seed(1);
        let servers = [0, 1].map(|number| Server::new(number, true, &mut random));
        let mut stage = Self {
            random,
            now: FIRST_SECOND,
            bugzilla: Bugzilla::new(0),
            relay: Relay::new(false),
            broker: Broker::new(),
            servers,
            got: Vec::new(),
        };
        for server in &mut stage.servers {
            server.start(FIRST_SECOND);
        }
        while !(stage.is_whole(0) && stage.is_whole(1)) {
            stage.second();
        }
        stage
    }

    fn is_whole(&self, number: usize) -> bool {
        let running = self.servers[number].running.as_ref();
        running.is_some_and(|running| running.reads_since.is_some() && !running.hub.is_in_doubt())
    }

    /// A bug is edited, and the relay publishes that.
    fn edit(&mut self, bug: u32) -> i64 {
        self.now += 1;
        self.relay
            .rows
            .push(self.bugzilla.edit_at_once(bug, self.now));
        let (broker, bugzilla) = (&mut self.broker, &self.bugzilla);
        self.relay
            .work(self.now, broker, bugzilla, &mut self.random);
        self.now
    }

    fn second(&mut self) {
        self.now += 1;
        for number in 0..2 {
            let broker = &mut self.broker;
            let notices =
                self.servers[number].work(self.now, broker, &self.bugzilla, &mut self.random);
            let hub = &mut self.servers[number].running.as_mut().unwrap().hub;
            for notice in notices {
                match notice {
                    Notice::Updates {
                        updates,
                        credible_until,
                        ..
                    } => {
                        for update in updates {
                            let bug = (update.bug.get(), update.when.unix_seconds());
                            let clients = hub.publish(update, credible_until).count();
                            self.got.extend(std::iter::repeat_n(bug, clients));
                        }
                    }
                    Notice::Promise { promise, .. } => hub.promise(promise),
                    Notice::Earlier { updates, .. } => hub.remember(updates),
                    Notice::Clock { ahead, .. } => hub.set_database_clock(ahead),
                    Notice::Gap { .. }
                    | Notice::Access(_)
                    | Notice::Refused { .. }
                    | Notice::Key { .. }
                    | Notice::Source { .. }
                    | Notice::Keeping { .. }
                    | Notice::Reloaded(_)
                    | Notice::Answer { .. } => {}
                }
            }
        }
    }

    /// Lets seconds pass until nothing waits in the queues.
    fn drain(&mut self) {
        while self
            .broker
            .queues
            .iter()
            .any(|queue| !queue.messages.is_empty())
        {
            self.second();
        }
    }

    fn subscribe(&mut self, number: usize, since: &str) -> Vec<String> {
        let message = format!(r#"{{"command":"subscribe","bugs":[1,2],"since":"{since}"}}"#);
        let asked = Asked {
            at: self.now,
            may_wait: false,
            clients: 1,
            delay: None,
        };
        let mut texts = Vec::new();
        let hub = &mut self.servers[number].running.as_mut().unwrap().hub;
        let is_answered = hub.handle(ClientId(0), message.as_bytes(), asked, |text| {
            texts.push(String::from_utf8(text.to_vec()).unwrap());
        });
        assert!(is_answered);
        texts
    }
}

#[test]
fn what_a_server_has_lost_in_secret_is_sent_by_the_next_one() {
    let mut stage = Stage::new();
    stage.subscribe(0, "");
    let lost = stage.edit(1);
    stage.broker.queues[0].messages.clear();
    stage.drain();
    let newest = stage.edit(2);
    stage.drain();
    assert_eq!(
        stage.got,
        [(2, newest)],
        "the first server knows of no loss"
    );
    let newest = crate::update::When::from_unix_seconds(newest).to_string();
    let texts = stage.subscribe(1, &newest);
    assert!(texts[0].contains(r#""complete":true"#), "{texts:?}");
    let lost = crate::update::When::from_unix_seconds(lost).to_string();
    assert!(texts[1].contains(&lost), "{texts:?}");
}
