//! Any template with any values: a text or an error that shows none of them, in bounded time and memory.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use podcreds::escape::RULES;
use podcreds::secret::{SecretBuffer, SecretBytes};
use podcreds::template::{Delimiters, Template};

/// What no message may show.
const MARK: &str = "test-mark-7f3a";
/// What a rendered template can be at most, in bytes, and the new line at its end.
const LIMIT: usize = 1024 * 1024 + 1;

fuzz_target!(|input: (&str, &str, &str, u8)| {
    let (text, marks, value, rule) = input;
    let delimiters = Delimiters::parse(marks).unwrap_or_default();
    let marked = SecretBytes::from(format!("{MARK}{value}").as_str());
    let plain = SecretBytes::from(value);
    let fields = BTreeMap::from([("password", &marked), ("username", &plain), ("tls.crt", &plain)]);
    match Template::parse(text, &delimiters) {
        Err(error) => drop(error.to_string()),
        Ok(template) => match template.render(&fields) {
            Ok(rendered) => assert!(rendered.expose().len() <= LIMIT),
            Err(error) => {
                // A template may hold the mark itself.
                let said = error.to_string();
                assert!(text.contains(MARK) || !said.contains(MARK), "{said}");
            }
        },
    }
    // A filter writes what the rule of its name writes.
    let (name, rule) = RULES[usize::from(rule) % RULES.len()];
    let mut out = SecretBuffer::default();
    let text = format!("{{{{ username|{name} }}}}");
    let template = Template::parse(&text, &Delimiters::default()).expect("a filter for each rule");
    match (rule(value, &mut out), template.render(&fields)) {
        (Ok(()), Ok(rendered)) => {
            let mut expected = out.finish().expose().to_vec();
            if !expected.is_empty() && !expected.ends_with(b"\n") {
                expected.push(b'\n');
            }
            assert_eq!(rendered.expose(), expected, "{name}");
        }
        (Err(_), Err(_)) => {}
        (expected, rendered) => panic!("{name}: {expected:?} and {rendered:?}"),
    }
});
