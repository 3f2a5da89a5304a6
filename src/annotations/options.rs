//! Checks the names of the options of connections, which is possible once the format and all fields are known.

use crate::annotations::error::{Error, Problem};
use crate::annotations::keys::AnnotationKey;
use crate::credential::{Credential, FieldName};
use crate::formats::option_names::{OptionNameError, check_entry, check_literal};

/// Reports fields that would become options of a connection although they are probably meant as a part of it.
pub(super) fn check(prefix: &str, credentials: &[Credential], errors: &mut Vec<Error>) {
    for credential in credentials.iter().filter(|credential| credential.is_connection()) {
        let mut report = |key: AnnotationKey, checked: Result<(), OptionNameError>| {
            let annotation = format!("{prefix}/{}.{}", credential.name, key.as_str());
            errors.extend(checked.err().map(|error| Error::new(&annotation, Problem::OptionName(error))));
        };
        let is_option = |field: &FieldName| !credential.is_for_header(field);
        for entry in credential.key_mapping.entries().iter().filter(|entry| is_option(&entry.field)) {
            report(AnnotationKey::Keys, check_entry(credential, entry));
        }
        for (field, value) in credential.inline_fields.iter().filter(|(field, _)| is_option(field)) {
            report(AnnotationKey::Set, check_literal(credential, (field, value)));
        }
    }
}
