//! Which numbered messages a queue has brought, and what that proves: the relay numbers the changes
//! that it publishes, and announces every two seconds how far it is (`amqp::Number`). Pure: the time
//! is passed in, and what comes out is a loss or a doubt. Knows no broker and no history.
//!
//! A stream that is not known is a loss, since what it sent before is not known either; so is a
//! number that jumps. What lies at the end of a stream shows by the announcements: a number ahead
//! of ours is a doubt, and a loss when the messages do not come. What is forgotten here is a loss
//! when it comes again, so that it may be forgotten at any time, if that counts as a loss itself.

mod proof;

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub(super) use self::proof::{Missed, Proof};
use crate::amqp::{Announcement, Number};

/// How long announcements may be missing: three of them.
const SILENCE_MAX: Duration = Duration::from_secs(6);

/// How long a relay may be silent before another publisher counts as its successor.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// How many streams are known at most. One is the rule; who may publish can make any number.
const STREAMS_MAX: usize = 16;

/// What is known of all streams of an exchange. It goes through JSON to be noted.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Streams {
    known: Vec<Stream>,
    /// Whether messages without a number have come since the last stream began.
    has_others: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stream {
    id: String,
    /// The largest number that has arrived or was reported as lost.
    last: u64,
    /// Whether a message has come, and not only announcements.
    is_read: bool,
    /// Whether its relay announces at all.
    is_announced: bool,
    /// The number at which it has ended as it should.
    ended_at: Option<u64>,
    /// When the last announcement came over this connection.
    #[serde(skip)]
    heard: Option<Instant>,
    /// When this connection began.
    #[serde(skip)]
    connected: Option<Instant>,
    /// `last` when it came.
    #[serde(skip)]
    last_when_heard: u64,
    #[serde(skip)]
    ahead: Option<Ahead>,
}

/// Messages that were announced, and have not arrived.
#[derive(Debug)]
struct Ahead {
    number: u64,
    newest: Option<i64>,
    /// When the last message of the stream came.
    since: Instant,
}

/// Messages that are lost, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loss {
    /// Why that is known.
    pub reason: Reason,
    /// The database's time (Unix seconds) after which nothing is missing, where it is known.
    pub until: Option<i64>,
}

/// How a loss is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Nothing is known of what the stream carried before.
    Unknown,
    /// Numbers are missing.
    Jump,
    /// Numbers that were announced do not come.
    Late,
    /// The stream has fewer numbers than have arrived.
    Back,
    /// Others publish, and this one says nothing any more.
    Silent,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Unknown => "the relay's backlog is new, or was not read before",
            Reason::Jump => "messages of the relay are missing, by their numbers",
            Reason::Late => "messages that the relay has sent do not arrive",
            Reason::Back => "the relay's backlog is an older one than before",
            Reason::Silent => "another relay or publisher has taken over",
        })
    }
}

impl Streams {
    /// Reads what was noted; what cannot be read is as good as nothing.
    fn read(note: Option<&str>) -> Self {
        note.and_then(|note| serde_json::from_str(note).ok())
            .unwrap_or_default()
    }

    /// What is to be noted together with the updates of the messages.
    fn note(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are always JSON")
    }

    /// A connection begins: what was announced over another one proves nothing now.
    fn connected(&mut self, now: Instant) {
        for stream in &mut self.known {
            (stream.heard, stream.ahead) = (None, None);
            stream.connected = Some(now);
        }
    }

    /// A message with a number has arrived.
    fn arrived(&mut self, number: &Number, now: Instant) -> Option<Loss> {
        let Some(stream) = self.known.iter_mut().find(|s| s.id == number.stream) else {
            self.add(&number.stream, number.number).is_read = true;
            self.has_others = false;
            return Some(Loss {
                reason: Reason::Unknown,
                until: None,
            });
        };
        if !std::mem::replace(&mut stream.is_read, true) {
            self.has_others = false;
        }
        if number.number <= stream.last {
            return None;
        }
        let is_next = number.number == stream.last + 1;
        stream.progress(number.number, now);
        (!is_next).then_some(Loss {
            reason: Reason::Jump,
            until: number.newest,
        })
    }

    /// A message without a number has arrived.
    fn arrived_without_number(&mut self, now: Instant) -> Option<Loss> {
        self.has_others = true;
        self.forget(|stream| stream.has_gone(now) && !stream.has_ended())
    }

    /// A relay has announced how far it is.
    fn announced(&mut self, said: &Announcement, now: Instant) -> Option<Loss> {
        let Some(stream) = self.known.iter_mut().find(|s| s.id == said.sent.stream) else {
            let stream = self.add(&said.sent.stream, said.sent.number);
            stream.hear(said, now);
            return Some(Loss {
                reason: Reason::Unknown,
                until: None,
            });
        };
        // A message that was sent after the announcement may overtake it, but not the next one.
        let is_back = stream.heard.is_some() && said.given < stream.last_when_heard;
        if is_back {
            stream.last = said.given;
        }
        stream.hear(said, now);
        is_back.then_some(Loss {
            reason: Reason::Back,
            until: None,
        })
    }

    /// Time has passed. Messages that were announced are lost when none of them arrives for
    /// `patience`.
    fn tick(&mut self, now: Instant, patience: Duration) -> Option<Loss> {
        for stream in &mut self.known {
            let is_late = |ahead: &mut Ahead| now.duration_since(ahead.since) >= patience;
            if let Some(ahead) = stream.ahead.take_if(is_late) {
                stream.last = ahead.number;
                return Some(Loss {
                    reason: Reason::Late,
                    until: ahead.newest,
                });
            }
        }
        if self.known.iter().any(|stream| stream.speaks(now)) {
            return self.forget(|stream| stream.has_gone(now));
        }
        None
    }

    /// Whether something may be lost that will be known soon.
    fn is_in_doubt(&self, now: Instant) -> bool {
        self.known
            .iter()
            .any(|stream| stream.ahead.is_some() || stream.has_fallen_silent(now))
    }

    /// Whether announcements can prove that nothing was lost at all.
    fn can_prove(&self) -> bool {
        !self.has_others
            && !self.known.is_empty()
            && self.known.iter().all(|stream| stream.is_announced)
    }

    /// Whether announcements of this connection have proven that nothing was lost at all.
    fn have_proven(&self, now: Instant) -> bool {
        self.can_prove()
            && self.known.iter().all(|stream| stream.heard.is_some())
            && !self.is_in_doubt(now)
    }

    /// Makes a stream known, in the place of the first one where there are too many.
    fn add(&mut self, id: &str, last: u64) -> &mut Stream {
        if self.known.len() == STREAMS_MAX {
            self.known.remove(0);
        }
        self.known.push(Stream {
            id: id.to_owned(),
            last,
            is_read: false,
            is_announced: false,
            ended_at: None,
            heard: None,
            connected: None,
            last_when_heard: 0,
            ahead: None,
        });
        self.known.last_mut().expect("it was just put there")
    }

    /// What is forgotten is lost, except where the end of the stream was announced and is here.
    fn forget(&mut self, is_gone: impl Fn(&Stream) -> bool) -> Option<Loss> {
        let gone = self.known.extract_if(.., |stream| is_gone(stream));
        let is_loss = gone.filter(|stream| !stream.has_ended()).count() > 0;
        is_loss.then_some(Loss {
            reason: Reason::Silent,
            until: None,
        })
    }
}

impl Stream {
    fn progress(&mut self, number: u64, now: Instant) {
        self.last = number;
        self.ended_at = self.ended_at.filter(|end| number <= *end);
        if let Some(ahead) = &mut self.ahead {
            ahead.since = now;
        }
        self.ahead.take_if(|ahead| ahead.number <= number);
    }

    fn hear(&mut self, said: &Announcement, now: Instant) {
        self.is_announced = true;
        self.ended_at = said.is_end.then_some(said.sent.number);
        self.heard = Some(now);
        self.last_when_heard = self.last;
        if said.sent.number > self.last {
            let since = self.ahead.take().map_or(now, |ahead| ahead.since);
            self.ahead = Some(Ahead {
                number: said.sent.number,
                newest: said.sent.newest,
                since,
            });
        }
    }

    fn speaks(&self, now: Instant) -> bool {
        self.heard
            .is_some_and(|heard| now.duration_since(heard) < SILENCE_MAX)
    }

    fn has_fallen_silent(&self, now: Instant) -> bool {
        self.is_announced && self.ended_at.is_none() && !self.speaks(now)
    }

    /// Whether its relay has ended as it should, and everything that it sent is here.
    fn has_ended(&self) -> bool {
        self.ended_at.is_some() && self.ahead.is_none()
    }

    /// Whether it has been silent for so long that it may have been replaced.
    fn has_gone(&self, now: Instant) -> bool {
        let is_long_ago = |since| now.duration_since(since) >= AWAY_MAX;
        self.is_announced && self.heard.or(self.connected).is_some_and(is_long_ago)
    }
}

#[cfg(test)]
mod tests;
