//! What comes from a broker: its frames before amiquip sees them, and a relay's numbers.

use std::collections::HashMap;

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

/// All frames that are passed on are whole; a content header has no property but the two, and no more
/// follows than it says.
fn check_frames(mut frames: &[u8]) {
    let mut announced = HashMap::new();
    while let Some((head, rest)) = frames.split_first_chunk::<7>() {
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let length = if head.starts_with(b"AMQP") { 0 } else { length };
        let payload = &rest[..length];
        frames = &rest[length + 1..];
        let (kind, channel) = (head[0], [head[1], head[2]]);
        if let (2, Some((_, [size @ .., high, low]))) =
            (kind, payload.first_chunk::<14>().map(|it| it.split_at(4)))
        {
            let flags = u16::from_be_bytes([*high, *low]);
            assert_eq!(flags & !(1 << 13 | 1 << 7), 0, "{flags:b}");
            let size = u64::from_be_bytes(size.try_into().unwrap());
            assert!(size <= BODY_BYTES_MAX);
            announced.insert(channel, size);
        }
        if let (3, Some(left)) = (kind, announced.get_mut(&channel)) {
            *left = left.checked_sub(length as u64).expect("a body's length");
        }
    }
    assert!(frames.is_empty());
}

/// The place of a change in a relay's stream, and what a relay announces.
pub(super) fn numbers(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);
    let parts = |text: &str| text.split('/').count();
    if let Ok(number) = text.parse::<Number>() {
        let written = number.to_string();
        assert_eq!(parts(&written), parts(text));
        assert_eq!(written.parse(), Ok(number));
    }
    if let Ok(announcement) = text.parse::<Announcement>() {
        let written = announcement.to_string();
        assert_eq!(parts(&written), parts(text));
        assert_eq!(written.parse(), Ok(announcement));
    }
}
