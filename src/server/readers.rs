//! Clients of a Bugzilla that decides who sees what: each message and each update waits until it is
//! known, and is answered, sent or left out then. Owns who each client is, and what waits for whom.
//! What was said, and what is to be asked, is `access`'s business.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};

use foldhash::fast::RandomState;
use log::debug;
use tungstenite::Bytes;

use super::seldom::Seldom;
use super::withheld::Withheld;
use super::{Access, Server};
use crate::access::{
    AddressId, Answer, Presented, Purpose, Question, Rank, ReaderId, Rights, Shown, Who,
};
use crate::connection::{CloseReason, Phase, Stream};
use crate::http::{Entrance, Newcomer, Refusal};
use crate::hub::Sight;
use crate::moment::Moment;
use crate::subscriptions::ClientId;
use crate::update::{BugId, FeedId, Update};

/// How long somebody who is in waits for a Bugzilla that does not answer, in milliseconds.
const PATIENCE: u32 = 60_000;

/// How often it is looked who has waited too long, in milliseconds.
const LOOK_INTERVAL: u32 = 1_000;

/// The clients of a Bugzilla that decides.
#[derive(Debug)]
pub(super) struct Readers {
    pub(super) rights: Rights,
    /// Whether nobody comes in whom Bugzilla does not know.
    needs_login: bool,
    /// By client; of those who have left, what does not matter.
    pub(super) guests: Vec<Guest>,
    /// Messages that wait for an answer, in order, each since when. Some clients may have left.
    held: VecDeque<(ClientId, Moment)>,
    /// Updates that wait for an answer.
    pub(super) withheld: Withheld,
    /// Who gets which of this turn's updates.
    delivered: HashSet<(ClientId, u32), RandomState>,
    /// Newcomers who were refused.
    pub(super) refused: Seldom,
    /// When this turn began.
    now: Moment,
}

/// Who a client is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest {
    who: Who,
    address: AddressId,
}

/// What a client may see, and what is not known of that.
pub(super) struct View<'a> {
    rights: &'a Rights,
    who: Who,
    now: Moment,
    unknown: RefCell<Vec<(Who, BugId)>>,
}

impl View<'_> {
    /// What Bugzilla must be asked, for whom.
    pub(super) fn unknown(self) -> Vec<(Who, BugId)> {
        self.unknown.into_inner()
    }
}

impl Sight for View<'_> {
    fn sees(&self, bug: BugId, is_due: bool) -> Option<bool> {
        let purpose = match is_due {
            true => Purpose::Replay,
            false => Purpose::Subscribe,
        };
        let seen = self.rights.look(self.who, bug, purpose, self.now);
        seen.map_err(|who| self.unknown.borrow_mut().push((who, bug)))
            .ok()
    }

    fn saw(&self, bug: BugId) -> bool {
        self.rights.last(self.who, bug)
    }
}

impl Readers {
    fn new(rights: Rights, needs_login: bool) -> Self {
        Self {
            rights,
            needs_login,
            guests: Vec::new(),
            held: VecDeque::new(),
            withheld: Withheld::default(),
            delivered: HashSet::default(),
            refused: Seldom::default(),
            now: Moment(0),
        }
    }

    fn guest(&self, client: ClientId) -> Guest {
        self.guests[client.index()]
    }

    /// What a client may see.
    pub(super) fn view(&self, client: ClientId, now: Moment) -> View<'_> {
        View {
            rights: &self.rights,
            who: self.guest(client).who,
            now,
            unknown: RefCell::default(),
        }
    }

    /// Whether updates wait for a client: its messages do, then, too.
    pub(super) fn is_withheld(&self, client: ClientId) -> bool {
        self.withheld.blocks(client)
    }

    /// Whether a client gets an update of this turn.
    pub(super) fn is_delivered(&self, client: ClientId, push: usize) -> bool {
        self.delivered.contains(&(client, push as u32))
    }

    /// The turn is over.
    pub(super) fn end_turn(&mut self) {
        self.delivered.clear();
    }

    /// Has Bugzilla asked what a client needs to know. Returns false where too much is to be asked.
    fn ask(&mut self, client: ClientId, unknown: &[(Who, BugId)]) -> bool {
        let Guest { who, address } = self.guest(client);
        let rank = self.rights.rank(who);
        unknown
            .iter()
            .all(|&(who, bug)| self.rights.ask(who, bug, address, rank, client))
    }

    /// Whether a newcomer comes in, and as whom; `Ok(None)` while Bugzilla is asked.
    fn present(
        &mut self,
        client: ClientId,
        newcomer: &Newcomer,
        is_private: bool,
        address: AddressId,
        now: Moment,
    ) -> Result<Option<Who>, Refusal> {
        let shown = match &newcomer.shown {
            Shown::Bearer(_) if !is_private => return Err(Refusal::TokenExposed),
            // A browser adds them by itself; they count for nothing, and go no further.
            Shown::Cookies(_) if !is_private => &Shown::Nothing,
            shown => shown,
        };
        let presented = match shown {
            Shown::Nothing => Presented::Stranger,
            shown => self.rights.present(shown, address, client, now),
        };
        match (presented, shown) {
            (Presented::Somebody(reader), _) => Ok(Some(Who::Reader(reader))),
            (Presented::Waits, _) => Ok(None),
            (Presented::Busy, _) => Err(Refusal::RightsUnknown),
            (Presented::Stranger, Shown::Bearer(_)) => Err(Refusal::TokenUnknown),
            (Presented::Stranger, _) if self.needs_login => Err(Refusal::LoginNeeded),
            (Presented::Stranger, _) => Ok(Some(Who::Nobody)),
        }
    }

    fn enter(&mut self, client: ClientId, who: Who, address: AddressId) {
        if self.guests.len() <= client.index() {
            let nobody = Guest {
                who: Who::Nobody,
                address,
            };
            self.guests.resize(client.index() + 1, nobody);
        }
        self.guests[client.index()] = Guest { who, address };
        if let Who::Reader(reader) = who {
            self.rights.enter(reader);
        }
    }

    /// A client that was in has gone.
    pub(super) fn leave(&mut self, client: ClientId) {
        self.withheld.forget(client);
        if let Who::Reader(reader) = self.guest(client).who {
            self.rights.leave(reader);
        }
    }

    /// Gives back memory that was needed for more clients than there are places for now.
    pub(super) fn shrink(&mut self, places: usize) {
        self.guests.truncate(places);
        self.guests.shrink_to_fit();
        self.withheld.shrink();
    }

    /// Has an update wait that is not sent yet, or not at all.
    fn put_off(&mut self, client: ClientId, feed: FeedId, update: &Update, sees: Option<bool>) {
        let bug = update.bug;
        let was_seen = || self.rights.last(self.guest(client).who, bug);
        match sees {
            Some(false) => self.withheld.lapse(client, bug),
            None if self.withheld.has_lapsed(client, bug) && !was_seen() => {
                self.withheld.hope(client, feed, update.clone(), self.now);
            }
            Some(true) | None => self.withheld.add(client, feed, update.clone(), self.now),
        }
    }

    /// The first update that waits for a client, if it is known what becomes of it: whether it is
    /// sent.
    fn take_decided(&mut self, client: ClientId) -> Option<(FeedId, Update, bool)> {
        let bug = self.withheld.first(client)?;
        let sees = self.judge(client, bug, false)?;
        let (feed, update) = self.withheld.take_first(client)?;
        if !sees {
            self.withheld.lapse(client, bug);
        }
        Some((feed, update, sees))
    }

    /// An update that was likely not for a client, and is.
    fn take_hoped(&mut self, client: ClientId) -> Option<(FeedId, Update)> {
        for bug in self.withheld.hoped(client) {
            match self.judge(client, bug, false) {
                Some(true) => return self.withheld.take_hoped(client, bug),
                Some(false) => drop(self.withheld.take_hoped(client, bug)),
                None => {}
            }
        }
        None
    }

    /// Whether everybody sees a bug.
    fn is_public(&self, bug: BugId) -> bool {
        let look = self
            .rights
            .look(Who::Nobody, bug, Purpose::Update, self.now);
        look == Ok(true)
    }

    /// Whether a client is to get an update of a bug; where that is not known, Bugzilla is asked.
    fn judge(&mut self, client: ClientId, bug: BugId, is_public: bool) -> Option<bool> {
        if is_public {
            return Some(true);
        }
        let Guest { who, address } = self.guest(client);
        match self.rights.look(who, bug, Purpose::Update, self.now) {
            Ok(sees) => Some(sees),
            Err(asked) => {
                // Where too much is to be asked already, the update waits for its time to end.
                self.rights.ask(asked, bug, address, Rank::Known, client);
                None
            }
        }
    }
}

impl<S: Stream> Server<S> {
    /// Has Bugzilla decide who sees what from now on; `needs_login` lets in only those whom it
    /// knows. To be called before the first client is accepted.
    pub fn ask_bugzilla(&mut self, rights: Rights, needs_login: bool) {
        self.access = Access::Readers(Box::new(Readers::new(rights, needs_login)));
    }

    /// What Bugzilla is to be asked now, if anything is.
    pub fn take_question(&mut self, now: Moment) -> Option<Question> {
        match &mut self.access {
            Access::Readers(readers) => readers.rights.next_question(now),
            Access::Everybody | Access::Holders(_) => None,
        }
    }

    /// Takes what Bugzilla has said: those who have waited for it are answered.
    pub fn take_answer(&mut self, answer: Answer, now: Moment) {
        let Access::Readers(readers) = &mut self.access else {
            return;
        };
        readers.now = now;
        let changed = readers.rights.take(answer, now);
        if let Some(reader) = changed.ended {
            self.end_reader(reader, now);
        }
        for client in changed.waiting {
            self.look_again(client, now);
        }
    }

    /// Ends all clients of a reader whom Bugzilla does not know any more.
    fn end_reader(&mut self, reader: ReaderId, now: Moment) {
        let Access::Readers(readers) = &self.access else {
            return;
        };
        let clients = self.connections.iter();
        let ended: Vec<ClientId> = clients
            .filter(|(_, connection)| connection.phase == Phase::Open)
            .filter(|(key, _)| readers.guests[*key].who == Who::Reader(reader))
            .map(|(key, _)| ClientId(key as u32))
            .collect();
        for client in ended {
            self.end(client, CloseReason::AccessEnded, now);
        }
    }

    /// Something that a client may have waited for is known now.
    fn look_again(&mut self, client: ClientId, now: Moment) {
        let Some(connection) = self.connections.get_mut(client.index()) else {
            return;
        };
        if connection.phase == Phase::Presenting {
            connection.phase = Phase::Handshaking;
            self.leave_input(client);
        } else if connection.phase == Phase::Open {
            self.release_updates(client);
            self.answer_held(client, now);
        }
    }

    /// Sends those of the updates that wait for a client that need not wait any more.
    fn release_updates(&mut self, client: ClientId) {
        while let Access::Readers(readers) = &mut self.access
            && let Some((feed, update, sees)) = readers.take_decided(client)
        {
            if sees {
                let push = self.turn.push(feed, update, self.listening > 0);
                self.deliver(client, push);
            }
        }
        while let Access::Readers(readers) = &mut self.access
            && let Some((feed, update)) = readers.take_hoped(client)
        {
            if readers.is_withheld(client) {
                readers.put_off(client, feed, &update, Some(true));
            } else if self.hubs[usize::from(feed.0)].is_subscribed(client, update.bug) {
                let push = self.turn.push(feed, update, self.listening > 0);
                self.deliver(client, push);
            }
        }
    }

    /// Sends an update of this turn to a client.
    fn deliver(&mut self, client: ClientId, push: u32) {
        let connection = &mut self.connections[client.index()];
        self.turn.deliver(client, &mut connection.listing, push);
        self.counts.deliveries += 1;
        if let Access::Readers(readers) = &mut self.access {
            readers.delivered.insert((client, push));
        }
    }

    /// Answers a message that waits for what is known now.
    fn answer_held(&mut self, client: ClientId, now: Moment) {
        let Access::Readers(readers) = &self.access else {
            return;
        };
        let connection = &self.connections[client.index()];
        let is_held = connection.unfinished.held_until().is_some();
        if is_held && !readers.is_withheld(client) {
            // In one turn, replies come before updates.
            self.flush_client(client, now);
            self.answer_at_once(client, now);
            self.go_on_behind_held(client);
        }
    }

    /// Remembers an update, and sends it to those who want it and see the bug; those of whom that is
    /// not known wait.
    pub(super) fn publish_to_readers(
        &mut self,
        feed: FeedId,
        update: &Update,
        credible_until: i64,
    ) {
        let hub = &mut self.hubs[usize::from(feed.0)];
        let clients: Vec<ClientId> = hub.publish(update.clone(), credible_until).collect();
        let Access::Readers(readers) = &mut self.access else {
            return;
        };
        readers.rights.note_change(update.bug, readers.now);
        let is_public = readers.is_public(update.bug);
        let as_event = self.listening > 0;
        let mut push = None;
        for client in clients {
            let report = &mut self.gap_reports[usize::from(feed.0)];
            let is_open = self.connections[client.index()].phase == Phase::Open;
            let Access::Readers(readers) = &mut self.access else {
                return;
            };
            if !is_open || report.keeps_from(client) {
                continue;
            }
            match readers.judge(client, update.bug, is_public) {
                Some(true) if !readers.is_withheld(client) => {
                    let push =
                        *push.get_or_insert_with(|| self.turn.push(feed, update.clone(), as_event));
                    self.deliver(client, push);
                }
                sees => readers.put_off(client, feed, update, sees),
            }
        }
    }

    /// Has a message wait until Bugzilla has said what is unknown.
    pub(super) fn hold_for_answers(
        &mut self,
        client: ClientId,
        message: Bytes,
        unknown: &[(Who, BugId)],
        now: Moment,
    ) {
        let Access::Readers(readers) = &mut self.access else {
            return;
        };
        if !readers.ask(client, unknown) {
            return self.end(client, CloseReason::RightsUnknown, now);
        }
        self.hold_for_updates(client, message, now);
    }

    /// Has a message wait until all updates before it are sent or left out.
    pub(super) fn hold_for_updates(&mut self, client: ClientId, message: Bytes, now: Moment) {
        if let Access::Readers(readers) = &mut self.access {
            readers.held.push_back((client, now));
            let unfinished = &mut self.connections[client.index()].unfinished;
            unfinished.hold(message, now.plus(PATIENCE));
        }
    }

    /// Whether a newcomer comes in; false while Bugzilla is asked.
    pub(super) fn let_reader_in(
        &mut self,
        client: ClientId,
        newcomer: &Newcomer,
        is_private: bool,
        now: Moment,
    ) -> Result<bool, Refusal> {
        let peer = || self.connections[client.index()].stream.peer();
        let address = AddressId::from(self.address_of(client).or_else(peer));
        let Access::Readers(readers) = &mut self.access else {
            return Ok(true);
        };
        match readers.present(client, newcomer, is_private, address, now)? {
            Some(who) => {
                if newcomer.entrance != Entrance::Question {
                    readers.enter(client, who, address);
                }
                Ok(true)
            }
            None => {
                debug!("client {} waits for Bugzilla", client.0);
                Ok(false)
            }
        }
    }

    /// Does what is due by the clock for readers.
    pub(super) fn tick_readers(&mut self, now: Moment) {
        let Access::Readers(readers) = &mut self.access else {
            return;
        };
        readers.now = now;
        readers.rights.tick(now);
        // Neither was the answer there, nor has Bugzilla answered others.
        let silent = readers.rights.silent(now);
        let is_over = |since| now.since(since).min(silent) >= PATIENCE;
        let mut over = Vec::new();
        while let Some(&(client, since)) = readers.held.front() {
            let connection = self.connections.get(client.index());
            let until = connection.and_then(|connection| connection.unfinished.held_until());
            let is_held = until == Some(since.plus(PATIENCE));
            if is_held && !is_over(since) {
                break;
            }
            readers.held.pop_front();
            if is_held {
                over.push(client);
            }
        }
        over.extend(readers.withheld.take_over(is_over));
        for client in over {
            if self.connections[client.index()].phase == Phase::Open {
                self.end(client, CloseReason::RightsUnknown, now);
            }
        }
    }

    /// The milliseconds until [`Server::tick_readers`] or [`Server::take_question`] has something to
    /// do, if they ever have.
    pub(super) fn until_readers(&self, now: Moment) -> Option<u32> {
        let Access::Readers(readers) = &self.access else {
            return None;
        };
        let is_waiting = !readers.held.is_empty() || readers.withheld.is_waiting();
        let look = is_waiting.then_some(LOOK_INTERVAL);
        readers.rights.until_due(now).into_iter().chain(look).min()
    }
}
