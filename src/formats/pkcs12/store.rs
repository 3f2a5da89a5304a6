//! Writes a key store or trust store: PKCS#12 (RFC 7292) with PBES2 (RFC 8018), that is PBKDF2 with HMAC-SHA-256 and
//! AES-256-CBC, and a MAC with HMAC-SHA-256. These are the defaults of OpenSSL 3 and of JDKs since 8u301 and 11.0.12.
//!
//! The same content and password give the same bytes: what other tools draw at random is derived from both (see
//! docs/decisions/pkcs12.md).

use std::num::NonZeroU32;

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use crate::formats::pkcs12::der::Part::{self, Bytes, Element};
use crate::formats::pkcs12::der::{
    BMP_STRING, CONTEXT_0, Der, IMPLICIT_0, INTEGER, OCTET_STRING, SEQUENCE, SET, encode, sequence,
};

/// OpenSSL's default, for PBKDF2 and for the MAC.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(2048).unwrap();
/// The same as an encoded INTEGER.
const ENCODED_ITERATIONS: Part<'static> = Bytes(&[INTEGER, 2, 8, 0]);
const VERSION_0: Part<'static> = Bytes(&[INTEGER, 1, 0]);
const VERSION_3: Part<'static> = Bytes(&[INTEGER, 1, 3]);

/// The size of a block of AES, and of each salt.
const BLOCK: usize = 16;
/// The sizes of the digest and of the block of SHA-256.
const DIGEST: usize = 32;
const DIGEST_BLOCK: usize = 64;

// Encoded object identifiers.
const DATA: Part<'static> = Bytes(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01");
const ENCRYPTED_DATA: Part<'static> = Bytes(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06");
const PBES2: Part<'static> = Bytes(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d");
const PBKDF2: Part<'static> = Bytes(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c");
const AES_256_CBC: Part<'static> = Bytes(b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a");
const KEY_BAG: Part<'static> = Bytes(b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02");
const CERTIFICATE_BAG: Part<'static> = Bytes(b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03");
const X509_CERTIFICATE: Part<'static> = Bytes(b"\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01");
const FRIENDLY_NAME: Part<'static> = Bytes(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x14");
const LOCAL_KEY_ID: Part<'static> = Bytes(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x15");
/// Oracle's attribute that makes a certificate a trusted one: 2.16.840.1.113894.746875.1.1
const TRUSTED_KEY_USAGE: Part<'static> = Bytes(b"\x06\x0c\x60\x86\x48\x01\x86\xf9\x66\xad\xca\x7b\x01\x01");
const ANY_EXTENDED_KEY_USAGE: Part<'static> = Bytes(b"\x06\x04\x55\x1d\x25\x00");
/// Encoded algorithm identifiers.
const HMAC_SHA256: Part<'static> = Bytes(b"\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x09\x05\x00");
const SHA256: Part<'static> = Bytes(b"\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00");

/// Any value: it only ties the certificate to the one key of the store.
const KEY_ID: Part<'static> = Bytes(&[OCTET_STRING, 1, 1]);

/// A store with one entry `alias`: a PKCS#8 key, its certificate and the intermediates. All are DER, `alias` and `password` are
/// ASCII.
pub(super) fn key_store(alias: &str, key: &[u8], chain: &[Der], password: &[u8]) -> Der {
    let attributes = attributes(alias, &attribute(LOCAL_KEY_ID, KEY_ID));
    let bags = chain.iter().enumerate();
    let bags = bags.map(|(index, der)| certificate_bag(der, if index == 0 { &attributes } else { &[] }));
    let certificates = safe_contents(bags);
    let mut derived = Derived::new(password, &[&certificates, key]);
    let certificates = encrypted_data(&certificates, &mut derived);
    let (algorithm, encrypted) = derived.encrypt(key);
    let key = Element(SEQUENCE, &[Bytes(&algorithm), Element(OCTET_STRING, &[Bytes(&encrypted)])]);
    let bag = sequence(&[Element(SEQUENCE, &[KEY_BAG, Element(CONTEXT_0, &[key]), Bytes(&attributes)])]);
    pfx(&[Bytes(&certificates), Bytes(&data(&bag))], password, &mut derived)
}

/// A store with an entry for each certificate, of which Java trusts all.
pub(super) fn trust_store(authorities: &[Der], password: &[u8]) -> Der {
    let usage = attribute(TRUSTED_KEY_USAGE, ANY_EXTENDED_KEY_USAGE);
    let bags = authorities.iter().enumerate().map(|(index, der)| match index {
        0 => certificate_bag(der, &attributes("ca", &usage)),
        _ => certificate_bag(der, &attributes(&format!("ca-{}", index + 1), &usage)),
    });
    let certificates = safe_contents(bags);
    let mut derived = Derived::new(password, &[&certificates]);
    let certificates = encrypted_data(&certificates, &mut derived);
    pfx(&[Bytes(&certificates)], password, &mut derived)
}

fn safe_contents(bags: impl Iterator<Item = Der>) -> Der {
    let bags: Vec<Der> = bags.collect();
    let mut parts = Vec::with_capacity(bags.len());
    parts.extend(bags.iter().map(|bag| Bytes(bag)));
    sequence(&parts)
}

fn certificate_bag(certificate: &[u8], attributes: &[u8]) -> Der {
    let value = Element(CONTEXT_0, &[Element(OCTET_STRING, &[Bytes(certificate)])]);
    let bag = Element(CONTEXT_0, &[Element(SEQUENCE, &[X509_CERTIFICATE, value])]);
    sequence(&[CERTIFICATE_BAG, bag, Bytes(attributes)])
}

fn attribute(name: Part<'_>, value: Part<'_>) -> Der {
    sequence(&[name, Element(SET, &[value])])
}

/// The friendly name, which Java calls alias, and another attribute. DER sorts the elements of a set.
fn attributes(alias: &str, other: &[u8]) -> Der {
    let name = attribute(FRIENDLY_NAME, Element(BMP_STRING, &[Bytes(&utf16(alias))]));
    let name = name.as_slice();
    encode(Element(SET, &[Bytes(name.min(other)), Bytes(name.max(other))]))
}

/// ASCII in UTF-16 (big endian).
fn utf16(ascii: &str) -> Vec<u8> {
    ascii.bytes().flat_map(|byte| [0, byte]).collect()
}

/// A `ContentInfo` of type `data`.
fn data(content: &[u8]) -> Der {
    sequence(&[DATA, Element(CONTEXT_0, &[Element(OCTET_STRING, &[Bytes(content)])])])
}

/// A `ContentInfo` of type `encryptedData`.
fn encrypted_data(content: &[u8], derived: &mut Derived) -> Der {
    let (algorithm, encrypted) = derived.encrypt(content);
    let content = [DATA, Bytes(&algorithm), Element(IMPLICIT_0, &[Bytes(&encrypted)])];
    let content = [VERSION_0, Element(SEQUENCE, &content)];
    sequence(&[ENCRYPTED_DATA, Element(CONTEXT_0, &[Element(SEQUENCE, &content)])])
}

/// The whole file. The MAC covers the contents.
fn pfx(contents: &[Part<'_>], password: &[u8], derived: &mut Derived) -> Der {
    let contents = sequence(contents);
    let salt = derived.next();
    let key = mac_key(password, &salt);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*key), &contents);
    let mac = [SHA256, Element(OCTET_STRING, &[Bytes(mac.as_ref())])];
    let mac = [Element(SEQUENCE, &mac), Element(OCTET_STRING, &[Bytes(&salt)]), ENCODED_ITERATIONS];
    let contents = [DATA, Element(CONTEXT_0, &[Element(OCTET_STRING, &[Bytes(&contents)])])];
    sequence(&[VERSION_3, Element(SEQUENCE, &contents), Element(SEQUENCE, &mac)])
}

/// What other tools draw at random. It comes from the password and all content, through as many iterations as the key: the
/// salts in the file must not be a faster way to try passwords.
struct Derived {
    random: hmac::Key,
    count: u8,
    salt: [u8; BLOCK],
    /// The key of everything that is encrypted in the store, each with another initialization vector.
    key: Zeroizing<[u8; DIGEST]>,
}

impl Derived {
    fn new(password: &[u8], content: &[&[u8]]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"podcreds pkcs12");
        content.iter().for_each(|part| hash.update(part));
        let seed = derive_key(password, hash.finish().as_ref());
        let random = hmac::Key::new(hmac::HMAC_SHA256, &*seed);
        let mut derived = Self { random, count: 0, salt: [0; BLOCK], key: seed };
        derived.salt = derived.next();
        derived.key = derive_key(password, &derived.salt);
        derived
    }

    fn next(&mut self) -> [u8; BLOCK] {
        self.count += 1;
        let mut bytes = [0; BLOCK];
        bytes.copy_from_slice(&hmac::sign(&self.random, &[self.count]).as_ref()[..BLOCK]);
        bytes
    }

    /// Encrypts with PBES2. Returns the algorithm identifier with its parameters, and the ciphertext.
    fn encrypt(&mut self, content: &[u8]) -> (Der, Der) {
        let iv = self.next();
        let derivation = [Element(OCTET_STRING, &[Bytes(&self.salt)]), ENCODED_ITERATIONS, HMAC_SHA256];
        let derivation = [PBKDF2, Element(SEQUENCE, &derivation)];
        let cipher = [AES_256_CBC, Element(OCTET_STRING, &[Bytes(&iv)])];
        let parameters = [Element(SEQUENCE, &derivation), Element(SEQUENCE, &cipher)];
        let algorithm = sequence(&[PBES2, Element(SEQUENCE, &parameters)]);
        (algorithm, encrypt_cbc(&self.key, &iv, content))
    }
}

fn derive_key(password: &[u8], salt: &[u8]) -> Zeroizing<[u8; DIGEST]> {
    let mut key = Zeroizing::new([0; DIGEST]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, password, &mut *key);
    key
}

/// AES-256-CBC with padding to whole blocks.
fn encrypt_cbc(key: &[u8; DIGEST], iv: &[u8; BLOCK], content: &[u8]) -> Der {
    let cipher = Aes256::new(&Array::from(*key));
    let padding = BLOCK - content.len() % BLOCK;
    let mut out = Zeroizing::new(Vec::with_capacity(content.len() + padding));
    out.extend_from_slice(content);
    out.resize(content.len() + padding, padding as u8);
    let mut block = Array(*iv);
    for chunk in out.chunks_exact_mut(BLOCK) {
        block.iter_mut().zip(&*chunk).for_each(|(byte, plain)| *byte ^= plain);
        cipher.encrypt_block(&mut block);
        chunk.copy_from_slice(&block);
    }
    out
}

/// The key of the MAC (RFC 7292, appendix B), whose size is that of one digest.
fn mac_key(password: &[u8], salt: &[u8]) -> Zeroizing<[u8; DIGEST]> {
    /// The purpose of the key, a whole block.
    const MAC: [u8; DIGEST_BLOCK] = [3; DIGEST_BLOCK];
    // In UTF-16 with a terminator, and repeated up to whole blocks, as the salt is.
    let length = (2 * password.len() + 2).next_multiple_of(DIGEST_BLOCK);
    let password = password.iter().flat_map(|byte| [0, *byte]).chain([0, 0]).cycle().take(length);
    let mut text = Zeroizing::new(Vec::with_capacity(2 * DIGEST_BLOCK + length));
    text.extend_from_slice(&MAC);
    text.extend(salt.iter().cycle().take(DIGEST_BLOCK));
    text.extend(password);
    let mut key = Zeroizing::new([0; DIGEST]);
    key.copy_from_slice(digest::digest(&digest::SHA256, &text).as_ref());
    for _ in 1..ITERATIONS.get() {
        let next = digest::digest(&digest::SHA256, &*key);
        key.copy_from_slice(next.as_ref());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::pkcs12::der::{content, split};

    /// NIST SP 800-38A, F.2.5, without the padding.
    #[test]
    fn cbc_encrypts_the_vectors_of_nist() {
        let hex = |text: &str| -> Vec<u8> {
            let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
            digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        };
        let key = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let plain = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let expected = hex("f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d");
        let iv = std::array::from_fn(|index| index as u8);
        let encrypted = encrypt_cbc(&key.try_into().unwrap(), &iv, &plain);
        assert_eq!(encrypted.len(), 48, "a whole block of padding");
        assert_eq!(encrypted[..32], expected);
    }

    #[test]
    fn the_encoded_number_of_iterations_is_that_of_the_keys() {
        let bytes = ITERATIONS.get().to_be_bytes();
        assert_eq!(*encode(ENCODED_ITERATIONS), *encode(Element(INTEGER, &[Bytes(&bytes[2..])])));
    }

    #[test]
    fn attributes_are_sorted_as_der_requires() {
        for (alias, other) in
            [("a", KEY_ID), ("ca", ANY_EXTENDED_KEY_USAGE), ("ca-10", ANY_EXTENDED_KEY_USAGE)]
        {
            let set = attributes(alias, &attribute(TRUSTED_KEY_USAGE, other));
            let (first, second) = split(content(SET, &set).unwrap()).unwrap();
            assert!(first.whole < second, "{alias}");
        }
    }
}
