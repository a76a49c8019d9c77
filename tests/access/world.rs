//! A server whose clients are readers of a Bugzilla, all in one thread and with a clock of its own:
//! hours pass in no time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use bugzfeed::access::{Answer, Kept, Question, Rights, Said, Shown};
use bugzfeed::connection::Stream;
use bugzfeed::history::History;
use bugzfeed::http::{Credentials, Site};
use bugzfeed::hub::Hub;
use bugzfeed::moment::Moment;
use bugzfeed::promise::Promise;
use bugzfeed::server::{Limits, Server};
use bugzfeed::subscriptions::ClientId;
use bugzfeed::update::{BugId, FeedId, Update, When};

use crate::support::client::{CLOSE, FIN, PING, UPGRADE, frame, take_frame, text};

/// The time of the first update, in Unix seconds.
const SECOND: i64 = 1_700_000_000;

/// Both directions of a connection.
#[derive(Debug, Default)]
struct Pipe {
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
}

/// The server's end.
#[derive(Clone, Debug, Default)]
pub struct End(Rc<RefCell<Pipe>>);

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.borrow_mut().to_server.read(buffer)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().to_client.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for End {
    fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A Bugzilla: who sees which bug.
#[derive(Default)]
pub struct Bugzilla {
    /// Bugs in no group.
    pub public: BTreeSet<u32>,
    /// Those that each key sees besides; who is not in it is nobody.
    pub readers: BTreeMap<String, BTreeSet<u32>>,
    /// Whether it does not answer.
    pub is_away: bool,
    /// How long an answer takes, in milliseconds; what it says was so when it was asked.
    pub latency: u32,
    /// Each question: the key, and the bugs.
    pub asked: Vec<(String, Vec<u32>)>,
}

impl Bugzilla {
    fn answer(&mut self, question: &Question) -> Option<Said> {
        let key = match &question.shown {
            Shown::Nothing => String::new(),
            Shown::Bearer(key) | Shown::Cookies(key) => {
                String::from_utf8(key.bytes().to_vec()).unwrap()
            }
        };
        let numbers = question.bugs.iter().map(|bug| bug.get()).collect();
        self.asked.push((key.clone(), numbers));
        if self.is_away {
            return None;
        }
        let own = match key.as_str() {
            "" => BTreeSet::new(),
            key => match self.readers.get(key) {
                None => return Some(Said::Stranger),
                Some(bugs) => bugs.clone(),
            },
        };
        let sees = |bug: &&BugId| self.public.contains(&bug.get()) || own.contains(&bug.get());
        Some(Said::Sees(
            question.bugs.iter().filter(sees).copied().collect(),
        ))
    }
}

pub struct World {
    server: Server<End>,
    pub now: Moment,
    pub bugzilla: Bugzilla,
    /// What Bugzilla will have answered, and when.
    pending: Option<(Moment, Answer)>,
    second: i64,
}

/// A client, as far as it has come.
pub struct Reader {
    id: ClientId,
    end: End,
}

fn bug(number: u32) -> BugId {
    BugId::new(number).unwrap()
}

impl World {
    /// Bugs 1 to 9 are public; alice sees 10 to 19 besides, bob none of them.
    pub fn new(needs_login: bool) -> Self {
        Self::with_kept(needs_login, Kept::default())
    }

    pub fn with_kept(needs_login: bool, kept: Kept) -> Self {
        let limits = Limits {
            connections_max: 100_000,
            message_bytes_max: 256 * 1024,
            messages_per_second: 1_000,
            messages_burst: 1_000_000,
            handshake: 60_000,
            message: 600_000,
            ping: 1_000_000_000,
            pong: 600_000,
            stall: 600_000,
        };
        let site = Site {
            feeds: vec!["/".to_owned()],
            offers_events: true,
            credentials: Some(Credentials {
                in_address: false,
                cookies_of: Some("https://bugzilla.example".parse().unwrap()),
            }),
            ..Site::default()
        };
        let hub = Hub::new(History::new(1_000, i64::MIN), 20_000);
        let mut server = Server::new(limits, site, vec![hub]);
        server.promise(FeedId(0), Promise::After(i64::MIN));
        let mut rights = Rights::new(b"key", 1_000);
        rights.remember(kept, Moment(0));
        server.ask_bugzilla(rights, needs_login);
        let reader = |key: &str, bugs: std::ops::Range<u32>| (key.to_owned(), bugs.collect());
        let readers = [reader("alice", 10..20), reader("bob", 0..0)];
        Self {
            server,
            now: Moment(0),
            bugzilla: Bugzilla {
                public: (1..10).collect(),
                readers: readers.into(),
                ..Bugzilla::default()
            },
            pending: None,
            second: SECOND,
        }
    }

    /// A turn of the loop.
    pub fn turn(&mut self) {
        self.server.set_unix_time(SECOND);
        self.server.resume(self.now);
        self.server.tick(self.now);
        if let Some(question) = self.server.take_question(self.now) {
            let (number, said) = (question.number, self.bugzilla.answer(&question));
            let at = self.now.plus(self.bugzilla.latency);
            self.pending = Some((at, Answer { number, said }));
        }
        if let Some((_, answer)) = self.pending.take_if(|(at, _)| at.since(self.now) == 0) {
            self.server.take_answer(answer, self.now);
        }
        self.server.flush(usize::MAX, self.now);
        self.server.reap(self.now);
        self.server.check_invariants();
    }

    /// Lets time pass.
    pub fn pass(&mut self, milliseconds: u32) {
        let end = self.now.plus(milliseconds);
        while end.since(self.now) > 0 {
            self.now = self.now.plus(end.since(self.now).min(250));
            self.turn();
        }
        self.turn();
    }

    fn send(&mut self, reader: &Reader, bytes: &[u8]) {
        reader.end.0.borrow_mut().to_server.extend(bytes);
        self.server.readable(reader.id, false, self.now);
        self.turn();
    }

    /// Somebody connects with these header fields, each a whole line.
    pub fn connect(&mut self, fields: &str) -> Reader {
        self.request(UPGRADE, fields)
    }

    /// A page asks whether it would get a WebSocket.
    pub fn ask_for_access(&mut self, fields: &str) -> Reader {
        let request = "GET /?access HTTP/1.1\r\nHost: localhost\r\n\r\n";
        self.request(request, fields)
    }

    fn request(&mut self, request: &str, fields: &str) -> Reader {
        let end = End::default();
        let id = self.server.accept(end.clone(), self.now);
        let reader = Reader { id, end };
        let host = "Host: localhost\r\n";
        let request = request.replace(host, &format!("{host}{fields}"));
        self.send(&reader, request.as_bytes());
        reader
    }

    /// Somebody asks for the events of these bugs, with these header fields.
    pub fn listen(&mut self, bugs: &str, fields: &str) -> Reader {
        let end = End::default();
        let id = self.server.accept(end.clone(), self.now);
        let reader = Reader { id, end };
        let request =
            format!("GET /events?bugs={bugs} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        self.send(&reader, request.as_bytes());
        self.pass(5_000);
        reader
    }

    /// Somebody who is in, with this key or with none.
    pub fn open(&mut self, key: &str) -> Reader {
        let fields = match key {
            "" => String::new(),
            key => format!("Authorization: Bearer {key}\r\n"),
        };
        let reader = self.connect(&fields);
        self.pass(3_000);
        assert_eq!(reader.status(), "101", "{key}");
        reader
    }

    pub fn say(&mut self, reader: &Reader, message: &str) {
        self.send(reader, &text(message));
    }

    /// Says something, and returns what has come in the same turn.
    pub fn ask_at_once(&mut self, reader: &Reader, message: &str) -> Vec<String> {
        self.say(reader, message);
        reader.heard()
    }

    /// Says something, and returns what has come five seconds later.
    pub fn ask(&mut self, reader: &Reader, message: &str) -> Vec<String> {
        self.say(reader, message);
        self.pass(5_000);
        reader.heard()
    }

    pub fn subscribe(&mut self, reader: &Reader, bugs: &str) -> String {
        let message = format!(r#"{{"command":"subscribe","bugs":{bugs}}}"#);
        self.ask(reader, &message).join(" ")
    }

    /// A bug changes.
    pub fn change(&mut self, number: u32) {
        self.change_at_once(&[number]);
    }

    /// Bugs change, and it is heard of in one turn.
    pub fn change_at_once(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.second += 1;
            let when = When::from_unix_seconds(self.second);
            let update = Update {
                bug: bug(*number),
                when,
            };
            self.server.publish(FeedId(0), update, i64::MAX);
        }
        self.turn();
    }

    /// So many connect and say nothing yet.
    pub fn crowd(&mut self, clients: usize) {
        for _ in 0..clients {
            self.server.accept(End::default(), self.now);
        }
    }

    /// The server departs, in so many milliseconds, or one for each client.
    pub fn depart(&mut self, milliseconds: u32) {
        self.server.drain(milliseconds, self.now);
    }

    /// The feed may have missed updates.
    pub fn gap(&mut self) {
        self.server.gap(FeedId(0), self.now);
    }

    /// Sends something as it is.
    pub fn send_bytes(&mut self, reader: &Reader, bytes: &[u8]) {
        self.send(reader, bytes);
    }

    /// Somebody leaves.
    pub fn leave(&mut self, reader: &Reader) {
        self.send(reader, &frame(FIN | CLOSE, &[]));
    }

    /// How often Bugzilla was asked since the last call.
    pub fn questions(&mut self) -> usize {
        std::mem::take(&mut self.bugzilla.asked).len()
    }
}

impl Reader {
    /// The status of the answer to the request, which is taken; empty where there is none.
    pub fn status(&self) -> String {
        let bytes = &mut self.end.0.borrow_mut().to_client;
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
        let head: Vec<u8> = end.map_or(Vec::new(), |end| bytes.drain(..end + 4).collect());
        let head = String::from_utf8(head).unwrap();
        head.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// The place among the server's connections.
    pub fn place(&self) -> ClientId {
        self.id
    }

    /// All that has come, as it is.
    pub fn rest(&self) -> String {
        let bytes = std::mem::take(&mut self.end.0.borrow_mut().to_client);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What has come: texts, and the code of a close.
    pub fn heard(&self) -> Vec<String> {
        let bytes = &mut self.end.0.borrow_mut().to_client;
        std::iter::from_fn(|| take_frame(bytes))
            .filter(|frame| frame.first != FIN | PING)
            .map(|frame| match frame.first == FIN | CLOSE {
                true => u16::from_be_bytes([frame.payload[0], frame.payload[1]]).to_string(),
                false => String::from_utf8(frame.payload).unwrap(),
            })
            .collect()
    }

    /// The bugs whose updates have come, and the code of a close.
    pub fn updates(&self) -> Vec<String> {
        let heard = self.heard().into_iter();
        let number = |text: String| match text.strip_prefix(r#"{"command":"update","bug":"#) {
            Some(rest) => rest.split(',').next().unwrap_or_default().to_owned(),
            None => text,
        };
        heard.map(number).collect()
    }
}
