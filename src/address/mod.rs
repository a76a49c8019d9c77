//! What all addresses have in common, of sources and of destinations: secrets, and the names that
//! may stand in them. Knows no kind of address.

mod password;

pub use password::Password;

/// Whether this can be the name of a header field: RFC 9110, section 5.6.2.
pub(crate) fn is_field_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
