//! What a test requires of the cluster in `KUBECONFIG`: a version of Kubernetes, an API, a node.
//!
//! A test that the cluster cannot run is skipped with the reason, also under `PODCREDS_TEST_REQUIRE=all`, because no single
//! cluster runs every test. In exchange `.ci/run` fails unless each test ran on at least one of its clusters.

use std::env;
use std::ffi::OsString;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::skip::{require, skip};

/// Skips the test below Kubernetes 1.`minor`; `feature` names in the plural what came with that version.
///
/// ```ignore
/// if since(29, "native sidecars").is_none() {
///     return;
/// }
/// ```
pub(crate) fn since(minor: u32, feature: &str) -> Option<()> {
    let version = version()?;
    if version < minor {
        skip(&format!("{feature} need Kubernetes 1.{minor}, and the cluster is 1.{version}"));
        return None;
    }
    Some(())
}

/// Skips the test where no node runs pods. `pods::namespace()` calls this.
pub(crate) fn node() -> Option<()> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    kubeconfig()?;
    if !FOUND.get_or_init(|| !kubectl(&["get", "nodes", "-o", "name"]).trim().is_empty()) {
        skip("pods need a node, and the cluster has none");
        return None;
    }
    Some(())
}

/// Returns the first of these API versions (`group/version`) that the cluster serves, and skips the test if it serves none.
pub(crate) fn served<'a>(versions: &[&'a str]) -> Option<&'a str> {
    kubeconfig()?;
    let served = kubectl(&["api-versions"]);
    let found = versions.iter().copied().find(|wanted| served.lines().any(|version| version == *wanted));
    if found.is_none() {
        skip(&format!("the cluster serves none of {}", versions.join(", ")));
    }
    found
}

/// The minor version of the API server.
pub(crate) fn version() -> Option<u32> {
    static VERSION: OnceLock<u32> = OnceLock::new();
    kubeconfig()?;
    let version = VERSION.get_or_init(|| {
        let version: Value = serde_json::from_str(&kubectl(&["get", "--raw", "/version"])).unwrap();
        let minor = version["minor"].as_str().expect("an API server has a minor version");
        // Managed clusters append a plus sign.
        minor.trim_end_matches('+').parse().expect("a minor version is a number")
    });
    Some(*version)
}

/// The kubeconfig of the tests; `None` means that the test is skipped.
pub(crate) fn kubeconfig() -> Option<OsString> {
    require("KUBECONFIG, which names a real cluster,", env::var_os("KUBECONFIG"))
}

fn kubectl(args: &[&str]) -> String {
    let output = Command::new("kubectl").args(args).output().expect("kubectl is installed");
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("kubectl prints text")
}
