//! What one turn of the loop will write: collected while events are handled, written once before
//! the loop sleeps. Owns the replies, the updates (each encoded once, shared by all who get it, and
//! once more where somebody gets events),
//! and the list of clients that get any, with their places in it. Knows no socket and no hub.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::Range;

use crate::encoding::Encoding;
use crate::protocol;
use crate::subscriptions::ClientId;
use crate::update::{FeedId, Update};

/// Memory that a turn keeps for the next one, in bytes; a storm's worth is given back.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The output of one turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    replies: Vec<u8>,
    /// The frames of all updates of the turn, one after the other, so that a client that gets all
    /// of them gets one slice.
    frames: Vec<u8>,
    /// The same as server-sent events, while there is anybody who gets them.
    events: Vec<u8>,
    pushes: Vec<Push>,
    /// Those who get something, in order of their places; the first one's is one more than `taken`.
    outgoing: VecDeque<Outgoing>,
    /// How many have been taken from the front of the list.
    taken: u32,
    text: Vec<u8>,
}

/// An update that goes out in this turn.
#[derive(Debug)]
pub(crate) struct Push {
    pub feed: FeedId,
    pub update: Update,
    /// The end of its frame in the turn's frames.
    frame_end: usize,
    /// The end of its event in the turn's events.
    event_end: usize,
}

/// A place in the list of those who get something in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(NonZeroU32);

/// A client's place in that list, or none. Kept with the client, where finding it costs nothing;
/// only the turn sets and clears it.
#[derive(Debug, Default)]
pub(crate) struct Listing(Option<Place>);

impl Listing {
    /// The client's place, if it gets something in this turn.
    pub(crate) fn place(&self) -> Option<Place> {
        self.0
    }
}

/// What one client gets in this turn: a range of the replies, then updates.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub client: ClientId,
    replies: (u32, u32),
    /// The first and the last update that it gets, and how many of those between.
    first: u32,
    last: u32,
    count: u32,
}

impl Outgoing {
    /// The updates among which all that the client gets are.
    pub(crate) fn pushes(&self) -> Range<usize> {
        self.first as usize..if self.count == 0 {
            self.first as usize
        } else {
            self.last as usize + 1
        }
    }

    /// Whether it gets each one of [`Outgoing::pushes`].
    pub(crate) fn has_all(&self) -> bool {
        self.pushes().len() == self.count as usize
    }
}

impl Turn {
    /// Replies to a client with what `write` appends. A client is listed even if that is nothing:
    /// the end of its connection may have to wait for earlier output.
    pub(crate) fn reply<T>(
        &mut self,
        client: ClientId,
        listing: &mut Listing,
        write: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> T {
        let end = self.replies.len() as u32;
        let (mut from, to) = self.list(client, listing).replies;
        if from == to || to != end {
            // Another client's replies may stand in between.
            self.replies.extend_from_within(from as usize..to as usize);
            from = end;
        }
        let result = write(&mut self.replies);
        let to = self.replies.len() as u32;
        self.list(client, listing).replies = (from, to);
        result
    }

    /// How many bytes of replies a client gets in this turn.
    pub(crate) fn replies_bytes(&self, listing: &Listing) -> usize {
        listing.0.map_or(0, |place| {
            self.replies_of(&self.outgoing[self.index(place)]).len()
        })
    }

    /// Adds an update, encoded once, and once more if somebody may get it as an event; returns its
    /// number in this turn.
    pub(crate) fn push(&mut self, feed: FeedId, update: Update, as_event: bool) -> u32 {
        self.text.clear();
        protocol::write_update(&mut self.text, &update);
        Encoding::Frames.write(&mut self.frames, &self.text);
        if as_event {
            Encoding::Events.write(&mut self.events, &self.text);
        }
        self.pushes.push(Push {
            feed,
            update,
            frame_end: self.frames.len(),
            event_end: self.events.len(),
        });
        self.pushes.len() as u32 - 1
    }

    /// Sends an update to a client. Updates are sent in the order of their numbers.
    pub(crate) fn deliver(&mut self, client: ClientId, listing: &mut Listing, push: u32) {
        let entry = self.list(client, listing);
        if entry.count == 0 {
            entry.first = push;
        }
        entry.last = push;
        entry.count += 1;
    }

    /// How many bytes of replies and updates there are so far.
    pub(crate) fn bytes(&self) -> usize {
        self.replies.len() + self.frames.len() + self.events.len()
    }

    /// The number of clients that get something.
    pub(crate) fn outgoing_len(&self) -> usize {
        self.outgoing.len()
    }

    /// The place that was given last in this turn.
    pub(crate) fn last_place(&self) -> Option<Place> {
        NonZeroU32::new(self.taken + self.outgoing.len() as u32).map(Place)
    }

    /// Whether a client's place is one of the list, where it has one; for tests.
    pub(crate) fn is_valid(&self, listing: &Listing) -> bool {
        listing
            .0
            .is_none_or(|place| self.taken < place.0.get() && Some(place) <= self.last_place())
    }

    /// Takes the first client off the list, with its place there. Its listing is ended by
    /// [`Turn::unlist`].
    pub(crate) fn take_next(&mut self) -> Option<(Place, Outgoing)> {
        let outgoing = self.outgoing.pop_front()?;
        self.taken += 1;
        NonZeroU32::new(self.taken).map(|place| (Place(place), outgoing))
    }

    /// What the client at this place of the list gets.
    pub(crate) fn outgoing(&self, place: Place) -> Outgoing {
        self.outgoing[self.index(place)].clone()
    }

    /// Ends a client's listing if this is its place; returns whether it was. A client that was
    /// written to early has left its place in the list, and perhaps got another.
    pub(crate) fn unlist(&self, listing: &mut Listing, place: Place) -> bool {
        listing.0.take_if(|own| *own == place).is_some()
    }

    /// The bytes of the replies to a client.
    pub(crate) fn replies_of(&self, outgoing: &Outgoing) -> &[u8] {
        &self.replies[outgoing.replies.0 as usize..outgoing.replies.1 as usize]
    }

    /// An update of this turn.
    pub(crate) fn push_at(&self, push: usize) -> &Push {
        &self.pushes[push]
    }

    /// A range of updates, as a client gets them.
    pub(crate) fn encoded(&self, pushes: Range<usize>, encoding: Encoding) -> &[u8] {
        let end = |push: &Push| match encoding {
            Encoding::Frames => push.frame_end,
            Encoding::Events => push.event_end,
        };
        let bytes = match encoding {
            Encoding::Frames => &self.frames,
            Encoding::Events => &self.events,
        };
        if pushes.is_empty() {
            return &[];
        }
        let before = pushes.start.checked_sub(1);
        let start = before.map_or(0, |before| end(&self.pushes[before]));
        &bytes[start..end(&self.pushes[pushes.end - 1])]
    }

    /// Ends the turn, when nobody is listed any more.
    pub(crate) fn clear(&mut self) {
        clear(&mut self.replies);
        clear(&mut self.frames);
        clear(&mut self.events);
        clear(&mut self.pushes);
        self.outgoing.clear();
        self.outgoing
            .shrink_to(KEPT_BYTES_MAX / size_of::<Outgoing>());
        self.taken = 0;
    }

    /// Lists a client, unless it is listed; returns its entry.
    fn list(&mut self, client: ClientId, listing: &mut Listing) -> &mut Outgoing {
        let index = match listing.0 {
            Some(place) => self.index(place),
            None => {
                self.outgoing.push_back(Outgoing {
                    client,
                    replies: (0, 0),
                    first: 0,
                    last: 0,
                    count: 0,
                });
                listing.0 = self.last_place();
                self.outgoing.len() - 1
            }
        };
        &mut self.outgoing[index]
    }

    fn index(&self, place: Place) -> usize {
        (place.0.get() - self.taken) as usize - 1
    }
}

fn clear<T>(list: &mut Vec<T>) {
    list.clear();
    list.shrink_to(KEPT_BYTES_MAX / size_of::<T>());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::{BugId, When};

    const A: ClientId = ClientId(0);
    const B: ClientId = ClientId(1);

    fn reply(turn: &mut Turn, client: ClientId, listing: &mut Listing, text: &str) {
        turn.reply(client, listing, |out| {
            out.extend_from_slice(text.as_bytes())
        });
    }

    #[test]
    fn replies_to_one_client_are_one_slice_even_if_others_come_in_between() {
        let mut turn = Turn::default();
        let (mut a, mut b) = (Listing::default(), Listing::default());
        reply(&mut turn, A, &mut a, "a1");
        reply(&mut turn, A, &mut a, "a2");
        assert_eq!(turn.bytes(), 4, "nothing has come in between yet");
        reply(&mut turn, B, &mut b, "b1");
        reply(&mut turn, A, &mut a, "a3");
        assert_eq!(turn.replies_bytes(&a), 6);
        let (_, first) = turn.take_next().unwrap();
        let (_, second) = turn.take_next().unwrap();
        assert_eq!((first.client, turn.replies_of(&first)), (A, &b"a1a2a3"[..]));
        assert_eq!((second.client, turn.replies_of(&second)), (B, &b"b1"[..]));
        assert!(turn.take_next().is_none());
    }

    #[test]
    fn a_client_is_listed_once_until_it_is_unlisted() {
        let mut turn = Turn::default();
        let mut a = Listing::default();
        reply(&mut turn, A, &mut a, "");
        let early = a.place().unwrap();
        assert!(turn.unlist(&mut a, early));
        reply(&mut turn, A, &mut a, "again");
        let (place, outgoing) = turn.take_next().unwrap();
        assert_eq!((place, turn.replies_of(&outgoing)), (early, &b""[..]));
        assert!(!turn.unlist(&mut a, place), "a place that it has left");
        let (place, outgoing) = turn.take_next().unwrap();
        assert_eq!(turn.replies_of(&outgoing), b"again");
        assert!(turn.unlist(&mut a, place));
        assert_eq!(a.place(), None);
    }

    #[test]
    fn all_that_a_turn_holds_counts_each_update_once_in_each_encoding() {
        let mut turn = Turn::default();
        let (mut a, mut b) = (Listing::default(), Listing::default());
        reply(&mut turn, A, &mut a, "abc");
        let frames_only = turn.push(FeedId(0), update(), false);
        let both = turn.push(FeedId(0), update(), true);
        for push in [frames_only, both] {
            turn.deliver(A, &mut a, push);
            turn.deliver(B, &mut b, push);
        }
        let encoded = |encoding| turn.encoded(0..2, encoding).len();
        assert_eq!(
            turn.bytes(),
            3 + encoded(Encoding::Frames) + encoded(Encoding::Events)
        );
        assert_eq!(
            encoded(Encoding::Events),
            turn.encoded(1..2, Encoding::Events).len()
        );
    }

    #[test]
    fn a_place_that_was_taken_is_none_of_the_list() {
        let mut turn = Turn::default();
        let mut a = Listing::default();
        reply(&mut turn, A, &mut a, "");
        assert!(turn.is_valid(&a));
        turn.take_next().unwrap();
        assert!(!turn.is_valid(&a));
    }

    #[test]
    fn a_turn_gives_a_storm_back() {
        let mut turn = Turn::default();
        for client in (0..10_000).map(ClientId) {
            let mut listing = Listing::default();
            reply(&mut turn, client, &mut listing, "a reply of twenty b");
            let push = turn.push(FeedId(0), update(), true);
            turn.deliver(client, &mut listing, push);
        }
        turn.take_next().unwrap();
        turn.clear();
        assert_eq!((turn.bytes(), turn.outgoing_len()), (0, 0));
        assert_eq!(turn.last_place(), None);
        for kept in [
            turn.replies.capacity(),
            turn.frames.capacity(),
            turn.events.capacity(),
            turn.pushes.capacity() * size_of::<Push>(),
            turn.outgoing.capacity() * size_of::<Outgoing>(),
        ] {
            assert!(kept <= KEPT_BYTES_MAX, "{kept}");
        }
    }

    #[test]
    fn a_turn_keeps_a_little_memory_for_the_next_one() {
        let mut turn = Turn::default();
        let mut a = Listing::default();
        reply(&mut turn, A, &mut a, "a");
        let push = turn.push(FeedId(0), update(), true);
        turn.deliver(A, &mut a, push);
        turn.clear();
        assert!(turn.replies.capacity() > 0 && turn.frames.capacity() > 0);
        assert!(turn.pushes.capacity() > 0 && turn.outgoing.capacity() > 0);
    }

    #[test]
    fn whether_a_client_gets_all_updates_between_its_first_and_its_last_is_known() {
        let mut turn = Turn::default();
        let (mut a, mut b) = (Listing::default(), Listing::default());
        for at in 0..4 {
            let push = turn.push(FeedId(0), update(), false);
            if at > 0 {
                turn.deliver(A, &mut a, push);
            }
            if at != 2 {
                turn.deliver(B, &mut b, push);
            }
        }
        let (_, first) = turn.take_next().unwrap();
        assert_eq!((first.pushes(), first.has_all()), (0..4, false));
        let (_, second) = turn.take_next().unwrap();
        assert_eq!((second.pushes(), second.has_all()), (1..4, true));
    }

    fn update() -> Update {
        Update {
            bug: BugId::new(7).unwrap(),
            when: When::from_unix_seconds(0),
        }
    }
}
