//! A post per notice, signed as the relay's posts are. Knows no queue.

use ureq::Agent;
use ureq::http::StatusCode;

use super::notice::{Notice, TellError};
use crate::relay::WebhookSettings;
use crate::tls;

/// The server that takes posts.
pub(super) struct Webhook {
    settings: WebhookSettings,
    agent: Agent,
}

impl Webhook {
    /// The server that `settings` name, not yet connected.
    ///
    /// # Errors
    /// When a file that they name cannot be used.
    pub(super) fn new(settings: WebhookSettings) -> Result<Self, String> {
        settings.proofs(b"")?;
        Ok(Self {
            agent: settings.agent()?,
            settings,
        })
    }

    /// Posts a notice.
    ///
    /// # Errors
    /// When the server does not take it.
    pub(super) fn post(&self, notice: &Notice) -> Result<(), TellError> {
        let body = notice.body().to_string();
        let url = self.settings.url.as_str();
        let mut request = self.agent.post(url).content_type("application/json");
        let proofs = self.settings.proofs(body.as_bytes());
        for (field, value) in proofs.map_err(TellError::Failed)? {
            request = request.header(field, value);
        }
        let response = request
            .send(body.as_bytes())
            .map_err(|error| TellError::Failed(sentence(&error)))?;
        let status = response.status();
        let why = format!("the server answered {status}");
        let may_pass = matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
        match status {
            _ if status.is_success() => Ok(()),
            _ if status.is_client_error() && !may_pass => Err(TellError::Refused(why)),
            _ => Err(TellError::Failed(why)),
        }
    }
}

fn sentence(error: &ureq::Error) -> String {
    let flaw = match error {
        ureq::Error::Io(error) => tls::flaw(error),
        _ => None,
    };
    flaw.map_or_else(
        || format!("cannot reach the server: {error}"),
        str::to_owned,
    )
}
