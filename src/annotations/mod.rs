//! From a pod's annotations to credentials. Pure: text in, credentials or every error out.
//!
//! The annotations are input from whoever may edit the pod, so all that they can ask for has a bound here.

mod downward;
mod error;
mod injector;
mod list;
mod scope;
mod template;
mod vocabulary;

use std::collections::BTreeMap;

pub(crate) use downward::DownwardError;
pub use downward::parse as parse_downward_file;
pub(crate) use error::{Error, Errors, Problem};
pub(crate) use injector::without_meaning;
pub use scope::Scope;
pub(crate) use vocabulary::INJECTORS_PREFIX;

use crate::annotations::vocabulary::Word;
use crate::credential::{
    ClientFileFormat, ConnectionStringFormat, Credential, CredentialName, DocumentFormat, Engine, EnvExport,
    EnvFileFormat, FieldName, FileMode, Format, InjectorEnv, KeyMapping, OnChange, Output, PathClaims,
    RelativePath, ServicePort, TemplateSource,
};
use crate::object::{Kind, ObjectRef};
use crate::secret::SecretBytes;
use crate::text::nearest;

/// The prefix of podcreds' own annotations, without the slash.
pub const DEFAULT_PREFIX: &str = "podcreds.io";

/// The most credentials of a pod.
const CREDENTIAL_LIMIT: usize = 128;
/// The longest value of one annotation, in bytes.
const VALUE_LIMIT: usize = 64 * 1024;

/// The annotations of one credential, by word.
type Words<'a> = BTreeMap<Word, &'a str>;

/// Reads every credential that annotations with this prefix describe, in order of name. `scope` says where a source is looked
/// for. Annotations with another prefix are ignored.
///
/// # Errors
/// Every wrong annotation, each with its name and what would be right.
pub fn parse(
    annotations: &BTreeMap<String, String>,
    prefix: &str,
    scope: &Scope,
) -> Result<Vec<Credential>, Errors> {
    let mut errors = Vec::new();
    let groups = group(annotations, prefix, &mut errors);
    if groups.len() > CREDENTIAL_LIMIT {
        errors.push(Error::new(prefix, Problem::TooMany { what: "credentials", limit: CREDENTIAL_LIMIT }));
        return Err(Errors(errors));
    }
    let credentials: Vec<_> =
        groups.iter().filter_map(|(name, group)| group.read(prefix, name, scope, &mut errors)).collect();
    check_paths(prefix, &credentials, &mut errors);
    if errors.is_empty() { Ok(credentials) } else { Err(Errors(errors)) }
}

/// The prefix that somebody may have meant who wrote an annotation that `parse` ignored.
pub fn similar_prefix<'a>(annotations: &'a BTreeMap<String, String>, prefix: &str) -> Option<&'a str> {
    let prefixes = annotations.keys().filter_map(|key| key.split_once('/')).map(|(prefix, _)| prefix);
    nearest(prefix, prefixes)
}

/// What is known of one credential before its values are read.
#[derive(Default)]
struct Group<'a> {
    words: Words<'a>,
    /// An annotation of it is wrong already: what seems to be missing may be there under a wrong name.
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
        if prefix == INJECTORS_PREFIX && injector::is_of_the_pod(rest) {
            continue;
        }
        let Some((name, word)) = rest.split_once('.') else {
            let word = Word::parse(rest, prefix).map_or("secret", Word::as_str);
            errors.push(Error::new(key, Problem::NoName { right: format!("{prefix}/<name>.{word}") }));
            continue;
        };
        let Some(name) = CredentialName::parse(name) else {
            errors.push(Error::new(key, Problem::BadName { name: name.to_owned() }));
            continue;
        };
        let group = groups.entry(name).or_default();
        let problem = match Word::parse(word, prefix) {
            Err(problem) => problem,
            Ok(_) if value.len() > VALUE_LIMIT => Problem::TooLong { limit: VALUE_LIMIT },
            Ok(word) => {
                group.words.insert(word, value);
                continue;
            }
        };
        group.broken = true;
        errors.push(Error::new(key, problem));
    }
    groups
}

impl Group<'_> {
    /// Reads the values; none if any is wrong.
    fn read(
        &self,
        prefix: &str,
        name: &CredentialName,
        scope: &Scope,
        errors: &mut Vec<Error>,
    ) -> Option<Credential> {
        let before = errors.len();
        let mut values = Values { prefix, name, words: &self.words, errors };

        let cluster = values.read(Word::Cluster, |text| scope.cluster(text.trim()));
        let namespace = scope.place(cluster.as_ref());

        let sources = [(Word::Secret, Kind::Secret), (Word::Configmap, Kind::ConfigMap)]
            .into_iter()
            .filter_map(|(word, kind)| {
                values.read(word, |text| {
                    Ok(ObjectRef::parse(kind, text.trim(), namespace)?.in_cluster(cluster.clone()))
                })
            })
            .collect::<Vec<_>>();
        let service = values.read(Word::Service, |text| {
            Ok(ServicePort::parse(text.trim(), namespace)?.in_cluster(cluster.clone()))
        });
        let keys = values.read(Word::Keys, read_keys).unwrap_or(KeyMapping::All);
        let literals = values.read(Word::Set, read_literals).unwrap_or_default();
        let variables = injector::read(&mut values);
        let (format, template) = match variables {
            Some(_) => (Format::Env, None),
            None => template::read(&mut values, &scope.namespace, &keys, &literals),
        };
        let env_export = read_env_export(&mut values, format);
        let file_format = env_export.as_ref().map_or(format, |export| export.file.format());
        let default_path = file_format.default_path(name);
        let path = values
            .read(Word::Path, |text| read_path(text, format))
            .or_else(|| RelativePath::parse(&default_path).ok());
        let mode = values
            .read(Word::FileMode, |text| Ok(FileMode::parse(text.trim())?))
            .or_else(|| format.default_mode());
        let engine = values.read(Word::Engine, |text| Ok(Engine::parse(text.trim())?));
        let optional = values.read(Word::Optional, read_bool).unwrap_or(false);
        let on_change = values.read(Word::OnChange, |text| Ok(OnChange::parse(text)?));
        if let Some(field) = twice(&keys, &literals) {
            values.push(Word::Set, Problem::Twice { field: field.clone() });
        }

        let of_sources = [Word::Secret, Word::Configmap, Word::Service];
        let names_source = of_sources.iter().any(|word| self.words.contains_key(word));
        if !names_source && !self.broken {
            let problem = match self.words.contains_key(&Word::Role) {
                true => Problem::NoVault { name: name.clone() },
                false => Problem::NoSource { name: name.clone() },
            };
            errors.push(Error::new(&format!("{prefix}/{name}"), problem));
        }
        if self.broken || errors.len() > before {
            return None;
        }
        Some(Credential {
            name: name.clone(),
            sources,
            service,
            key_mapping: keys,
            inline_fields: literals,
            output: output(format, template, variables, engine, env_export)?,
            path: path?,
            mode,
            optional,
            on_change,
        })
    }
}

/// The values of one credential, and where their errors go.
struct Values<'a> {
    prefix: &'a str,
    name: &'a CredentialName,
    words: &'a Words<'a>,
    errors: &'a mut Vec<Error>,
}

impl Values<'_> {
    fn read<T>(&mut self, word: Word, read: impl FnOnce(&str) -> Result<T, Problem>) -> Option<T> {
        let text = *self.words.get(&word)?;
        read(text).map_err(|problem| self.push(word, problem)).ok()
    }

    fn push(&mut self, word: Word, problem: Problem) {
        self.errors.push(Error::new(&format!("{}/{}.{}", self.prefix, self.name, word.as_str()), problem));
    }
}

/// Combines the values of the annotations to the output. Returns `None` if the template is missing, which is reported already.
fn output(
    format: Format,
    template: Option<TemplateSource>,
    injector_env: Option<InjectorEnv>,
    engine: Option<Engine>,
    env_export: Option<EnvExport>,
) -> Option<Output> {
    let connection_string = |format| Output::ConnectionString { format, engine, env_export };
    Some(match format {
        Format::Files => Output::Files,
        Format::Env => injector_env.map_or(Output::Env(EnvFileFormat::Env), Output::InjectorEnv),
        Format::Dotenv => Output::Env(EnvFileFormat::Dotenv),
        Format::Envfile => Output::Env(EnvFileFormat::Envfile),
        Format::Json => Output::Document(DocumentFormat::Json),
        Format::Yaml => Output::Document(DocumentFormat::Yaml),
        Format::Properties => Output::Document(DocumentFormat::Properties),
        Format::Uri => connection_string(ConnectionStringFormat::Uri),
        Format::Jdbc => connection_string(ConnectionStringFormat::Jdbc),
        Format::Libpq => connection_string(ConnectionStringFormat::Libpq),
        Format::Pgpass => Output::ClientFile { format: ClientFileFormat::Pgpass, engine },
        Format::Pgservice => Output::ClientFile { format: ClientFileFormat::Pgservice, engine },
        Format::Mycnf => Output::ClientFile { format: ClientFileFormat::Mycnf, engine },
        Format::Template => Output::Template(template?),
    })
}

/// Reads `.variable` and `.variable-format`.
fn read_env_export(values: &mut Values<'_>, format: Format) -> Option<EnvExport> {
    let has = |values: &Values<'_>, word| values.words.contains_key(&word);
    let names = values.read(Word::Variable, injector::variables);
    let file = values.read(Word::VariableFormat, vocabulary::parse_variable_format);
    if has(values, Word::Variable) && !format.is_single_value() {
        let problem = "is for formats uri, jdbc and libpq: in formats env, dotenv and envfile, .keys names the variables";
        values.push(Word::Variable, Problem::Together { problem });
    }
    if has(values, Word::VariableFormat) && !has(values, Word::Variable) {
        let problem =
            "is missing .variable, which names the variable for the text: add it, or leave this out";
        values.push(Word::VariableFormat, Problem::Together { problem });
    }
    Some(EnvExport { names: names?, file: file.unwrap_or_default() })
}

fn read_keys(text: &str) -> Result<KeyMapping, Problem> {
    let mut listed: Vec<(FieldName, FieldName)> = Vec::new();
    for (field, key) in list::keys(text)? {
        let field = FieldName::parse(field)?;
        if listed.iter().any(|(other, _)| *other == field) {
            return Err(Problem::Twice { field });
        }
        listed.push((field, FieldName::parse(key)?));
    }
    Ok(KeyMapping::Listed(listed))
}

fn read_literals(text: &str) -> Result<Vec<(FieldName, SecretBytes)>, Problem> {
    let mut literals: Vec<(FieldName, SecretBytes)> = Vec::new();
    for (field, value) in list::assignments(text)? {
        if literals.iter().any(|(other, _)| *other == field) {
            return Err(Problem::Twice { field });
        }
        literals.push((field, value));
    }
    Ok(literals)
}

fn read_path(text: &str, format: Format) -> Result<RelativePath, Problem> {
    // `creds/` is how people write a folder.
    let text = if format == Format::Files { text.strip_suffix('/').unwrap_or(text) } else { text };
    Ok(RelativePath::parse(text)?)
}

fn read_bool(text: &str) -> Result<bool, Problem> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Problem::NotBoolean { text: other.to_owned() }),
    }
}

fn twice<'a>(keys: &KeyMapping, literals: &'a [(FieldName, SecretBytes)]) -> Option<&'a FieldName> {
    let KeyMapping::Listed(listed) = keys else { return None };
    literals.iter().map(|(field, _)| field).find(|field| listed.iter().any(|(other, _)| other == *field))
}

fn check_paths(prefix: &str, credentials: &[Credential], errors: &mut Vec<Error>) {
    let mut claims = PathClaims::default();
    for credential in credentials {
        let Credential { name, path, mode, on_change, .. } = credential;
        let format = credential.output.format();
        // The same file may be touched for several credentials, but a bundle must not have it.
        if let Some(OnChange::Touch(touched)) = on_change
            && let Some(other) =
                credentials.iter().find(|other| other.path.parts().next() == touched.parts().next())
        {
            let problem = Problem::Touched { path: touched.clone(), other: other.name.clone() };
            errors.push(Error::new(&format!("{prefix}/{name}.on-change"), problem));
        }
        let claimed = match format {
            Format::Files => claims.directory(path, name),
            format if format.is_mergeable() => claims.entries(path, format, name),
            _ => claims.file(path, name),
        };
        let shares = |other: &&Credential| {
            other.path == *path && other.output.format() == format && other.mode != *mode
        };
        if let Some(other) = credentials.iter().find(shares).filter(|_| format.is_mergeable()) {
            let problem = Problem::OtherMode { path: path.clone(), other: other.name.clone() };
            errors.push(Error::new(&format!("{prefix}/{name}.file-mode"), problem));
        }
        if let Err(conflict) = claimed {
            errors.push(Error::new(&format!("{prefix}/{name}.path"), conflict.into()));
        }
    }
}

#[cfg(test)]
mod tests;
