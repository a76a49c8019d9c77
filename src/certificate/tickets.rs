//! Tickets, by which a client that comes back resumes without another signature: RFC 5077, RFC 8446
//! section 4.6.1. Nothing is kept for a client; all is in its ticket, sealed with a key that all
//! servers know that share the file. Owns these keys, and when each begins and ends. Knows no
//! connection.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use data_encoding::HEXLOWER;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use zeroize::Zeroize;

use crate::work::FileLock;

/// How long a key seals tickets, in seconds.
const SEALS: i64 = 12 * 60 * 60;

/// How long a ticket can be used, in seconds.
const TICKET: i64 = 24 * 60 * 60;

/// What a file of keys begins with.
const FIRST_LINE: &str = "bugzfeed ticket keys 1";

const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// A key of tickets. Wiped when dropped.
#[derive(Clone)]
struct Key {
    /// Says in a ticket which key it is sealed with.
    name: [u8; NAME_BYTES],
    key: [u8; KEY_BYTES],
    /// Unix seconds.
    made_at: i64,
}

impl Drop for Key {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// The keys of tickets, the newest first.
pub(crate) struct Tickets {
    /// Where they are kept, if they are.
    file: Option<PathBuf>,
    keys: RwLock<Vec<Key>>,
}

/// Says where the keys are, and none of them.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Tickets {
    /// The keys in `file`, which is made where it is not there; without one, keys that this process
    /// alone knows. `now` is in Unix seconds.
    ///
    /// # Errors
    /// When the file cannot be read or written, others may read it, or it is no such file.
    pub(crate) fn open(file: Option<PathBuf>, now: i64) -> io::Result<Self> {
        let tickets = Self {
            file,
            keys: RwLock::default(),
        };
        tickets.refresh(now)?;
        Ok(tickets)
    }

    /// Takes keys that another server has made, makes one when the newest has sealed for long
    /// enough, and forgets those that no ticket can be sealed with any more.
    ///
    /// # Errors
    /// As [`Tickets::open`]; the keys stay what they were.
    pub(super) fn refresh(&self, now: i64) -> io::Result<()> {
        let mut keys = match &self.file {
            Some(file) => read(file)?,
            None => self.lock_for_reading().clone(),
        };
        if renew(&mut keys, now)?
            && let Some(file) = &self.file
        {
            keys = rotate(file, now)?;
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn lock_for_reading(&self) -> std::sync::RwLockReadGuard<'_, Vec<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a key where none is new enough, and drops those that are too old; returns whether a key
/// was made.
fn renew(keys: &mut Vec<Key>, now: i64) -> io::Result<bool> {
    keys.retain(|key| (0..=SEALS + TICKET).contains(&(now - key.made_at)));
    if keys.first().is_some_and(|key| now - key.made_at < SEALS) {
        return Ok(false);
    }
    let mut key = Key {
        name: [0; NAME_BYTES],
        key: [0; KEY_BYTES],
        made_at: now,
    };
    random(&mut key.name)?;
    random(&mut key.key)?;
    keys.insert(0, key);
    Ok(true)
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))
}

/// Renews the keys in a file, one server at a time.
fn rotate(file: &Path, now: i64) -> io::Result<Vec<Key>> {
    let beside = |ending: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let lock = FileLock::take(&beside("-lock"))?;
    // While another server renews them, or has done so meanwhile, its keys count.
    let mut keys = read(file)?;
    if renew(&mut keys, now)? && lock.is_some() {
        let mut text = format!("{FIRST_LINE}\n");
        for key in &keys {
            let (name, secret) = (HEXLOWER.encode(&key.name), HEXLOWER.encode(&key.key));
            text.push_str(&format!("{} {name} {secret}\n", key.made_at));
        }
        // A crash at any point leaves the old file or the new one.
        let new = beside("-new");
        let _ = fs::remove_file(&new);
        let written = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        text.zeroize();
        written?;
        fs::rename(&new, file)?;
    }
    Ok(keys)
}

/// The keys in a file; none where there is no file.
fn read(file: &Path) -> io::Result<Vec<Key>> {
    let mut text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    let mode = fs::metadata(file)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::other(
            "others may read it, and with it the clients' secrets; chmod 600 makes it private",
        ));
    }
    let mut lines = text.lines();
    let keys = match lines.next() {
        Some(FIRST_LINE) => lines.map(read_key).collect(),
        _ => None,
    };
    text.zeroize();
    keys.ok_or_else(|| io::Error::other("it is no file of ticket keys"))
}

fn read_key(line: &str) -> Option<Key> {
    let mut words = line.split(' ');
    let (made_at, name, secret) = (words.next()?, words.next()?, words.next()?);
    let mut bytes = HEXLOWER.decode(secret.as_bytes()).ok()?;
    let key = bytes.as_slice().try_into().map(|key| Key {
        name: [0; NAME_BYTES],
        key,
        made_at: 0,
    });
    bytes.zeroize();
    let mut key = key.ok()?;
    key.made_at = made_at.parse().ok()?;
    key.name = HEXLOWER.decode(name.as_bytes()).ok()?.try_into().ok()?;
    Some(key)
}

impl Key {
    fn cipher(&self) -> Option<LessSafeKey> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.key).ok()?;
        Some(LessSafeKey::new(key))
    }
}

/// A ticket is the name of its key, a nonce, and the sealed session.
impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET as u32
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let keys = self.lock_for_reading();
        let key = keys.first()?;
        // By chance, since several servers seal with this key.
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce).ok()?;
        let mut sealed = session.to_vec();
        key.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key.name),
                &mut sealed,
            )
            .ok()?;
        Some([key.name.as_slice(), &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.lock_for_reading();
        let key = keys.iter().find(|key| key.name == *name)?;
        let mut session = sealed.to_vec();
        let length = key
            .cipher()?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(*name),
                &mut session,
            )
            .ok()?
            .len();
        session.truncate(length);
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_share_a_file_know_each_others_tickets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tickets");
        let one = Tickets::open(Some(file.clone()), 1_000).unwrap();
        let other = Tickets::open(Some(file.clone()), 1_001).unwrap();
        let ticket = one.encrypt(b"session").unwrap();
        assert_eq!(other.decrypt(&ticket).unwrap(), b"session");
        assert_ne!(ticket, one.encrypt(b"session").unwrap());
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn keys_change_and_a_ticket_can_be_used_for_a_day() {
        for has_file in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let file = has_file.then(|| folder.path().join("tickets"));
            let tickets = Tickets::open(file, 0).unwrap();
            let first = tickets.encrypt(b"first").unwrap();
            tickets.refresh(SEALS - 1).unwrap();
            let last = tickets.encrypt(b"last").unwrap();
            assert_eq!(first[..NAME_BYTES], last[..NAME_BYTES]);
            tickets.refresh(SEALS).unwrap();
            let next = tickets.encrypt(b"next").unwrap();
            assert_ne!(last[..NAME_BYTES], next[..NAME_BYTES]);
            tickets.refresh(SEALS - 1 + TICKET).unwrap();
            assert_eq!(tickets.decrypt(&last).unwrap(), b"last");
            tickets.refresh(SEALS + TICKET + 1).unwrap();
            assert_eq!(tickets.decrypt(&last), None);
            assert_eq!(tickets.decrypt(&next).unwrap(), b"next");
        }
    }

    #[test]
    fn a_ticket_that_was_changed_is_none() {
        let tickets = Tickets::open(None, 0).unwrap();
        let ticket = tickets.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None);
            assert_eq!(tickets.decrypt(&ticket[..at]), None);
        }
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_another_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tickets");
        fs::write(&file, "something else\n").unwrap();
        for (mode, why) in [(0o640, "chmod 600"), (0o600, "no file of ticket keys")] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let error = Tickets::open(Some(file.clone()), 0).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"something else\n");
    }

    #[test]
    fn no_key_is_shown() {
        let tickets = Tickets::open(None, 0).unwrap();
        assert_eq!(format!("{tickets:?}"), "Tickets { file: None, .. }");
    }
}
