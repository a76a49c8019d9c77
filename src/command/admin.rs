//! The address for those who run a server or a relay (`--admin`). Knows nothing of what is said there.

use log::warn;

use crate::failure::Failure;
use crate::reactor::{AdminAddress, Listener};

/// The server's address, if nobody says another one.
pub(super) const SERVE: &str = "127.0.0.1:8845";

/// The relay's: both may be on one machine. `pulse inspect --web` has the port between them.
pub(super) const RELAY: &str = "127.0.0.1:8847";

/// Binds the address that `--admin` asks for, or `default`. Where nobody has asked for it, and it is
/// not to be had, there is none.
///
/// # Errors
/// When the address that was asked for is not to be had.
pub(super) fn listener(
    asked: Option<&AdminAddress>,
    default: &str,
) -> Result<Option<Listener>, Failure> {
    let addresses = match asked {
        Some(AdminAddress::Off) => return Ok(None),
        Some(AdminAddress::At(addresses)) => addresses.clone(),
        None => default.parse().expect("the default is an address"),
    };
    let Some(address) = addresses.all.first() else {
        return Ok(None);
    };
    match Listener::bind(address, false, false) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if asked.is_none() => {
            warn!(
                "there is no admin listener: {default} cannot be listened on (setting --admin): {error}"
            );
            Ok(None)
        }
        Err(error) => Err(Failure::Unavailable(format!(
            "cannot listen on {address} (setting --admin): {error}."
        ))),
    }
}
