//! Connections to an API server: TLS, proxies, certificate authorities, and what their errors mean.

pub(crate) mod ca_bundle;
pub(crate) mod connector;
pub(crate) mod error;
pub(crate) mod proxy;
pub(crate) mod tls;

pub use ca_bundle::{Roots, RootsError};
pub use proxy::{Proxy, ProxyError, is_direct};
