//! What the addresses of sources and of destinations have in common: scheme, host and user,
//! secrets, options, what is written with `%`, and how an address is shown without its secrets.
//! Knows no kind of address and no option.

mod options;
mod password;
mod percent;
mod server;

pub(crate) use options::{is_field_name, read_options};
pub(crate) use password::Password;
pub(crate) use percent::{decode, value};
pub(crate) use server::{Place, ServerUrl};
