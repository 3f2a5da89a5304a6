//! Tests that need a tool or a server which may be missing: they report that they are skipped, or fail where everything is
//! required.

use std::env;
use std::io::{Write, stderr};

/// With the value `all`, a test fails if something that it needs is missing: for a machine that has everything.
pub(crate) const REQUIRE: &str = "PODCREDS_TEST_REQUIRE";

/// Returns `found`; if it is `None`, reports that the test is skipped, or fails it where everything is required.
///
/// ```ignore
/// let Some(openssl) = require("openssl", find("openssl")) else { return };
/// ```
pub(crate) fn require<T>(what: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        let required = env::var_os(REQUIRE).is_some_and(|value| value == "all");
        assert!(!required, "{what} is missing, and {REQUIRE}=all allows no test to be skipped");
        skip(&format!("{what} is missing"));
    }
    found
}

/// Reports that the test is skipped, as a line of standard error that `.ci/run` reads. The test itself must return.
pub(crate) fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not by a macro: libtest shows what those print only of tests that fail. In one piece: other tests write as well.
    let _ = stderr().write_all(format!("skipped: {test}: {reason}\n").as_bytes());
}
