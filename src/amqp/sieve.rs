//! What a publisher can put into a message, made harmless before amiquip parses it: its parser
//! recurses into headers without a limit (900 nested arrays end the whole process with a stack
//! overflow), believes that names are UTF-8, and stores a body of any size. Nothing that is lost
//! here is ever looked at. Works on the bytes of AMQP frames; knows no socket and no channel's
//! meaning.

use std::collections::HashMap;
use std::io;

use super::number::NUMBER_BYTES_MAX;
use super::routes;

/// Type, channel and size in front of a frame's payload; one byte stands behind it.
const HEAD_BYTES: usize = 7;
const END_BYTES: usize = 1;

/// The flag of the property `message-id`, and the places of those before it that are no short
/// strings.
const MESSAGE_ID: u16 = 1 << 7;
const HEADERS: u32 = 13;
const DELIVERY_MODE: u32 = 12;
const PRIORITY: u32 = 11;

/// The largest frame that is accepted from a broker; amiquip agrees to 128 KiB at most.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Passes AMQP frames on, without messages' properties except the short `message-id` that a number
/// is and the routing keys that a publisher has added, without bytes that are not ASCII in routing keys, and with bodies cut off.
#[derive(Debug)]
pub(crate) struct Sieve {
    body_bytes_max: u64,
    /// The start of a frame that has not arrived as a whole.
    partial: Vec<u8>,
    /// How many more bytes of the current message's body are passed on, by channel.
    body_bytes_left: HashMap<[u8; 2], u64>,
}

impl Sieve {
    /// A sieve that cuts off what is beyond `body_bytes_max` bytes of a message's body.
    pub(crate) fn new(body_bytes_max: u64) -> Self {
        Self {
            body_bytes_max,
            partial: Vec::new(),
            body_bytes_left: HashMap::new(),
        }
    }

    /// Takes what has arrived, and appends to `out` what of it is passed on.
    ///
    /// # Errors
    /// When a frame is too large to be one.
    pub(crate) fn pass(&mut self, arrived: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.partial.extend_from_slice(arrived);
        let mut frames = std::mem::take(&mut self.partial);
        let mut passed = 0;
        while let Some(frame) = first_frame(&frames[passed..])? {
            self.pass_frame(frame, out);
            passed += frame.len();
        }
        frames.drain(..passed);
        self.partial = frames;
        Ok(())
    }

    fn pass_frame(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        match frame[0] {
            1 => pass_method(frame, out),
            2 => self.pass_content_header(frame, out),
            3 => self.pass_body(frame, out),
            // Heartbeats; and what is no frame at all is for amiquip to refuse.
            _ => out.extend_from_slice(frame),
        }
    }

    /// A content header's payload: class (2), weight (2), size of the body (8), flags (2) and the
    /// properties that they announce.
    fn pass_content_header(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        let (Some(class_and_weight), Some(size)) = (frame.get(7..11), frame.get(11..19)) else {
            return out.extend_from_slice(frame);
        };
        let channel = [frame[1], frame[2]];
        let size = size
            .iter()
            .fold(0, |size, &byte| size << 8 | u64::from(byte))
            .min(self.body_bytes_max);
        self.body_bytes_left.insert(channel, size);
        let properties = passed_properties(frame.get(19..frame.len() - END_BYTES));
        push_frame(
            2,
            channel,
            &[class_and_weight, &size.to_be_bytes(), &properties].concat(),
            out,
        );
    }

    fn pass_body(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        let channel = [frame[1], frame[2]];
        let body = &frame[HEAD_BYTES..frame.len() - END_BYTES];
        let Some(left) = self.body_bytes_left.get_mut(&channel) else {
            return out.extend_from_slice(frame);
        };
        let passed = body.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= passed as u64;
        if passed > 0 {
            push_frame(3, channel, &body[..passed], out);
        }
    }
}

/// The properties that are passed on: flags, headers, `message-id`.
fn passed_properties(properties: Option<&[u8]>) -> Vec<u8> {
    let keys = properties
        .and_then(headers)
        .and_then(routes::table_of_keys)
        .map(|table| (1 << HEADERS, table));
    let id = properties
        .and_then(message_id)
        .map(|id| (MESSAGE_ID, [&[id.len() as u8], id].concat()));
    let passed: [Option<(u16, Vec<u8>)>; 2] = [keys, id];
    let flags = passed.iter().flatten().fold(0, |all, (flag, _)| all | flag);
    let mut properties = u16::to_be_bytes(flags).to_vec();
    passed
        .iter()
        .flatten()
        .for_each(|(_, property)| properties.extend(property));
    properties
}

/// The headers, without their size in front.
fn headers(properties: &[u8]) -> Option<&[u8]> {
    let (flags, mut rest) = properties.split_first_chunk()?;
    let flags = u16::from_be_bytes(*flags);
    if flags >> HEADERS & 1 == 0 || flags & 1 != 0 {
        return None;
    }
    // The type and the encoding of the content may stand in front of them.
    for _ in (14..=15).filter(|property| flags >> property & 1 != 0) {
        let length = short_string(&mut rest)?;
        rest = rest.get(length..)?;
    }
    let (size, behind) = rest.split_first_chunk()?;
    behind.get(..usize::try_from(u32::from_be_bytes(*size)).ok()?)
}

/// The property `message-id`, if it is printable ASCII and no longer than a number. `properties`
/// are the flags (2), of which the highest stands for the first property, and what they announce.
fn message_id(properties: &[u8]) -> Option<&[u8]> {
    let (flags, mut rest) = properties.split_first_chunk()?;
    let flags = u16::from_be_bytes(*flags);
    // The lowest flag announces further flags.
    if flags & MESSAGE_ID == 0 || flags & 1 != 0 {
        return None;
    }
    let is_there = |property: &u32| flags >> property & 1 != 0;
    // From content-type (15) to expiration (8), all of which may stand in front of it.
    for property in (8..=15).rev().filter(is_there) {
        let length = match property {
            HEADERS => {
                let (size, behind) = rest.split_first_chunk()?;
                rest = behind;
                usize::try_from(u32::from_be_bytes(*size)).ok()?
            }
            DELIVERY_MODE | PRIORITY => 1,
            _ => short_string(&mut rest)?,
        };
        rest = rest.get(length..)?;
    }
    let length = short_string(&mut rest)?;
    let id = rest.get(..length)?;
    (length <= NUMBER_BYTES_MAX && id.iter().all(u8::is_ascii_graphic)).then_some(id)
}

/// Takes the length off the front of a short string.
fn short_string(rest: &mut &[u8]) -> Option<usize> {
    let (&length, behind) = rest.split_first()?;
    *rest = behind;
    Some(length.into())
}

/// The frame that starts here, if all of it has arrived.
fn first_frame(arrived: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some(size) = arrived.get(3..7) else {
        return Ok(None);
    };
    let size = size
        .iter()
        .fold(0, |size, &byte| size << 8 | usize::from(byte));
    // A broker of another version answers with eight bytes that are no frame: "AMQP" and its
    // version.
    let bytes = if arrived.starts_with(b"AMQP") {
        HEAD_BYTES + END_BYTES
    } else {
        HEAD_BYTES + size + END_BYTES
    };
    if bytes > FRAME_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what answers there does not speak AMQP",
        ));
    }
    Ok(arrived.get(..bytes))
}

/// Passes a method on; in basic.deliver (60, 60) the routing key comes from the publisher. It
/// stands last, behind the consumer's tag, the delivery's number (8) and flag (1), and the
/// exchange; each name has its length in the byte before it.
fn pass_method(frame: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(frame);
    let frame = &mut out[start..];
    if !frame[HEAD_BYTES..].starts_with(&[0, 60, 0, 60]) {
        return;
    }
    let after_name =
        |frame: &[u8], at: usize| frame.get(at).map(|&length| at + 1 + usize::from(length));
    let routing_key = after_name(frame, HEAD_BYTES + 4)
        .and_then(|at| after_name(frame, at + 9))
        .map(|at| at + 1);
    let end = frame.len() - END_BYTES;
    if let Some(routing_key) = routing_key.and_then(|at| frame.get_mut(at..end)) {
        routing_key
            .iter_mut()
            .filter(|byte| !byte.is_ascii())
            .for_each(|byte| *byte = b'?');
    }
}

fn push_frame(kind: u8, channel: [u8; 2], payload: &[u8], out: &mut Vec<u8>) {
    const END: u8 = 0xce;
    out.push(kind);
    out.extend_from_slice(&channel);
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    out.push(END);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push_frame(kind, [0, channel], payload, &mut frame);
        frame
    }

    fn deliver(routing_key: &[u8]) -> Vec<u8> {
        let name = |text: &[u8]| [&[text.len() as u8], text].concat();
        let number_and_flag = [0, 0, 0, 0, 0, 0, 0, 1, 0];
        frame(
            1,
            1,
            &[
                &[0, 60, 0, 60],
                &name(b"tag")[..],
                &number_and_flag,
                &name("exchange/żółw".as_bytes()),
                &name(routing_key),
            ]
            .concat(),
        )
    }

    fn content_header(channel: u8, size: u64, properties: &[u8]) -> Vec<u8> {
        frame(
            2,
            channel,
            &[&[0, 60, 0, 0], &size.to_be_bytes()[..], properties].concat(),
        )
    }

    fn sieved(arrived: &[u8], chunk: usize) -> Vec<u8> {
        let mut sieve = Sieve::new(10);
        let mut out = Vec::new();
        for chunk in arrived.chunks(chunk) {
            sieve.pass(chunk, &mut out).unwrap();
        }
        assert!(sieve.partial.is_empty());
        out
    }

    #[test]
    fn a_message_is_passed_on_without_what_its_publisher_can_break() {
        let no_properties = [0, 0];
        let arrived = [
            frame(1, 0, b"\0\x0a\0\x0a \xff any other method \xff"),
            deliver(b"1234"),
            content_header(1, 4, &[0x20, 0, 0, 0, 0, 3, b'A', 0xff, 0xff]),
            frame(3, 1, b"{}"),
            frame(8, 0, b""),
            // Another channel's message may come between.
            content_header(2, 3, &no_properties),
            frame(3, 1, b"[]"),
            frame(3, 2, b"abc"),
            deliver(b"\xff12\xc3"),
            content_header(1, 12, &no_properties),
            frame(3, 1, b"123456789"),
            frame(3, 1, b"abc"),
            content_header(1, 0, &no_properties),
        ]
        .concat();
        let expected = [
            frame(1, 0, b"\0\x0a\0\x0a \xff any other method \xff"),
            deliver(b"1234"),
            content_header(1, 4, &no_properties),
            frame(3, 1, b"{}"),
            frame(8, 0, b""),
            content_header(2, 3, &no_properties),
            frame(3, 1, b"[]"),
            frame(3, 2, b"abc"),
            deliver(b"?12?"),
            content_header(1, 10, &no_properties),
            frame(3, 1, b"123456789"),
            frame(3, 1, b"a"),
            content_header(1, 0, &no_properties),
        ]
        .concat();
        for chunk in 1..arrived.len() {
            assert_eq!(sieved(&arrived, chunk), expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn of_the_properties_a_short_message_id_and_the_routing_keys_alone_are_passed_on() {
        let all_before = [
            &[0b1111_1111, 0b1100_0000][..],
            b"\x03a/b\x01c\0\0\0\x02\xff\xff\x02\x05\x01d\x01e\x01f",
            b"\x06a0/17/\0\0\0\0\0\0\0\0",
        ]
        .concat();
        let number = [&[0, 0x80][..], b"\x06a0/17/"].concat();
        let long = [&[0, 0x80, 200][..], &[b'x'; 200]].concat();
        let nothing = vec![0, 0];
        let keys = b"\x02CCA\0\0\0\x06S\0\0\0\x01k";
        let keys_and_more = [
            &[0b1110_0000, 0b1000_0000][..],
            b"\x03a/b\x01c\0\0\0\x15\x01aS\0\0\0\0",
            &keys[..],
            b"\x06a0/17/",
        ]
        .concat();
        let keys_and_number = [&[0x20, 0x80][..], b"\0\0\0\x0e", &keys[..], b"\x06a0/17/"].concat();
        for (came, passed) in [
            (&all_before, &number),
            (&number, &number),
            (&long, &nothing),
            (&keys_and_more, &keys_and_number),
            (&b"\0\x80\x02a\xff".to_vec(), &nothing),
            (&b"\0\x81\x01a".to_vec(), &nothing),
            (&b"\x20\x80\xff\xff\xff\xff\x01a".to_vec(), &nothing),
        ] {
            let sieved = sieved(&content_header(1, 4, came), 1_000);
            assert_eq!(sieved, content_header(1, 4, passed), "{came:?}");
        }
        for end in 2..all_before.len() {
            sieved(&content_header(1, 4, &all_before[..end]), 1_000);
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_connection_or_is_left_to_the_parser() {
        assert_eq!(sieved(b"AMQP\0\0\x09\x01", 3), b"AMQP\0\0\x09\x01");
        Sieve::new(10)
            .pass(b"HTTP/1.1 400 Bad Request\r\n", &mut Vec::new())
            .unwrap_err();
        for kind in 0..10 {
            for bytes in 0..40 {
                let cut = frame(kind, 1, &deliver(b"1234")[HEAD_BYTES..][..bytes]);
                assert!(sieved(&cut, 5).len() <= cut.len() + 14);
            }
        }
    }
}
