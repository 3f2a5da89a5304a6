//! podcreds delivers database credentials to a pod as files.
//!
//! The way of the data is the order of the modules, and imports run one way:
//!
//! ```text
//! annotations ─► credential ─► kube (fetch) ─► render ─► volume (publish)        one pass = sync
//! ```
//!
//! [`annotations`] and [`render`] are pure. [`kube`] knows nothing of credentials, [`volume`] nothing of Kubernetes. Only
//! [`sync`] puts the steps together; [`cli`] turns flags and the environment into its settings.

pub mod annotations;
pub mod backoff;
pub mod bucket;
pub mod bundle;
pub mod cli;
pub mod commands;
pub mod credential;
pub mod duration;
pub mod env_file;
pub mod escape;
pub mod inspect;
pub mod kube;
pub mod object;
pub mod ordered;
pub mod render;
pub mod secret;
pub mod sidecar;
pub mod sync;
pub mod telemetry;
pub mod template;
pub mod text;
pub mod volume;
pub mod yaml;
