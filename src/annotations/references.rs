//! References of templates to fields of other credentials, such as `credentials.db.password`. The names of all credentials are
//! known only after every annotation is grouped.

use std::collections::BTreeSet;

use crate::annotations::Error;
use crate::credential::{Credential, CredentialName, TemplateSource};

/// Reports templates that use fields of a credential that does not exist.
pub(super) fn check<'a>(
    prefix: &str,
    names: impl Iterator<Item = &'a CredentialName>,
    credentials: &[Credential],
    errors: &mut Vec<Error>,
) {
    let mut known = BTreeSet::new();
    for name in names {
        known.insert(name.as_str());
    }
    for Credential { name, output, .. } in credentials {
        if let Some(TemplateSource::Text(template)) = output.template() {
            let annotation = format!("{prefix}/{name}.template");
            let unknown = template.unknown_credentials(&known).into_iter();
            errors.extend(unknown.map(|error| Error::new(&annotation, error.into())));
        }
    }
}
