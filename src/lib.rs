//! podcreds delivers database credentials to a pod as files. The binary is the product; this library has no stable interface.
//!
//! Data flows through the modules in this order, and imports only point backwards (`tests/layers.rs`):
//!
//! ```text
//! annotations ─► credential ─► kube (fetch) ─► render ─► volume (publish)
//! ```
//!
//! [`sync`] runs these steps once, [`sidecar`] repeats them and [`telemetry`] reports on it. [`cli`] turns flags and the
//! environment into settings for [`commands`]. [`annotations`], [`formats`] and [`render`] are pure: no I/O, no clock, no
//! environment.
//! [`kube`] knows nothing of credentials, [`volume`] nothing of Kubernetes.
//!
//! Public modules are those that the binary, tests, benchmarks and fuzz targets use; all else is `pub(crate)`.

pub mod annotations;
mod check;
mod children;
pub mod cli;
mod commands;
pub mod credential;
mod descriptors;
mod duration;
pub mod env_file;
pub mod escape;
mod formats;
mod inject;
pub mod inspect;
pub mod kube;
mod manifest;
pub mod object;
mod proc;
mod rbac;
pub mod render;
pub mod secret;
mod sidecar;
mod splay;
mod supervisor;
mod sync;
mod telemetry;
pub mod template;
mod text;
mod thread;
pub mod volume;
mod yaml;
