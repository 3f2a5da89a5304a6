//! The annotations of a pod template in a manifest, with the positions of what is wrong with them.

use std::collections::BTreeMap;

use crate::annotations::{Error, ReferenceScope, parse, shown_annotation};
use crate::credential::Credential;
use crate::manifest::{Place, Template};

/// What is wrong with an annotation of a manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("annotation {key} is {found}, and the API server accepts only text: put it in quotes")]
    Type { key: String, found: &'static str },
    #[error("invalid annotation: {0}")]
    Invalid(Error),
}

/// All annotations as text, and the credentials of those with the prefix.
pub(crate) type ParsedTemplate = (BTreeMap<String, String>, Vec<Credential>);

/// Parses the annotations with this prefix as `init` does those of a pod.
///
/// # Errors
/// Every annotation that `init` or the API server would reject, with its position.
pub(crate) fn parse_template<'a>(
    template: &Template<'a>,
    prefix: &str,
    scope: &ReferenceScope,
) -> Result<ParsedTemplate, Vec<(Place<'a>, TemplateError)>> {
    let (annotations, wrong) = template.annotations();
    let mut problems = Vec::new();
    for wrong in wrong.iter().filter(|wrong| has_prefix(wrong.key, prefix)) {
        let cause = TemplateError::Type { key: shown_annotation(wrong.key), found: wrong.found };
        problems.push((template.annotation_place(wrong.key), cause));
    }
    match parse(&annotations, prefix, scope) {
        Ok(credentials) if problems.is_empty() => return Ok((annotations, credentials)),
        Ok(_) => {}
        Err(errors) => problems.extend(
            errors
                .0
                .into_iter()
                .map(|error| (template.annotation_place(error.annotation()), TemplateError::Invalid(error))),
        ),
    }
    Err(problems)
}

/// Whether the key of an annotation has a prefix.
pub(super) fn has_prefix(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
}
