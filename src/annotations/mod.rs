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
    Credential, CredentialName, Engine, Exported, FieldName, FileMode, Format, Keys, OnChange, PathClaims,
    RelativePath, ServicePort,
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

        let cluster = values.read(Word::Cluster, |text| scope.cluster(text.trim())).unwrap_or_default();
        let namespace = scope.place(&cluster);

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
        let keys = values.read(Word::Keys, read_keys).unwrap_or(Keys::All);
        let literals = values.read(Word::Set, read_literals).unwrap_or_default();
        let variables = injector::read(&mut values);
        let (format, template) = match variables {
            Some(_) => (Format::Env, None),
            None => template::read(&mut values, &scope.namespace, &keys, &literals),
        };
        let exported = read_exported(&mut values, format);
        let file_format = exported.as_ref().map_or(format, |exported| exported.file.format());
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
            keys,
            literals,
            format,
            template,
            variables,
            exported,
            engine,
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

/// Reads `.variable` and `.variable-format`.
fn read_exported(values: &mut Values<'_>, format: Format) -> Option<Exported> {
    let has = |values: &Values<'_>, word| values.words.contains_key(&word);
    let names = values.read(Word::Variable, injector::variables);
    let file = values.read(Word::VariableFormat, vocabulary::parse_variable_format);
    if has(values, Word::Variable) && !format.is_one_text() {
        let problem = "is for formats uri, jdbc and libpq: in formats env, dotenv and envfile, .keys names the variables";
        values.push(Word::Variable, Problem::Together { problem });
    }
    if has(values, Word::VariableFormat) && !has(values, Word::Variable) {
        let problem =
            "is missing .variable, which names the variable for the text: add it, or leave this out";
        values.push(Word::VariableFormat, Problem::Together { problem });
    }
    Some(Exported { names: names?, file: file.unwrap_or_default() })
}

fn read_keys(text: &str) -> Result<Keys, Problem> {
    let mut listed: Vec<(FieldName, FieldName)> = Vec::new();
    for (field, key) in list::keys(text)? {
        let field = FieldName::parse(field)?;
        if listed.iter().any(|(other, _)| *other == field) {
            return Err(Problem::Twice { field });
        }
        listed.push((field, FieldName::parse(key)?));
    }
    Ok(Keys::Listed(listed))
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

fn twice<'a>(keys: &Keys, literals: &'a [(FieldName, SecretBytes)]) -> Option<&'a FieldName> {
    let Keys::Listed(listed) = keys else { return None };
    literals.iter().map(|(field, _)| field).find(|field| listed.iter().any(|(other, _)| other == *field))
}

fn check_paths(prefix: &str, credentials: &[Credential], errors: &mut Vec<Error>) {
    let mut claims = PathClaims::default();
    for Credential { name, path, format, mode, on_change, .. } in credentials {
        // The same file may be touched for several credentials, but a bundle must not have it.
        if let Some(OnChange::Touch(touched)) = on_change
            && let Some(other) =
                credentials.iter().find(|other| other.path.parts().next() == touched.parts().next())
        {
            let problem = Problem::Touched { path: touched.clone(), other: other.name.clone() };
            errors.push(Error::new(&format!("{prefix}/{name}.on-change"), problem));
        }
        let claimed = match format {
            Format::Files => claims.folder(path, name),
            format if format.has_entries() => claims.entries(path, *format, name),
            _ => claims.file(path, name),
        };
        let shares =
            |other: &&Credential| other.path == *path && other.format == *format && other.mode != *mode;
        if let Some(other) = credentials.iter().find(shares).filter(|_| format.has_entries()) {
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
