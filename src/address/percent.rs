//! What is written with `%` in an address. A plus is a plus everywhere: file names and time zones
//! have them.

use percent_encoding::{
    AsciiSet, CONTROLS, PercentEncode, percent_decode_str, utf8_percent_encode,
};

/// What would end a part of a path.
const PATH_PART: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'/')
    .add(b'?')
    .add(b'#')
    .add(b'@')
    .add(b'%');

/// What would end a user's name: a password stands behind a colon.
const USER: &AsciiSet = &PATH_PART.add(b':');

/// What would end an option's value.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'&').add(b'#').add(b'%');

/// Reads what is written with `%`.
///
/// # Errors
/// When the result is not UTF-8. Nothing of it is repeated: it may be a password.
pub(crate) fn decode(text: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("what is written with '%' in it is not UTF-8".to_owned()),
    }
}

/// A part of a path as it is written in an address.
pub(super) fn path_part(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, PATH_PART)
}

/// A user's name as it is written in an address.
pub(super) fn user(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, USER)
}

/// An option's value as it is written in an address.
pub(crate) fn value(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, VALUE)
}
