//! The API server's client: HTTP, TLS, authentication and the shapes of the API. It knows nothing of credentials.
//!
//! [`config`] makes a [`ClientConfig`] from what a pod has mounted, a kubeconfig or a clusters file; there is one [`Client`].
//! [`auth`] proves who the client is, [`transport`] connects it.

pub mod auth;
mod client;
pub mod config;
mod decode;
mod error;
mod event;
mod limits;
mod reloading_file;
mod request;
mod request_metrics;
mod retry;
mod server_messages;
mod transport;
mod watch;

pub use auth::{
    AnswerError, CertificateError, CertificateFiles, ClientCertificate, Identity, Impersonation,
    ImpersonationError, Interactive, Material, MaterialError, PemError, Plugin, PluginCredential,
    PluginError, PluginIdentity, PluginProblem, PluginVersion, Token, TokenFile,
};
pub use client::{Client, Object};
pub use config::{ClientConfig, Server, ServerError, TlsName, TlsNameError, Trust};
pub use error::{Cause, Error};
pub use event::Event;
pub use limits::Limits;
pub use reloading_file::{FileError, Followed, Stamp};
pub use request_metrics::{RequestCounts, Requests};
pub use retry::{Deadline, until_settled};
pub(crate) use server_messages::{names_object, refuses_user};
pub use transport::{Proxy, ProxyError, Roots, RootsError, is_direct};
pub use watch::{Change, Watch};
