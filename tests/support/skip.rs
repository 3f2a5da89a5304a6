//! Tests that need a tool or server which may be missing: such a test reports that it is skipped, or fails if
//! everything is required.

use std::env;
use std::io::{Write, stderr};

/// With the value `all`, a test fails if something that it needs is missing; for machines that have everything.
pub(crate) const REQUIRE: &str = "PODCREDS_TEST_REQUIRE";

/// Returns `found`. If it is `None`, reports that the test is skipped, or fails the test if everything is required.
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

/// Reports on standard error that the test is skipped, in a line that `.ci/run` reads. The test itself must return.
///
/// # Panics
///
/// On any thread other than the test's, because libtest names only that thread after the test.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().expect("a test is skipped on its own thread");
    // Written directly, because libtest shows output of the print macros only for failed tests. In one write, because
    // other tests write too.
    let _ = stderr().write_all(format!("skipped: {test}: {reason}\n").as_bytes());
}
