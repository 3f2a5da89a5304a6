//! From a way into a cluster, as a kubeconfig describes it, to what a client needs: the files that it names are read here.

use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use log::warn;
use serde_json::{Value, json};

use crate::kube::config::kubeconfig::{Access, Exec, ExecCluster, Named, Wanted, load};
use crate::kube::{
    CertificateFiles, CertificateFilesError, ClientConfig, ExecAuth, FileError, Identity, Impersonation,
    ImpersonationError, Limits, PemSource, Plugin, Proxy, ProxyError, Reloading, Roots, RootsError, Server,
    TlsName, TlsNameError, TokenError, TokenFile, Trust, auth::token, bypasses_proxy,
};
use crate::secret::SecretBytes;
use crate::yaml::TEXT_LIMIT;

/// What a client's configuration needs beside the kubeconfig.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The bound on each phase of a request.
    pub(crate) request_timeout: Duration,
    /// How often the API server is asked.
    pub(crate) limits: Option<Limits>,
    /// The proxies of the environment.
    pub(crate) proxies: Proxies,
}

/// The proxy that the environment names for HTTPS, and what is reached without it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    /// `HTTPS_PROXY`, which may hold a password.
    pub(crate) https: Option<SecretBytes>,
    /// `NO_PROXY`
    pub(crate) except: String,
}

impl Proxies {
    /// The proxy for this server, if there is one.
    fn of(&self, server: &Server) -> Result<Option<Proxy>, OpenError> {
        let Some(url) = self.https.as_ref().filter(|_| !bypasses_proxy(server, &self.except)) else {
            return Ok(None);
        };
        let proxy = Proxy::parse(url.expose_text().unwrap_or_default());
        proxy.map(Some).map_err(|cause| OpenError::Proxy { named_by: "the variable HTTPS_PROXY", cause })
    }
}

/// Reads kubeconfigs, and what they name, for the configuration of a client.
///
/// # Errors
/// What is wrong, in which file, and what to do.
pub(crate) fn open(
    named: &Named,
    wanted: &Wanted,
    surroundings: &Surroundings,
) -> Result<ClientConfig, String> {
    let kubeconfig = load(named).map_err(|error| error.to_string())?;
    let access = kubeconfig.select(wanted).map_err(|error| error.to_string())?;
    let files: Vec<_> = named.files().iter().map(|path| path.display().to_string()).collect();
    access.open(surroundings).map_err(|error| format!("kubeconfig {}: {error}", files.join(", ")))
}

impl Access {
    /// Reads every file that it names and checks what is in them. Nobody is asked, and no plugin is run.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub(crate) fn open(self, surroundings: &Surroundings) -> Result<ClientConfig, OpenError> {
        let trust = match (self.insecure, self.authority) {
            (true, _) => Trust::Insecure,
            (false, Some(authority)) => Trust::Roots(roots(authority)?),
            (false, None) => Trust::Roots(Reloading::fixed(Roots::from_system()?)),
        };
        let proxy = match &self.proxy_url {
            Some(url) => {
                let proxy = Proxy::parse(url.expose_text().unwrap_or_default());
                Some(proxy.map_err(|cause| OpenError::Proxy { named_by: "proxy-url", cause })?)
            }
            None => surroundings.proxies.of(&self.server)?,
        };
        let certificate = self
            .client_certificate
            .map(|(certificate, key)| CertificateFiles::open(certificate, key))
            .transpose()?;
        let identity = Identity {
            token: bearer(self.token_file.as_deref(), self.token)?,
            certificate,
            plugin: self.exec.map(plugin).transpose()?.map(ExecAuth::new),
            impersonation: self.impersonate.as_ref().map(impersonation).transpose()?,
        };
        Ok(ClientConfig {
            server: self.server,
            server_name: self.server_name.as_deref().map(TlsName::parse).transpose()?,
            trust,
            identity,
            proxy,
            request_timeout: surroundings.request_timeout,
            limits: surroundings.limits,
        })
    }
}

fn roots(authority: PemSource) -> Result<Reloading<Roots>, OpenError> {
    Ok(match authority {
        PemSource::File(path) => Roots::open(path)?,
        PemSource::Inline(pem) => Reloading::fixed(Roots::parse(pem.expose()).map_err(OpenError::Authority)?),
    })
}

/// A token in a file is the newer one, but the other will do where the file cannot be read, as in client-go.
fn bearer(file: Option<&Path>, inline: Option<SecretBytes>) -> Result<Option<TokenFile>, OpenError> {
    let fixed = inline
        .map(|inline| token::parse(inline.expose()).map(Reloading::fixed).map_err(OpenError::Token))
        .transpose()?;
    match (file.map(|path| token::open(path.to_owned())), fixed) {
        (Some(Ok(file)), _) => Ok(Some(file)),
        (Some(Err(error)), Some(fixed)) => {
            warn!("{error}; going on with the token in the kubeconfig");
            Ok(Some(fixed))
        }
        (Some(Err(error)), None) => Err(error.into()),
        (None, fixed) => Ok(fixed),
    }
}

fn plugin(exec: Exec) -> Result<Plugin, OpenError> {
    let cluster = exec.cluster.map(cluster_info).transpose()?;
    Ok(Plugin { cluster, ..exec.plugin })
}

/// What a plugin is told of the cluster.
fn cluster_info(cluster: ExecCluster) -> Result<Value, OpenError> {
    let mut info = json!({"server": cluster.server});
    let authority = match cluster.authority {
        Some(PemSource::Inline(pem)) => Some(STANDARD.encode(pem.expose())),
        Some(PemSource::File(path)) => {
            let unread = |cause| OpenError::Unread { path: path.display().to_string(), cause };
            let pem = load::read_text(&path).map_err(unread)?;
            if pem.len() > TEXT_LIMIT {
                return Err(unread(io::Error::other(format!("it is larger than {TEXT_LIMIT} bytes"))));
            }
            Some(STANDARD.encode(pem))
        }
        None => None,
    };
    let proxy = cluster.proxy_url.as_ref().and_then(SecretBytes::expose_text);
    for (key, value) in [
        ("tls-server-name", cluster.server_name.map(Value::from)),
        ("insecure-skip-tls-verify", cluster.insecure.then_some(Value::Bool(true))),
        ("certificate-authority-data", authority.map(Value::from)),
        ("proxy-url", proxy.map(Value::from)),
        ("config", cluster.config),
    ] {
        if let Some(value) = value {
            info[key] = value;
        }
    }
    Ok(info)
}

fn impersonation(who: &crate::kube::config::kubeconfig::Impersonation) -> Result<Impersonation, OpenError> {
    let extra =
        who.extra.iter().flat_map(|(key, values)| values.iter().map(|value| (key.as_str(), value.as_str())));
    let groups = who.groups.iter().map(String::as_str);
    Ok(Impersonation::new(&who.user, who.uid.as_deref(), groups, extra)?)
}

/// Why a way into a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// A file that is named.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate authority in the kubeconfig itself.
    #[error("certificate-authority-data {0}")]
    Authority(RootsError),
    /// No certificate authority is named.
    #[error(transparent)]
    System(#[from] RootsError),
    /// The token.
    #[error("the token {0}")]
    Token(TokenError),
    /// The client certificate and its key.
    #[error(transparent)]
    Certificate(#[from] CertificateFilesError),
    /// A proxy.
    #[error("{named_by}: {cause}")]
    Proxy {
        /// Where it is named.
        named_by: &'static str,
        /// What is wrong with it.
        cause: ProxyError,
    },
    /// `tls-server-name`
    #[error("tls-server-name {0}")]
    Name(#[from] TlsNameError),
    /// `as` and the like.
    #[error("who is to be acted for {0}")]
    Impersonation(#[from] ImpersonationError),
    /// A file whose content a plugin is told.
    #[error("{path} cannot be read: {cause}")]
    Unread {
        /// The file.
        path: String,
        /// Why.
        cause: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_for_a_plugin_has_a_largest_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        let info = |size: usize| {
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            cluster_info(ExecCluster {
                server: "https://10.0.0.1".to_owned(),
                server_name: None,
                insecure: false,
                authority: Some(PemSource::File(path.clone())),
                proxy_url: None,
                config: None,
            })
        };
        assert!(info(TEXT_LIMIT).is_ok());
        let error = info(TEXT_LIMIT + 1).unwrap_err().to_string();
        assert!(error.contains("ca.crt") && error.contains("it is larger than"), "{error}");
    }
}
