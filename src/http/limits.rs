//! How large a request may be.

/// The longest head that is read by default, in bytes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// More header fields than this are refused; browsers send some 20.
pub(super) const FIELDS_MAX: usize = 100;

/// The largest body of a post, in bytes; the messages of Bugzilla are smaller.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
