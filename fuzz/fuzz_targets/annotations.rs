//! Arbitrary annotations must parse to credentials or errors, without a panic. Paths must stay inside the volume.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use podcreds::annotations::{DEFAULT_PREFIX, ReferenceScope, keys, parse, similar_prefix};
use podcreds::object::Namespace;

const INJECTOR: &str = "db-creds-injector.numberly.io";

fuzz_target!(|entries: Vec<(bool, u8, &str, &str)>| {
    let namespace = Namespace::parse("prod").expect("a namespace");
    // Random text would seldom be one of them.
    let known: Vec<_> = keys().collect();
    for prefix in [DEFAULT_PREFIX, INJECTOR] {
        let annotations: BTreeMap<_, _> = entries
            .iter()
            .map(|(is_known, number, name, value)| {
                let key = known[usize::from(*number) % known.len()];
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
