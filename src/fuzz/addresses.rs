//! The addresses of sources and of destinations: what is shown of them holds no secret, and a
//! destination's name names it.

use crate::relay;
use crate::source;

/// A password that stands in the corpus, and nowhere else.
const SECRET: &str = "S3CRET";

/// What a user gave as `--source`.
pub(super) fn sources(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);
    match text.parse::<source::Address>() {
        Ok(address) => {
            check_secret(text, &address.to_string());
            check_secret(text, &format!("{address:?}"));
        }
        Err(why) => check_secret(text, &why),
    }
}

/// What a user gave as `--to`. Its name is that in the backlog: it must stay the same when it is read
/// as an address.
pub(super) fn destinations(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);
    match text.parse::<relay::Address>() {
        Ok(address) => {
            let name = address.to_string();
            check_secret(text, &name);
            check_secret(text, &format!("{address:?}"));
            if let Ok(again) = name.parse::<relay::Address>() {
                assert_eq!(again.to_string(), name);
            }
        }
        Err(why) => check_secret(text, &why),
    }
}

/// Where the password stands where passwords do, and nowhere else, nobody is shown it.
fn check_secret(text: &str, shown: &str) {
    // A URL is read without them, and what stands around them may be the secret once more.
    let text = &text.replace(['\t', '\n', '\r'], "");
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_password = text.split_once("://").is_some_and(|(scheme, rest)| {
        let user = rest.split_once(&format!(":{SECRET}@"));
        // The name of a file hides nothing.
        let is_file = matches!(scheme, "jsonl" | "sqlite");
        is_plain(scheme) && !is_file && user.is_some_and(|(user, _)| is_plain(user))
    });
    let is_key = text.starts_with(&format!("webhook:?key={SECRET}"));
    if (is_password || is_key) && text.matches(SECRET).count() == 1 {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
