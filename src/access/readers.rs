//! Those who show a credential of Bugzilla: whether Bugzilla knows them, and which bugs they see, as
//! far as it was said. Owns the credentials of those who are here, and a keyed hash of the others'.
//! Knows no queue.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use ring::hmac;

use super::verdict::{REMEMBERED, Verdicts};
use super::{ReaderDigest, Shown};
use crate::moment::Moment;

/// How long it is remembered that a credential is nobody's, in milliseconds: an account may be
/// opened again.
const STRANGER_REMEMBERED: u32 = 600_000;

/// How long a credential waits that Bugzilla was not asked about, and with which nobody is here, in
/// milliseconds.
const UNKNOWN_REMEMBERED: u32 = 600_000;

/// How many readers there may be: some 50 MB.
const READERS_MAX: usize = 100_000;

/// A reader's number; it is never given twice, so that no answer can be taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReaderId(pub u64);

/// What Bugzilla has said about a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Unknown,
    Somebody { asked: Moment },
    Nobody { asked: Moment },
}

#[derive(Debug)]
pub(super) struct Reader {
    pub digest: ReaderDigest,
    /// What is shown to Bugzilla; not there until somebody has come with it.
    pub shown: Option<Shown>,
    standing: Standing,
    pub verdicts: Verdicts,
    /// How many clients have come with it and are still there.
    clients: u32,
    /// When one has come last.
    came: Moment,
}

impl Reader {
    /// What is known about the reader and still counts.
    pub(super) fn standing(&self, now: Moment) -> Standing {
        match self.standing {
            Standing::Somebody { asked } if now.since(asked) > REMEMBERED => Standing::Unknown,
            Standing::Nobody { asked } if now.since(asked) > STRANGER_REMEMBERED => {
                Standing::Unknown
            }
            standing => standing,
        }
    }

    /// Whether the reader was somebody when it was last asked.
    pub(super) fn is_somebody(&self) -> bool {
        matches!(self.standing, Standing::Somebody { .. })
    }

    /// Bugzilla has said whether the reader is somebody. Nobody has seen anything.
    pub(super) fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
        if let Standing::Nobody { .. } = standing {
            self.verdicts = Verdicts::default();
        }
    }
}

/// All readers, found by what they show.
#[derive(Debug)]
pub(super) struct Readers {
    key: hmac::Key,
    ids: HashMap<ReaderDigest, ReaderId, RandomState>,
    list: HashMap<ReaderId, Reader, RandomState>,
    next: ReaderId,
}

impl Readers {
    pub(super) fn new(key: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            ids: HashMap::default(),
            list: HashMap::default(),
            next: ReaderId(0),
        }
    }

    pub(super) fn get(&self, reader: ReaderId) -> Option<&Reader> {
        self.list.get(&reader)
    }

    pub(super) fn get_mut(&mut self, reader: ReaderId) -> Option<&mut Reader> {
        self.list.get_mut(&reader)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The reader who shows this; `None` for nothing, and where there are too many.
    pub(super) fn by_shown(&mut self, shown: &Shown, now: Moment) -> Option<ReaderId> {
        let id = self.by_digest(self.digest(shown)?)?;
        let reader = self.get_mut(id)?;
        reader.shown.get_or_insert_with(|| shown.clone());
        reader.came = now;
        Some(id)
    }

    /// The reader with this hash; `None` where there are too many.
    pub(super) fn by_digest(&mut self, digest: ReaderDigest) -> Option<ReaderId> {
        if let Some(&id) = self.ids.get(&digest) {
            return Some(id);
        }
        if self.list.len() >= READERS_MAX {
            return None;
        }
        let id = self.next;
        self.next = ReaderId(id.0 + 1);
        self.ids.insert(digest, id);
        self.list.insert(
            id,
            Reader {
                digest,
                shown: None,
                standing: Standing::Unknown,
                verdicts: Verdicts::default(),
                clients: 0,
                came: Moment(0),
            },
        );
        Some(id)
    }

    /// A client with this credential has come.
    pub(super) fn enter(&mut self, reader: ReaderId) {
        if let Some(reader) = self.get_mut(reader) {
            reader.clients += 1;
        }
    }

    /// A client with this credential has gone.
    pub(super) fn leave(&mut self, reader: ReaderId) {
        if let Some(reader) = self.get_mut(reader) {
            reader.clients = reader.clients.saturating_sub(1);
        }
    }

    /// Forgets what is too old to count, and those who are not here and about whom nothing is left
    /// to remember.
    pub(super) fn forget_old(&mut self, now: Moment) {
        let ids = &mut self.ids;
        self.list.retain(|_, reader| {
            reader.verdicts.forget_old(now);
            reader.standing = reader.standing(now);
            let is_awaited = reader.shown.is_some() && now.since(reader.came) <= UNKNOWN_REMEMBERED;
            let is_known = reader.standing != Standing::Unknown || !reader.verdicts.is_empty();
            let stays = reader.clients > 0 || is_awaited || is_known;
            if reader.clients == 0 && !is_awaited {
                reader.shown = None;
            }
            if !stays {
                ids.remove(&reader.digest);
            }
            stays
        });
        self.list.shrink_to_fit();
        self.ids.shrink_to_fit();
    }

    /// A keyed hash of a credential, in which its kind counts.
    fn digest(&self, shown: &Shown) -> Option<ReaderDigest> {
        let (kind, secret) = match shown {
            Shown::Nothing => return None,
            Shown::Bearer(secret) => (b'b', secret),
            Shown::Cookies(secret) => (b'c', secret),
        };
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[kind]);
        context.update(secret.bytes());
        let mut digest = ReaderDigest::default();
        digest.copy_from_slice(context.sign().as_ref());
        Some(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_who_are_forgotten_cost_nothing() {
        let mut readers = Readers::new(b"a key");
        let none = (readers.ids.capacity(), readers.list.capacity());
        for reader in 0..1_000_u32 {
            let shown = Shown::Bearer(reader.to_be_bytes().as_slice().into());
            readers.by_shown(&shown, Moment(0)).unwrap();
        }
        readers.forget_old(Moment(UNKNOWN_REMEMBERED));
        assert_eq!(readers.len(), 1_000);
        readers.forget_old(Moment(UNKNOWN_REMEMBERED + 1));
        let now = (readers.ids.capacity(), readers.list.capacity());
        assert_eq!((readers.len(), now), (0, none));
    }

    #[test]
    fn there_are_so_many_readers_at_most_and_those_are_known_again() {
        let mut readers = Readers::new(b"a key");
        let digest = |reader: usize| {
            let mut digest = ReaderDigest::default();
            digest[..8].copy_from_slice(&reader.to_be_bytes());
            digest
        };
        let first = readers.by_digest(digest(0)).unwrap();
        assert!((1..READERS_MAX).all(|reader| readers.by_digest(digest(reader)).is_some()));
        assert_eq!(readers.by_digest(digest(READERS_MAX)), None);
        assert_eq!(readers.by_digest(digest(0)), Some(first));
    }
}
