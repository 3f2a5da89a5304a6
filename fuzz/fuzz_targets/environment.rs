//! For an arbitrary env file, every variable that is parsed must be in the file exactly as podcreds would write it.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use podcreds::credential::RelativePath;
use podcreds::env_file::Environment;
use podcreds::escape::shell;
use podcreds::secret::{SecretBuffer, SecretBytes};

fuzz_target!(|content: &[u8]| {
    let path = RelativePath::parse("db.env").expect("a path");
    let files = BTreeMap::from([(path, SecretBytes::new(content.to_vec()))]);
    let Ok(environment) = Environment::from_files(&files) else { return };
    for (name, value) in environment.iter() {
        let mut line = SecretBuffer::default();
        line.push_str(&format!("export {name}="));
        shell(value.expose_text().expect("text"), &mut line).expect("no NUL");
        line.push_str("\n");
        let line = line.finish();
        assert!(content.windows(line.expose().len()).any(|part| part == line.expose()), "{name}");
    }
});
