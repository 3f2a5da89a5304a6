//! podcreds against a real Kubernetes: as a process that connects to a real API server, and as a container in real pods.
//!
//! Environment variables of the tests:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `KUBECONFIG` | a cluster in which the tests may create namespaces |
//! | `PODCREDS_TEST_LOAD_IMAGE` | an executable, called as `… BINARY TAG`, that builds an image of the static binary and loads it onto the nodes |
//! | `PODCREDS_TEST_BINARY` | the static binary |
//! | `PODCREDS_TEST_IMAGE` | the name of that image; default `docker.io/local/podcreds:test` |
//! | `PODCREDS_TEST_APP_IMAGE` | a busybox image on the nodes; default `docker.io/local/busybox:test` |
//! | `PODCREDS_TEST_AUDIT_LOG` | the API server's audit log, as JSON lines |
//! | `PODCREDS_TEST_MONITORING_CRDS` | a directory with the custom resource definitions of the Prometheus operator |
//! | `PODCREDS_TEST_CLUSTER` | the script that started the cluster, for tests that start another cluster or cut the network; needs root |
//!
//! Without `KUBECONFIG` all tests are skipped; without the binary and the load command, the tests with pods; without the last
//! variable, the outages. [`requirements`] skips tests for which the cluster is too old or has no node.
//!
//! Next to its kubeconfig, that script stores the process id of the kubelet (`pids/kubelet`), which a test restarts as root, and
//! the key of the client CA (`pki/ca.key`), which signs pod certificates. With other clusters these tests are skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/documented.rs"]
mod documented;

mod access;
mod apiserver;
mod application;
mod certificates;
mod check;
mod clusters;
mod envfile;
mod example_headers;
mod examples;
mod init_events;
mod injection;
mod inspect;
mod killable;
mod kubectl;
mod kubelet;
mod monitoring;
mod native;
mod notify;
mod openshift;
mod outages;
mod packaging;
mod pods;
mod rbac;
mod readme;
mod requirements;
mod restart_rules;
mod restarts;
mod rotation_page;
mod scene;
mod sidecar;
mod snippets;
mod supervisor;
mod verify_full;
mod volume;
