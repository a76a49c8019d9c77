//! What the keys of a terminal mean, by the bytes that it sends for them.

/// A key, as far as the table has a use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Character(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C, or Ctrl-D.
    Quit,
}

/// Sequences that begin with Escape, as xterm and the Linux console send them.
const SEQUENCES: [(&str, Key); 13] = [
    ("[A", Key::Up),
    ("OA", Key::Up),
    ("[B", Key::Down),
    ("OB", Key::Down),
    ("[5~", Key::PageUp),
    ("[6~", Key::PageDown),
    ("[H", Key::Home),
    ("OH", Key::Home),
    ("[1~", Key::Home),
    ("[F", Key::End),
    ("OF", Key::End),
    ("[4~", Key::End),
    ("[8~", Key::End),
];

/// The keys that these bytes stand for: what a terminal sends at once, so that an Escape alone is
/// the key.
pub(super) fn read_keys(bytes: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = &*text;
    let mut keys = Vec::new();
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        if first == '\x1b' && rest.starts_with(['[', 'O']) {
            let length = sequence_length(rest);
            let known = SEQUENCES.iter().find(|(name, _)| *name == &rest[..length]);
            keys.extend(known.map(|(_, key)| *key));
            rest = &rest[length..];
            continue;
        }
        keys.extend(match first {
            '\r' | '\n' => Some(Key::Enter),
            '\x1b' => Some(Key::Escape),
            '\x7f' | '\x08' => Some(Key::Backspace),
            '\x03' | '\x04' => Some(Key::Quit),
            other => (!other.is_control()).then_some(Key::Character(other)),
        });
    }
    keys
}

/// A sequence ends with its first letter or tilde after what introduces it.
fn sequence_length(text: &str) -> usize {
    let end = |(_, character): &(usize, char)| character.is_ascii_alphabetic() || *character == '~';
    let last = text.char_indices().skip(1).find(end);
    last.map_or(text.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_what_terminals_send_for_them() {
        use Key::{Backspace, Character, Down, End, Enter, Escape, Home, PageUp, Quit, Up};
        for (bytes, keys) in [
            ("q", &[Character('q')][..]),
            ("ü1", &[Character('ü'), Character('1')]),
            ("\r\x7f\x03", &[Enter, Backspace, Quit]),
            ("\x1b", &[Escape]),
            ("\x1b[A\x1bOB\x1b[5~", &[Up, Down, PageUp]),
            ("\x1b[1~\x1b[Fx", &[Home, End, Character('x')]),
            // F5, and Shift with an arrow, do nothing here.
            ("\x1b[15~\x1b[1;2Aq", &[Character('q')]),
            ("\x1b[", &[]),
            ("\x01\x1a", &[]),
        ] {
            assert_eq!(read_keys(bytes.as_bytes()), keys, "{bytes:?}");
        }
    }
}
