//! What the kernel has refused to take for a client: bytes that are encoded, and updates that are
//! not, since a newer one of the same bug may yet stand for them. Knows no input.

use std::collections::HashMap;
use std::io::{self, Write};

use foldhash::fast::RandomState;

use super::write_some;
use crate::encoding::Encoding;
use crate::moment::Moment;
use crate::protocol;
use crate::update::{BugId, Update, When};

/// The output that the kernel has not taken yet: never empty between two events.
#[derive(Debug)]
pub(super) struct Unsent {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written since: they are less than four gigabytes, and this is
    /// half a word.
    sent: u32,
    encoding: Encoding,
    /// Updates that came while bytes were unsent: of each bug the latest, by order of arrival.
    pending: HashMap<BugId, Pending, RandomState>,
    arrivals: u32,
    /// When the kernel last took a byte.
    progress: Moment,
    /// Of a client with TLS, what is sealed: it goes out as it is, before `bytes`, which are sealed
    /// only then. A nonce must not be used twice, and an update that waits may yet be conflated.
    sealed: Option<Box<Sealed>>,
}

/// Bytes as the kernel is to take them.
#[derive(Debug)]
struct Sealed {
    bytes: Vec<u8>,
    sent: usize,
}

/// Seals as much of the bytes given as fits one record, and appends to the output; returns how many
/// of them that was. Called with no bytes, it appends what else is to be sent, if anything is.
pub(crate) type Seal<'a> = &'a mut dyn FnMut(&[u8], &mut Vec<u8>) -> usize;

#[derive(Debug)]
struct Pending {
    arrival: u32,
    when: When,
}

impl Unsent {
    pub(super) fn new(encoding: Encoding, now: Moment) -> Self {
        Self {
            bytes: Vec::new(),
            sent: 0,
            encoding,
            pending: HashMap::default(),
            arrivals: 0,
            progress: now,
            sealed: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left().is_empty() && self.pending.is_empty() && self.sealed.is_none()
    }

    /// The bytes that are encoded and not written.
    fn left(&self) -> &[u8] {
        &self.bytes[self.sent as usize..]
    }

    /// What it costs, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let pending = self.pending.capacity() * size_of::<(BugId, Pending)>();
        let sealed = self
            .sealed
            .as_ref()
            .map_or(0, |sealed| size_of::<Sealed>() + sealed.bytes.capacity());
        size_of::<Self>() + self.bytes.capacity() + pending + sealed
    }

    /// How many updates are not encoded yet: one for each bug.
    pub(super) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// How long the kernel has taken nothing, in milliseconds.
    pub(super) fn stalled(&self, now: Moment) -> u32 {
        now.since(self.progress)
    }

    /// Adds bytes after the updates that are pending, which happened before: a replay must not send
    /// a newer time first, and nothing may follow a close.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.encode_pending();
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds bytes that are sealed; to be called when no bytes of that kind are left.
    pub(super) fn append_sealed(&mut self, bytes: &[u8]) {
        debug_assert!(self.sealed.is_none());
        self.sealed = Some(Box::new(Sealed {
            bytes: bytes.to_vec(),
            sent: 0,
        }));
    }

    /// Adds an update. An update says that a bug changed, so of several of one bug the newest time
    /// stands for all of them, at the place in the order where the latest arrived: a client that is
    /// cut off in between must not have seen a newer time than that of an update it has not got.
    /// Returns whether it stands for an earlier one, too.
    pub(super) fn conflate(&mut self, update: &Update) -> bool {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let waiting = self.pending.len();
        let pending = self.pending.entry(update.bug).or_insert_with(|| Pending {
            arrival,
            when: update.when.clone(),
        });
        pending.arrival = arrival;
        if pending.when.unix_seconds() <= update.when.unix_seconds() {
            pending.when = update.when.clone();
        }
        self.pending.len() == waiting
    }

    /// Writes the bytes, then the pending updates, until the kernel refuses again or nothing is
    /// left; returns how many bytes the kernel took.
    pub(super) fn write(&mut self, stream: &mut impl Write, now: Moment) -> io::Result<usize> {
        let mut total = 0;
        while self.fill() {
            let taken = write_some(stream, self.left())?;
            if taken == 0 {
                break;
            }
            self.sent += taken as u32;
            self.progress = now;
            total += taken;
        }
        Ok(total)
    }

    /// Like [`Unsent::write`], for a client with TLS: one record is sealed at a time, when all
    /// before it is sent.
    pub(super) fn write_sealed(
        &mut self,
        stream: &mut impl Write,
        seal: Seal<'_>,
        now: Moment,
    ) -> io::Result<usize> {
        let mut total = 0;
        loop {
            if let Some(sealed) = &mut self.sealed {
                let taken = write_some(stream, &sealed.bytes[sealed.sent..])?;
                if taken == 0 {
                    return Ok(total);
                }
                sealed.sent += taken;
                self.progress = now;
                total += taken;
                self.sealed
                    .take_if(|sealed| sealed.sent == sealed.bytes.len());
                continue;
            }
            self.fill();
            let mut bytes = Vec::new();
            self.sent += seal(self.left(), &mut bytes) as u32;
            if bytes.is_empty() {
                return Ok(total);
            }
            self.append_sealed(&bytes);
        }
    }

    /// Encodes the pending updates when all bytes are sent; returns whether there is anything to
    /// write.
    fn fill(&mut self) -> bool {
        if self.left().is_empty() {
            (self.bytes, self.sent) = (Vec::new(), 0);
            self.encode_pending();
        }
        !self.bytes.is_empty()
    }

    fn encode_pending(&mut self) {
        let mut pending: Vec<_> = std::mem::take(&mut self.pending).into_iter().collect();
        pending.sort_unstable_by_key(|(_, pending)| pending.arrival);
        let mut text = Vec::new();
        for (bug, Pending { when, .. }) in pending {
            text.clear();
            protocol::write_update(&mut text, &Update { bug, when });
            self.encoding.write(&mut self.bytes, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what there is room for.
    struct Kernel {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Kernel {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= taken;
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn update(bug: u32, second: i64) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(second),
        }
    }

    #[test]
    fn the_newest_time_of_a_bug_is_sent_where_its_latest_update_arrived() {
        let mut unsent = Unsent::new(Encoding::Frames, Moment(0));
        unsent.append(b"rest");
        for (bug, second, is_second) in [(1, 20, false), (2, 21, false), (1, 10, true)] {
            assert_eq!(unsent.conflate(&update(bug, second)), is_second);
        }
        let mut kernel = Kernel {
            room: 2,
            taken: Vec::new(),
        };
        assert_eq!(unsent.write(&mut kernel, Moment(5)).unwrap(), 2);
        assert!(!unsent.is_empty());
        assert_eq!(unsent.stalled(Moment(8)), 3);
        kernel.room = usize::MAX;
        unsent.write(&mut kernel, Moment(8)).unwrap();
        assert!(unsent.is_empty());
        let mut expected = b"rest".to_vec();
        for (bug, second) in [(2, 21), (1, 20)] {
            let mut text = Vec::new();
            protocol::write_update(&mut text, &update(bug, second));
            Encoding::Frames.write(&mut expected, &text);
        }
        assert_eq!(kernel.taken, expected);
    }

    #[test]
    fn what_is_sealed_goes_out_first_and_the_rest_a_record_at_a_time() {
        let mut unsent = Unsent::new(Encoding::Frames, Moment(0));
        unsent.append_sealed(b"<old>");
        unsent.append(b"abcde");
        // Records of three bytes.
        let mut seal = |bytes: &[u8], output: &mut Vec<u8>| {
            let record = &bytes[..bytes.len().min(3)];
            if !record.is_empty() {
                output.extend_from_slice(&[b"<", record, b">"].concat());
            }
            record.len()
        };
        let mut kernel = Kernel {
            room: 7,
            taken: Vec::new(),
        };
        let taken = unsent.write_sealed(&mut kernel, &mut seal, Moment(5));
        assert_eq!((taken.unwrap(), unsent.stalled(Moment(8))), (7, 3));
        assert!(!unsent.is_empty());
        kernel.room = usize::MAX;
        let taken = unsent.write_sealed(&mut kernel, &mut seal, Moment(9));
        assert_eq!((taken.unwrap(), unsent.is_empty()), (7, true));
        assert_eq!(kernel.taken, b"<old><abc><de>");
    }
}
