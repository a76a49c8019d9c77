//! What the answer to a post means. Knows no connection and no change.

use std::io::Read;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Body, http::header::RETRY_AFTER};

use crate::relay::destination::SendError;

/// How much is read of the body of an answer: the connection can only be used again when all of it
/// has been read.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// How much of a refusal's body is shown.
const WORDS_BYTES_MAX: usize = 200;

/// The shortest and the longest pause that a server can ask for.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// An answer.
pub(super) struct Answer {
    /// Whether the post has arrived.
    pub(super) verdict: Result<(), SendError>,
    /// Whether all of the answer was read, so that the connection can be used again.
    pub(super) is_whole: bool,
}

/// Reads an answer. `now` is the time in Unix seconds.
pub(super) fn read(mut response: Response<Body>, now: i64) -> Answer {
    let mut body = Vec::new();
    let read = response
        .body_mut()
        .as_reader()
        .take(BODY_BYTES_MAX)
        .read_to_end(&mut body);
    Answer {
        verdict: verdict(response.status(), response.headers(), &body, now),
        is_whole: read.is_ok_and(|bytes| (bytes as u64) < BODY_BYTES_MAX),
    }
}

/// Only a status that blames the post itself is a refusal for good. Any other may pass: a key, an
/// address or a route that is wrong now can be mended.
fn verdict(status: StatusCode, fields: &HeaderMap, body: &[u8], now: i64) -> Result<(), SendError> {
    if status.is_success() {
        return Ok(());
    }
    let hint = match status.as_u16() {
        300..=399 => " (redirects are not followed)",
        401 | 403 | 407 => " (the key may be wrong: no change is dropped for that)",
        404 | 405 | 410 => " (the address may be wrong: no change is dropped for that)",
        _ => "",
    };
    let why = format!("the server answered {status}{hint}{}", words(body));
    Err(match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => SendError::Refused(why),
        _ => match retry_after(fields, now) {
            Some(pause) => SendError::PutOffFor(why, pause),
            None => SendError::PutOff(why),
        },
    })
}

fn words(body: &[u8]) -> String {
    let words: String = String::from_utf8_lossy(&body[..body.len().min(WORDS_BYTES_MAX)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match words.trim() {
        "" => String::new(),
        words => format!(": {words}"),
    }
}

/// How long a server wants to be left alone: a number of seconds, or a time (RFC 9110, section
/// 10.2.3).
fn retry_after(fields: &HeaderMap, now: i64) -> Option<Duration> {
    let text = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse::<u64>().ok().or_else(|| {
        let until = OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp();
        Some(u64::try_from(until.saturating_sub(now)).unwrap_or(0))
    })?;
    Some(Duration::from_secs(seconds).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    fn answered(status: u16, fields: &HeaderMap) -> Result<(), SendError> {
        verdict(StatusCode::from_u16(status).unwrap(), fields, b"no\n", 0)
    }

    #[test]
    fn only_what_blames_the_post_itself_is_a_refusal_for_good() {
        for status in 200..600 {
            let verdict = answered(status, &HeaderMap::new());
            match status {
                200..=299 => assert_eq!(verdict, Ok(())),
                400 | 413 | 415 | 422 => {
                    assert!(matches!(verdict, Err(SendError::Refused(_))), "{status}");
                }
                _ => assert!(matches!(verdict, Err(SendError::PutOff(_))), "{status}"),
            }
        }
    }

    #[test]
    fn a_server_says_how_long_it_wants_to_be_left_alone_within_bounds() {
        for (text, seconds) in [
            ("120", Some(120)),
            ("0", Some(1)),
            ("86400", Some(3_600)),
            ("Thu, 01 Jan 1970 00:00:30 GMT", Some(30)),
            ("Wed, 31 Dec 1969 00:00:30 GMT", Some(1)),
            ("soon", None),
            ("-5", None),
        ] {
            let field = [(RETRY_AFTER, HeaderValue::from_static(text))];
            let pause = match answered(503, &field.into_iter().collect()) {
                Err(SendError::PutOffFor(_, pause)) => Some(pause.as_secs()),
                Err(SendError::PutOff(_)) => None,
                other => panic!("{text}: {other:?}"),
            };
            assert_eq!(pause, seconds, "{text}");
        }
    }
}
