//! How the client proves who it is: a token, a client certificate or an exec plugin, and whom it impersonates.

pub(crate) mod client_cert;
pub(crate) mod exec_auth;
pub(crate) mod exec_plugin;
pub(crate) mod identity;
pub(crate) mod pem;
pub mod token;

pub use client_cert::{CertificateError, ClientCertificate};
pub use exec_auth::PluginIdentity;
pub use exec_plugin::{
    AnswerError, Interactive, Plugin, PluginCredential, PluginError, PluginProblem, PluginVersion,
};
pub use identity::{CertificateFiles, Identity, Impersonation, ImpersonationError, Material, MaterialError};
pub use pem::PemError;
pub use token::{Token, TokenFile};
