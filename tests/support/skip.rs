//! Tests that need a tool or a server which may be missing: skipped aloud, or refused where everything is required.

use std::env;
use std::io::{Write, stderr};

/// With the value `all`, a missing thing fails the test in place of skipping it: for the machine that has everything.
pub(crate) const REQUIRE: &str = "PODCREDS_TEST_REQUIRE";

/// Hands `found` through; where it is `None`, says on standard error that the test is skipped.
///
/// ```ignore
/// let Some(openssl) = require("openssl", find("openssl")) else { return };
/// ```
pub(crate) fn require<T>(what: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        let required = env::var_os(REQUIRE).is_some_and(|value| value == "all");
        assert!(!required, "{what} is missing, and {REQUIRE}=all allows no test to be skipped");
        // Not by a macro: what those print is only shown of tests that fail.
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(stderr(), "skipped: {test}: {what} is missing");
    }
    found
}
