//! What Python's JSON reads and JSON's grammar does not have. Knows no message.

/// The text with `NaN`, `Infinity` and `-Infinity` outside of strings replaced by `null`, which is
/// what JavaScript writes for them; `None` where there are none. Python's JSON, and so the
/// original, reads them as numbers.
pub(super) fn without_python_literals(text: &str) -> Option<String> {
    let mut replaced = String::new();
    let mut rest = text;
    let mut is_string = false;
    while let Some(at) = rest.find(['"', '\\', 'N', 'I', '-']) {
        let literal = ["NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|literal| rest[at..].starts_with(literal));
        let (passed_on, skipped) = match literal {
            Some(literal) if !is_string => (at, literal.len()),
            // What follows a backslash is no end of the string.
            _ if rest[at..].starts_with("\\\"") || rest[at..].starts_with("\\\\") => (at + 2, 0),
            _ => {
                is_string ^= rest[at..].starts_with('"');
                (at + 1, 0)
            }
        };
        replaced.push_str(&rest[..passed_on]);
        if skipped > 0 {
            replaced.push_str("null");
        }
        rest = &rest[passed_on + skipped..];
    }
    replaced.push_str(rest);
    (replaced != text).then_some(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_literals_are_left_alone_in_strings() {
        assert_eq!(
            without_python_literals(r#"{"a\\":NaN,"\"NaN":-Infinity,"x":"\\","y":Infinity}"#)
                .as_deref(),
            Some(r#"{"a\\":null,"\"NaN":null,"x":"\\","y":null}"#)
        );
        assert_eq!(without_python_literals(r#""NaN" "\"Infinity""#), None);
    }
}
