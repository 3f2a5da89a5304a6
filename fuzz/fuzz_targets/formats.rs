//! An arbitrary Secret in every format must render to a bundle or to an error that shows none of its values.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use podcreds::annotations::{DEFAULT_PREFIX, ReferenceScope, parse};
use podcreds::credential::{Engine, Format};
use podcreds::object::{Kind, Namespace, ObjectRef};
use podcreds::render::{self, Sources};
use podcreds::secret::SecretBytes;

/// Fields that formats use, and one that they do not.
const KEYS: [&str; 9] =
    ["username", "password", "host", "port", "database", "type", "options", "uri", "other"];
/// A marker in values, which no error may contain.
const MARKER: &str = "test-mark-7f3a";

fuzz_target!(|input: (u8, u8, Vec<(u8, bool, &[u8])>)| {
    let (format, engine, values) = input;
    let (format, _) = Format::ALL[usize::from(format) % Format::ALL.len()];
    let (engine, _) = Engine::ALL[usize::from(engine) % Engine::ALL.len()];
    let namespace = Namespace::parse("prod").expect("a namespace");
    let scope = ReferenceScope::local(namespace.clone());
    let read = |annotations: &[(&str, &str)]| {
        let named = |(key, value): &(&str, &str)| (format!("{DEFAULT_PREFIX}/db.{key}"), (*value).to_owned());
        parse(&annotations.iter().map(named).collect::<BTreeMap<_, _>>(), DEFAULT_PREFIX, &scope)
    };
    let annotations = [("secret", "s"), ("format", format), ("engine", engine)];
    // Only connections have an engine.
    let Ok(credentials) = read(&annotations).or_else(|_| read(&annotations[..2])) else { return };
    let data = values.into_iter().map(|(key, is_marked, value)| {
        let marked = if is_marked { [MARKER.as_bytes(), value].concat() } else { value.to_vec() };
        (KEYS[usize::from(key) % KEYS.len()].to_owned(), SecretBytes::new(marked))
    });
    let object = ObjectRef::new(Kind::Secret, namespace, "s").expect("a name");
    let sources = Sources::from([(object, Some(data.collect()))]);
    if let Err(errors) = render::render(&credentials, &sources) {
        assert!(!errors.to_string().contains(MARKER), "{errors}");
    }
});
