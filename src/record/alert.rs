//! Alerts: RFC 8446 section 6. Knows no record.

/// The description of an alert, as it stands in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alert {
    /// The sender will send nothing more.
    CloseNotify = 0,
    /// A record or message that must not come here.
    UnexpectedMessage = 10,
    /// A record that cannot be opened.
    BadRecordMac = 20,
    /// A record that is too long.
    RecordOverflow = 22,
    /// No TLS can be spoken here.
    HandshakeFailure = 40,
    /// A message whose value is not one of those that it can have.
    IllegalParameter = 47,
    /// A message that is no message.
    DecodeError = 50,
    /// The user has cancelled something; it says nothing: RFC 8446 section 6.1.
    UserCanceled = 90,
}

impl Alert {
    /// The alert as a record of its own, for a peer with whom no keys are agreed.
    pub(crate) fn plain_record(self) -> [u8; 7] {
        let [level, description] = self.message();
        [21, 3, 3, 0, 2, level, description]
    }

    /// The alert's two bytes. In TLS 1.3 each alert but two is fatal: RFC 8446 section 6.
    pub(crate) fn message(self) -> [u8; 2] {
        const WARNING: u8 = 1;
        const FATAL: u8 = 2;
        let level = match self {
            Alert::CloseNotify | Alert::UserCanceled => WARNING,
            Alert::UnexpectedMessage
            | Alert::BadRecordMac
            | Alert::RecordOverflow
            | Alert::HandshakeFailure
            | Alert::IllegalParameter
            | Alert::DecodeError => FATAL,
        };
        [level, self as u8]
    }
}
