//! What the load generator says and reads on the wire, by hand: it must cost less than the server
//! that it measures. Owns the request, the client's frames and the reading of the server's. Knows
//! no socket and no plan.

use crate::update::BugId;

/// All clients offer the same key, so that the answer can be compared as it stands: RFC 6455
/// section 1.3 has this pair.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Any mask will do; that of RFC 6455 section 5.7 is one that changes every byte.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Opcodes of RFC 6455 section 5.2.
pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The request that asks `host` for a WebSocket at `path`.
pub(crate) fn upgrade(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes()
}

/// Reads the answer to [`upgrade`]: the length of its head once that is complete.
///
/// # Errors
/// A word on what the server said instead.
pub(crate) fn upgraded(input: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&input[..end]);
    let status = head.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101") {
        return Err(format!("answered {status:?}"));
    }
    if !head.contains(ACCEPT) {
        return Err("answered with a wrong Sec-WebSocket-Accept".to_owned());
    }
    Ok(Some(end + 4))
}

/// Appends one frame of a client, masked.
pub(crate) fn write_frame(output: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    output.push(0x80 | opcode);
    match payload.len() {
        bytes @ 0..126 => output.push(0x80 | bytes as u8),
        bytes @ 126..0x1_0000 => {
            output.push(0x80 | 126);
            output.extend_from_slice(&(bytes as u16).to_be_bytes());
        }
        bytes => {
            output.push(0x80 | 127);
            output.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
    output.extend_from_slice(&MASK);
    output.extend(
        payload
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ MASK[at % 4]),
    );
}

/// Appends the command that subscribes to `bugs`, with `since` where it is given.
pub(crate) fn write_subscribe(output: &mut Vec<u8>, bugs: &[u32], since: Option<&str>) {
    let list = bugs
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let since = since.unwrap_or_default();
    write_frame(
        output,
        TEXT,
        format!(r#"{{"command":"subscribe","bugs":[{list}],"since":"{since}"}}"#).as_bytes(),
    );
}

/// A frame of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub opcode: u8,
    pub payload: &'a [u8],
    /// Its length with header, in bytes.
    pub bytes: usize,
}

/// Reads the first frame of `input`; `None` when it is not complete.
///
/// # Errors
/// Where the frame is one that no server of this protocol sends: fragmented, masked or compressed.
pub(crate) fn frame(input: &[u8]) -> Result<Option<Frame<'_>>, &'static str> {
    let [first, second, rest @ ..] = input else {
        return Ok(None);
    };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err("sent a frame that is fragmented, masked or compressed");
    }
    let (header, length) = match second {
        126 => match rest {
            [a, b, ..] => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            _ => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (10, u64::from_be_bytes(*bytes) as usize),
            None => return Ok(None),
        },
        length => (2, usize::from(*length)),
    };
    Ok(input.get(header..header + length).map(|payload| Frame {
        opcode: first & 0xf,
        payload,
        bytes: header + length,
    }))
}

/// What a text of the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Update {
        bug: u32,
        /// When, in Unix seconds.
        when: i64,
    },
    /// A command was obeyed; `is_incomplete` where the server says that history does not reach back
    /// to `since`.
    Ok {
        /// Whether `complete` is false.
        is_incomplete: bool,
    },
    /// A command was refused, or the text is none of this protocol.
    Other,
}

/// Reads a text of the server: by its bytes where it is written as this package writes it, else as
/// any JSON.
pub(crate) fn read(text: &[u8]) -> Said {
    update(text).unwrap_or_else(|| read_json(text))
}

fn update(text: &[u8]) -> Option<Said> {
    let rest = text.strip_prefix(br#"{"command":"update","bug":"#)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let bug = rest[..digits].iter().fold(0u32, |number, digit| {
        number
            .wrapping_mul(10)
            .wrapping_add(u32::from(digit - b'0'))
    });
    let when = rest[digits..]
        .strip_prefix(br#","when":""#)?
        .strip_suffix(br#""}"#)?;
    Some(Said::Update {
        bug: BugId::new(bug)?.get(),
        when: unix_seconds(when)?,
    })
}

/// Unix seconds of `YYYY-MM-DDTHH:MM:SS`. The days are counted as if the year began in March, so
/// that a leap day ends it.
fn unix_seconds(text: &[u8]) -> Option<i64> {
    let text: &[u8; 19] = text.try_into().ok()?;
    let number = |at: usize, digits: usize| {
        text[at..at + digits]
            .iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
    };
    if !text
        .iter()
        .enumerate()
        .all(|(at, byte)| byte.is_ascii_digit() != matches!(at, 4 | 7 | 10 | 13 | 16))
    {
        return None;
    }
    let (year, month, day) = (number(0, 4), number(5, 2), number(8, 2));
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Some(days * 86_400 + number(11, 2) * 3_600 + number(14, 2) * 60 + number(17, 2))
}

fn read_json(text: &[u8]) -> Said {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(text) else {
        return Said::Other;
    };
    let when = value["when"]
        .as_str()
        .and_then(|when| when.parse::<crate::update::When>().ok());
    match (value["command"].as_str(), value["bug"].as_u64(), when) {
        (Some("update"), Some(bug), Some(when)) => Said::Update {
            bug: bug as u32,
            when: when.unix_seconds(),
        },
        (Some(_), ..) if value["result"] == "ok" => Said::Ok {
            is_incomplete: value["complete"] == false,
        },
        _ => Said::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::{Update, When};

    #[test]
    fn an_update_is_read_as_it_is_written() {
        for seconds in [
            0,
            951_782_399,
            951_782_400,
            1_396_559_625,
            1_709_164_800,
            4_102_444_799,
        ] {
            let mut text = Vec::new();
            let when = When::from_unix_seconds(seconds);
            crate::protocol::write_update(
                &mut text,
                &Update {
                    bug: BugId::new(1234).unwrap(),
                    when,
                },
            );
            assert_eq!(
                update(&text),
                Some(Said::Update {
                    bug: 1234,
                    when: seconds
                })
            );
        }
    }

    #[test]
    fn any_servers_json_is_read() {
        let text = br#"{"when": "2014-04-03T21:13:45", "bug": 7, "command": "update"}"#;
        assert_eq!(
            read(text),
            Said::Update {
                bug: 7,
                when: 1_396_559_625
            }
        );
        assert_eq!(
            read(br#"{"result": "ok", "command": "subscribe", "bugs": []}"#),
            Said::Ok {
                is_incomplete: false
            }
        );
        assert_eq!(
            read(br#"{"command":"subscribe","result":"ok","bugs":[],"complete":false}"#),
            Said::Ok {
                is_incomplete: true
            }
        );
        assert_eq!(
            read(br#"{"command":"subscribe","result":"error","error":"x"}"#),
            Said::Other
        );
    }

    #[test]
    fn a_frame_is_found_once_it_is_complete() {
        let mut whole = vec![0x81, 126, 0, 200];
        whole.extend([b'x'; 200]);
        assert_eq!(frame(&whole).unwrap().unwrap().bytes, 204);
        for end in 0..whole.len() {
            assert_eq!(frame(&whole[..end]), Ok(None), "{end}");
        }
        assert!(frame(&[0x01, 0x00]).is_err());
    }

    #[test]
    fn the_answer_to_an_upgrade_is_compared() {
        let answer =
            format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
        assert_eq!(upgraded(answer.as_bytes()), Ok(Some(answer.len())));
        assert_eq!(upgraded(&answer.as_bytes()[..50]), Ok(None));
        assert!(
            upgraded(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
                .unwrap_err()
                .contains("503")
        );
        assert_eq!(
            tungstenite::handshake::derive_accept_key(KEY.as_bytes()),
            ACCEPT
        );
    }
}
