//! What happens in the world, by chance: somebody comes, says something, takes something, leaves;
//! bugs change.

use bugzfeed::http::{self, Outcome, Room};
use fastrand::Rng;

use crate::client::{Client, Fate, Kind, UPGRADE};
use crate::session::{Named, Said, Session};
use crate::world::{BUGS, Notice, PATHS, World};

impl World {
    pub fn happen(&mut self) {
        match self.random.u8(0..100) {
            0..8 => self.connect_user(),
            8..12 => self.connect_stranger(),
            12 => self.trickle(),
            13..40 => self.say_something(),
            40..60 => self.each_some(|client, random| client.deliver(random.usize(1..300))),
            60..67 => self.each_some(|client, _| client.deliver(usize::MAX)),
            67 => self.each_some(|client, _| client.change_keys()),
            68..74 => self.each_some(|client, random| {
                if client.fate != Fate::IsStuck {
                    client.give_room(random.usize(1..1_500));
                }
            }),
            74..90 => self.change(),
            90 => self.lose_updates(),
            91..95 => self.end_somebody(),
            95 => self.answer_post(),
            96 => {
                self.settle();
                let pause = self.random.u32(0..25_000);
                self.pass(pause);
            }
            97..100 => self.second += self.random.i64(0..3),
            _ => unreachable!(),
        }
    }

    /// One that is slow gets more than it takes, and takes a little now and then: for longer than
    /// one may take nothing.
    fn trickle(&mut self) {
        let is_right = |client: &Client| client.is_talking() && client.is_open && !client.is_fast;
        let Some(at) = self.clients.iter().position(is_right) else {
            return;
        };
        if self.is_departing() {
            return;
        }
        for _ in 0..300 {
            self.clients[at].say(Said::Subscriptions, &mut self.random);
        }
        self.clients[at].handle.wire_mut().room = 0;
        self.clients[at].trickle = Some(3);
        let id = self.clients[at].id;
        let feed = match &self.clients[at].kind {
            Kind::Socket { user, .. } => self.users[*user].feed,
            Kind::Http { .. } | Kind::Silent => return,
        };
        for _ in 0..7 {
            self.settle();
            self.pass(self.limits.stall / 4);
        }
        let may_leave = self.feeds[feed].has_gap();
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            assert!(may_leave, "a slow client that takes a little is gone");
            return;
        };
        assert!(client.handle.wire().is_refused, "it has taken all");
        client.trickle = None;
        self.settle();
    }

    fn each_some(&mut self, mut act: impl FnMut(&mut Client, &mut Rng)) {
        for client in &mut self.clients {
            if self.random.bool() {
                act(client, &mut self.random);
            }
        }
    }

    fn connect_user(&mut self) {
        let Some(number) = self
            .random
            .choice(0..self.users.len())
            .filter(|&number| !self.users[number].is_connected)
        else {
            return;
        };
        let user = &mut self.users[number];
        user.is_connected = true;
        let comes_back = !user.known.owed_from.is_empty();
        let bugs = user.known.come_back();
        let resuming = comes_back.then(|| user.known.clone());
        let session = Session::new(user.is_fast, self.subscriptions_max, resuming);
        let kind = Kind::Socket {
            session: Box::new(session),
            user: number,
        };
        let request = UPGRADE.replacen('/', PATHS[user.feed], 1);
        let mut client = Client::new(kind, user.is_fast, &request, &mut self.random);
        if comes_back {
            client.say(
                Said::Subscribe {
                    bugs,
                    since: user.known.newest,
                },
                &mut self.random,
            );
            self.tally.resumed += usize::from(user.known.newest.is_some());
        }
        self.add(client);
    }

    fn connect_stranger(&mut self) {
        let requests = [
            "GET / HTTP/1.0\r\n\r\n",
            "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
            "\x16\x03\x01",
            "GET / HTTP/1.1\r\nHo",
            // With HTTP/1.1, whether the answer ends the connection depends on how many others there are.
            "POST /webhook HTTP/1.0\r\nHost: a\r\nX-Key: open\r\nContent-Length: 4\r\n\r\nbody",
        ];
        let request = requests[self.random.usize(0..requests.len())];
        let mut response = Vec::new();
        let kind = match http::respond(&self.site, request.as_bytes(), Room::Free, 0, &mut response)
        {
            Outcome::Answered | Outcome::Refused(_) => Kind::Http { response },
            Outcome::Posted { .. } => {
                http::write_kept(&mut response, false, 0);
                Kind::Http { response }
            }
            Outcome::Incomplete
            | Outcome::Receiving
            | Outcome::Upgraded { .. }
            | Outcome::Listening { .. }
            | Outcome::Asked(_) => Kind::Silent,
        };
        let is_fast = self.random.bool() && !self.is_short_of_memory;
        let mut client = Client::new(kind, is_fast, request, &mut self.random);
        if self.random.bool() {
            client.fate = Fate::HalfCloses;
        }
        self.add(client);
    }

    fn say_something(&mut self) {
        let random = &mut self.random;
        let mut talking: Vec<&mut Client> = self
            .clients
            .iter_mut()
            .filter(|client| client.is_talking())
            .collect();
        let Some(at) = random.choice(0..talking.len()) else {
            return;
        };
        let client = &mut talking[at];
        let some_bugs = |random: &mut Rng| {
            if random.u8(0..8) == 0 {
                return Named::All;
            }
            let bugs = (0..random.usize(0..5)).map(|_| random.u32(BUGS));
            Named::These(bugs.collect())
        };
        let said = match random.u8(0..20) {
            0..9 => Said::Subscribe {
                bugs: some_bugs(random),
                since: None,
            },
            9..11 => Said::Subscribe {
                bugs: some_bugs(random),
                since: Some(self.second - random.i64(0..8)),
            },
            11..14 => Said::Unsubscribe {
                bugs: some_bugs(random),
            },
            14 => Said::Subscriptions,
            15 => Said::Version,
            16 => Said::Nonsense {
                reply: r#"{"command":null,"result":"error","error":"invalid JSON"}"#,
            },
            17 => return client.pong(random),
            _ => Said::Ping {
                payload: vec![b'p'; random.usize(0..=125)],
            },
        };
        client.say(said, random);
    }

    /// Bugs change: mostly now, some a while ago, since they were committed late.
    fn change(&mut self) {
        let count = if self.random.u8(0..40) == 0 {
            200
        } else {
            self.random.usize(1..6)
        };
        for _ in 0..count {
            let late = if self.random.u8(0..4) == 0 {
                self.random.i64(0..6)
            } else {
                0
            };
            let feed = self.random.usize(0..PATHS.len());
            self.inbox.push_back(Notice::Change {
                feed,
                bug: self.random.u32(BUGS),
                second: self.second - late,
            });
            self.second += i64::from(self.random.u8(0..4) == 0);
        }
    }

    fn lose_updates(&mut self) {
        let feed = self.random.usize(0..PATHS.len());
        self.inbox.push_back(match self.random.u8(0..5) {
            0 => Notice::Doubt {
                feed,
                is_in_doubt: true,
            },
            1 | 2 => Notice::Doubt {
                feed,
                is_in_doubt: false,
            },
            _ => Notice::Gap { feed },
        });
    }

    /// A source answers a post, or forgets it.
    pub fn answer_post(&mut self) {
        if let Some(post) = self.posts.pop()
            && self.random.u8(0..8) > 0
        {
            self.inbox.push_back(Notice::Answer { post });
        }
    }

    fn end_somebody(&mut self) {
        let random = &mut self.random;
        let mut talking: Vec<&mut Client> = self
            .clients
            .iter_mut()
            .filter(|client| client.is_talking())
            .collect();
        let Some(at) = random.choice(0..talking.len()) else {
            return;
        };
        let client = &mut talking[at];
        self.tally.ended += 1;
        client.fate = match random.u8(0..8) {
            0 | 1 => {
                let code = [None, Some(1000), Some(1001), Some(4999)][random.usize(0..4)];
                client.say(Said::Close { code }, random);
                Fate::Closes(code)
            }
            2 | 3 => Fate::Closes(Some(client.break_rules(random))),
            4 => Fate::HalfCloses,
            5 if client.is_fast => Fate::IsDeaf,
            6 if !client.is_fast => {
                client.handle.wire_mut().room = 0;
                Fate::IsStuck
            }
            _ if random.bool() && client.garble(random) => {
                self.tally.garbled += 1;
                Fate::Vanishes
            }
            _ => {
                client.vanish(random.bool());
                Fate::Vanishes
            }
        };
        if let (Fate::Vanishes, Kind::Socket { session, user }) = (client.fate, &client.kind) {
            // What was on its way is lost.
            let cut = client.seen_bytes - random.usize(0..=client.seen_bytes.min(1_000));
            self.users[*user].known.learn(&session.effects, cut);
            self.users[*user].is_connected = false;
        }
    }
}
