//! Arbitrary files in place of a downward API file must not cause a panic, and a file that the kubelet writes must read back.
#![no_main]

use std::fmt::Write;

use libfuzzer_sys::fuzz_target;
use podcreds::annotations::parse_downward_file;

fuzz_target!(|text: &str| {
    match parse_downward_file(text) {
        Ok(annotations) => drop(annotations),
        Err(error) => drop(error.to_string()),
    }
    // The kubelet writes values with Go's %q, which equals Rust's Debug for printable ASCII.
    if text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        let mut file = String::new();
        writeln!(file, "a={text:?}").expect("memory");
        let read = parse_downward_file(&file).expect("what the kubelet writes");
        assert_eq!(read["a"], text);
    }
});
