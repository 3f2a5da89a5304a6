//! References of templates to fields of other credentials, such as `credentials.db.password`. The names of all credentials are
//! known only after every annotation is grouped.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::annotations::{Error, Problem};
use crate::credential::{Credential, CredentialName, Output, TemplateSource};

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
    for Credential { name, output, .. } in credentials {
        if let Some(TemplateSource::Text(template)) = output.template() {
            let annotation = format!("{prefix}/{name}.template");
            let unknown = template.unknown_credentials(&known).into_iter();
            errors.extend(unknown.map(|error| Error::new(&annotation, error.into())));
            if others(name, output).len() > OTHERS_LIMIT {
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

/// The names of the other credentials that a template uses.
fn others<'a>(name: &CredentialName, output: &'a Output) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    if let Some(TemplateSource::Text(template)) = output.template() {
        let references = template.references().map(|(credential, ..)| credential);
        names.extend(references.filter(|other| *other != name.as_str()));
    }
    names
}

/// Gives each credential those whose fields its template uses. A template may also refer to its own credential by name.
pub(super) fn resolve(credentials: &mut [Credential]) {
    let mut used = BTreeSet::new();
    for Credential { name, output, .. } in &*credentials {
        used.extend(others(name, output));
    }
    // Many templates may use one credential, which has a large template itself.
    let shared = credentials.iter().filter(|credential| used.contains(credential.name.as_str()));
    let shared: Vec<_> = shared.cloned().map(Arc::new).collect();
    for credential in credentials {
        let names = others(&credential.name, &credential.output);
        let used = shared.iter().filter(|other| names.contains(other.name.as_str()));
        credential.others = used.cloned().collect();
    }
}
