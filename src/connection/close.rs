//! Why a connection ends. Knows no connection.

use tungstenite::Error;

/// Why a connection ends: the word in the log, and the code and reason of the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed the WebSocket.
    ClosedByClient,
    /// The stream ended or broke.
    Gone,
    /// The stream ended without TLS's close_notify: somebody in between may have cut it off.
    CutOff,
    /// The client broke TLS, or ended it with an alert.
    TlsError,
    /// A plain HTTP request, or a refused upgrade, has its response.
    Answered,
    /// It was to begin with a PROXY header, and did not.
    NoProxyHeader,
    /// Its address had so many connections beyond the limit that it was not even told so.
    Crowded,
    /// Its post was answered, and no other request came in time.
    Idle,
    /// The client broke RFC 6455.
    ProtocolError,
    /// A text message was no UTF-8.
    InvalidData,
    /// A message was larger than the limit.
    TooBig,
    /// The client sent more messages than the limit.
    TooManyMessages,
    /// The client has begun a message and not finished it in time.
    Unfinished,
    /// The client owned more than most when memory was short.
    TooDear,
    /// The client did not answer a ping.
    Silent,
    /// The client took no bytes for too long.
    Stalled,
    /// The client wants all bugs, and too many of them wait for it.
    Behind,
    /// The server is going away.
    ShuttingDown,
    /// The client's token, login or API key is not valid any more.
    AccessEnded,
    /// It is not known what the client may see: Bugzilla does not answer.
    RightsUnknown,
    /// Updates were missed while the client was connected: it comes back, and asks for them.
    MissedUpdates,
}

impl CloseReason {
    /// The word for it in a metric.
    pub(crate) fn word(self) -> &'static str {
        match self {
            CloseReason::ClosedByClient => "closed_by_client",
            CloseReason::Gone => "gone",
            CloseReason::CutOff => "cut_off",
            CloseReason::TlsError => "tls_error",
            CloseReason::Answered => "answered",
            CloseReason::NoProxyHeader => "no_proxy_header",
            CloseReason::Crowded => "crowded",
            CloseReason::Idle => "idle",
            CloseReason::ProtocolError => "protocol_error",
            CloseReason::InvalidData => "invalid_data",
            CloseReason::TooBig => "too_big",
            CloseReason::TooManyMessages => "too_many_messages",
            CloseReason::Unfinished => "unfinished",
            CloseReason::TooDear => "too_dear",
            CloseReason::Silent => "silent",
            CloseReason::Stalled => "stalled",
            CloseReason::Behind => "behind",
            CloseReason::AccessEnded => "access_ended",
            CloseReason::RightsUnknown => "rights_unknown",
            CloseReason::ShuttingDown => "shutting_down",
            CloseReason::MissedUpdates => "missed_updates",
        }
    }

    /// The code and reason of the close frame, where one is sent: RFC 6455 section 7.4.1. 1000 is
    /// never used: known clients come back only when the code is neither 1000 nor 1005.
    pub fn close_frame(self) -> Option<(u16, &'static str)> {
        match self {
            CloseReason::ClosedByClient
            | CloseReason::Gone
            | CloseReason::CutOff
            | CloseReason::TlsError
            | CloseReason::Answered
            | CloseReason::NoProxyHeader
            | CloseReason::Crowded
            | CloseReason::Idle => None,
            CloseReason::ProtocolError => Some((1002, "protocol error")),
            CloseReason::InvalidData => Some((1007, "invalid UTF-8")),
            CloseReason::TooBig => Some((1009, "message too big")),
            CloseReason::TooManyMessages => Some((1008, "too many messages")),
            CloseReason::Unfinished => Some((1008, "the message did not come in time")),
            CloseReason::TooDear => Some((1013, "the server is short of memory")),
            CloseReason::RightsUnknown => Some((1013, "Bugzilla does not answer")),
            CloseReason::AccessEnded => Some((1008, "access has ended")),
            CloseReason::Silent => Some((1008, "no answer to a ping")),
            CloseReason::Stalled => Some((1013, "too slow")),
            CloseReason::Behind => Some((1013, "too many bugs wait")),
            CloseReason::ShuttingDown => Some((1001, "the server is going away")),
            CloseReason::MissedUpdates => Some((1001, "updates may have been missed")),
        }
    }

    /// Whether the client is given a moment to read what was sent last and to close by itself.
    pub(crate) fn lingers(self) -> bool {
        !matches!(
            self,
            CloseReason::ClosedByClient
                | CloseReason::Gone
                | CloseReason::CutOff
                | CloseReason::Silent
        )
    }
}

impl From<&Error> for CloseReason {
    fn from(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => CloseReason::TooBig,
            Error::Utf8(_) => CloseReason::InvalidData,
            _ => CloseReason::ProtocolError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_the_code_that_clients_are_told_to_expect() {
        for (reason, code, text) in [
            (CloseReason::ShuttingDown, 1001, "going away"),
            (CloseReason::MissedUpdates, 1001, "missed"),
            (CloseReason::ProtocolError, 1002, "protocol"),
            (CloseReason::InvalidData, 1007, "UTF-8"),
            (CloseReason::TooManyMessages, 1008, "too many messages"),
            (CloseReason::Unfinished, 1008, "in time"),
            (CloseReason::Silent, 1008, "ping"),
            (CloseReason::AccessEnded, 1008, "access"),
            (CloseReason::TooBig, 1009, "too big"),
            (CloseReason::Stalled, 1013, "slow"),
            (CloseReason::Behind, 1013, "too many bugs wait"),
            (CloseReason::TooDear, 1013, "memory"),
            (CloseReason::RightsUnknown, 1013, "Bugzilla"),
        ] {
            let (own, why) = reason.close_frame().unwrap();
            assert_eq!(own, code, "{reason:?}");
            assert!(why.contains(text), "{reason:?}: {why}");
            assert!((1..=123).contains(&why.len()), "{reason:?}");
        }
    }

    #[test]
    fn each_reason_is_told_in_its_own_words_and_counted_by_its_name() {
        let reasons = [
            CloseReason::ClosedByClient,
            CloseReason::Gone,
            CloseReason::CutOff,
            CloseReason::TlsError,
            CloseReason::Answered,
            CloseReason::NoProxyHeader,
            CloseReason::Crowded,
            CloseReason::Idle,
            CloseReason::ProtocolError,
            CloseReason::InvalidData,
            CloseReason::TooBig,
            CloseReason::TooManyMessages,
            CloseReason::Unfinished,
            CloseReason::TooDear,
            CloseReason::Silent,
            CloseReason::Stalled,
            CloseReason::Behind,
            CloseReason::ShuttingDown,
            CloseReason::AccessEnded,
            CloseReason::RightsUnknown,
            CloseReason::MissedUpdates,
        ];
        for reason in reasons {
            let name = format!("{reason:?}").to_lowercase();
            assert_eq!(reason.word().replace('_', ""), name);
        }
        let frames = reasons.iter().filter_map(|reason| reason.close_frame());
        let mut texts: Vec<&str> = frames.map(|(_, text)| text).collect();
        assert_eq!(texts.len(), 13);
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 13, "two are told alike: {texts:?}");
    }
}
