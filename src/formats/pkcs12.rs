//! `pkcs12`: a directory with a key store and a trust store for Java and .NET, and their password.
//!
//! The password is a file of the directory because a rotation replaces the directory as a whole: an application never finds a
//! store with the password of another. The names of the stores are those of cert-manager's Secrets.

mod der;
mod pem;
mod store;

pub(crate) use pem::not_after;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::credential::{Credential, FieldName};
use crate::formats::hint::Hint;
use crate::formats::parts::{FieldAliases, FieldText, find_field_of, missing_field_with};
use crate::formats::pkcs12::der::Der;
use crate::formats::{Fields, FormatError};
use crate::secret::SecretBytes;

/// The keys of Secrets of type `kubernetes.io/tls`, to which cert-manager, CloudNativePG and PGO add `ca.crt`, and those of
/// Strimzi's users.
const CERTIFICATE: FieldAliases = FieldAliases(&["tls.crt", "user.crt"]);
const KEY: FieldAliases = FieldAliases(&["tls.key", "user.key"]);
const AUTHORITIES: FieldAliases = FieldAliases(&["ca.crt"]);
const PASSWORD: FieldAliases = FieldAliases(&["password", "user.password"]);

/// The most files of one credential.
pub(crate) const FILES: usize = 3;
/// The longest password that openssl reads from a file, in bytes.
const PASSWORD_LIMIT: usize = 1023;

/// Returns the names and contents of the files: a key store if there is a key, a trust store if there are authorities.
pub(crate) fn write(
    credential: &Credential,
    fields: &Fields<'_>,
) -> Result<Vec<(FieldName, SecretBytes)>, FormatError> {
    let find = |aliases| find_field_of(credential, fields, aliases);
    let missing = |aliases, hint| missing_field_with(fields, aliases, hint);
    let (certificate, key, authorities) = (find(CERTIFICATE)?, find(KEY)?, find(AUTHORITIES)?);
    let pair = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) if authorities.is_some() => None,
        (Some(_), None) => return Err(missing(KEY, Hint::KeyStore)),
        (None, _) => return Err(missing(CERTIFICATE, Hint::KeyStore)),
    };
    let password = find(PASSWORD)?.ok_or_else(|| missing(PASSWORD, Hint::StorePassword))?;
    check_password(password)?;
    let password = password.text.as_bytes();

    let mut files = Vec::with_capacity(FILES);
    let mut add = |name, content| files.extend(FieldName::parse(name).map(|name| (name, content)));
    if let Some((certificate, key)) = pair {
        let chain = read(certificate, pem::certificates)?;
        let private = read(key, pem::private_key)?;
        if !is_pair(&private, &chain) {
            let problem = "contains a private key that does not match the certificate: the certificate of the key must be the first one";
            return Err(unusable(key, problem));
        }
        let store = store::key_store(&credential.name.to_string(), &private, &chain, password);
        add("keystore.p12", store.into());
    }
    if let Some(authorities) = authorities {
        let store = store::trust_store(&read(authorities, pem::certificates)?, password);
        add("truststore.p12", store.into());
    }
    add("password", SecretBytes::new(password.to_vec()));
    Ok(files)
}

fn read<T>(
    field: FieldText<'_>,
    read: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<T, FormatError> {
    read(field.text).map_err(|problem| unusable(field, problem))
}

fn unusable(field: FieldText<'_>, problem: &'static str) -> FormatError {
    FormatError::Unusable { field: field.field.clone(), problem }
}

/// JDKs before 25 open such a store only with a password of printable ASCII characters (JDK-8348732).
fn check_password(password: FieldText<'_>) -> Result<(), FormatError> {
    let problem = match password.text {
        text if text.ends_with(['\n', '\r']) => {
            "ends with a line break, with which Java opens no key store: add .trim: \"true\", which removes one, or store the password without it"
        }
        text if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            "contains characters other than printable ASCII, with which Java opens no key store: choose another password"
        }
        text if text.len() > PASSWORD_LIMIT => {
            "is longer than 1023 bytes, more than tools read: choose a shorter password"
        }
        _ => return Ok(()),
    };
    Err(unusable(password, problem))
}

/// Whether the certificate is the key's. It counts as such if rustls does not know the type of the key.
fn is_pair(key: &[u8], chain: &[Der]) -> bool {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let Ok(key) = any_supported_type(&key) else { return true };
    let theirs = chain.first().and_then(|der| pem::public_key(der));
    key.public_key().is_none_or(|ours| theirs == Some(&*ours))
}
