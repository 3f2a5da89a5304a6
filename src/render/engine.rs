//! Whether anything but a source can name the database engine of a connection.

use crate::credential::{ConnectionStringFormat, Credential, Output};
use crate::formats::parts::{ENGINE, URI};

/// Whether the credential needs an engine, and neither `.engine` nor a field that the annotations name can have it. A source may still
/// consist of a URL.
pub(crate) fn lacks_engine(credential: &Credential) -> bool {
    use ConnectionStringFormat::{Adonet, Jdbc, Uri};
    let needs_one = matches!(
        &credential.output,
        Output::ConnectionString { format: Uri(None) | Jdbc | Adonet, engine: None, .. }
    );
    let has_one = |field: &str| ENGINE.contains(field) || URI.contains(field);
    let is_url = |key: &str| ["uri", "url", "dsn", "connection"].iter().any(|word| key.contains(word));
    needs_one
        && !credential.named_fields().any(|field| has_one(field.as_str()))
        && !credential
            .key_mapping
            .entries()
            .iter()
            .any(|entry| is_url(&entry.key.as_str().to_ascii_lowercase()))
}
