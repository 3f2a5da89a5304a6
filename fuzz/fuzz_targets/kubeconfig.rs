//! Any text where a kubeconfig or a clusters file should be: an error with a place, and no value in it.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use podcreds::kube::config::clusters::file;
use podcreds::kube::config::kubeconfig::{Wanted, merge, parse};

/// Stands for a token: no message may show it.
const SECRET: &str = "test-s3cr3t-t0ken";

fuzz_target!(|text: &[u8]| {
    let path = Path::new("/etc/podcreds/config");
    let mut said = Vec::new();
    match parse(text, path) {
        Ok(kubeconfig) => match merge(vec![kubeconfig]).select(&Wanted::default()) {
            Ok(access) => said.push(format!("{access:?}")),
            Err(error) => said.push(error.to_string()),
        },
        Err(error) => said.push(error.to_string()),
    }
    match file::parse(text, path) {
        Ok(file) => said.push(format!("{file:?}")),
        Err(error) => said.push(error.to_string()),
    }
    assert!(said.iter().all(|said| !said.contains('\0')));

    // The same text with a token in a place where one belongs.
    let user = format!("users: [{{name: u, user: {{token: {SECRET}}}}}]\n");
    let with_token = [user.as_bytes(), text].concat();
    let said = match parse(&with_token, path) {
        Ok(kubeconfig) => match merge(vec![kubeconfig]).select(&Wanted::default()) {
            Ok(access) => format!("{access:?}"),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    assert!(!said.contains(SECRET), "{said}");
});
