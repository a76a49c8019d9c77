//! The routing keys that a publisher has added to a message's own: RabbitMQ's header `CC`. What
//! bytes of AMQP say is found without recursion, since a table can be nested as deep as its
//! publisher likes; what lies in another table or array is passed over as a whole.

/// How many bytes the keys of one message may have together.
const BYTES_MAX: usize = 4_096;

/// The name of the header.
pub(super) const HEADER: &str = "CC";

/// The keys in a table of headers; none where there are none, or they are not as RabbitMQ takes
/// them.
fn keys(table: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = table;
    while !rest.is_empty() {
        let length = usize::from(*rest.split_off_first()?);
        let name = rest.split_off(..length)?;
        let kind = *rest.split_off_first()?;
        let value = take_value(kind, &mut rest)?;
        if name == HEADER.as_bytes() && kind == b'A' {
            return strings(value);
        }
    }
    None
}

/// The elements of an array of strings.
fn strings(mut array: &[u8]) -> Option<Vec<&[u8]>> {
    let mut strings = Vec::new();
    while !array.is_empty() {
        let kind = *array.split_off_first()?;
        let value = take_value(kind, &mut array)?;
        if kind != b'S' || value.len() > 255 || std::str::from_utf8(value).is_err() {
            return None;
        }
        strings.push(value);
    }
    (strings.concat().len() <= BYTES_MAX).then_some(strings)
}

/// Takes a value off the front. Types and sizes: AMQP 0-9-1's errata, as RabbitMQ has them.
fn take_value<'a>(kind: u8, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = match kind {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'L' | b'l' | b'd' | b'T' => 8,
        b'S' | b'x' | b'A' | b'F' => {
            let size = rest.split_off(..4)?.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(size)).ok()?
        }
        _ => return None,
    };
    rest.split_off(..size)
}

/// A table of headers with these keys alone, as it goes over the wire with its size in front; `None`
/// where there are no keys.
pub(super) fn table_of_keys(table: &[u8]) -> Option<Vec<u8>> {
    let keys = keys(table)?;
    let sized = |bytes: Vec<u8>| [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat();
    let strings: Vec<u8> = keys
        .iter()
        .flat_map(|key| [&b"S"[..], &sized(key.to_vec())].concat())
        .collect();
    let name = [&[HEADER.len() as u8], HEADER.as_bytes()].concat();
    Some(sized([&name[..], b"A", &sized(strings)].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cc(keys: &[&[u8]]) -> Vec<u8> {
        let strings: Vec<u8> = keys
            .iter()
            .flat_map(|key| [b"S", &(key.len() as u32).to_be_bytes()[..], key].concat())
            .collect();
        [
            b"\x02CCA",
            &(strings.len() as u32).to_be_bytes()[..],
            &strings,
        ]
        .concat()
    }

    #[test]
    fn the_keys_are_found_among_headers_of_all_types_and_nothing_else_is_passed_on() {
        let nested = b"A\0\0\0\x05A\0\0\0\0";
        let before = [
            &b"\x01aV\x01bt\x01\x01cs\0\x01\x01dI\0\0\0\x01\x01eD\0\0\0\0\0\x01fT\0\0\0\0\0\0\0\0"
                [..],
            b"\x01g",
            nested,
            b"\x01hF\0\0\0\x08\x02CCA\0\0\0\0",
        ]
        .concat();
        let keys: [&[u8]; 2] = [b"one", b"two.*"];
        let table = [&before[..], &cc(&keys), b"\x01zS\0\0\0\x01x"].concat();
        let passed = table_of_keys(&table).unwrap();
        assert_eq!(passed[4..], cc(&keys));
        assert_eq!(passed[..4], (passed.len() as u32 - 4).to_be_bytes());
    }

    #[test]
    fn what_is_broken_or_no_list_of_keys_is_none() {
        let whole = cc(&[b"key"]);
        for end in 0..whole.len() {
            assert_eq!(table_of_keys(&whole[..end]), None, "{end}");
        }
        assert_eq!(table_of_keys(b"\x02CCS\0\0\0\x01x"), None);
        assert_eq!(table_of_keys(b"\x02CCA\0\0\0\x02t\x01"), None);
        assert_eq!(table_of_keys(b"\x01a?"), None);
        assert_eq!(table_of_keys(&cc(&[&[b'x'; 256]])), None);
        assert_eq!(table_of_keys(&cc(&[&[b'x'; 255][..]; 17])), None);
        assert_eq!(table_of_keys(&cc(&[b"\xff"])), None);
    }
}
