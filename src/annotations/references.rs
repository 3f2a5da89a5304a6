//! References of templates and headers to fields of other credentials, such as `credentials.db.password`. The names of all credentials are
//! known only after every annotation is grouped.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::annotations::{Error, Problem};
use crate::credential::{Credential, CredentialName, TemplateSource};

/// The most other credentials that one template may use.
const OTHERS_LIMIT: usize = 8;

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
    for credential in credentials {
        let others = others(credential).len();
        for (key, template) in credential.templates() {
            let annotation = format!("{prefix}/{}.{key}", credential.name);
            let unknown = template.unknown_credentials(&known).into_iter();
            errors.extend(unknown.map(|error| Error::new(&annotation, error.into())));
            if others > OTHERS_LIMIT {
                let problem = Problem::TooMany { what: "other credentials", limit: OTHERS_LIMIT };
                errors.push(Error::new(&annotation, problem));
            }
        }
    }
}

/// Whether a template uses other credentials than its own.
pub(super) fn uses_others(name: &CredentialName, template: &TemplateSource) -> bool {
    match template {
        TemplateSource::Text(template) => template.references().any(|(other, ..)| other != name.as_str()),
        TemplateSource::ConfigMap { .. } => false,
    }
}

/// The names of the other credentials that the template and the header use.
fn others(credential: &Credential) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (_, template) in credential.templates() {
        let references = template.references().map(|(credential, ..)| credential);
        names.extend(references.filter(|other| *other != credential.name.as_str()));
    }
    names
}

/// Gives each credential those whose fields its template or header uses. A template may also refer to its own credential by name.
pub(super) fn resolve(credentials: &mut [Credential]) {
    let mut used = BTreeSet::new();
    for credential in &*credentials {
        used.extend(others(credential));
    }
    // Many templates may use one credential, which has a large template itself.
    let shared = credentials.iter().filter(|credential| used.contains(credential.name.as_str()));
    let shared: Vec<_> = shared.cloned().map(Arc::new).collect();
    for credential in credentials {
        let names = others(credential);
        let used = shared.iter().filter(|other| names.contains(other.name.as_str()));
        credential.others = used.cloned().collect::<Vec<_>>();
    }
}
