//! Connections to an API server: requests, TLS, proxies, certificate authorities, and their errors.

pub(crate) mod ca_bundle;
pub(crate) mod connector;
pub(crate) mod error;
pub(crate) mod proxy;
pub(crate) mod tls;

pub use ca_bundle::Roots;
pub(crate) use ca_bundle::RootsError;
pub(crate) use proxy::{Proxy, ProxyError, bypasses_proxy};
