//! The program against a real Kubernetes: as a process that asks a real API server, and as a container of real pods.
//!
//! What the tests take from the environment:
//!
//! | variable | what |
//! | --- | --- |
//! | `KUBECONFIG` | a cluster that they may make namespaces in |
//! | `PODCREDS_TEST_LOAD_IMAGE` | an executable, called as `… BINARY TAG`, that makes an image of the static binary and brings it to the nodes |
//! | `PODCREDS_TEST_BINARY` | the static binary |
//! | `PODCREDS_TEST_IMAGE` | the name of that image; default `docker.io/local/podcreds:test` |
//! | `PODCREDS_TEST_APP_IMAGE` | a busybox on the nodes; default `docker.io/local/busybox:test` |
//! | `PODCREDS_TEST_AUDIT_LOG` | the API server's audit log, as JSON lines |
//! | `PODCREDS_TEST_CLUSTER` | the script that started the cluster, for tests that start one of their own or cut its network; needs root |
//!
//! Without the first, all tests are skipped; without a binary and a way to load it, those with pods; without the last, the
//! outages. [`requirements`] skips the tests that the cluster is too old for, or that need a node where the cluster has none.
//!
//! Beside the kubeconfig of that script lie the process id of the kubelet (`pids/kubelet`), which a test restarts as root, and the
//! key of the authority for clients (`pki/ca.key`), with which one signs pod certificates. Elsewhere these tests are skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod apiserver;
mod certificates;
mod clusters;
mod envfile;
mod examples;
mod inspect;
mod killable;
mod kubectl;
mod kubelet;
mod native;
mod notify;
mod outages;
mod pods;
mod requirements;
mod restart_rules;
mod scene;
mod sidecar;
mod volume;
