//! `template`: loads the template of a credential, from the annotation or from a ConfigMap, and renders it. The language
//! itself is in `crate::template`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::credential::{Credential, FieldName, KeyMapping, TemplateSource};
use crate::formats::parts::PARTS;
use crate::formats::{Fields, NameList};
use crate::object::ObjectData;
use crate::render::entries::is_public;
use crate::render::error::{Error, Errors, Problem};
use crate::render::fields::{self, DERIVED_LIMIT, FIELD_LIMIT, Selection, Sources};
use crate::render::missing_key::MissingKey;
use crate::render::redaction::{Redaction, shown};
use crate::render::url::{Urls, found_sources};
use crate::secret::SecretBytes;
use crate::template::{Template, TemplateError, WORK_LIMIT};

/// Checks the templates from ConfigMaps, as far as that is possible before the other sources are fetched. Unknown fields are
/// found if `.keys` lists the known ones.
///
/// # Errors
/// Every problem of every template.
pub(crate) fn check(credentials: &[Credential], sources: &Sources) -> Result<(), Errors> {
    let mut errors = Vec::new();
    let work = work_share(credentials);
    for credential in credentials.iter().filter(|credential| credential.template_object().is_some()) {
        let problems = match (load(credential, sources, work), &credential.key_mapping) {
            (Err(problem), _) => vec![problem],
            (Ok(Some(template)), KeyMapping::Listed(_)) => {
                let of_service: Vec<_> = credential.unlisted_service_fields().collect();
                let fields = credential.named_fields().chain(&of_service).map(FieldName::as_str);
                let missing = template.unknown_names(&fields.collect::<BTreeSet<_>>());
                missing.into_iter().map(|cause| problem(credential, cause)).collect()
            }
            (Ok(_), _) => Vec::new(),
        };
        errors.extend(problems.into_iter().map(|problem| Error::new(&credential.name, problem)));
    }
    if errors.is_empty() { Ok(()) } else { Err(Errors(errors)) }
}

/// The maximum number of bytes that all templates of a pod together write, filter and compare.
pub(crate) const TOTAL_WORK_LIMIT: usize = 4 * WORK_LIMIT;

/// How many bytes of work each byte of a template's text counts as, because parsing is slow, and ConfigMaps have room for many templates.
const WORK_PER_TEXT: usize = 32;

/// How many bytes each template of a pod may write, filter and compare, and the JSON pointers of each credential read: an equal
/// share, so that a costly credential takes nothing from the others, whatever their order.
pub(crate) fn work_share<'a>(credentials: impl IntoIterator<Item = &'a Credential>) -> usize {
    let has_pointer = |credential: &Credential| {
        credential.key_mapping.entries().iter().any(|entry| entry.pointer.is_some())
    };
    let works = |credential: &&Credential| {
        credential.output.template().is_some()
            || credential.on_change_header.is_some()
            || has_pointer(credential)
    };
    let working = credentials.into_iter().filter(works).count();
    (TOTAL_WORK_LIMIT / working.max(1)).min(WORK_LIMIT)
}

/// Renders the file. With a redaction, it is applied to `fields` already. Returns `None` if the ConfigMap of an optional
/// credential is missing, or the source of a credential that the template needs.
pub(crate) fn render(
    credential: &Credential,
    sources: &Sources,
    fields: &Fields<'_>,
    redaction: Option<Redaction<'_>>,
    work_limit: usize,
) -> Result<Option<SecretBytes>, Vec<Problem>> {
    let Some(template) = load(credential, sources, work_limit).map_err(|problem| vec![problem])? else {
        return Ok(None);
    };
    let problem = |cause| problem(credential, cause);
    fill(credential, sources, fields, redaction, work_limit, template, &problem)
}

/// Renders a template of a credential. Returns `None` if the source of another credential is missing that the template needs.
pub(crate) fn fill(
    credential: &Credential,
    sources: &Sources,
    fields: &Fields<'_>,
    redaction: Option<Redaction<'_>>,
    work_limit: usize,
    mut template: Cow<'_, Template>,
    problem: &dyn Fn(TemplateError) -> Problem,
) -> Result<Option<SecretBytes>, Vec<Problem>> {
    let parts = url_parts(credential, sources, &template, fields)?;
    let mut fields = fields.clone();
    fields.extend(
        parts.iter().map(|(field, value, is_public)| (field.clone(), shown(redaction, value, *is_public))),
    );
    let mut known = BTreeSet::new();
    for field in fields.keys() {
        known.insert(field.as_str());
    }
    let unknown = template.unknown_names(&known);
    if !unknown.is_empty() {
        return Err(unknown.into_iter().map(problem).collect());
    }
    if redaction.is_some() {
        template = Cow::Owned(template.into_owned().for_placeholders());
    }
    let (mut selections, mut derived, mut count) = (Vec::new(), 0, 0);
    for other in &credential.others {
        let work = work_limit / credential.others.len();
        let selection = match fields::select(other, sources, work)? {
            Some(selection) => selection,
            None if credential.needs(other) => return Ok(None),
            // An optional credential without its source has no fields.
            None => continue,
        };
        derived += selection.derived;
        if derived > DERIVED_LIMIT {
            return Err(vec![Problem::LargeValues { limit: DERIVED_LIMIT }]);
        }
        count += selection.fields.len();
        if count > FIELD_LIMIT {
            return Err(vec![Problem::TooManyFields { limit: FIELD_LIMIT }]);
        }
        selections.push((&other.name, selection));
    }
    let mut others = BTreeMap::new();
    if template.references().next().is_some() {
        let own = fields.iter().map(|(field, value)| (format!("{}.{field}", credential.name), *value));
        others.extend(own);
    }
    for (name, Selection { fields, public, .. }) in &selections {
        others.extend(fields.iter().map(|(field, value)| {
            (format!("{name}.{field}"), shown(redaction, value, public.binary_search(field).is_ok()))
        }));
    }
    let others = others.iter().map(|(name, value)| (name.as_str(), *value)).collect::<BTreeMap<_, _>>();
    let fields = fields.iter().map(|(field, value)| (field.as_str(), *value)).collect::<BTreeMap<_, _>>();
    template.render_within(&fields, &others, work_limit).map(Some).map_err(|cause| vec![problem(cause)])
}

/// The parts of URLs that the template uses, beside the fields, and whether they do not come from a Secret. With `.keys`, a template uses only what is listed there.
fn url_parts(
    credential: &Credential,
    sources: &Sources,
    template: &Template,
    fields: &Fields<'_>,
) -> Result<Vec<(FieldName, SecretBytes, bool)>, Vec<Problem>> {
    let mut names = Vec::new();
    if credential.key_mapping == KeyMapping::All {
        for source in &credential.sources {
            let named = PARTS.iter().filter_map(|part| FieldName::parse(&source.field(part.name())).ok());
            names.extend(
                named.filter(|field| template.mentions(field.as_str()) && !fields.contains_key(field)),
            );
        }
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let found = found_sources(credential, sources);
    let mut urls = Urls::new(credential, &found);
    let (mut parts, mut problems) = (Vec::new(), Vec::new());
    let mut size = 0;
    for field in names {
        for part in urls.find_named(field.as_str()) {
            match part.value {
                Ok(value) => {
                    size += value.expose().len();
                    parts.push((field.clone(), value, is_public(part.source)));
                }
                Err(error) => problems.extend(error.map(Problem::Format)),
            }
        }
        if size > DERIVED_LIMIT {
            problems.push(Problem::LargeValues { limit: DERIVED_LIMIT });
            break;
        }
    }
    if problems.is_empty() { Ok(parts) } else { Err(problems) }
}

/// Returns the template of a credential. `None` means that the output has another format, or that the credential is optional
/// and the template is missing.
fn load<'a>(
    credential: &'a Credential,
    sources: &Sources,
    work_limit: usize,
) -> Result<Option<Cow<'a, Template>>, Problem> {
    let (object, key, delimiters) = match credential.output.template() {
        None => return Ok(None),
        Some(TemplateSource::Text(template)) => return Ok(Some(Cow::Borrowed(template))),
        Some(TemplateSource::ConfigMap { object, key, delimiters }) => (object, key, delimiters),
    };
    // If the ConfigMap is not optional, fetching it has failed already.
    let Some(Some(ObjectData::Keys(data))) = sources.get(object) else { return Ok(None) };
    match data.get(key.as_str()) {
        None => {
            let missing = MissingKey::of_template(object, key, NameList::new(data.keys()));
            Err(Problem::MissingKey(Box::new(missing)))
        }
        Some(text) => {
            let text = text
                .expose_text()
                .ok_or_else(|| Problem::BinaryTemplate { object: object.clone(), key: key.clone() })?;
            let parsed = match text.len() > work_limit / WORK_PER_TEXT {
                true => Err(TemplateError::too_long(work_limit / WORK_PER_TEXT)),
                false => Template::parse(text, delimiters).and_then(Template::without_references),
            };
            parsed.map(|template| Some(Cow::Owned(template))).map_err(|cause| problem(credential, cause))
        }
    }
}

fn problem(credential: &Credential, cause: TemplateError) -> Problem {
    let location = match credential.output.template() {
        Some(TemplateSource::ConfigMap { object, key, .. }) => Some((object.clone(), key.clone())),
        Some(TemplateSource::Text(_)) | None => None,
    };
    Problem::Template { location, cause }
}
