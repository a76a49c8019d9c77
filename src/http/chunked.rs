//! Bodies in chunks: RFC 9112 section 7.1. Knows no head.

/// Why a body in chunks is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// What should be a chunk is none.
    Malformed,
    /// There are more bytes than allowed.
    TooLarge,
}

/// Reads the body at the start of `input`, at most `bytes_max` long, its framing at most as much
/// again; `None` when it is not complete. Returns how much of `input` it was, too. What trails
/// behind the last chunk is not looked at.
pub(super) fn read_chunks(
    input: &[u8],
    bytes_max: usize,
) -> Result<Option<(Vec<u8>, usize)>, Flaw> {
    let found = find_chunks(input, bytes_max)?;
    let used = found.as_ref().map_or(input.len(), |(_, used)| *used);
    if used > 2 * bytes_max {
        return Err(Flaw::TooLarge);
    }
    Ok(found)
}

fn find_chunks(input: &[u8], bytes_max: usize) -> Result<Option<(Vec<u8>, usize)>, Flaw> {
    let mut bytes = input;
    let mut body = Vec::new();
    loop {
        let (start, length) = match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Flaw::Malformed),
        };
        if length == 0 {
            // The line of the last chunk's length ends with CRLF, and an empty line ends the rest.
            let behind = &bytes[start - 2..];
            let end = behind.windows(4).position(|window| window == b"\r\n\r\n");
            return Ok(end.map(|end| (body, input.len() - behind.len() + end + 4)));
        }
        let length = usize::try_from(length)
            .ok()
            .filter(|length| body.len().saturating_add(*length) <= bytes_max)
            .ok_or(Flaw::TooLarge)?;
        let Some((chunk, rest)) = bytes[start..].split_at_checked(length) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        bytes = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(Flaw::Malformed),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_put_together_when_its_last_chunk_has_come() {
        let body = b"4\r\nWiki\r\n6;a=b\r\npedia \r\n0\r\nTrailer: x\r\n\r\n";
        for length in 0..body.len() {
            assert_eq!(read_chunks(&body[..length], 100), Ok(None), "{length}");
        }
        let whole = Ok(Some((b"Wikipedia ".to_vec(), body.len())));
        assert_eq!(read_chunks(body, 100), whole);
        let and_another = [body, &b"POST /"[..]].concat();
        assert_eq!(read_chunks(&and_another, 100), whole);
        assert_eq!(read_chunks(b"0\r\n\r\n", 20), Ok(Some((Vec::new(), 5))));
    }

    #[test]
    fn what_is_no_chunk_or_too_much_is_refused() {
        for malformed in ["x\r\n", "4\r\nWikix", "-1\r\n", "fffffffffffffffff\r\n"] {
            assert_eq!(
                read_chunks(malformed.as_bytes(), 20),
                Err(Flaw::Malformed),
                "{malformed}"
            );
        }
        assert_eq!(read_chunks(b"15\r\n", 20), Err(Flaw::TooLarge));
        assert_eq!(
            read_chunks(b"8\r\n12345678\r\n8\r\n", 10),
            Err(Flaw::TooLarge)
        );
        let framing = "1\r\nx\r\n".repeat(7);
        assert_eq!(read_chunks(framing.as_bytes(), 20), Err(Flaw::TooLarge));
    }

    #[test]
    fn a_body_may_be_as_long_as_the_limit_and_its_framing_as_much_again() {
        let body = b"1\r\nx\r\n0\r\nTrailer: ab\r\n\r\n";
        let whole = Ok(Some((b"x".to_vec(), body.len())));
        assert_eq!(read_chunks(body, body.len() / 2), whole);
        let less = body.len() / 2 - 1;
        assert_eq!(read_chunks(body, less), Err(Flaw::TooLarge));
        assert_eq!(read_chunks(b"a\r\n", 10), Ok(None));
        assert_eq!(read_chunks(b"a\r\n", 9), Err(Flaw::TooLarge));
    }
}
