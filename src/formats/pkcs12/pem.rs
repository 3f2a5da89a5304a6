//! Reads certificates and private keys from PEM (RFC 7468) into memory that is overwritten, which rustls-pemfile's is not.
//! Private keys become PKCS#8 (RFC 5208), the only form that a key store has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::formats::pkcs12::der::{
    BIT_STRING, CONTEXT_0, Der, INTEGER, OCTET_STRING, OID, Part, SEQUENCE, content, sequence, split,
    split_tag,
};

/// The most certificates of one field. The bundle of a Linux distribution has 150.
const CERTIFICATE_LIMIT: usize = 1000;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

const VERSION_0: Part<'static> = Part::Bytes(&[INTEGER, 1, 0]);
/// The algorithm identifier of RSA keys: `rsaEncryption` and NULL.
const RSA: Part<'static> = Part::Bytes(b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00");
/// `id-ecPublicKey`
const EC: Part<'static> = Part::Bytes(b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01");

/// Why PEM cannot be used, as the end of "the value of field x …".
type Problem = &'static str;

const INVALID_KEY: Problem = "contains a private key that is not valid PEM";
const INVALID_CERTIFICATE: Problem = "contains a certificate that is not valid PEM";

/// Returns all certificates, in order. Other sections are ignored.
pub(super) fn certificates(pem: &str) -> Result<Vec<Der>, Problem> {
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some(section) = next_section(&mut rest) {
        let Section { label, body } = section.ok_or(INVALID_CERTIFICATE)?;
        if !["CERTIFICATE", "X509 CERTIFICATE"].contains(&label) {
            continue;
        }
        if found.len() == CERTIFICATE_LIMIT {
            return Err("contains more than 1000 certificates: remove those that are not needed");
        }
        let der = decode(body).filter(|der| public_key(der).is_some()).ok_or(INVALID_CERTIFICATE)?;
        found.push(der);
    }
    match found.is_empty() {
        true => Err("contains no PEM certificate (-----BEGIN CERTIFICATE-----)"),
        false => Ok(found),
    }
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
    let (to_be_signed, _) = split_tag(SEQUENCE, content(SEQUENCE, certificate)?)?;
    let mut rest = to_be_signed.content;
    if let Some((_, after)) = split_tag(CONTEXT_0, rest) {
        rest = after;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        // Serial number, signature algorithm, issuer, validity, subject.
        rest = split_tag(tag, rest)?.1;
    }
    let (key, _) = split_tag(SEQUENCE, rest)?;
    let (_, bits) = split(key.content)?;
    split_tag(BIT_STRING, bits)?;
    Some(key.whole)
}
