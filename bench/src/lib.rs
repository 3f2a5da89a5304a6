//! The API server as a pod knows it, over the client that podcreds is built on and nothing around it.

use std::error::Error;
use std::sync::Arc;
use std::{env, fs};

use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// One server, one namespace of it, and the service account that asks.
pub struct Pod {
    /// Keeps its connections alive.
    pub agent: Agent,
    /// The value of the header of that name.
    pub authorization: String,
    /// The address of the namespace.
    pub namespace: String,
}

impl Pod {
    /// Reads the variables and files that podcreds reads.
    ///
    /// # Errors
    /// If one is missing, or the CA certificate is none.
    pub fn from_env() -> Result<Self, Box<dyn Error>> {
        let account = env::var("PODCREDS_SERVICE_ACCOUNT_DIR")?;
        let token = fs::read_to_string(format!("{account}/token"))?;
        Ok(Self {
            agent: agent(&fs::read(format!("{account}/ca.crt"))?)?,
            authorization: format!("Bearer {}", token.trim()),
            namespace: namespace_url()?,
        })
    }
}

fn agent(ca: &[u8]) -> Result<Agent, ureq::Error> {
    let mut roots = Vec::new();
    for item in parse_pem(ca) {
        if let PemItem::Certificate(certificate) = item? {
            roots.push(certificate);
        }
    }
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build();
    let config =
        Agent::config_builder().tls_config(tls).proxy(None).max_redirects(0).input_buffer_size(16384);
    Ok(config.build().new_agent())
}

fn namespace_url() -> Result<String, env::VarError> {
    let host = env::var("KUBERNETES_SERVICE_HOST")?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let port = env::var("KUBERNETES_SERVICE_PORT")?;
    Ok(format!("https://{host}:{port}/api/v1/namespaces/{}", env::var("POD_NAMESPACE")?))
}
