//! What one turn of the loop will write: collected while events are handled, written once before
//! the loop sleeps. Owns the replies, the updates (each encoded once, shared by all who get it),
//! and the list of clients that get any. Knows no socket and no hub.

use std::collections::VecDeque;
use std::ops::Range;

use crate::frame;
use crate::protocol;
use crate::subscriptions::ClientId;
use crate::update::{FeedId, Update};

/// Memory that a turn keeps for the next one, in bytes; a storm's worth is given back.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The output of one turn.
#[derive(Debug, Default)]
pub struct Turn {
    replies: Vec<u8>,
    /// The frames of all updates of the turn, one after the other, so that a client that gets all
    /// of them gets one slice.
    frames: Vec<u8>,
    pushes: Vec<Push>,
    /// Those who get something, in order; the first one's place is one more than `taken`.
    outgoing: VecDeque<Outgoing>,
    /// How many have been taken from the front of the list.
    taken: u32,
    text: Vec<u8>,
}

/// An update that goes out in this turn.
#[derive(Debug)]
pub struct Push {
    /// The feed that it came from.
    pub feed: FeedId,
    /// What happened.
    pub update: Update,
    /// The end of its frame in the turn's frames.
    end: usize,
}

/// What one client gets in this turn: a range of the replies, then updates.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The client.
    pub client: ClientId,
    replies: (u32, u32),
    /// The first and the last update that it gets, and how many of those between.
    first: u32,
    last: u32,
    count: u32,
}

impl Outgoing {
    /// The updates among which all that the client gets are.
    pub fn pushes(&self) -> Range<usize> {
        self.first as usize..if self.count == 0 {
            self.first as usize
        } else {
            self.last as usize + 1
        }
    }

    /// Whether it gets each one of [`Outgoing::pushes`].
    pub fn has_all(&self) -> bool {
        self.pushes().len() == self.count as usize
    }
}

impl Turn {
    /// Lists a client, whose `place` is 0 where it is not listed yet; returns its entry.
    fn list(&mut self, client: ClientId, place: &mut u32) -> &mut Outgoing {
        if *place == 0 {
            self.outgoing.push_back(Outgoing {
                client,
                replies: (0, 0),
                first: 0,
                last: 0,
                count: 0,
            });
            *place = self.last_place();
        }
        &mut self.outgoing[(*place - self.taken) as usize - 1]
    }

    /// Begins a reply to a client: what is then written to [`Turn::replies`] goes to it, until
    /// [`Turn::end_reply`].
    pub fn begin_reply(&mut self, client: ClientId, place: &mut u32) {
        let end = self.replies.len() as u32;
        let (from, to) = &mut self.list(client, place).replies;
        let earlier = *from as usize..*to as usize;
        if earlier.is_empty() {
            *from = end;
        } else if *to != end {
            // Another client's replies stand in between.
            *from = end;
            self.replies.extend_from_within(earlier);
        }
    }

    /// Where replies are written.
    pub fn replies(&mut self) -> &mut Vec<u8> {
        &mut self.replies
    }

    /// Ends a reply that was begun last; returns how many bytes this client's replies have in this
    /// turn.
    pub fn end_reply(&mut self, place: u32) -> usize {
        let entry = &mut self.outgoing[(place - self.taken) as usize - 1];
        entry.replies.1 = self.replies.len() as u32;
        (entry.replies.1 - entry.replies.0) as usize
    }

    /// Adds an update, encoded once; returns its number in this turn.
    pub fn push(&mut self, feed: FeedId, update: Update) -> u32 {
        self.text.clear();
        protocol::write_update(&mut self.text, &update);
        frame::write_text(&mut self.frames, &self.text);
        self.pushes.push(Push {
            feed,
            update,
            end: self.frames.len(),
        });
        self.pushes.len() as u32 - 1
    }

    /// Sends an update to a client. Updates are sent in the order of their numbers.
    pub fn deliver(&mut self, client: ClientId, place: &mut u32, push: u32) {
        let entry = self.list(client, place);
        if entry.count == 0 {
            entry.first = push;
        }
        entry.last = push;
        entry.count += 1;
    }

    /// How many bytes of replies and updates there are so far.
    pub fn bytes(&self) -> usize {
        self.replies.len() + self.frames.len()
    }

    /// The number of clients that get something.
    pub fn outgoing_len(&self) -> usize {
        self.outgoing.len()
    }

    /// The place of the client that was listed last; 0 where none is.
    pub fn last_place(&self) -> u32 {
        self.taken + self.outgoing.len() as u32
    }

    /// Whether a client may have this place: one of the list, or none.
    pub fn has_place(&self, place: u32) -> bool {
        place == 0 || (self.taken < place && place <= self.last_place())
    }

    /// Takes the first client off the list, with its place there.
    pub fn take_next(&mut self) -> Option<(u32, Outgoing)> {
        let outgoing = self.outgoing.pop_front()?;
        self.taken += 1;
        Some((self.taken, outgoing))
    }

    /// What the client at this place of the list gets.
    pub fn outgoing(&self, place: u32) -> Outgoing {
        self.outgoing[(place - self.taken) as usize - 1].clone()
    }

    /// The bytes of the replies to a client.
    pub fn replies_of(&self, outgoing: &Outgoing) -> &[u8] {
        &self.replies[outgoing.replies.0 as usize..outgoing.replies.1 as usize]
    }

    /// An update of this turn.
    pub fn push_at(&self, push: usize) -> &Push {
        &self.pushes[push]
    }

    /// The frames of a range of updates.
    pub fn frames_of(&self, pushes: Range<usize>) -> &[u8] {
        if pushes.is_empty() {
            return &[];
        }
        let start = if pushes.start == 0 {
            0
        } else {
            self.pushes[pushes.start - 1].end
        };
        &self.frames[start..self.pushes[pushes.end - 1].end]
    }

    /// Ends the turn. The clients' places are void.
    pub fn clear(&mut self) {
        clear(&mut self.replies);
        clear(&mut self.frames);
        clear(&mut self.pushes);
        self.outgoing.clear();
        self.outgoing
            .shrink_to(KEPT_BYTES_MAX / size_of::<Outgoing>());
        self.taken = 0;
    }
}

fn clear<T>(list: &mut Vec<T>) {
    list.clear();
    list.shrink_to(KEPT_BYTES_MAX / size_of::<T>());
}
