//! Mail addresses as the user writes them. Knows no mail.

/// Reads an address; whoever sends a mail there finds out whether there is such an account.
///
/// # Errors
/// When it cannot be one.
pub(super) fn address(text: &str) -> Result<String, String> {
    let is_one = text.split_once('@').is_some_and(|(account, host)| {
        !account.is_empty() && !host.is_empty() && !host.contains('@')
    });
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>,;:\"()[]\\".contains(c);
    if is_one && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "'{text}' is no mail address; accepted is NAME@HOST"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_name_and_a_host_and_nothing_that_a_header_reads() {
        address("a.b+c@example.org").unwrap();
        for text in [
            "",
            "a",
            "@h",
            "a@",
            "a@b@c",
            "a b@h",
            "a@h\nBcc: x@y",
            "A <a@h>",
            "a@h,b@h",
        ] {
            address(text).unwrap_err();
        }
    }
}
