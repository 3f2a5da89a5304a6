//! Arbitrary annotations must parse to credentials or errors, without a panic. Paths must stay inside the volume.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use podcreds::annotations::{DEFAULT_PREFIX, ReferenceScope, parse, similar_prefix};
use podcreds::object::Namespace;

/// Annotation keys, which random text would not hit.
const KEYS: [&str; 19] = [
    "secret",
    "configmap",
    "service",
    "keys",
    "set",
    "format",
    "path",
    "file-mode",
    "optional",
    "on-change",
    "engine",
    "template",
    "template-from",
    "delimiters",
    "mode",
    "env-key-dbuser",
    "env-key-dbpassword",
    "env-key-uri",
    "role",
];
const INJECTOR: &str = "db-creds-injector.numberly.io";

fuzz_target!(|entries: Vec<(bool, u8, &str, &str)>| {
    let namespace = Namespace::parse("prod").expect("a namespace");
    for prefix in [DEFAULT_PREFIX, INJECTOR] {
        let annotations: BTreeMap<_, _> = entries
            .iter()
            .map(|(is_known, number, name, value)| {
                let key = KEYS[usize::from(*number) % KEYS.len()];
                let name = if *is_known { format!("{prefix}/{name}.{key}") } else { (*name).to_owned() };
                (name, (*value).to_owned())
            })
            .collect();
        let _ = similar_prefix(&annotations, prefix);
        match parse(&annotations, prefix, &ReferenceScope::local(namespace.clone())) {
            Ok(credentials) => {
                for credential in credentials {
                    let path = credential.path.to_string();
                    assert!(!path.starts_with('/') && path.split('/').all(|part| !part.starts_with("..")));
                }
            }
            Err(errors) => drop(errors.to_string()),
        }
    }
});
