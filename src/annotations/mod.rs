//! Parses a pod's annotations into credentials. Pure: text in, credentials or all errors out.
//!
//! Everyone who may edit the pod controls the annotations, so everything that they can request has a limit here.

mod downward;
mod error;
mod fields;
mod header;
mod keys;
mod names;
mod options;
mod paths;
mod references;
mod scope;
mod template;
mod variables;
mod vault_db_injector;

use std::collections::BTreeMap;

pub(crate) use downward::DownwardError;
pub use downward::parse as parse_downward_file;
pub(crate) use error::{Error, Errors, Problem, shown_annotation};
pub(crate) use keys::INJECTOR_PREFIX;
pub(crate) use paths::directories_like_files;
pub use scope::ReferenceScope;
pub(crate) use template::{TemplateError, parse_template};
pub(crate) use vault_db_injector::ignored_annotations;

use crate::annotations::fields::{SOURCE_KEYS, read_keys, read_literals, read_sources, repeated};
use crate::annotations::keys::AnnotationKey;
use crate::credential::{
    ClientFileFormat, ConnectionStringFormat, Credential, CredentialName, DocumentFormat, Engine, EnvExport,
    EnvFileFormat, FieldName, FileMode, Format, InjectorEnv, KeyMapping, Naming, OnChange, Output,
    RelativePath, Scheme, TemplateSource, engine_of_scheme, unlisted_service_fields,
};
use crate::text::{Excerpt, nearest};

/// The default annotation prefix, without the slash.
pub const DEFAULT_PREFIX: &str = "podcreds.io";

/// The maximum number of credentials per pod.
const CREDENTIAL_LIMIT: usize = 128;
/// The maximum number of references to objects per pod: each object that the sidecar watches takes a connection.
const REFERENCE_LIMIT: usize = 512;
/// The maximum length of an annotation's value, in bytes.
const VALUE_LIMIT: usize = 64 * 1024;

/// The values of one credential's annotations.
type Texts<'a> = BTreeMap<AnnotationKey, &'a str>;

/// Parses the annotations with this prefix and ignores all others. Returns the credentials sorted by name.
///
/// # Errors
/// Reports every invalid annotation, each with its full key and a correction.
pub fn parse(
    annotations: &BTreeMap<String, String>,
    prefix: &str,
    scope: &ReferenceScope,
) -> Result<Vec<Credential>, Errors> {
    let mut errors = Vec::new();
    let groups = group(annotations, prefix, &mut errors);
    if groups.len() > CREDENTIAL_LIMIT {
        errors.push(Error::new(prefix, Problem::TooMany { what: "credentials", limit: CREDENTIAL_LIMIT }));
        return Err(Errors(errors));
    }
    let mut credentials: Vec<_> =
        groups.iter().filter_map(|(name, group)| group.read(prefix, name, scope, &mut errors)).collect();
    paths::check(prefix, &credentials, &mut errors);
    options::check(prefix, &credentials, &mut errors);
    references::check(prefix, groups.keys(), &credentials, &mut errors);
    references::resolve(&mut credentials);
    if credentials.iter().flat_map(Credential::objects).count() > REFERENCE_LIMIT {
        errors.push(Error::new(
            prefix,
            Problem::TooMany { what: "references to objects", limit: REFERENCE_LIMIT },
        ));
    }
    if errors.is_empty() { Ok(credentials) } else { Err(Errors(errors)) }
}

/// The keys after the dot, such as `secret`: those of every prefix, then those that only vault-db-injector's prefix has.
pub fn keys() -> impl Iterator<Item = &'static str> {
    keys::KEYS.iter().chain(&keys::INJECTOR_KEYS).map(|(spelling, _)| *spelling)
}

/// The prefix of an ignored annotation that is probably a misspelling of `prefix`.
pub fn similar_prefix<'a>(annotations: &'a BTreeMap<String, String>, prefix: &str) -> Option<&'a str> {
    let prefixes = annotations.keys().filter_map(|key| key.split_once('/')).map(|(prefix, _)| prefix);
    nearest(prefix, prefixes)
}

/// The annotations of one credential, before their values are parsed.
#[derive(Default)]
struct Group<'a> {
    texts: Texts<'a>,
    /// One of its annotations is invalid. A key that seems to be missing may be that one, misspelt, so it is not reported too.
    broken: bool,
}

fn group<'a>(
    annotations: &'a BTreeMap<String, String>,
    prefix: &str,
    errors: &mut Vec<Error>,
) -> BTreeMap<CredentialName, Group<'a>> {
    let mut groups = BTreeMap::<_, Group<'_>>::new();
    for (key, value) in annotations {
        let Some(rest) = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')) else { continue };
        if prefix == INJECTOR_PREFIX && vault_db_injector::concerns_vault(rest) {
            continue;
        }
        let Some((name, text)) = rest.split_once('.') else {
            let known = AnnotationKey::parse(rest, prefix).map_or("secret", AnnotationKey::as_str);
            let suggestion = format!("{prefix}/<name>.{known}");
            errors.push(Error::new(key, Problem::MissingName { suggestion }));
            continue;
        };
        let Some(name) = CredentialName::parse(name) else {
            errors.push(Error::new(key, Problem::InvalidName { name: name.to_owned() }));
            continue;
        };
        let group = groups.entry(name).or_default();
        let problem = match AnnotationKey::parse(text, prefix) {
            Err(problem) => keys::dotted_name(prefix, rest).unwrap_or(problem),
            Ok(_) if value.len() > VALUE_LIMIT => Problem::TooLong { limit: VALUE_LIMIT },
            Ok(key) => {
                group.texts.insert(key, value);
                continue;
            }
        };
        group.broken = true;
        errors.push(Error::new(key, problem));
    }
    groups
}

impl Group<'_> {
    /// Parses the values. `None` means that `errors` has at least one error of this credential.
    fn read(
        &self,
        prefix: &str,
        name: &CredentialName,
        scope: &ReferenceScope,
        errors: &mut Vec<Error>,
    ) -> Option<Credential> {
        let before = errors.len();
        let mut values = Values { prefix, name, texts: &self.texts, errors };

        let cluster =
            values.read(AnnotationKey::Cluster, |text| scope.parse_cluster(text.trim())).unwrap_or_default();
        let namespace = scope.namespace_in(&cluster);

        let sources = read_sources(&mut values, namespace, &cluster);
        let are_sources_valid = values.errors.len() == before;
        let naming = Naming {
            prefix: values.read(AnnotationKey::Prefix, keys::parse_prefix).unwrap_or_default(),
            upper: values.read(AnnotationKey::Names, keys::parse_names).unwrap_or_default(),
        };
        let keys = values
            .read(AnnotationKey::Keys, |text| read_keys(text, &naming))
            .map_or(KeyMapping::All, KeyMapping::Listed);
        if are_sources_valid {
            names::check_aliases(&mut values, &sources, &keys);
        }
        let literals = values.read(AnnotationKey::Set, read_literals).unwrap_or_default();
        let overrides = values.read(AnnotationKey::Override, read_literals).unwrap_or_default();
        let trim = values.read(AnnotationKey::Trim, read_bool).unwrap_or(false);
        let variables = vault_db_injector::read(&mut values);
        let has_source = SOURCE_KEYS.iter().any(|(key, _)| self.texts.contains_key(key));
        let has_more = has_source || self.broken;
        let mut fields: Vec<_> = unlisted_service_fields(&sources, &keys, &naming).collect();
        fields.extend(literals.iter().map(|(field, _)| field.clone()));
        let (known_format, template) = match variables {
            Some(_) => (Some(Format::Env), None),
            None => keys::read_template(&mut values, &scope.namespace, &keys, &fields, has_more),
        };
        let format = known_format.unwrap_or(Format::Files);
        let env_export = variables::read(&mut values, known_format);
        let file_format = env_export.as_ref().map_or(format, |export| export.file.format());
        let default_path = file_format.default_path(name);
        let path = values
            .read(AnnotationKey::Path, |text| read_path(text, format))
            .or_else(|| RelativePath::parse(&default_path).ok());
        let mode = values
            .read(AnnotationKey::FileMode, |text| Ok(FileMode::parse(text.trim())?))
            .or_else(|| format.default_mode());
        let (engine, scheme) = read_engine(&mut values, known_format);
        let optional = values.read(AnnotationKey::Optional, read_bool).unwrap_or(false);
        let on_change = values.read(AnnotationKey::OnChange, |text| Ok(OnChange::parse(text)?));
        let on_change_header = header::read(&mut values, on_change.as_ref(), &keys, &fields, has_more);
        let splay = values.read(AnnotationKey::Splay, keys::parse_splay);
        if let Some(field) = repeated(&keys, &literals) {
            values.push(AnnotationKey::Set, Problem::SetAndListed { field: field.clone() });
        }
        let is_set = |field: &FieldName| literals.iter().any(|(other, _)| other == field);
        if let Some((field, _)) = overrides.iter().find(|(field, _)| is_set(field)) {
            values.push(AnnotationKey::Override, Problem::SetTwice { field: field.clone() });
        }
        for key in [AnnotationKey::Prefix, AnnotationKey::Names] {
            if self.texts.contains_key(&key) && variables.is_some() {
                let problem = "renames fields, but the variables of vault-db-injector need username and password: remove the annotation, or add .format: env";
                values.push(key, Problem::Combination(problem));
            } else if self.texts.contains_key(&key) && !format.has_own_field_names() {
                let problem = "renames fields, which this format finds by their names: remove the annotation; the formats files, env, dotenv, envfile, json, yaml, properties and template support it";
                values.push(key, Problem::Combination(problem));
            }
        }
        if variables.is_none() && matches!(format, Format::Env | Format::Dotenv) {
            names::check_prefix(&mut values, &naming);
        }

        let mut of_sources = [AnnotationKey::Keys, AnnotationKey::Override].iter();
        let needs_source = of_sources.any(|key| self.texts.contains_key(key))
            || !template.as_ref().is_some_and(|template| references::uses_others(name, template));
        if needs_source && !has_source && !self.broken {
            let problem = match self.texts.contains_key(&AnnotationKey::Role) {
                true => Problem::VaultRole { name: name.clone() },
                false => Problem::NoSource { name: name.clone() },
            };
            errors.push(Error::new(&format!("{prefix}/{name}"), problem));
        }
        if self.broken || errors.len() > before {
            return None;
        }
        Some(Credential {
            name: name.clone(),
            namespace: scope.namespace.clone(),
            sources,
            key_mapping: keys,
            naming,
            trim,
            others: Vec::new(),
            inline_fields: literals,
            overrides,
            output: output(format, template, variables, engine, scheme, env_export)?,
            path: path?,
            mode,
            optional,
            on_change,
            on_change_header,
            splay,
        })
    }
}

/// Parses the values of one credential and collects their errors.
struct Values<'a> {
    prefix: &'a str,
    name: &'a CredentialName,
    texts: &'a Texts<'a>,
    errors: &'a mut Vec<Error>,
}

impl Values<'_> {
    fn read<T>(&mut self, key: AnnotationKey, read: impl FnOnce(&str) -> Result<T, Problem>) -> Option<T> {
        let text = *self.texts.get(&key)?;
        read(text).map_err(|problem| self.push_with(key, problem, hint(key, text))).ok()
    }

    fn push(&mut self, key: AnnotationKey, problem: Problem) {
        self.push_with(key, problem, "");
    }

    fn push_with(&mut self, key: AnnotationKey, problem: Problem, hint: &'static str) {
        let annotation = format!("{}/{}.{}", self.prefix, self.name, key.as_str());
        let mut error = Error::new(&annotation, problem);
        error.hint = hint;
        self.errors.push(error);
    }
}

/// The end of a message about a value that looks like something that belongs elsewhere.
fn hint(key: AnnotationKey, text: &str) -> &'static str {
    match key {
        // Texts of their own, whose parsers report what is wrong.
        AnnotationKey::Template
        | AnnotationKey::OnChangeHeader
        | AnnotationKey::Set
        | AnnotationKey::Override
        | AnnotationKey::Delimiters => "",
        _ if text.contains("{{") => "; `{{` looks like a Helm expression: render the chart with Helm first",
        AnnotationKey::OnChange => "",
        AnnotationKey::Engine
            if Engine::parse(text.trim()).is_err() && engine_of_scheme(text.trim()).is_some() =>
        {
            "; this is a client's scheme: for format uri, set it with .scheme instead"
        }
        AnnotationKey::Scheme if text.trim().ends_with("://") => "; remove `://`",
        _ if text.contains("://") => {
            "; this looks like a URL: store it in a Secret, and name the Secret in .secret"
        }
        _ => "",
    }
}

/// Combines the values of the annotations to the output. Returns `None` if the template is missing, which is reported already.
fn output(
    format: Format,
    template: Option<TemplateSource>,
    injector_env: Option<InjectorEnv>,
    engine: Option<Engine>,
    scheme: Option<Scheme>,
    env_export: Option<EnvExport>,
) -> Option<Output> {
    if let Some(source) = template {
        return Some(Output::Template { source, env_export });
    }
    let connection_string = |format| Output::ConnectionString { format, engine, env_export };
    Some(match format {
        Format::Files => Output::Files,
        Format::Env => injector_env.map_or(Output::Env(EnvFileFormat::Env), Output::InjectorEnv),
        Format::Dotenv => Output::Env(EnvFileFormat::Dotenv),
        Format::Envfile => Output::Env(EnvFileFormat::Envfile),
        Format::Json => Output::Document(DocumentFormat::Json),
        Format::Yaml => Output::Document(DocumentFormat::Yaml),
        Format::Properties => Output::Document(DocumentFormat::Properties),
        Format::Uri => connection_string(ConnectionStringFormat::Uri(scheme)),
        Format::Jdbc => connection_string(ConnectionStringFormat::Jdbc),
        Format::Adonet => connection_string(ConnectionStringFormat::Adonet),
        Format::Libpq => connection_string(ConnectionStringFormat::Libpq),
        Format::Pgpass => Output::ClientFile { format: ClientFileFormat::Pgpass, engine },
        Format::Pgservice => Output::ClientFile { format: ClientFileFormat::Pgservice, engine },
        Format::Mycnf => Output::ClientFile { format: ClientFileFormat::Mycnf, engine },
        Format::Pkcs12 => Output::Pkcs12,
        Format::Template => return None,
    })
}

const ONLY_CONNECTIONS: &str = "is only for formats uri, jdbc, adonet, libpq, pgpass, pgservice and mycnf: remove it, or set .format to one of them";

/// Reads `.engine` and `.scheme`, from which the engine is inferred.
fn read_engine(values: &mut Values<'_>, format: Option<Format>) -> (Option<Engine>, Option<Scheme>) {
    let is_without_engine = format.is_some_and(|format| !format.is_connection());
    let engine = values.read(AnnotationKey::Engine, |text| match is_without_engine {
        true => Err(Problem::Combination(ONLY_CONNECTIONS)),
        false => Ok(Engine::parse(text.trim())?),
    });
    if values.texts.contains_key(&AnnotationKey::Scheme) && format.is_some_and(|it| it != Format::Uri) {
        let problem = "is only for format uri: remove it, or set .format: uri";
        values.push(AnnotationKey::Scheme, Problem::Combination(problem));
        return (engine, None);
    }
    // An invalid `.engine` is reported once.
    let is_broken = engine.is_none() && values.texts.contains_key(&AnnotationKey::Engine);
    let read = |text: &str| {
        let scheme = Scheme::parse(text.trim())?;
        let engine = if is_broken { engine } else { Some(scheme.engine(engine)?) };
        Ok((engine, Some(scheme)))
    };
    values.read(AnnotationKey::Scheme, read).unwrap_or((engine, None))
}

fn read_path(text: &str, format: Format) -> Result<RelativePath, Problem> {
    // A directory is often written with a slash at the end.
    let text = if format.is_directory() { text.strip_suffix('/').unwrap_or(text) } else { text };
    Ok(RelativePath::parse(text)?)
}

fn read_bool(text: &str) -> Result<bool, Problem> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Problem::InvalidBoolean { text: Excerpt::new(other) }),
    }
}

#[cfg(test)]
mod tests;
