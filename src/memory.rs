//! How many connections the memory is good for, the kernel's share included: a socket costs the
//! kernel some 4 KB, fifty times what it costs this process, so that a small machine runs out of
//! memory long before it runs out of files, and is then brought down by the kernel's out-of-memory
//! killer. Packets cost the kernel memory, too, until they have arrived. The memory is read while
//! connections come and packets go, the more often the less is left; an idle server never reads it.

use log::{info, warn};

use crate::machine::Memory;
use crate::moment::Moment;

/// What a connection costs the kernel and this process, in bytes, when it costs much. What is left
/// is divided by it to know how many may come before the next look.
const CONNECTION_BYTES: u64 = 8 * 1024;

/// Connections that come between two looks at least.
const CONNECTIONS_PER_LOOK: usize = 16;

/// Other processes need memory, too: after this time, in milliseconds, the last look is outdated.
const LOOK_INTERVAL: u32 = 1_000;

/// What a packet costs the kernel until it has arrived, in bytes, when it costs much and carries
/// little.
const PACKET_BYTES: u64 = 2 * 1024;

/// How many packets may be sent in each [`PACKETS_INTERVAL`] however little is left: what others
/// have taken must not stop the feed.
const PACKETS_PER_LOOK: usize = 8;

/// How long to wait, in milliseconds, when no more packets may be sent for now. The kernel does not
/// report when packets have arrived.
pub(crate) const PACKETS_INTERVAL: u32 = 5;

/// What a handshake of TLS costs, in bytes, when it costs much.
const HANDSHAKE_BYTES: u64 = 16 * 1024;

/// How much may come from clients that keep it here, in bytes, before the next look.
const GROWN_PER_LOOK: usize = 1 << 20;

/// Bounds of the memory that is left alone by default, in bytes.
const RESERVE_BYTES: (u64, u64) = (8 << 20, 256 << 20);

/// What is left alone where nobody says how much, in bytes.
pub(crate) fn default_reserve(memory: &Memory) -> u64 {
    let (least, most) = RESERVE_BYTES;
    (memory.total().unwrap_or_default() / 32).clamp(least, most)
}

/// Says how many connections there may be.
#[derive(Debug)]
pub(crate) struct Budget {
    memory: Memory,
    /// What is left alone, in bytes.
    reserve: u64,
    /// How many there may be.
    allowed: usize,
    /// The most that have been there at the same time.
    most: usize,
    /// How many may come before the next look.
    unseen: usize,
    /// How many packets may be sent before the next look.
    packets: usize,
    /// How many more handshakes of TLS may be under way.
    handshakes: usize,
    /// What has come since the last look from clients that keep it here, in bytes.
    grown: usize,
    /// What must be given back, in bytes.
    missing: u64,
    looked_at: Option<Moment>,
    is_short: bool,
}

impl Budget {
    /// A budget of all memory of this machine, or of the control group that this process is in, but
    /// `reserve` bytes; by default a thirty-second part, at least 8 and at most 256 MiB.
    pub(crate) fn new(reserve: Option<u64>) -> Self {
        let memory = Memory::of_this_process();
        let reserve = reserve.unwrap_or_else(|| default_reserve(&memory));
        Self::of(memory, reserve)
    }

    /// Changes what is left alone, from the next look on.
    pub(crate) fn set_reserve(&mut self, reserve: Option<u64>) {
        self.reserve = reserve.unwrap_or_else(|| default_reserve(&self.memory));
    }

    fn of(memory: Memory, reserve: u64) -> Self {
        Self {
            memory,
            reserve,
            allowed: usize::MAX,
            most: 0,
            unseen: 0,
            packets: 0,
            handshakes: usize::MAX,
            grown: 0,
            missing: 0,
            looked_at: None,
            is_short: false,
        }
    }

    /// To be called before a connection is accepted, with the number of those there are; returns
    /// how many there may be. Connections above that are there only to be refused.
    pub(crate) fn allowed(&mut self, connections: usize, now: Moment) -> usize {
        match self
            .unseen
            .checked_sub(1)
            .filter(|_| !self.is_older_than(LOOK_INTERVAL, now))
        {
            Some(unseen) => self.unseen = unseen,
            None => self.look(connections, now),
        }
        self.most = self.most.max(connections.min(self.allowed));
        self.allowed
    }

    /// How many packets may be sent now, with the number of connections. What they take is given
    /// back when they have arrived.
    pub(crate) fn packets(&mut self, connections: usize, now: Moment) -> usize {
        if self.is_older_than(
            if self.packets == 0 {
                PACKETS_INTERVAL
            } else {
                LOOK_INTERVAL
            },
            now,
        ) {
            self.look(connections, now);
        }
        self.packets
    }

    /// To be called when some of those packets are sent.
    pub(crate) fn spend(&mut self, packets: usize) {
        self.packets = self.packets.saturating_sub(packets);
    }

    /// How many more handshakes of TLS may be under way. Those that begin count as bytes that clients
    /// have added, so that the next look comes soon.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes
    }

    /// How many bytes clients must give back: once after each look that has found less than three
    /// quarters of the reserve. `grown` are the bytes that clients have added to what they own.
    pub(crate) fn missing(&mut self, grown: usize, connections: usize, now: Moment) -> u64 {
        self.grown += grown;
        if self.grown >= GROWN_PER_LOOK
            || (self.grown > 0 && self.is_older_than(LOOK_INTERVAL, now))
        {
            self.look(connections, now);
        }
        std::mem::take(&mut self.missing)
    }

    fn is_older_than(&self, milliseconds: u32, now: Moment) -> bool {
        // Moments of more than 24 days ago seem to lie ahead.
        self.looked_at
            .is_none_or(|at| now.since(at) >= milliseconds || at.since(now) > 0)
    }

    fn look(&mut self, connections: usize, now: Moment) {
        let connections = connections.min(self.allowed);
        self.most = self.most.max(connections);
        let available = self.memory.available().unwrap_or(u64::MAX);
        self.allowed = allowed(available, self.reserve, connections, self.most);
        self.unseen = (self.allowed.saturating_sub(connections) / 2).max(CONNECTIONS_PER_LOOK);
        let to_spend = available.saturating_sub(self.reserve / 2) / 2;
        let fitting = |bytes: u64| usize::try_from(to_spend / bytes).unwrap_or(usize::MAX);
        self.packets = fitting(PACKET_BYTES).max(PACKETS_PER_LOOK);
        self.handshakes = fitting(HANDSHAKE_BYTES);
        self.missing = (self.reserve - self.reserve / 4).saturating_sub(available);
        self.grown = 0;
        self.looked_at = Some(now);
        self.log(available);
    }

    /// How many bytes are left, with those that are left alone; `None` where the kernel does not say.
    pub(crate) fn left(&self) -> Option<u64> {
        self.memory.available()
    }

    /// How many bytes are left alone.
    pub(crate) fn reserve(&self) -> u64 {
        self.reserve
    }

    /// Whether the reserve was touched, and there has not been twice as much since.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    fn log(&mut self, available: u64) {
        // Near the reserve, the passing costs of newcomers would make the memory short and not
        // short in turn.
        let enough = if self.is_short {
            self.reserve.saturating_mul(2)
        } else {
            self.reserve
        };
        let is_short = available < enough;
        if std::mem::replace(&mut self.is_short, is_short) == is_short {
            return;
        }
        let (available, reserve) = (available >> 20, self.reserve >> 20);
        if is_short {
            let allowed = self.allowed;
            warn!(
                "memory is short: {available} MiB are left, and --memory-reserve is {reserve} MiB; newcomers above {allowed} connections get 503"
            );
        } else {
            info!("memory is no longer short: {available} MiB are left");
        }
    }
}

/// How many connections there may be, with `available` bytes left, `connections` there now, and the
/// `most` that have been there.
///
/// The kernel keeps the memory of those who have left in caches for sockets, and does not count it
/// as free; but newcomers get it. So while the reserve is only touched there may be as many as
/// there have been, and no newcomer only when half of it is gone.
fn allowed(available: u64, reserve: u64, connections: usize, most: usize) -> usize {
    match available.checked_sub(reserve) {
        Some(left) => connections
            .saturating_add(usize::try_from(left / CONNECTION_BYTES).unwrap_or(usize::MAX)),
        None if available >= reserve / 2 => most,
        None => connections,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn newcomers_are_let_in_as_long_as_the_reserve_is_whole() {
        assert_eq!(
            allowed(8 * MIB + 10 * CONNECTION_BYTES, 8 * MIB, 100, 100),
            110
        );
        assert_eq!(allowed(8 * MIB, 8 * MIB, 100, 150), 100);
        assert_eq!(
            allowed(u64::MAX, 0, 100, 100),
            (u64::MAX / CONNECTION_BYTES) as usize + 100
        );
    }

    #[test]
    fn who_leaves_makes_room_although_the_kernel_keeps_the_memory() {
        assert_eq!(allowed(8 * MIB - 1, 8 * MIB, 90, 100), 100);
        assert_eq!(allowed(4 * MIB, 8 * MIB, 90, 100), 100);
        assert_eq!(allowed(4 * MIB - 1, 8 * MIB, 90, 100), 90);
    }

    #[test]
    fn looks_are_the_rarer_the_more_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let meminfo = folder.path().join("meminfo");
        fs::write(&meminfo, "MemFree: 1048576 kB\n").unwrap();
        let mut budget = Budget::of(Memory::in_file(&meminfo), 0);
        let room = (1024 * MIB / CONNECTION_BYTES) as usize;
        let mut allowed = |connections, now| budget.allowed(connections, Moment(now));
        assert_eq!(allowed(0, 0), room);
        fs::write(&meminfo, "MemFree: 0 kB\n").unwrap();
        for connections in 0..room / 2 {
            assert_eq!(allowed(connections, 10), room);
        }
        let full = room / 2;
        assert_eq!(allowed(full, 10), full);
        fs::write(&meminfo, "MemFree: 80 kB\n").unwrap();
        for refused in 1..=CONNECTIONS_PER_LOOK {
            assert_eq!(allowed(full + refused, 10), full);
        }
        assert_eq!(
            allowed(full + 20, 10),
            full + 10,
            "those that are only there to be refused have no place"
        );
        fs::write(&meminfo, "MemFree: 0 kB\n").unwrap();
        assert_eq!(allowed(full, 9 + LOOK_INTERVAL), full + 10);
        assert_eq!(
            allowed(full, 10 + LOOK_INTERVAL),
            full,
            "others may have taken it meanwhile"
        );
    }

    #[test]
    fn what_clients_must_give_back_is_said_once_a_look_and_looks_come_with_what_they_add() {
        let folder = tempfile::tempdir().unwrap();
        let meminfo = folder.path().join("meminfo");
        let mut budget = Budget::of(Memory::in_file(&meminfo), 8 * MIB);
        let mut missing = |free: u64, grown, now| {
            fs::write(&meminfo, format!("MemFree: {free} kB\n")).unwrap();
            budget.missing(grown, 1, Moment(now))
        };
        assert_eq!(missing(6 * 1024, 1, 0), 0, "three quarters are there");
        assert_eq!(
            missing(5 * 1024, 0, LOOK_INTERVAL),
            0,
            "nobody adds anything"
        );
        assert_eq!(missing(5 * 1024, 1, LOOK_INTERVAL), MIB);
        assert_eq!(missing(5 * 1024, 1, LOOK_INTERVAL), 0);
        assert_eq!(missing(4 * 1024, GROWN_PER_LOOK, LOOK_INTERVAL), 2 * MIB);
    }

    #[test]
    fn packets_are_sent_as_long_as_half_of_the_reserve_is_whole_and_a_few_at_any_time() {
        let folder = tempfile::tempdir().unwrap();
        let meminfo = folder.path().join("meminfo");
        let write =
            |kilobytes: u64| fs::write(&meminfo, format!("MemFree: {kilobytes} kB\n")).unwrap();
        let reserve = 8 * MIB;
        let mut budget = Budget::of(Memory::in_file(&meminfo), reserve);
        write(12 * 1024);
        assert_eq!(
            budget.packets(100, Moment(0)),
            2_048,
            "half of what is there"
        );
        budget.spend(2_000);
        write(0);
        assert_eq!(budget.packets(100, Moment(10)), 48);
        budget.spend(48);
        assert_eq!(budget.packets(100, Moment(PACKETS_INTERVAL - 1)), 0);
        assert_eq!(
            budget.packets(100, Moment(PACKETS_INTERVAL)),
            PACKETS_PER_LOOK
        );
        write(12 * 1024);
        assert_eq!(
            budget.packets(100, Moment(PACKETS_INTERVAL + LOOK_INTERVAL)),
            2_048,
            "others may have given it back meanwhile"
        );
    }
}
