//! The keys of one direction of a connection, and how they follow from its traffic secret: RFC 8446
//! section 7. Knows no record.

use std::fmt;

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use ring::error::Unspecified;
use ring::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use zeroize::Zeroize;

/// The longest traffic secret, in bytes: that of a suite with SHA-384.
pub(crate) const SECRET_BYTES_MAX: usize = 48;

const KEY_BYTES_MAX: usize = 32;

/// The cipher suites of TLS 1.3 that are offered: RFC 8446 section B.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Suite {
    /// `TLS_AES_128_GCM_SHA256`.
    #[default]
    Aes128Gcm,
    /// `TLS_AES_256_GCM_SHA384`.
    Aes256Gcm,
    /// `TLS_CHACHA20_POLY1305_SHA256`.
    ChaCha20Poly1305,
}

impl Suite {
    fn aead(self) -> &'static Algorithm {
        match self {
            Suite::Aes128Gcm => &AES_128_GCM,
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// The length of the suite's secrets, in bytes.
    pub(crate) fn secret_bytes(self) -> usize {
        match self {
            Suite::Aes128Gcm | Suite::ChaCha20Poly1305 => 32,
            Suite::Aes256Gcm => 48,
        }
    }

    fn key_bytes(self) -> usize {
        self.aead().key_len()
    }

    /// HKDF-Expand-Label without a context: RFC 8446 section 7.1. Fills `output`.
    fn expand(self, secret: &[u8], label: &str, output: &mut [u8]) {
        let algorithm = match self {
            Suite::Aes128Gcm | Suite::ChaCha20Poly1305 => HKDF_SHA256,
            Suite::Aes256Gcm => HKDF_SHA384,
        };
        let length = (output.len() as u16).to_be_bytes();
        let label_length = [(LABEL_PREFIX.len() + label.len()) as u8];
        let info = [
            length.as_slice(),
            &label_length,
            LABEL_PREFIX.as_bytes(),
            label.as_bytes(),
            &[0],
        ];
        Prk::new_less_safe(algorithm, secret)
            .expand(&info, Length(output.len()))
            .and_then(|key| key.fill(output))
            .expect("HKDF makes up to 255 hashes, and this is one");
    }
}

const LABEL_PREFIX: &str = "tls13 ";

/// How many bytes HKDF is to make.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// What one direction of a connection is protected with. Wiped when dropped.
#[derive(Default)]
pub(crate) struct Keys {
    /// The number of the next record, which makes its nonce.
    sequence: u64,
    suite: Suite,
    secret: Secret,
    key: [u8; KEY_BYTES_MAX],
    iv: [u8; NONCE_LEN],
}

/// A traffic secret, in place. Wiped when dropped.
pub(crate) struct Secret([u8; SECRET_BYTES_MAX]);

impl Default for Secret {
    fn default() -> Self {
        Self([0; SECRET_BYTES_MAX])
    }
}

impl Secret {
    /// Sets the secret; returns whether it has a length that a suite's secret can have.
    pub(crate) fn set(&mut self, secret: &[u8]) -> bool {
        self.0.zeroize();
        let Some(own) = self.0.get_mut(..secret.len()) else {
            return false;
        };
        own.copy_from_slice(secret);
        !secret.is_empty()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Says nothing: a secret must get into no log.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Says how far the direction is, and no secret.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("suite", &self.suite)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl Keys {
    /// Begins, in place, with a traffic secret whose first `sequence` records are used up.
    pub(crate) fn install(&mut self, suite: Suite, secret: &Secret, sequence: u64) {
        self.suite = suite;
        self.secret.0.copy_from_slice(&secret.0);
        self.derive();
        self.sequence = sequence;
    }

    /// Goes on with the next traffic secret: RFC 8446 section 7.2.
    pub(super) fn update(&mut self) {
        let mut next = Secret::default();
        let bytes = self.suite.secret_bytes();
        self.suite
            .expand(&self.secret.0[..bytes], "traffic upd", &mut next.0[..bytes]);
        self.secret.0.copy_from_slice(&next.0);
        self.derive();
    }

    /// Wipes the secrets, in place.
    pub(crate) fn wipe(&mut self) {
        self.secret.0.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }

    /// How many records were sealed or opened with this traffic secret.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    /// Whether key and iv are these.
    pub(crate) fn is(&self, suite: Suite, key: &[u8], iv: &[u8]) -> bool {
        self.suite == suite && self.key[..suite.key_bytes()] == *key && self.iv == *iv
    }

    /// Key and iv of the traffic secret: RFC 8446 section 7.3.
    fn derive(&mut self) {
        let secret = &self.secret.0[..self.suite.secret_bytes()];
        let key = &mut self.key[..self.suite.key_bytes()];
        self.suite.expand(secret, "key", key);
        self.suite.expand(secret, "iv", &mut self.iv);
        self.sequence = 0;
    }

    /// Seals what stands in `output` from `from` on, and appends the tag.
    pub(super) fn seal(&mut self, header: [u8; 5], output: &mut Vec<u8>, from: usize) {
        let nonce = self.next_nonce();
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(nonce, Aad::from(header), &mut output[from..])
            .expect("a record is much shorter than a cipher allows");
        output.extend_from_slice(tag.as_ref());
    }

    /// Opens what stands in `sealed`, in place; returns the length of what was in it, in bytes.
    ///
    /// # Errors
    /// When the tag is wrong.
    pub(super) fn open(
        &mut self,
        header: [u8; 5],
        sealed: &mut [u8],
    ) -> Result<usize, Unspecified> {
        let nonce = self.next_nonce();
        let plain = self
            .cipher()
            .open_in_place(nonce, Aad::from(header), sealed)?;
        Ok(plain.len())
    }

    /// The cipher is made for each record: that takes a small part of the time of the write, and
    /// keeping it more memory than the keys.
    fn cipher(&self) -> LessSafeKey {
        let key = &self.key[..self.suite.key_bytes()];
        UnboundKey::new(self.suite.aead(), key)
            .map(LessSafeKey::new)
            .expect("the key is as long as the suite's")
    }

    /// The one place where nonces come from: each of a key's is taken once. RFC 8446 section 5.3.
    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..]
            .iter_mut()
            .zip(self.sequence.to_be_bytes())
        {
            *byte ^= number;
        }
        self.sequence = self
            .sequence
            .checked_add(1)
            .expect("keys are changed long before");
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
    }

    /// The server's application traffic secret of the trace in RFC 8448 section 3.
    #[test]
    fn key_and_iv_are_those_of_rfc_8448() {
        let mut secret = Secret::default();
        assert!(secret.set(&bytes(
            "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
        )));
        let mut keys = Keys::default();
        keys.install(Suite::Aes128Gcm, &secret, 0);
        assert!(keys.is(
            Suite::Aes128Gcm,
            &bytes("9f02283b6c9c07efc26bb9f2ac92e356"),
            &bytes("cf782b88dd83549aadf1e984")
        ));
        let (key, iv) = (keys.key[..16].to_vec(), keys.iv);
        assert!(!keys.is(Suite::ChaCha20Poly1305, &keys.key, &iv));
        assert!(!keys.is(Suite::Aes128Gcm, &[0; 16], &iv));
        assert!(!keys.is(Suite::Aes128Gcm, &key, &[0; 12]));
    }

    #[test]
    fn secrets_are_wiped_and_never_shown() {
        let mut secret = Secret::default();
        assert!(secret.set(&[0xab; 32]));
        let mut keys = Keys::default();
        keys.install(Suite::ChaCha20Poly1305, &secret, 7);
        assert_eq!(
            format!("{keys:?} {secret:?}"),
            "Keys { suite: ChaCha20Poly1305, sequence: 7, .. } Secret"
        );
        keys.wipe();
        assert_eq!(keys.secret.0, [0; 48]);
        assert_eq!((keys.key, keys.iv), ([0; 32], [0; 12]));
    }

    #[test]
    fn a_secret_of_no_suite_is_refused() {
        let mut secret = Secret::default();
        assert!(!secret.set(&[]));
        assert!(!secret.set(&[1; 49]));
        assert!(secret.set(&[1; 48]));
        assert!(secret.set(&[2; 32]));
        assert_eq!(secret.0[32..], [0; 16], "nothing is left of the longer one");
    }

    #[test]
    fn an_idle_direction_is_104_bytes() {
        assert_eq!(size_of::<Keys>(), 104);
    }
}
