//! What comes from a broker: its frames before amiquip sees them, and a relay's numbers.

use super::script::Script;
use crate::amqp::{Announcement, Number, Sieve};

const BODY_BYTES_MAX: u64 = 200;

/// What a broker sends, in pieces whose length comes first.
pub(super) fn sieve(input: &[u8]) {
    let mut script = Script(input);
    let piece = usize::from(script.byte()) + 1;
    let whole = sieved(script.0, script.0.len().max(1));
    let (passed, is_amqp) = &whole;
    assert_eq!(sieved(script.0, piece), whole, "in pieces of {piece}");
    check_frames(passed);
    // What was made harmless is.
    let (again, _) = sieved(passed, passed.len().max(1));
    assert_eq!(again, *passed);
    assert!(*is_amqp || passed.len() <= input.len());
}

/// What is passed on, and whether it was AMQP to the end.
fn sieved(arrived: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let (mut sieve, mut out) = (Sieve::new(BODY_BYTES_MAX), Vec::new());
    let is_amqp = arrived
        .chunks(piece)
        .all(|bytes| sieve.pass(bytes, &mut out).is_ok());
    (out, is_amqp)
}

/// All frames that are passed on are whole; a content header has no property but the two.
fn check_frames(mut frames: &[u8]) {
    while let Some((head, rest)) = frames.split_first_chunk::<7>() {
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let length = if head.starts_with(b"AMQP") { 0 } else { length };
        let payload = &rest[..length];
        frames = &rest[length + 1..];
        if let (2, Some(flags)) = (head[0], payload.get(12..14)) {
            let flags = u16::from_be_bytes([flags[0], flags[1]]);
            assert_eq!(flags & !(1 << 13 | 1 << 7), 0, "{flags:b}");
        }
    }
    assert!(frames.is_empty());
}

/// The place of a change in a relay's stream, and what a relay announces.
pub(super) fn numbers(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);
    if let Ok(number) = text.parse::<Number>() {
        assert_eq!(number.to_string().parse(), Ok(number));
    }
    if let Ok(announcement) = text.parse::<Announcement>() {
        assert_eq!(announcement.to_string().parse(), Ok(announcement));
    }
}
