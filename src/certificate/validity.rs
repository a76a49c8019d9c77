//! Until when a certificate is valid: RFC 5280 section 4.1. rustls's parser knows, and says it to
//! nobody; a whole parser for one date would be six more crates. Knows no file.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version stands in `[0]`, where it stands at all.
const VERSION: u8 = 0xa0;

/// The end of a certificate's validity, in Unix seconds; `None` where it is no certificate.
pub(crate) fn ends_at(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = take(certificate, SEQUENCE)?;
    let (mut fields, _) = take(certificate, SEQUENCE)?;
    if let Some((_, rest)) = take(fields, VERSION) {
        fields = rest;
    }
    // The serial number, the algorithm and the issuer.
    for _ in 0..3 {
        fields = take_any(fields)?.2;
    }
    let (validity, _) = take(fields, SEQUENCE)?;
    let (_, _, rest) = take_any(validity)?;
    let (tag, time, _) = take_any(rest)?;
    seconds(tag, std::str::from_utf8(time).ok()?)
}

/// The time in `text`, in Unix seconds: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, RFC 5280 section
/// 4.1.2.5.
fn seconds(tag: u8, text: &str) -> Option<i64> {
    let text = match tag {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize| text.get(from..from + 2);
    let rfc3339 = format!(
        "{}{}-{}-{}T{}:{}:{}",
        part(0)?,
        part(2)?,
        part(4)?,
        part(6)?,
        part(8)?,
        part(10)?,
        text.get(12..)?
    );
    OffsetDateTime::parse(&rfc3339, &Rfc3339)
        .ok()
        .map(OffsetDateTime::unix_timestamp)
}

/// The contents of the first element of `der`, if it has this tag, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = take_any(der)?;
    (found == tag).then_some((contents, rest))
}

/// The tag and the contents of the first element of `der`, and what follows it.
fn take_any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |length, &digit| length << 8 | usize::from(digit));
            (length, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_found() {
        let pem = include_bytes!("../../tests/watch/tls/server.pem");
        let certificate = CertificateDer::from_pem_slice(pem).unwrap();
        // 2120-01-01, as openssl x509 -enddate says.
        assert_eq!(ends_at(&certificate), Some(4_733_510_400));
        for length in 0..certificate.len() {
            assert_eq!(ends_at(&certificate[..length]), None);
        }
    }

    #[test]
    fn both_kinds_of_time_are_read() {
        assert_eq!(seconds(UTC_TIME, "330518033320Z"), Some(2_000_000_000));
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(
            seconds(GENERALIZED_TIME, "20330518033320Z"),
            Some(2_000_000_000)
        );
        for text in ["", "33", "3305180333", "331318033320Z", "ŝŝŝŝŝŝŝ"] {
            assert_eq!(seconds(UTC_TIME, text), None, "{text}");
        }
    }
}
