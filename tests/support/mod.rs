//! The program's surroundings, for tests and the demo: a certificate authority, an API server, a pod's files, and
//! processes with a deadline. Nothing here uses the library; the program is driven from outside, as in a cluster.

#![allow(dead_code, unused_imports, reason = "each test file uses its own part of the support code")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "support code fails as tests do, by panicking"
)]

pub(crate) mod charts;
pub(crate) mod health;
pub(crate) mod home;
pub(crate) mod openssl;
pub(crate) mod pki;
pub(crate) mod pod;
pub(crate) mod program;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod skip;
pub(crate) mod witness;
