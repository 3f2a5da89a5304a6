//! `template`: what a template makes of the fields. The language is in `crate::template`; here is where a template comes from.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::credential::{Credential, FieldName, Keys, ServicePort, TemplateSource};
use crate::object::{Data, ObjectData, ObjectRef};
use crate::render::error::KEY_SHOWN;
use crate::render::error::{Error, Errors, LISTED_KEYS, Problem};
use crate::render::fields::{Fields, Sources};
use crate::secret::SecretBytes;
use crate::template::{Template, TemplateError};
use crate::text::one_line;

/// Checks the templates that were read from ConfigMaps, as far as that can be done without the other sources. A name that is no
/// field can be told where `.keys` lists them.
///
/// # Errors
/// Everything that is wrong with them.
pub(crate) fn check(credentials: &[Credential], sources: &Sources) -> Result<(), Errors> {
    let mut errors = Vec::new();
    for credential in credentials.iter().filter(|credential| credential.template_object().is_some()) {
        let problems = match (of(credential, sources), &credential.keys) {
            (Err(problem), _) => vec![problem],
            (Ok(Some(template)), Keys::Listed(keys)) => {
                let fields = keys.iter().map(|(field, _)| field);
                let fields = fields.chain(credential.literals.iter().map(|(field, _)| field));
                let of_service =
                    credential.service.iter().flat_map(|_| ServicePort::own_fields(&credential.keys));
                let missing = template
                    .unknown_names(&fields.map(FieldName::as_str).chain(of_service).collect::<BTreeSet<_>>());
                missing.into_iter().map(|cause| wrong(credential, cause)).collect()
            }
            (Ok(_), _) => Vec::new(),
        };
        errors.extend(problems.into_iter().map(|problem| Error::new(&credential.name, problem)));
    }
    if errors.is_empty() { Ok(()) } else { Err(Errors(errors)) }
}

/// Writes the file; none if the credential is optional and its template is missing.
pub(crate) fn render(
    credential: &Credential,
    sources: &Sources,
    fields: &Fields<'_>,
    are_stand_ins: bool,
) -> Result<Option<SecretBytes>, Problem> {
    let Some(mut template) = of(credential, sources)? else { return Ok(None) };
    if are_stand_ins {
        template = Cow::Owned(template.into_owned().for_placeholders());
    }
    let fields = fields.iter().map(|(field, value)| (field.as_str(), *value)).collect::<BTreeMap<_, _>>();
    template.render(&fields).map(Some).map_err(|cause| wrong(credential, cause))
}

/// The template of a credential; none if it has none, or is optional and the template is missing.
pub(crate) fn of<'a>(
    credential: &'a Credential,
    sources: &Sources,
) -> Result<Option<Cow<'a, Template>>, Problem> {
    let (object, key, delimiters) = match &credential.template {
        None => return Ok(None),
        Some(TemplateSource::Text(template)) => return Ok(Some(Cow::Borrowed(template))),
        Some(TemplateSource::ConfigMap { object, key, delimiters }) => (object, key, delimiters),
    };
    // Fetching has failed already where this is not optional.
    let Some(Some(ObjectData::Keys(data))) = sources.get(object) else { return Ok(None) };
    match data.get(key.as_str()) {
        None if credential.optional => Ok(None),
        None => Err(no_key(object, key, data)),
        Some(text) => {
            let text = text
                .expose_text()
                .ok_or_else(|| Problem::BinaryTemplate { object: object.clone(), key: key.clone() })?;
            let parsed = Template::parse(text, delimiters);
            parsed.map(|template| Some(Cow::Owned(template))).map_err(|cause| wrong(credential, cause))
        }
    }
}

fn no_key(object: &ObjectRef, key: &FieldName, data: &Data) -> Problem {
    Problem::NoKey {
        sources: vec![object.clone()],
        key: key.clone(),
        present: data.keys().take(LISTED_KEYS).map(|key| one_line(key, KEY_SHOWN)).collect(),
        more: data.len().saturating_sub(LISTED_KEYS),
    }
}

fn wrong(credential: &Credential, cause: TemplateError) -> Problem {
    let from = match &credential.template {
        Some(TemplateSource::ConfigMap { object, key, .. }) => Some((object.clone(), key.clone())),
        Some(TemplateSource::Text(_)) | None => None,
    };
    Problem::Template { from, cause }
}
