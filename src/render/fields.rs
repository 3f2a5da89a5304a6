//! Selects the fields of a credential from its sources.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::credential::{Credential, FieldName, KeyEntry, KeyMapping, Source};
use crate::object::{Kind, ObjectData, ObjectRef};
use crate::render::entries::{Found, entries, holders, is_public, service_entries};
use crate::render::error::Problem;
use crate::render::json::{self, JsonProblem, JsonWork};
use crate::render::missing_key::MissingKey;
use crate::render::notice::Notice;
use crate::render::overrides::{Target, find_target};
use crate::render::short_host::{self, ShortHost};
use crate::render::url::{self, FoundPart, Urls, of_connection};
use crate::secret::SecretBytes;
use crate::text::one_line;

/// The content of every fetched object; `None` means that an optional object is missing.
pub type Sources = BTreeMap<ObjectRef, Option<ObjectData>>;

/// The most bytes that the values of one credential take that are not those of a key as a whole: values inside JSON and URLs, and
/// values without the line break at their end.
pub(crate) const DERIVED_LIMIT: usize = 4 * 1024 * 1024;

/// The most fields of one credential, and of all credentials together that its template refers to: as many as an object may have keys.
pub(crate) const FIELD_LIMIT: usize = 10_000;

/// The fields of one credential. A value inside JSON, and one without its line break, is not that of a source as a whole.
pub(crate) type Selected<'a> = BTreeMap<FieldName, Cow<'a, SecretBytes>>;

/// The fields, and notices about optional ones that are missing.
pub(crate) struct Selection<'a> {
    pub(crate) fields: Selected<'a>,
    /// The fields whose values do not come from a Secret, sorted.
    pub(crate) public: Vec<FieldName>,
    /// Fields of `.override` that replace other names of a part, or a part of a URI, in a connection.
    pub(crate) overrides: Vec<(&'a FieldName, &'a SecretBytes)>,
    /// The URL from which a connection is read as if its key were `uri`, and whether it does not come from a Secret.
    pub(crate) url: Option<(&'a SecretBytes, bool)>,
    pub(crate) notices: Vec<Notice<'a>>,
    /// The size of the values that are not those of a key as a whole.
    pub(crate) derived: usize,
}

/// Selects the fields. Returns `None` if a source of an optional credential is missing. Values inside JSON may take `work`.
pub(crate) fn select<'a>(
    credential: &'a Credential,
    sources: &'a Sources,
    work: usize,
) -> Result<Option<Selection<'a>>, Vec<Problem>> {
    let keys = |source: &Source| Some(sources.get(&source.object)?.as_ref()?.keys()?.len());
    if credential.key_mapping == KeyMapping::All
        && credential.sources.iter().filter_map(keys).sum::<usize>() > FIELD_LIMIT
    {
        return Err(vec![Problem::TooManyFields { limit: FIELD_LIMIT }]);
    }
    let mut found = Vec::new();
    let mut selected = SelectedFields { work: JsonWork::new(work), ..SelectedFields::default() };
    for source in &credential.sources {
        let entries = match sources.get(&source.object) {
            Some(Some(ObjectData::Service(address))) => {
                let (mut provided, problem) = service_entries(source, address);
                if let Some(problem) = problem {
                    selected.problems.push(problem);
                    // Rendering fails anyway. A placeholder for the port prevents a second error about the missing port.
                    provided.insert("port", &address.host);
                }
                provided
            }
            Some(Some(data)) => entries(data),
            // If the object is not optional, fetching it has failed already.
            Some(None) | None => return Ok(None),
        };
        if source.object.kind == Kind::Secret
            && entries.is_empty()
            && credential.key_mapping == KeyMapping::All
        {
            selected.problems.push(Problem::NoKeys { object: source.object.clone() });
        }
        found.push((source, entries));
    }
    let mut urls = Urls::new(credential, &found);
    match &credential.key_mapping {
        KeyMapping::All => selected.add_all(credential, &found),
        KeyMapping::Listed(keys) => {
            selected.add_listed(credential, keys, &found, &mut urls);
            selected.add_service_fields(credential, &found);
        }
    }
    for (field, value) in &credential.inline_fields {
        selected.add(field.clone(), Origin::Annotation, Cow::Borrowed(value));
    }
    let url = credential.is_connection().then(|| of_connection(credential, &found)).flatten();
    for (field, value) in &credential.overrides {
        selected.replace(credential, (field, value), &mut urls, url.is_some());
    }
    selected.complete_hosts(credential, &found, &mut urls);
    selected.notices.extend(url::notices(credential, url, urls));
    selected.url = url.map(|(source, _, value)| (value, is_public(source)));
    if credential.trim {
        selected.trim();
    }
    selected.finish().map(Some)
}

/// Where a field comes from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// A key, which is named if it became a field in bulk.
    Key(&'a ObjectRef, Option<&'a str>),
    Annotation,
}

impl Origin<'_> {
    /// Whether the value does not come from a Secret.
    fn is_public(self) -> bool {
        match self {
            Self::Key(object, _) => object.kind != Kind::Secret,
            Self::Annotation => true,
        }
    }

    fn is_service(self) -> bool {
        matches!(self, Self::Key(object, _) if object.kind == Kind::Service)
    }

    /// The origin of a field, for a message. It names the key if that is not the field itself.
    fn of(self, field: &FieldName) -> String {
        match self {
            Self::Key(object, Some(key)) if key != field.as_str() => {
                format!("key {} of {object}", one_line(key, KEY_LENGTH))
            }
            Self::Key(object, _) => object.to_string(),
            Self::Annotation => "the annotation .set".to_owned(),
        }
    }
}

/// The key of a Secret in which the Vault Secrets Operator stores Vault's whole response: all values again, and metadata.
/// It becomes a field only if `.keys` names it. Vault's own data cannot have this key (`internal/helpers/secrets.go`).
const VAULT_ANSWER: &str = "_raw";

/// How many characters of a key a message shows: all of one that Kubernetes accepts.
pub(crate) const KEY_LENGTH: usize = 253;

/// The remedy for a field that a Service provides as well.
const CONFLICT_WITH_SERVICE: &str = "a Service always provides host and port, so list the fields of the other sources in .keys without this one";

/// The remedy for a field of `.set` that a source has as well.
const CONFLICT_WITH_ANNOTATION: &str =
    "remove it from .set, or move it to .override, which replaces fields of the sources";

/// The selected fields with their origins, and the problems found while selecting.
#[derive(Default)]
struct SelectedFields<'a> {
    fields: BTreeMap<FieldName, SelectedField<'a>>,
    problems: Vec<Problem>,
    notices: Vec<Notice<'a>>,
    overrides: Vec<(&'a FieldName, &'a SecretBytes)>,
    url: Option<(&'a SecretBytes, bool)>,
    work: JsonWork,
    /// The size of the values that are not those of a key as a whole.
    derived: usize,
}

struct SelectedField<'a> {
    origin: Origin<'a>,
    value: Cow<'a, SecretBytes>,
}

impl<'a> SelectedFields<'a> {
    fn add_all(&mut self, credential: &Credential, found: &[Found<'a>]) {
        for (source, entries) in found {
            for (key, value) in entries {
                if source.object.kind != Kind::Secret || *key != VAULT_ANSWER {
                    self.add_key(credential, source, key, value);
                }
            }
        }
    }

    /// Adds the fields that Services provide under their own names.
    fn add_service_fields(&mut self, credential: &Credential, found: &[Found<'a>]) {
        let is_listed =
            |key: &str| credential.key_mapping.entries().iter().any(|entry| entry.key.as_str() == key);
        for (source, entries) in found.iter().filter(|(source, _)| source.is_plain_service()) {
            for (key, value) in entries.iter().filter(|(key, _)| !is_listed(key)) {
                self.add_key(credential, source, key, value);
            }
        }
    }

    /// Adds a key under the name that it has without `.keys`.
    fn add_key(&mut self, credential: &Credential, source: &'a Source, key: &'a str, value: &'a SecretBytes) {
        match FieldName::parse(&credential.naming.apply(&source.field(key))) {
            Ok(field) => self.add(field, Origin::Key(&source.object, Some(key)), Cow::Borrowed(value)),
            Err(cause) => self.problems.push(Problem::InvalidKey { object: source.object.clone(), cause }),
        }
    }

    fn add_listed(
        &mut self,
        credential: &'a Credential,
        keys: &'a [KeyEntry],
        found: &[Found<'a>],
        urls: &mut Urls<'_, 'a>,
    ) {
        for entry in keys {
            if self.derived > DERIVED_LIMIT {
                break;
            }
            let holders: Vec<_> = holders(&entry.key, found).collect();
            if holders.is_empty() && !self.add_part(entry, urls) && !entry.optional {
                let missing = MissingKey::new(credential, entry, found, urls.hint(entry));
                self.problems.push(Problem::MissingKey(Box::new(missing)));
            }
            for (source, value) in holders {
                let value = match &entry.pointer {
                    None => Cow::Borrowed(value),
                    Some(pointer) => match json::find(value, pointer, &mut self.work) {
                        Ok(value) => self.derive(value),
                        Err(cause) if entry.optional && cause.is_missing() => {
                            let (name, object) = (&credential.name, &source.object);
                            self.notices.push(Notice::Json { name, entry, object });
                            continue;
                        }
                        Err(cause) => {
                            let (object, key) = (source.object.clone(), entry.key.clone());
                            let problem = JsonProblem { object, key, pointer: pointer.clone(), cause };
                            self.problems.push(Problem::Json(Box::new(problem)));
                            continue;
                        }
                    },
                };
                self.add(entry.field.clone(), Origin::Key(&source.object, None), value);
            }
        }
    }

    /// Adds the part of a URL that an entry of `.keys` names, if no key has that name. Returns whether there is one.
    fn add_part(&mut self, entry: &KeyEntry, urls: &mut Urls<'_, 'a>) -> bool {
        if self.derived > DERIVED_LIMIT {
            // Reported at the end. One large part may be listed many times.
            return true;
        }
        let parts = urls.find(entry);
        let is_found = !parts.is_empty();
        for FoundPart { source, value, .. } in parts {
            match value {
                Ok(value) => {
                    let value = self.derive(value);
                    self.add(entry.field.clone(), Origin::Key(&source.object, None), value);
                }
                Err(error) => self.problems.extend(error.map(Problem::Format)),
            }
        }
        is_found
    }

    /// Replaces a field of the sources by that of `.override`.
    fn replace(
        &mut self,
        credential: &Credential,
        (field, value): (&'a FieldName, &'a SecretBytes),
        urls: &mut Urls<'_, 'a>,
        has_url: bool,
    ) {
        match find_target(credential, field, &self.fields, urls, has_url) {
            Ok(Target::Field) => {
                let selected = SelectedField { origin: Origin::Annotation, value: Cow::Borrowed(value) };
                self.fields.insert(field.clone(), selected);
            }
            Ok(Target::PartOfConnection) => self.overrides.push((field, value)),
            Err(problem) => self.problems.push(problem),
        }
    }

    /// Completes the host names of operators' Services in other namespaces, and warns of those that it cannot complete.
    fn complete_hosts(&mut self, credential: &'a Credential, found: &[Found<'a>], urls: &mut Urls<'_, 'a>) {
        for ShortHost { source, field, key, whole } in short_host::find(credential, found, urls) {
            let is_whole = whole.is_some();
            if let (Some(whole), Some(selected)) = (whole, self.fields.get_mut(&field)) {
                selected.value = Cow::Owned(whole);
            }
            let object = &source.object;
            self.notices.push(Notice::ShortHost { name: &credential.name, field, key, object, is_whole });
        }
    }

    fn add(&mut self, field: FieldName, origin: Origin<'a>, value: Cow<'a, SecretBytes>) {
        match self.fields.get(&field) {
            Some(first) => {
                let remedy = match (first.origin.is_service() || origin.is_service(), origin) {
                    (_, Origin::Annotation) => CONFLICT_WITH_ANNOTATION,
                    (true, _) => CONFLICT_WITH_SERVICE,
                    (false, _) => "exclude or rename one of them with .keys, or split the credential in two",
                };
                let (first, second) = (first.origin.of(&field), origin.of(&field));
                self.problems.push(Problem::DuplicateField { field, first, second, remedy });
            }
            None => drop(self.fields.insert(field, SelectedField { origin, value })),
        }
    }

    /// Counts a value that is not that of a key as a whole.
    fn derive(&mut self, value: SecretBytes) -> Cow<'a, SecretBytes> {
        self.derived = self.derived.saturating_add(value.expose().len());
        Cow::Owned(value)
    }

    /// Removes one line break at the end of each value.
    fn trim(&mut self) {
        let is_ended = |selected: &&mut SelectedField<'_>| ends_with_line_break(&selected.value);
        for selected in self.fields.values_mut().filter(is_ended) {
            let bytes = selected.value.expose();
            let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            self.derived = self.derived.saturating_add(bytes.len());
            if self.derived > DERIVED_LIMIT {
                break;
            }
            selected.value = Cow::Owned(SecretBytes::new(bytes.to_vec()));
        }
    }

    fn finish(mut self) -> Result<Selection<'a>, Vec<Problem>> {
        if self.derived > DERIVED_LIMIT {
            self.problems.push(Problem::LargeValues { limit: DERIVED_LIMIT });
        }
        match self.problems.is_empty() {
            true => {
                let mut public = Vec::new();
                let are_public = self.fields.iter().filter(|(_, selected)| selected.origin.is_public());
                public.extend(are_public.map(|(field, _)| field.clone()));
                let fields = self.fields.into_iter().map(|(field, selected)| (field, selected.value));
                Ok(Selection {
                    fields: fields.collect(),
                    public,
                    overrides: self.overrides,
                    url: self.url,
                    notices: self.notices,
                    derived: self.derived,
                })
            }
            false => Err(self.problems),
        }
    }
}

/// Whether a value ends with a line break, as `echo` and editors write it.
pub(crate) fn ends_with_line_break(value: &SecretBytes) -> bool {
    value.expose().ends_with(b"\n")
}
