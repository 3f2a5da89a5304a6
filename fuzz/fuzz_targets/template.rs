//! An arbitrary template with arbitrary values must render within the size limit or fail with an error that shows no value.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use podcreds::escape::RULES;
use podcreds::secret::{SecretBuffer, SecretBytes};
use podcreds::template::{Delimiters, Template};

/// A marker in values, which no error may contain.
const MARKER: &str = "test-mark-7f3a";
/// The size limit of a rendered template.
const LIMIT: usize = 1024 * 1024;

fuzz_target!(|input: (&str, &str, &str, u8)| {
    let (text, delimiters, value, rule) = input;
    let delimiters = Delimiters::parse(delimiters).unwrap_or_default();
    let marked = SecretBytes::from(format!("{MARKER}{value}").as_str());
    let plain = SecretBytes::from(value);
    let fields = BTreeMap::from([("password", &marked), ("username", &plain), ("tls.crt", &plain)]);
    match Template::parse(text, &delimiters) {
        Err(error) => drop(error.to_string()),
        Ok(template) => match template.render(&fields) {
            Ok(rendered) => assert!(rendered.expose().len() <= LIMIT),
            Err(error) => {
                // The template text itself may contain the marker.
                let message = error.to_string();
                assert!(text.contains(MARKER) || !message.contains(MARKER), "{message}");
            }
        },
    }
    // A filter must write the same as the escaping rule of its name.
    let (name, rule) = RULES[usize::from(rule) % RULES.len()];
    let mut out = SecretBuffer::default();
    let text = format!("{{{{ username|{name} }}}}");
    let template = Template::parse(&text, &Delimiters::default()).expect("a filter for each rule");
    match (rule(value, &mut out), template.render(&fields)) {
        (Ok(()), Ok(rendered)) => {
            assert_eq!(rendered.expose(), out.finish().expose(), "{name}");
        }
        (Err(_), Err(_)) => {}
        (expected, rendered) => panic!("{name}: {expected:?} and {rendered:?}"),
    }
});
