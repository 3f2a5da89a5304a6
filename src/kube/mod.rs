//! The API server's client: HTTP, TLS, authentication and the shapes of the API. It knows nothing of credentials.
//!
//! [`config`] makes a [`ClientConfig`] from what a pod has mounted, a kubeconfig or a clusters file; there is one [`Client`].
//! [`auth`] proves who the client is, [`transport`] connects it.

pub(crate) mod auth;
mod client;
pub mod config;
mod decode;
mod error;
mod event;
mod limits;
mod rbac;
mod reloading_file;
mod request;
mod request_metrics;
mod retry;
mod server_messages;
mod transport;
mod watch;

pub(crate) use auth::{
    CertificateFiles, Identity, Impersonation, ImpersonationError, MaterialError, Plugin, PluginIdentity,
    PluginVersion, TokenFile,
};
pub use auth::{Interactive, Material};
pub use client::Client;
pub(crate) use client::Object;
pub use config::{ClientConfig, Server};
pub(crate) use config::{ServerError, TlsName, TlsNameError, Trust};
pub(crate) use error::{Cause, Error};
pub(crate) use event::Event;
pub use limits::Limits;
pub(crate) use rbac::Rule;
pub(crate) use reloading_file::{FileError, Followed, Stamp};
pub(crate) use request_metrics::Requests;
pub use retry::Deadline;
pub(crate) use retry::until_settled;
pub(crate) use server_messages::{names_object, refuses_user};
pub use transport::Roots;
pub(crate) use transport::{Proxy, ProxyError, RootsError, is_direct};
pub(crate) use watch::Change;
