//! The forms of the kernel's files: a number, a number behind a name, a number of kilobytes.

use std::fs;
use std::path::Path;
use std::str::FromStr;

/// The only thing that a file holds; `None` where there is no such file, or another thing in it.
pub(super) fn number_in<T: FromStr>(file: &Path) -> Option<T> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number behind a name at the start of a line; 0 where there is none.
pub(super) fn number(text: &str, name: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// The number behind a name of /proc/meminfo, in bytes; 0 where there is none.
pub(super) fn kilobytes(text: &str, name: &str) -> u64 {
    number(text, name) * 1024
}
