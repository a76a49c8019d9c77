//! Each "no": the status, the word in the metric, and a sentence of its own.

use super::*;
use crate::protocol;

#[test]
fn each_refusal_has_its_status_its_word_and_its_sentence() {
    let limit = 5;
    let refusals = [
        (Refusal::BadRequest("It is no HTTP."), 400, "bad_request"),
        (Refusal::ProxyHeader, 400, "proxy_header"),
        (Refusal::NoProxyHeader, 400, "proxy_header"),
        (Refusal::Unreadable, 400, "unreadable"),
        (
            Refusal::NotSubscribed(protocol::Error::TooManySubscriptions { limit }),
            400,
            "not_subscribed",
        ),
        (Refusal::Unauthorized(FeedId(0)), 401, "unauthorized"),
        (Refusal::TokenMissing, 401, "token_missing"),
        (Refusal::TokenUnknown, 401, "token_unknown"),
        (Refusal::LoginNeeded, 401, "login_needed"),
        (Refusal::TokenExposed, 403, "token_exposed"),
        (Refusal::ForbiddenOrigin, 403, "origin"),
        (Refusal::NotFound, 404, "not_found"),
        (Refusal::MethodNotAllowed("GET"), 405, "method"),
        (Refusal::Timeout, 408, "timeout"),
        (Refusal::LengthRequired, 411, "length_required"),
        (Refusal::BodyTooLarge, 413, "body_too_large"),
        (Refusal::UpgradeRequired, 426, "upgrade_required"),
        (Refusal::UpgradeLost, 426, "upgrade_lost"),
        (Refusal::TooManyFromAddress, 429, "full_for_address"),
        (Refusal::HeadTooLarge(1_000), 431, "head_too_large"),
        (Refusal::RightsUnknown, 503, "rights_unknown"),
        (Refusal::Full, 503, "full"),
        (Refusal::NotKept, 503, "not_kept"),
    ];
    let mut sentences = Vec::new();
    for (refusal, status, word) in refusals {
        let mut response = Vec::new();
        refusal.write(&mut response, false, 0);
        let response = String::from_utf8(response).unwrap();
        let (head, sentence) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(refusal.word(), word);
        // Clients that are told so come back later, and not at once.
        let is_passing = [429, 503].contains(&status);
        assert_eq!(head.contains("\r\nRetry-After: 30"), is_passing, "{head}");
        sentences.push(sentence.to_owned());
    }
    let count = sentences.len();
    sentences.sort_unstable();
    sentences.dedup();
    assert_eq!(sentences.len(), count, "two are told alike: {sentences:?}");
}
