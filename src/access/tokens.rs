//! The tokens that let clients in: who holds them, and what their file looks like. A file holds no
//! token, only SHA-256 of it: a token has 256 random bits, so nobody can guess what has that hash.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq as _};

use super::Secret;

/// The longest name of a holder, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// SHA-256 of a token.
type Digest = [u8; SHA256_OUTPUT_LEN];

/// Who may come in. Empty, it lets nobody in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Each name and each digest stands there once.
    holders: Vec<(String, Digest)>,
}

/// The number of a holder among those of one version of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HolderId(pub u32);

/// SHA-256 of a token.
fn digest(token: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(ring::digest::digest(&SHA256, token).as_ref());
    digest
}

/// Whether a holder can be called so: letters, digits, and what addresses of mail have besides.
pub(crate) fn is_name(name: &str) -> bool {
    let is_accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_accepted)
}

impl Tokens {
    /// Reads a file: in each line a name and SHA-256 of a token in hexadecimal. Empty lines and
    /// those that begin with `#` are passed over.
    ///
    /// # Errors
    /// A part of a sentence that names the first line with a mistake, and no part of a hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, digest) = parse_line(line)
                .ok_or_else(|| format!("line {} is no name and SHA-256 of a token in hexadecimal; bugzfeed token add writes such lines", at + 1))?;
            for (known, known_digest) in &tokens.holders {
                if *known == name || *known_digest == digest {
                    return Err(format!(
                        "line {} has the name or the hash of {known}, whose line stands above it",
                        at + 1
                    ));
                }
            }
            tokens.holders.push((name, digest));
        }
        Ok(tokens)
    }

    /// The names, in the order of the file.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.holders.iter().map(|(name, _)| name.as_str())
    }

    /// The line of a holder; the name must be one that [`is_name`] accepts.
    pub(crate) fn line(name: &str, token: &[u8]) -> String {
        format!("{name} {}", HEXLOWER.encode(&digest(token)))
    }

    /// Who holds a token. All are compared, each in constant time: how long it takes must not reveal
    /// how much of a guess is right.
    pub(crate) fn holder_of(&self, token: &Secret) -> Option<HolderId> {
        let digest = digest(token.bytes());
        let (mut found, mut holder) = (Choice::from(0), 0);
        for (at, (_, own)) in (0u32..).zip(&self.holders) {
            let is_own = own.ct_eq(&digest);
            holder = u32::conditional_select(&holder, &at, is_own);
            found |= is_own;
        }
        bool::from(found).then_some(HolderId(holder))
    }

    /// The number that a holder has in a later version of the file, if the same token is there.
    pub(crate) fn in_later(&self, holder: HolderId, later: &Self) -> Option<HolderId> {
        let (_, digest) = self.holders.get(holder.0 as usize)?;
        let at = later.holders.iter().position(|(_, own)| own == digest)?;
        Some(HolderId(at as u32))
    }
}

fn parse_line(line: &str) -> Option<(String, Digest)> {
    let mut words = line.split_ascii_whitespace();
    let (name, hash) = (words.next()?, words.next()?);
    let digest = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok()?;
    let is_line = is_name(name) && words.next().is_none();
    is_line.then_some((name.to_owned(), digest.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `abc`, from FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn holder(tokens: &Tokens, token: &str) -> Option<u32> {
        let holder = tokens.holder_of(&Secret::from(token.as_bytes()));
        holder.map(|holder| holder.0)
    }

    #[test]
    fn a_token_is_its_holders_and_what_is_almost_the_same_is_nobodys() {
        let text = format!(
            "# ours\n\nci {ABC}\n  bob@example.org\t{}\n",
            &Tokens::line("x", b"def")[2..]
        );
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!(
            tokens.names().collect::<Vec<_>>(),
            ["ci", "bob@example.org"]
        );
        assert_eq!(holder(&tokens, "abc"), Some(0));
        assert_eq!(holder(&tokens, "def"), Some(1));
        for wrong in ["", "ab", "abcd", "abd", "ABC", ABC] {
            assert_eq!(holder(&tokens, wrong), None, "{wrong}");
        }
        assert_eq!(holder(&Tokens::default(), "abc"), None);
    }

    #[test]
    fn a_line_is_written_as_it_is_read() {
        assert_eq!(Tokens::line("ci", b"abc"), format!("ci {ABC}"));
        assert!(Tokens::parse(&format!("ci {}", ABC.to_uppercase())).is_ok());
        let longest = "x".repeat(NAME_BYTES_MAX);
        assert!(Tokens::parse(&format!("{longest} {ABC}")).is_ok());
    }

    #[test]
    fn a_line_that_says_something_else_is_named_without_its_hash() {
        let flipped = ABC.replace('b', "c");
        for (text, line) in [
            (ABC.to_owned(), 1),
            (format!("\nci {ABC}0"), 2),
            (format!("ci {}", &ABC[1..]), 1),
            (format!("ci {ABC} x"), 1),
            (format!("c/i {ABC}"), 1),
            (format!("{} {ABC}", "x".repeat(65)), 1),
            (format!("ci {ABC}\nci {flipped}"), 2),
            (format!("ci {ABC}\n#\nbob {ABC}"), 3),
        ] {
            let why = Tokens::parse(&text).unwrap_err();
            assert!(why.contains(&format!("line {line} ")), "{text}: {why}");
            assert!(!why.contains(&ABC[1..9]), "{why}");
        }
    }

    #[test]
    fn a_holder_stays_one_as_long_as_the_token_does_whatever_its_line_says_else() {
        let line = |token: &str| Tokens::line("x", token.as_bytes())[2..].to_owned();
        let file = |lines: &[(&str, &str)]| {
            let lines: Vec<_> = lines
                .iter()
                .map(|(name, token)| format!("{name} {}", line(token)))
                .collect();
            Tokens::parse(&lines.join("\n")).unwrap()
        };
        let before = file(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let after = file(&[("c", "3"), ("renamed", "1"), ("b", "4")]);
        let stays = |holder| {
            before
                .in_later(HolderId(holder), &after)
                .map(|holder| holder.0)
        };
        assert_eq!([stays(0), stays(1), stays(2)], [Some(1), None, Some(0)]);
    }
}
