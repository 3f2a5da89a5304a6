//! Any file where a downward API volume should be; and what the kubelet would write, which reads back.
#![no_main]

use std::fmt::Write;

use libfuzzer_sys::fuzz_target;
use podcreds::annotations::parse_downward_file;

fuzz_target!(|text: &str| {
    match parse_downward_file(text) {
        Ok(annotations) => drop(annotations),
        Err(error) => drop(error.to_string()),
    }
    // Go's %q of what has no control characters is what Rust's Debug writes, but for a few escapes.
    if text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        let mut file = String::new();
        writeln!(file, "a={text:?}").expect("memory");
        let read = parse_downward_file(&file).expect("what the kubelet writes");
        assert_eq!(read["a"], text);
    }
});
