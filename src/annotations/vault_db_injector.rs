//! Annotations of vault-db-injector: a pod that is annotated for it only needs a Secret in place of each Vault role.
//! Source: <https://github.com/numberly/vault-db-injector>, `pkg/k8s/parse_annotations.go` and
//! `pkg/k8smutator/k8smutator.go`.

use std::collections::BTreeMap;

use crate::annotations::Values;
use crate::annotations::error::Problem;
use crate::annotations::keys::{AnnotationKey, INJECTOR_PREFIX};
use crate::credential::{CredentialName, FieldName, InjectorEnv, UriTemplate, is_env_name};
use crate::text::Excerpt;

/// vault-db-injector's annotations of the whole pod. They concern Vault, so podcreds ignores them.
const POD_ANNOTATIONS: [&str; 4] = ["cluster", "mode", "role", "uuid"];
/// The key that its webhook adds to each credential, to find the lease later.
const UUID: &str = "uuid";
/// The default names of the variables.
const USER: &str = "DBUSER";
const PASSWORD: &str = "DBPASSWORD";
/// The maximum number of variables in one list.
const LIMIT: usize = 32;

/// Whether an annotation with its prefix concerns Vault alone: one of the whole pod, or the UUID of a lease.
pub(crate) fn concerns_vault(rest: &str) -> bool {
    let is_uuid =
        rest.split_once('.').is_some_and(|(name, key)| key == UUID && CredentialName::parse(name).is_some());
    is_uuid || POD_ANNOTATIONS.contains(&rest) || rest.starts_with("revoke-ttl")
}

/// The annotations that vault-db-injector uses and podcreds ignores, sorted by name.
pub(crate) fn ignored_annotations(annotations: &BTreeMap<String, String>, prefix: &str) -> Vec<String> {
    let strip =
        |key: &str| -> Option<String> { Some(key.strip_prefix(prefix)?.strip_prefix('/')?.to_owned()) };
    let is_uri = |name: &str| {
        annotations
            .get(&format!("{prefix}/{name}.mode"))
            .is_some_and(|mode| mode.trim().eq_ignore_ascii_case("uri"))
    };
    let is_ignored = |key: &&String| {
        let Some(rest) = strip(key).filter(|_| prefix == INJECTOR_PREFIX) else { return false };
        match rest.split_once('.') {
            None => concerns_vault(&rest),
            Some((name, key)) if CredentialName::parse(name).is_some() => match key {
                "role" => true,
                "env-key-uri" => !is_uri(name),
                "env-key-dbuser" | "env-key-dbpassword" => is_uri(name),
                _ => concerns_vault(&rest),
            },
            Some(_) => concerns_vault(&rest),
        }
    };
    annotations.keys().filter(is_ignored).cloned().collect()
}

/// Reads the variables of a credential. `None` means that podcreds' own keys determine its format, or that it uses another prefix.
pub(crate) fn read(values: &mut Values<'_>) -> Option<InjectorEnv> {
    let own_keys = [AnnotationKey::Format, AnnotationKey::TemplateFrom, AnnotationKey::Delimiters];
    if values.prefix != INJECTOR_PREFIX || own_keys.iter().any(|key| values.texts.contains_key(key)) {
        return None;
    }
    let mode = values.texts.get(&AnnotationKey::Mode).map_or("classic", |mode| mode.trim());
    match mode.to_ascii_lowercase().as_str() {
        "" | "classic" => {
            let user = values
                .read(AnnotationKey::EnvKeyDbuser, variable_names)
                .unwrap_or_else(|| default_name(USER));
            let password = values
                .read(AnnotationKey::EnvKeyDbpassword, variable_names)
                .unwrap_or_else(|| default_name(PASSWORD));
            if let Some(field) = user.iter().find(|name| password.contains(name)) {
                let problem = Problem::DuplicateField { field: field.clone() };
                values.push(AnnotationKey::EnvKeyDbpassword, problem);
            }
            Some(InjectorEnv::Classic { user, password })
        }
        "uri" => {
            for (key, problem) in [
                (AnnotationKey::Template, "missing: write the URI, scheme://@host:port/database"),
                (AnnotationKey::EnvKeyUri, "missing: write the name of the variable for the URI"),
            ] {
                if !values.texts.contains_key(&key) {
                    values.push(key, Problem::Combination(problem));
                }
            }
            let names = values.read(AnnotationKey::EnvKeyUri, variable_names)?;
            let uri = values.read(AnnotationKey::Template, |text| Ok(UriTemplate::parse(text.trim())?))?;
            Some(InjectorEnv::Uri { names, uri })
        }
        _ => {
            values.push(AnnotationKey::Mode, Problem::Combination("must be classic or uri"));
            None
        }
    }
}

fn default_name(name: &str) -> Vec<FieldName> {
    FieldName::parse(name).into_iter().collect()
}

/// Reads a comma-separated list of variable names.
pub(crate) fn variable_names(text: &str) -> Result<Vec<FieldName>, Problem> {
    let mut names = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !is_env_name(name) {
            return Err(Problem::InvalidVariable { name: Excerpt::new(name) });
        }
        let name = FieldName::parse(name)?;
        if names.contains(&name) {
            return Err(Problem::DuplicateField { field: name });
        }
        names.push(name);
    }
    match names.len() {
        0 => Err(Problem::InvalidVariable { name: Excerpt::new(text) }),
        1..=LIMIT => Ok(names),
        _ => Err(Problem::TooMany { what: "variables", limit: LIMIT }),
    }
}
