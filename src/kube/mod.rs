//! The API server: who to ask, how, and what it said. Knows HTTP, TLS and the API's shapes, and nothing of credentials.
//!
//! [`in_cluster`] makes a [`ClientConfig`] from what a pod has mounted. Another way in (a kubeconfig) makes the same
//! configuration; there is one [`Client`].

mod agent;
mod body;
mod call;
mod certificate;
mod client;
mod config;
mod error;
mod event;
mod followed;
mod given;
mod identity;
pub mod in_cluster;
mod limits;
mod pem;
mod plugin;
mod proxy;
mod requests;
mod retry;
mod roots;
mod server;
mod server_messages;
mod tls;
pub mod token;
mod transport;
mod watch;

pub use certificate::{CertificateError, ClientCertificate};
pub use client::{Client, Object};
pub use config::{ClientConfig, TlsName, TlsNameError, Trust};
pub use error::{Cause, Error};
pub use event::Event;
pub use followed::{FileError, Followed, Stamp};
pub use given::PluginIdentity;
pub use identity::{CertificateFiles, Identity, Impersonation, ImpersonationError, Material, MaterialError};
pub use limits::Limits;
pub use pem::PemError;
pub use plugin::{
    AnswerError, Interactive, Plugin, PluginCredential, PluginError, PluginProblem, PluginVersion,
};
pub use proxy::{Proxy, ProxyError, is_direct};
pub use requests::{RequestCounts, Requests};
pub use retry::{Deadline, until_settled};
pub use roots::{Roots, RootsError};
pub use server::{Server, ServerError};
pub(crate) use server_messages::{names_object, refuses_user};
pub use token::{Token, TokenFile};
pub use watch::{Change, Watch};
