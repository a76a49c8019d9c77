//! Asking a broker for what it may refuse. Knows no queue and no exchange.

use std::fmt;

use amiquip::Channel;

use super::session::Session;
use crate::work::Error;

/// The broker has refused something, and closed the channel for it.
#[derive(Debug)]
pub(crate) struct ChannelException {
    pub(super) code: u16,
    pub(super) message: String,
}

impl fmt::Display for ChannelException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            403 => write!(f, "the broker does not permit it: {}", self.message),
            _ => write!(f, "the broker refused: {}", self.message),
        }
    }
}

impl std::error::Error for ChannelException {}

/// Asks for something on a channel of its own, which an exception closes.
pub(super) fn attempt<T>(
    session: &mut Session,
    ask: impl FnOnce(&Channel) -> amiquip::Result<T>,
) -> Result<Result<T, ChannelException>, Error> {
    let channel = session.channel()?;
    match ask(&channel) {
        Ok(answer) => Ok(Ok(answer)),
        Err(amiquip::Error::ServerClosedChannel { code, message, .. }) => {
            Ok(Err(ChannelException { code, message }))
        }
        Err(error) => Err(session.error(error)),
    }
}
