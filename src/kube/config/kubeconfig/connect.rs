//! Makes the configuration of a client from a resolved kubeconfig: reads the files that it names and checks their content.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::kube::config::kubeconfig::{
    Error, Exec, ExecCluster, LoadingRules, Overrides, ResolvedConfig, load,
};
use crate::kube::{
    CertificateFiles, CertificateFilesError, ClientConfig, ExecAuth, FileError, Identity, Impersonation,
    ImpersonationError, Limits, PemSource, Plugin, Proxy, ProxyError, Reloading, Roots, RootsError, Server,
    TlsName, TlsNameError, TokenError, TokenFile, Trust,
    auth::{open_token, parse_token},
    bypasses_proxy,
};
use crate::secret::{SecretBytes, read_bounded};
use crate::yaml::TEXT_LIMIT;

/// The settings of a client that a kubeconfig does not have.
#[derive(Clone, Debug)]
pub(crate) struct ClientOptions {
    /// Applies to each phase of a request.
    pub(crate) request_timeout: Duration,
    /// `None` means that requests are not limited.
    pub(crate) limits: Option<Limits>,
    pub(crate) proxies: ProxyEnv,
}

/// The proxy variables of the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyEnv {
    /// `HTTPS_PROXY`, which may hold a password.
    pub(crate) https: Option<SecretBytes>,
    /// `NO_PROXY`
    pub(crate) except: String,
}

impl ProxyEnv {
    fn for_server(&self, server: &Server) -> Result<Option<Proxy>, ConnectError> {
        let Some(url) = self.https.as_ref().filter(|_| !bypasses_proxy(server, &self.except)) else {
            return Ok(None);
        };
        let proxy = Proxy::parse(url.expose_text().unwrap_or_default());
        proxy.map(Some).map_err(|cause| ConnectError::Proxy { named_by: "HTTPS_PROXY", cause })
    }
}

/// Loads kubeconfigs, selects from them and reads the files that they name.
///
/// # Errors
/// If one of these steps fails.
pub(crate) fn load_client_config(
    rules: &LoadingRules,
    overrides: &Overrides,
    options: &ClientOptions,
) -> Result<ClientConfig, LoadError> {
    let kubeconfig = load(rules)?;
    let resolved = kubeconfig.select(overrides)?;
    resolved.into_client_config(options).map_err(|cause| {
        let files: Vec<_> = rules.files().iter().map(|path| path.display().to_string()).collect();
        LoadError::Connect { files: files.join(", "), cause }
    })
}

impl ResolvedConfig {
    /// Reads and checks every file that it names. No server is contacted and no plugin is run.
    ///
    /// # Errors
    /// The first file or value that cannot be used.
    pub(crate) fn into_client_config(self, options: &ClientOptions) -> Result<ClientConfig, ConnectError> {
        let trust = match (self.insecure, self.authority) {
            (true, _) => Trust::Insecure,
            (false, Some(authority)) => Trust::Roots(roots(authority)?),
            (false, None) => Trust::Roots(Reloading::fixed(Roots::from_system()?)),
        };
        let proxy = match &self.proxy_url {
            Some(url) => {
                let proxy = Proxy::parse(url.expose_text().unwrap_or_default());
                Some(proxy.map_err(|cause| ConnectError::Proxy { named_by: "proxy-url", cause })?)
            }
            None => options.proxies.for_server(&self.server)?,
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
            request_timeout: options.request_timeout,
            limits: options.limits,
        })
    }
}

fn roots(authority: PemSource) -> Result<Reloading<Roots>, ConnectError> {
    Ok(match authority {
        PemSource::File(path) => Roots::open(path)?,
        PemSource::Inline(pem) => {
            Reloading::fixed(Roots::parse(pem.expose()).map_err(ConnectError::Authority)?)
        }
    })
}

/// The token in a file wins, because it may have been renewed. As in client-go, the inline token is used while the file cannot be
/// read.
fn bearer(file: Option<&Path>, inline: Option<SecretBytes>) -> Result<Option<TokenFile>, ConnectError> {
    let inline =
        inline.map(|inline| parse_token(inline.expose()).map_err(ConnectError::Token)).transpose()?;
    Ok(match (file.map(Path::to_owned), inline) {
        (Some(file), inline) => Some(open_token(file, inline)?),
        (None, inline) => inline.map(Reloading::fixed),
    })
}

fn plugin(exec: Exec) -> Result<Plugin, ConnectError> {
    let cluster = exec.cluster.map(cluster_info).transpose()?;
    Ok(Plugin { cluster, ..exec.plugin })
}

/// Builds `spec.cluster` for a plugin.
fn cluster_info(cluster: ExecCluster) -> Result<Value, ConnectError> {
    let mut info = json!({"server": cluster.server});
    let authority = match cluster.authority {
        Some(PemSource::Inline(pem)) => Some(STANDARD.encode(pem.expose())),
        Some(PemSource::File(path)) => {
            let unread = |cause| ConnectError::Unread { path: path.display().to_string(), cause };
            let pem = File::open(&path).and_then(|file| read_bounded(file, TEXT_LIMIT)).map_err(unread)?;
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

fn impersonation(
    who: &crate::kube::config::kubeconfig::Impersonation,
) -> Result<Impersonation, ConnectError> {
    let extra =
        who.extra.iter().flat_map(|(key, values)| values.iter().map(|value| (key.as_str(), value.as_str())));
    let groups = who.groups.iter().map(String::as_str);
    Ok(Impersonation::new(&who.user, who.uid.as_deref(), groups, extra)?)
}

/// Why kubeconfigs give no configuration of a client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// Loading or selecting.
    #[error(transparent)]
    Kubeconfig(Box<Error>),
    /// A file or value that the selected entries name.
    #[error("kubeconfig {files}: {cause}")]
    Connect {
        /// The kubeconfigs that were read.
        files: String,
        /// The file or value.
        #[source]
        cause: ConnectError,
    },
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        Self::Kubeconfig(Box::new(error))
    }
}

/// Why a resolved configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// A CA or token file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The inline certificate authority.
    #[error("certificate-authority-data {0}")]
    Authority(#[source] RootsError),
    /// The CAs of the system, which are used if none is configured.
    #[error(transparent)]
    System(#[from] RootsError),
    /// The inline token.
    #[error("the token {0}")]
    Token(TokenError),
    /// The client certificate and its key.
    #[error(transparent)]
    Certificate(#[from] CertificateFilesError),
    /// A proxy.
    #[error("{named_by}: {cause}")]
    Proxy {
        /// The key or variable that sets it.
        named_by: &'static str,
        /// The error in its URL.
        #[source]
        cause: ProxyError,
    },
    /// `tls-server-name`
    #[error("tls-server-name {0}")]
    Name(#[from] TlsNameError),
    /// `as`, `as-uid`, `as-groups` or `as-user-extra`.
    #[error("impersonation: {0}")]
    Impersonation(#[from] ImpersonationError),
    /// A CA file whose content is passed to a plugin.
    #[error("{path} cannot be read: {cause}")]
    Unread {
        /// The CA file.
        path: String,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_that_appears_later_takes_precedence_over_the_inline_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let inline = || Some(SecretBytes::new(b"test-inline".to_vec()));
        let mut token = bearer(Some(&path), inline()).unwrap().unwrap();
        let mut current = || token.current().0.as_str().to_owned();
        assert_eq!(current(), "test-inline");
        for broken in ["", " \n", "test\0token"] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(current(), "test-inline");
        }
        std::fs::write(&path, "test-file\n").unwrap();
        assert_eq!(current(), "test-file");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(current(), "test-file", "the last content stays in use");
        assert!(bearer(Some(&path), None).is_err());
        assert!(bearer(None, None).unwrap().is_none());
    }

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
