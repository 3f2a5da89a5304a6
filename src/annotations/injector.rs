//! The vocabulary of vault-db-injector, for pods that are annotated for it: with its prefix, and a Secret in place of a
//! database role of Vault.
//! Source: <https://github.com/numberly/vault-db-injector>, `pkg/k8s/parse_annotations.go` and
//! `pkg/k8smutator/k8smutator.go`.

use std::collections::BTreeMap;

use crate::annotations::Values;
use crate::annotations::error::Problem;
use crate::annotations::vocabulary::{INJECTORS_PREFIX, Word};
use crate::credential::{CredentialName, FieldName, InjectorEnv, UriTemplate, is_env_name};

/// Its annotations that are of the whole pod, and of Vault: they mean nothing where there is none.
const OF_THE_POD: [&str; 4] = ["cluster", "mode", "role", "uuid"];
/// What the variables are called where the annotations do not say.
const USER: &str = "DBUSER";
const PASSWORD: &str = "DBPASSWORD";
/// The most variables of one list.
const LIMIT: usize = 32;

/// Whether an annotation with its prefix is one of the whole pod.
pub(crate) fn is_of_the_pod(rest: &str) -> bool {
    OF_THE_POD.contains(&rest) || rest.starts_with("revoke-ttl")
}

/// Every annotation that has a meaning for vault-db-injector and none here, in order of name.
pub(crate) fn without_meaning(annotations: &BTreeMap<String, String>, prefix: &str) -> Vec<String> {
    let strip =
        |key: &str| -> Option<String> { Some(key.strip_prefix(prefix)?.strip_prefix('/')?.to_owned()) };
    let is_uri = |name: &str| {
        annotations
            .get(&format!("{prefix}/{name}.mode"))
            .is_some_and(|mode| mode.trim().eq_ignore_ascii_case("uri"))
    };
    let is_empty = |key: &&String| {
        let Some(rest) = strip(key).filter(|_| prefix == INJECTORS_PREFIX) else { return false };
        match rest.split_once('.') {
            None => is_of_the_pod(&rest),
            Some((name, word)) if CredentialName::parse(name).is_some() => match word {
                "role" => true,
                "env-key-uri" => !is_uri(name),
                "env-key-dbuser" | "env-key-dbpassword" => is_uri(name),
                _ => is_of_the_pod(&rest),
            },
            Some(_) => is_of_the_pod(&rest),
        }
    };
    annotations.keys().filter(is_empty).cloned().collect()
}

/// The variables that a credential asks for. None where it says a format in our own words.
pub(crate) fn read(values: &mut Values<'_>) -> Option<InjectorEnv> {
    let of_ours = [Word::Format, Word::TemplateFrom, Word::Delimiters];
    if values.prefix != INJECTORS_PREFIX || of_ours.iter().any(|word| values.words.contains_key(word)) {
        return None;
    }
    let mode = values.words.get(&Word::Mode).map_or("classic", |mode| mode.trim());
    match mode.to_ascii_lowercase().as_str() {
        "" | "classic" => {
            let user = values.read(Word::EnvKeyDbuser, variables).unwrap_or_else(|| named(USER));
            let password = values.read(Word::EnvKeyDbpassword, variables).unwrap_or_else(|| named(PASSWORD));
            if let Some(field) = user.iter().find(|name| password.contains(name)) {
                values.push(Word::EnvKeyDbpassword, Problem::Twice { field: field.clone() });
            }
            Some(InjectorEnv::Classic { user, password })
        }
        "uri" => {
            for (word, problem) in [
                (Word::Template, "is missing: write the URI, scheme://@host:port/database"),
                (Word::EnvKeyUri, "is missing: write the name of the variable for the URI"),
            ] {
                if !values.words.contains_key(&word) {
                    values.push(word, Problem::Together { problem });
                }
            }
            let names = values.read(Word::EnvKeyUri, variables)?;
            let uri = values.read(Word::Template, |text| Ok(UriTemplate::parse(text.trim())?))?;
            Some(InjectorEnv::Uri { names, uri })
        }
        _ => {
            values.push(Word::Mode, Problem::Together { problem: "is neither classic nor uri" });
            None
        }
    }
}

fn named(name: &str) -> Vec<FieldName> {
    FieldName::parse(name).into_iter().collect()
}

/// Reads names of variables between commas.
pub(crate) fn variables(text: &str) -> Result<Vec<FieldName>, Problem> {
    let mut names = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !is_env_name(name) {
            return Err(Problem::NoVariable { text: name.to_owned() });
        }
        let name = FieldName::parse(name)?;
        if names.contains(&name) {
            return Err(Problem::Twice { field: name });
        }
        names.push(name);
    }
    match names.len() {
        0 => Err(Problem::NoVariable { text: text.to_owned() }),
        1..=LIMIT => Ok(names),
        _ => Err(Problem::TooMany { what: "variables", limit: LIMIT }),
    }
}
