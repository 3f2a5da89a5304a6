//! Arbitrary text in place of a kubeconfig or a clusters file must not cause a panic or expose a token.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use podcreds::kube::config::clusters_file;
use podcreds::kube::config::kubeconfig::{Overrides, merge, parse};

/// A token that no message may contain.
const SECRET: &str = "test-s3cr3t-t0ken";

fuzz_target!(|text: &[u8]| {
    let path = Path::new("/etc/podcreds/config");
    let mut messages = Vec::new();
    match parse(text, path) {
        Ok(kubeconfig) => match merge(vec![kubeconfig]).select(&Overrides::default()) {
            Ok(access) => messages.push(format!("{access:?}")),
            Err(error) => messages.push(error.to_string()),
        },
        Err(error) => messages.push(error.to_string()),
    }
    match clusters_file::parse(text, path) {
        Ok(file) => messages.push(format!("{file:?}")),
        Err(error) => messages.push(error.to_string()),
    }
    assert!(messages.iter().all(|message| !message.contains('\0')));

    // The same text after a user with a token.
    let user = format!("users: [{{name: u, user: {{token: {SECRET}}}}}]\n");
    let with_token = [user.as_bytes(), text].concat();
    let message = match parse(&with_token, path) {
        Ok(kubeconfig) => match merge(vec![kubeconfig]).select(&Overrides::default()) {
            Ok(access) => format!("{access:?}"),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    assert!(!message.contains(SECRET), "{message}");
});
