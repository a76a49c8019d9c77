//! What is left of a handshake by rustls, on either side: the two traffic secrets, and how many
//! records each has sealed. Knows no certificate and no client.

use std::sync::{Mutex, PoisonError};

use rustls::{
    ConnectionCommon, ConnectionTrafficSecrets, Error, ExtractedSecrets, KeyLog, Side, SideData,
};

use crate::record::{DATA_BYTES_MAX, HEADER_BYTES, Keys, Records, Secret, Suite};

/// The content type of handshakes; the first byte of all that is TLS: RFC 8446 section 5.1.
const HANDSHAKE: u8 = 22;

/// The longest record of TLS 1.2 and of handshakes behind its header, in bytes: RFC 5246 section
/// 6.2.3.
const RECORD_BYTES_MAX: usize = DATA_BYTES_MAX + 2_048;

/// The first application traffic secrets of a connection: RFC 8446 section 7.1.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    client: Secret,
    server: Secret,
}

/// The secrets that rustls told last, until the handshake that they belong to takes them: a thread
/// is in one handshake at a time.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<Option<Secrets>>);

impl Latest {
    pub(crate) fn take(&self) -> Option<Secrets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

const CLIENT_SECRET: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER_SECRET: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for Latest {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = latest.get_or_insert_default();
        // A length that no suite has leaves zeros, which the take-over finds to be wrong.
        match label {
            CLIENT_SECRET => secrets.client.set(secret),
            SERVER_SECRET => secrets.server.set(secret),
            _ => true,
        };
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT_SECRET | SERVER_SECRET)
    }
}

/// Has `records` go on where rustls, as this side of the connection, has stopped.
///
/// # Errors
/// When what is derived here is not what rustls has derived: no record is sealed then.
pub(crate) fn install(
    records: &mut Records,
    side: Side,
    secrets: &Secrets,
    extracted: &ExtractedSecrets,
) -> Result<(), Error> {
    let (sealed, own) = &extracted.tx;
    let (opened, peers) = &extracted.rx;
    let (read, write) = match side {
        Side::Server => (&secrets.client, &secrets.server),
        Side::Client => (&secrets.server, &secrets.client),
    };
    let suite = parts(own).map(|(suite, ..)| suite);
    records.install(
        suite.ok_or(Error::HandshakeNotComplete)?,
        (read, *opened),
        (write, *sealed),
    );
    let (read, write) = records.keys();
    let is_same =
        |keys: &Keys, theirs| parts(theirs).is_some_and(|(suite, key, iv)| keys.is(suite, key, iv));
    if is_same(read, peers) && is_same(write, own) {
        Ok(())
    } else {
        Err(Error::General(
            "the traffic secrets do not match".to_owned(),
        ))
    }
}

fn parts(secrets: &ConnectionTrafficSecrets) -> Option<(Suite, &[u8], &[u8])> {
    let (suite, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Suite::ChaCha20Poly1305, key, iv)
        }
        _ => return None,
    };
    Some((suite, key.as_ref(), iv.as_ref()))
}

/// Has rustls take some bytes.
pub(crate) fn feed<D: SideData>(
    connection: &mut ConnectionCommon<D>,
    mut bytes: &[u8],
) -> Result<(), Error> {
    while !bytes.is_empty() {
        let taken = connection
            .read_tls(&mut bytes)
            .map_err(|error| Error::General(error.to_string()))?;
        connection.process_new_packets()?;
        if taken == 0 {
            break;
        }
    }
    Ok(())
}

/// Appends what rustls has to send.
pub(crate) fn drain<D: SideData>(connection: &mut ConnectionCommon<D>, output: &mut Vec<u8>) {
    while connection.wants_write() {
        connection
            .write_tls(output)
            .expect("a Vec takes all that is written to it");
    }
}

/// The length of what rustls is to have next: one record, or all there is where that cannot become
/// one. `None` where more bytes are needed.
pub(crate) fn cut(input: &[u8]) -> Option<usize> {
    let &[content, major, _, high, low] = input.first_chunk::<HEADER_BYTES>()?;
    let bytes = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    let is_record = (HANDSHAKE - 2..=HANDSHAKE + 1).contains(&content) && major == 3;
    if !is_record || bytes > HEADER_BYTES + RECORD_BYTES_MAX {
        return Some(input.len());
    }
    (bytes <= input.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustls_gets_one_record_at_a_time() {
        assert_eq!(cut(&[22, 3, 1, 0]), None);
        assert_eq!(cut(&[22, 3, 1, 0, 1]), None);
        assert_eq!(cut(&[22, 3, 1, 0, 1, 9, 22, 3]), Some(6));
        assert_eq!(cut(b"\x80\x2e\x01\x00\x02"), Some(5), "no TLS at all");
        assert_eq!(cut(&[22, 3, 1, 0xff, 0xff, 9]), Some(6), "too long");
        let [high, low] = (RECORD_BYTES_MAX as u16).to_be_bytes();
        assert_eq!(cut(&[22, 3, 1, high, low]), None, "the longest");
        assert_eq!(cut(&[22, 3, 1, high, low + 1]), Some(5));
        for content in 20..=23 {
            assert_eq!(cut(&[content, 3, 3, 0, 1]), None, "{content}");
        }
        for content in [19, 24] {
            assert_eq!(cut(&[content, 3, 3, 0, 1]), Some(5), "{content}");
        }
    }
}
