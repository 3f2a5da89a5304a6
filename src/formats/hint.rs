//! What a message about a missing part of a connection adds if a field seems to contain the part.

use std::fmt;

use crate::credential::FieldName;
use crate::formats::Fields;
use crate::formats::parts::{URI, engine_of_uri, find_field};

/// Where the missing part probably is.
#[derive(Debug)]
pub(crate) enum Hint {
    Nothing,
    /// A URI whose scheme podcreds does not know, so it was not read.
    UnknownScheme(FieldName),
    /// A URI in a field whose name is not recognized.
    OtherUri(FieldName),
    Json(FieldName),
    /// Format `pkcs12` without a certificate or key.
    KeyStore,
    /// Format `pkcs12` without a password.
    StorePassword,
}

impl Hint {
    pub(crate) fn find(fields: &Fields<'_>) -> Self {
        if matches!(find_field(fields, URI), Ok(Some(uri)) if engine_of_uri(uri.text).is_some()) {
            return Self::Nothing;
        }
        for (field, value) in fields {
            let text = value.expose_text().unwrap_or_default().trim();
            if URI.contains(field.as_str()) && text.contains("://") {
                return Self::UnknownScheme(field.clone());
            }
            if engine_of_uri(text).is_some() {
                return Self::OtherUri(field.clone());
            }
            if text.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"')) {
                return Self::Json(field.clone());
            }
        }
        Self::Nothing
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::UnknownScheme(field) => write!(
                f,
                "; podcreds ignores the URI in field {field}, because its scheme is not that of a supported engine, such as postgresql"
            ),
            Self::OtherUri(field) => {
                write!(f, "; field {field} looks like a URI: to use it, set .keys: uri={field}")
            }
            Self::Json(field) => write!(
                f,
                "; field {field} contains JSON: select its values with .keys, as in password={field}#/password"
            ),
            Self::KeyStore => f.write_str(
                "; a key store needs a certificate and its key: for a trust store alone, list ca.crt in .keys, without tls.crt and tls.key",
            ),
            Self::StorePassword => f.write_str(
                "; Java opens no key store without a password: if it need not be secret, add .set: password=changeit",
            ),
        }
    }
}
