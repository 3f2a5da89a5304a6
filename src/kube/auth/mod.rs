//! How the client proves who it is: a token, a client certificate or an exec plugin, and whom it impersonates.

pub(crate) mod client_cert;
pub(crate) mod exec_auth;
pub(crate) mod exec_plugin;
pub(crate) mod identity;
pub(crate) mod pem;
pub(crate) mod token;

pub(crate) use exec_auth::PluginIdentity;
pub use exec_plugin::Interactive;
pub(crate) use exec_plugin::{Plugin, PluginVersion};
pub use identity::Material;
pub(crate) use identity::{CertificateFiles, Identity, Impersonation, ImpersonationError, MaterialError};
pub(crate) use token::TokenFile;
