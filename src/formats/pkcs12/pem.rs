//! Reads certificates and private keys from PEM (RFC 7468) into memory that is overwritten, which rustls-pemfile's is not.
//! Private keys become PKCS#8 (RFC 5208), the only form that a key store has.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::formats::pkcs12::der::{
    BIT_STRING, CONTEXT_0, Der, Element, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, Part, SEQUENCE,
    UTC_TIME, content, sequence, split, split_tag,
};

/// The most certificates of one field. The bundle of a Linux distribution has 150.
const CERTIFICATE_LIMIT: usize = 1000;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// The second one is that of old versions of OpenSSL.
const CERTIFICATE_LABELS: [&str; 2] = ["CERTIFICATE", "X509 CERTIFICATE"];

/// The days from March 1 of the year 0 (proleptic Gregorian calendar) to January 1, 1970.
const DAYS_BEFORE_1970: u64 = 719_468;

const VERSION_0: Part<'static> = Part::Bytes(&[INTEGER, 1, 0]);
/// The algorithm identifier of RSA keys: `rsaEncryption` and NULL.
const RSA: Part<'static> = Part::Bytes(b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00");
/// `id-ecPublicKey`
const EC: Part<'static> = Part::Bytes(b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01");

/// Why PEM cannot be used, as the end of "the value of field x …".
type Problem = &'static str;

const INVALID_KEY: Problem = "contains a private key that is not valid PEM";
const INVALID_CERTIFICATE: Problem = "contains a certificate that is not valid PEM";

/// Returns all certificates, in order. Other sections are ignored. Counts them before it decodes any.
pub(super) fn certificates(pem: &str) -> Result<Vec<Der>, Problem> {
    let mut bodies = Vec::new();
    let mut rest = pem;
    while let Some(section) = next_section(&mut rest) {
        let Section { label, body } = section.ok_or(INVALID_CERTIFICATE)?;
        if !CERTIFICATE_LABELS.contains(&label) {
            continue;
        }
        if bodies.len() == CERTIFICATE_LIMIT {
            return Err("contains more than 1000 certificates: remove those that are not needed");
        }
        bodies.push(body);
    }
    if bodies.is_empty() {
        return Err("contains no PEM certificate (-----BEGIN CERTIFICATE-----)");
    }
    let certificate = |body| decode(body).filter(|der| public_key(der).is_some()).ok_or(INVALID_CERTIFICATE);
    bodies.into_iter().map(certificate).collect()
}

/// Returns the first private key, as PKCS#8.
pub(super) fn private_key(pem: &str) -> Result<Der, Problem> {
    const ENCRYPTED: Problem =
        "contains an encrypted private key, which podcreds cannot decrypt: store it decrypted";
    let mut rest = pem;
    while let Some(section) = next_section(&mut rest) {
        let Section { label, body } = section.ok_or(INVALID_KEY)?;
        let convert: fn(&[u8]) -> Option<Der> = match label {
            "PRIVATE KEY" => from_pkcs8,
            "RSA PRIVATE KEY" => from_pkcs1,
            "EC PRIVATE KEY" => from_sec1,
            "ENCRYPTED PRIVATE KEY" => return Err(ENCRYPTED),
            _ => continue,
        };
        if body.trim_start().starts_with("Proc-Type:") {
            return Err(ENCRYPTED);
        }
        let key = decode(body).ok_or(INVALID_KEY)?;
        return convert(&key).ok_or("contains a private key that is damaged, or of an unsupported type");
    }
    Err("contains no PEM private key (PKCS#8, PKCS#1 or SEC1)")
}

struct Section<'a> {
    label: &'a str,
    body: &'a str,
}

/// Splits the next section off. `Some(None)` is a section without an end.
fn next_section<'a>(text: &mut &'a str) -> Option<Option<Section<'a>>> {
    let (_, section) = text.split_once(BEGIN)?;
    *text = "";
    let parse = || {
        let (label, rest) = section.split_once(DASHES)?;
        let (body, end) = rest.split_once(END)?;
        let rest = end.strip_prefix(label)?.strip_prefix(DASHES)?;
        Some((Section { label, body }, rest))
    };
    Some(parse().map(|(section, rest)| {
        *text = rest;
        section
    }))
}

fn decode(body: &str) -> Option<Der> {
    let mut base64 = Zeroizing::new(Vec::with_capacity(body.len()));
    base64.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; base64.len() / 4 * 3 + 3]);
    let length = STANDARD.decode_slice(&*base64, &mut der).ok()?;
    der.truncate(length);
    Some(der)
}

/// Drops attributes and, from version 2, the public key, which few readers know (RFC 5958).
fn from_pkcs8(der: &[u8]) -> Option<Der> {
    let (_, rest) = split_tag(INTEGER, content(SEQUENCE, der)?)?;
    let (algorithm, rest) = split_tag(SEQUENCE, rest)?;
    let (key, _) = split_tag(OCTET_STRING, rest)?;
    Some(sequence(&[VERSION_0, Part::Bytes(algorithm.whole), Part::Bytes(key.whole)]))
}

fn from_pkcs1(der: &[u8]) -> Option<Der> {
    split_tag(INTEGER, content(SEQUENCE, der)?)?;
    Some(sequence(&[VERSION_0, RSA, Part::Element(OCTET_STRING, &[Part::Bytes(der)])]))
}

/// The key names its curve, as it does wherever OpenSSL has written it.
fn from_sec1(der: &[u8]) -> Option<Der> {
    let (_, rest) = split_tag(INTEGER, content(SEQUENCE, der)?)?;
    let (_, rest) = split_tag(OCTET_STRING, rest)?;
    let (parameters, _) = split_tag(CONTEXT_0, rest)?;
    content(OID, parameters.content)?;
    let algorithm = [EC, Part::Bytes(parameters.content)];
    let algorithm = Part::Element(SEQUENCE, &algorithm);
    Some(sequence(&[VERSION_0, algorithm, Part::Element(OCTET_STRING, &[Part::Bytes(der)])]))
}

/// The `SubjectPublicKeyInfo` of a certificate (RFC 5280). `None` means that this is not a certificate.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    // Validity and subject are the third and fourth sequence.
    let (key, _) = split_tag(SEQUENCE, after_sequences(4, certificate)?)?;
    let (_, bits) = split(key.content)?;
    split_tag(BIT_STRING, bits)?;
    Some(key.whole)
}

/// When the first certificate of a PEM text expires, as Unix time: 0 for a time before 1970. `None` means that the text contains no certificate that can be parsed.
pub(crate) fn not_after(pem: &[u8]) -> Option<u64> {
    let mut rest = str::from_utf8(pem).ok()?;
    while let Some(section) = next_section(&mut rest) {
        let Section { label, body } = section?;
        if CERTIFICATE_LABELS.contains(&label) {
            let der = decode(body)?;
            let (validity, _) = split_tag(SEQUENCE, after_sequences(2, &der)?)?;
            let (_, not_after) = split(validity.content)?;
            return time(&split(not_after)?.0);
        }
    }
    None
}

/// The rest of a certificate after the serial number and `count` of the sequences that follow it: signature algorithm, issuer,
/// validity, subject.
fn after_sequences(count: usize, certificate: &[u8]) -> Option<&[u8]> {
    let (to_be_signed, _) = split_tag(SEQUENCE, content(SEQUENCE, certificate)?)?;
    let mut rest = to_be_signed.content;
    if let Some((_, after)) = split_tag(CONTEXT_0, rest) {
        rest = after;
    }
    rest = split_tag(INTEGER, rest)?.1;
    for _ in 0..count {
        rest = split_tag(SEQUENCE, rest)?.1;
    }
    Some(rest)
}

/// A time in the forms that certificates have, `YYMMDDHHMMSSZ` until 2049 and then `YYYYMMDDHHMMSSZ`, as Unix time.
/// Source: RFC 5280, section 4.1.2.5
fn time(element: &Element<'_>) -> Option<u64> {
    let digits = str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    // `parse` accepts a sign.
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (century, digits) = match (element.tag, digits.len()) {
        (UTC_TIME, 12) => (if digits < "5" { 20 } else { 19 }, digits),
        (GENERALIZED_TIME, 14) => (digits[..2].parse::<u64>().ok()?, &digits[2..]),
        _ => return None,
    };
    let part = |index: usize, range: RangeInclusive<u64>| {
        digits[2 * index..2 * index + 2].parse().ok().filter(|part| range.contains(part))
    };
    let (year, month, day) = (100 * century + part(0, 0..=99)?, part(1, 1..=12)?, part(2, 1..=31)?);
    let seconds = (60 * part(3, 0..=23)? + part(4, 0..=59)?) * 60 + part(5, 0..=59)?;
    // Years start in March here, so that a leap day is the last day of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.saturating_sub(1), month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(days.checked_sub(DAYS_BEFORE_1970).map_or(0, |days| 24 * 3600 * days + seconds))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(expires: (i32, u8, u8)) -> String {
        let mut params = CertificateParams::new(vec!["test".into()]).unwrap();
        params.not_before = date_time_ymd(1960, 1, 1);
        params.not_after = date_time_ymd(expires.0, expires.1, expires.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn expiry(pem: &str) -> Option<u64> {
        not_after(pem.as_bytes())
    }

    #[test]
    fn the_expiry_is_read_in_both_forms() {
        for (expires, seconds) in [
            ((1970, 1, 1), 0),
            ((1999, 12, 31), 946_598_400),
            ((2000, 3, 1), 951_868_800),
            ((2028, 2, 29), 1_835_395_200),
            ((2049, 12, 31), 2_524_521_600),
            ((2050, 1, 1), 2_524_608_000),
            ((9999, 12, 31), 253_402_214_400),
        ] {
            assert_eq!(expiry(&certificate(expires)), Some(seconds), "{expires:?}");
        }
        let infinite = Element { tag: GENERALIZED_TIME, content: b"99991231235959Z", whole: &[] };
        assert_eq!(time(&infinite), Some(253_402_300_799));
    }

    #[test]
    fn the_first_certificate_counts_and_other_sections_do_not() {
        let (leaf, issuer) = (certificate((2030, 1, 1)), certificate((2028, 1, 1)));
        let key = KeyPair::generate().unwrap().serialize_pem();
        for text in [format!("{leaf}{issuer}"), format!("{key}{leaf}"), format!("CN=test\n{leaf}\n\n")] {
            assert_eq!(expiry(&text), Some(1_893_456_000), "{text}");
        }
        for text in [leaf.replace('\n', "\r\n"), leaf.replace("CERTIFICATE", "X509 CERTIFICATE")] {
            assert_eq!(expiry(&text), Some(1_893_456_000), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_certificate_has_no_expiry() {
        let whole = certificate((2030, 1, 1));
        let key = KeyPair::generate().unwrap().serialize_pem();
        for text in ["", "p@ssword", &key, &whole.replace("END", "FIN"), &whole.replace('M', "A")] {
            assert_eq!(expiry(text), None, "{text}");
        }
        assert_eq!(not_after(b"\xff\xfe"), None);
        // Each truncation of the certificate itself.
        let body = whole.lines().filter(|line| !line.starts_with("---")).collect::<String>();
        let der = STANDARD.decode(body).unwrap();
        for length in 0..der.len() {
            let body = STANDARD.encode(&der[..length]);
            let text = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
            assert_eq!(expiry(&text), None, "{length}");
        }
    }

    #[test]
    fn a_certificate_that_expired_before_1970_is_one_that_has_expired() {
        // Go writes the year 1 if a program does not set the time.
        for (tag, text) in [(UTC_TIME, &b"691231235959Z"[..]), (GENERALIZED_TIME, b"00010101000000Z")] {
            assert_eq!(time(&Element { tag, content: text, whole: &[] }), Some(0), "{text:?}");
        }
        assert_eq!(expiry(&certificate((1965, 1, 1))), Some(0));
    }

    proptest::proptest! {
        #[test]
        fn damaged_certificates_are_read_or_refused(index in 0..400_usize, byte: u8, length in 0..600_usize) {
            use std::sync::LazyLock;
            static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
                let pem = certificate((2030, 1, 1));
                certificates(&pem).unwrap()[0].to_vec()
            });
            let mut der = WHOLE.clone();
            let index = index % der.len();
            der[index] = byte;
            der.truncate(length);
            let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
            proptest::prop_assert!(expiry(&pem).is_none_or(|seconds| seconds < 253_402_300_800));
        }
    }

    #[test]
    fn invalid_times_have_no_value() {
        for (tag, text) in [
            (UTC_TIME, &b"2613010000"[..]),
            (UTC_TIME, b"261301000000Z"),
            (UTC_TIME, b"26-1-1000000Z"),
            (UTC_TIME, b"\xc3\xa9"),
            (UTC_TIME, b"26+101000000Z"),
            (UTC_TIME, b"261201240000Z"),
            (UTC_TIME, b"261201006000Z"),
            (UTC_TIME, b"261201000060Z"),
            (UTC_TIME, b"261201000000"),
            (UTC_TIME, b"261201000000+0900"),
            (UTC_TIME, b"20261201000000Z"),
            (GENERALIZED_TIME, b"2"),
            (GENERALIZED_TIME, b"261201000000Z"),
            (GENERALIZED_TIME, b"20261201000000.5Z"),
            (GENERALIZED_TIME, b"99991231235960Z"),
            (OCTET_STRING, b"261201000000Z"),
        ] {
            assert_eq!(time(&Element { tag, content: text, whole: &[] }), None, "{text:?}");
        }
    }
}
