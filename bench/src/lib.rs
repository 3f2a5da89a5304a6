//! Access to the API server with a pod's service account, over ureq and rustls alone: the client that podcreds is built on.

use std::error::Error;
use std::sync::Arc;
use std::{env, fs};

use serde_json::json;
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// A namespace of an API server and a service account to access it with.
pub struct Pod {
    /// Keeps connections alive between requests.
    pub agent: Agent,
    /// The value of the `Authorization` header.
    pub authorization: String,
    /// The URL of the namespace.
    pub namespace: String,
}

impl Pod {
    /// Reads the environment variables and files that podcreds reads.
    ///
    /// # Errors
    /// If one is missing, or the CA certificate cannot be parsed.
    pub fn from_env() -> Result<Self, Box<dyn Error>> {
        let account = env::var("PODCREDS_SERVICE_ACCOUNT_DIR")?;
        let token = fs::read_to_string(format!("{account}/token"))?;
        Ok(Self {
            agent: agent(&fs::read(format!("{account}/ca.crt"))?)?,
            authorization: format!("Bearer {}", token.trim()),
            namespace: namespace_url()?,
        })
    }

    /// Changes the key `password` of a Secret.
    ///
    /// # Errors
    /// If the API server does not accept the change.
    pub fn set_password(&self, secret: &str, value: &str) -> Result<(), Box<dyn Error>> {
        let request = self.agent.patch(format!("{}/secrets/{secret}", self.namespace));
        let request = request
            .header("Authorization", &self.authorization)
            .header("Content-Type", "application/merge-patch+json");
        let body = json!({ "stringData": { "password": value } });
        request.send(body.to_string())?.body_mut().read_to_vec()?;
        Ok(())
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
