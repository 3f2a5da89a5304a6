//! The `auth_method` of a cluster and the keys that belong to it.

use std::path::{self, Path, PathBuf};

use crate::kube::Server;
use crate::kube::config::clusters_file::parsed;
use crate::secret::SecretBytes;
use crate::text::{Quoted, nearest, suggest};
use crate::yaml::{Cursor, Fields};

/// `auth_method` with its keys. Paths are absolute.
#[derive(Debug)]
pub(crate) enum AuthMethod {
    /// `kubeconfig`
    Kubeconfig {
        /// `kubeconfig_path`
        path: PathBuf,
        /// `kubeconfig_context`. `None` means `current-context`.
        context: Option<String>,
    },
    /// `in_cluster`: the service account of the pod.
    InCluster,
    /// `service_account`: a file whose token another program renews.
    ServiceAccount {
        /// `api_server_url`
        server: Server,
        /// `service_account_token_file`
        token_file: PathBuf,
        /// `tls_config`
        tls: TlsConfig,
    },
    /// `token`
    Token {
        /// `api_server_url`
        server: Server,
        /// `token` or `token_file`
        token: TokenSource,
        /// `tls_config`
        tls: TlsConfig,
    },
}

/// The source of a bearer token.
#[derive(Debug)]
pub(crate) enum TokenSource {
    /// `token`
    Inline(SecretBytes),
    /// `token_file`
    File(PathBuf),
}

/// `tls_config`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsConfig {
    /// Skip certificate verification. Never set together with `ca_file`.
    pub(crate) insecure: bool,
    /// `None` means the CAs of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// `cert_file` and `key_file`.
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    /// Replaces the host of the server in certificate verification and SNI.
    pub(crate) server_name: Option<String>,
}

/// Keys that every entry may have.
const COMMON: [&str; 8] = ["id", "name", "environment", "region", "auth_method", "qps", "burst", "timeout"];
/// Each `auth_method` and the keys that belong to it.
const METHODS: [(&str, &[&str]); 4] = [
    ("kubeconfig", &["kubeconfig_path", "kubeconfig_context"]),
    ("in_cluster", &[]),
    ("service_account", &["api_server_url", "service_account_token_file", "tls_config"]),
    ("token", &["api_server_url", "token", "token_file", "tls_config"]),
];
const ALL: &str = "kubeconfig, in_cluster, service_account or token";

/// Resolves relative paths against the directory of the clusters file.
pub(crate) struct Reader {
    directory: PathBuf,
}

impl Reader {
    pub(crate) fn new(path: &Path) -> Self {
        // If the working directory was deleted, paths stay relative.
        let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { directory: absolute.parent().unwrap_or(&absolute).to_owned() }
    }

    pub(crate) fn method(&self, fields: &Fields<'_>) -> Option<AuthMethod> {
        let known: Vec<_> =
            COMMON.iter().chain(METHODS.iter().flat_map(|(_, keys)| *keys)).copied().collect();
        fields.deny_unknown(&known);
        let place = fields.get("auth_method");
        let Some(method) = place.string() else {
            if place.is_absent() {
                place.report(format!("is missing: use {}", guess_method(fields)));
            }
            return None;
        };
        let Some((_, own)) = METHODS.iter().find(|(name, _)| *name == method) else {
            let suggestion = suggest(nearest(&method, METHODS.iter().map(|(name, _)| *name)));
            place.report(format!("unknown value {}: use {ALL}{suggestion}", Quoted(&method)));
            return None;
        };
        for (index, (other, keys)) in METHODS.iter().enumerate() {
            // A key of two other methods is reported once.
            let reported = || METHODS[..index].iter().flat_map(|(_, keys)| *keys).chain(*own);
            let foreign: Vec<_> =
                keys.iter().copied().filter(|key| !reported().any(|other| other == key)).collect();
            fields.reject(&foreign, &format!("belongs to auth_method {other}, but this entry has {method}"));
        }
        match method.as_str() {
            "kubeconfig" => {
                let context = fields.get("kubeconfig_context").string();
                let path = self.path(fields.get("kubeconfig_path").required());
                Some(AuthMethod::Kubeconfig { path: path?, context })
            }
            "in_cluster" => Some(AuthMethod::InCluster),
            "service_account" => {
                let (server, tls) = self.server(fields);
                let token_file = self.path(fields.get("service_account_token_file").required());
                Some(AuthMethod::ServiceAccount { server: server?, token_file: token_file?, tls })
            }
            _ => {
                let (server, tls) = self.server(fields);
                let token = self.token(fields);
                Some(AuthMethod::Token { server: server?, token: token?, tls })
            }
        }
    }

    fn server(&self, fields: &Fields<'_>) -> (Option<Server>, TlsConfig) {
        let server = parsed(fields.get("api_server_url").required(), Server::parse_url);
        (server, fields.get("tls_config").fields().map(|fields| self.tls(&fields)).unwrap_or_default())
    }

    fn token(&self, fields: &Fields<'_>) -> Option<TokenSource> {
        let (token, file) = (fields.get("token"), fields.get("token_file"));
        match (token.secret(), self.path(&file)) {
            (Some(_), Some(_)) => {
                file.report("conflicts with token: remove one of them");
                None
            }
            (Some(token), None) => Some(TokenSource::Inline(token)),
            (None, Some(path)) => Some(TokenSource::File(path)),
            (None, None) if token.is_absent() && file.is_absent() => {
                token.report("is missing: set token or token_file");
                None
            }
            (None, None) => {
                // A wrong type is already reported; empty text is not.
                [token, file].iter().filter(|place| !place.is_absent()).for_each(|place| {
                    place.required();
                });
                None
            }
        }
    }

    fn tls(&self, fields: &Fields<'_>) -> TlsConfig {
        fields.deny_unknown(&["insecure", "ca_file", "cert_file", "key_file", "server_name"]);
        let insecure = fields.get("insecure");
        let tls = TlsConfig {
            insecure: insecure.boolean().unwrap_or_default(),
            ca_file: self.path(&fields.get("ca_file")),
            client_certificate: self.certificate(fields),
            server_name: fields.get("server_name").string(),
        };
        if tls.insecure && tls.ca_file.is_some() {
            insecure.report("conflicts with ca_file: remove one of them");
        }
        tls
    }

    fn certificate(&self, fields: &Fields<'_>) -> Option<(PathBuf, PathBuf)> {
        let (certificate, key) = (fields.get("cert_file"), fields.get("key_file"));
        if certificate.is_absent() != key.is_absent() {
            let (there, other) =
                if key.is_absent() { (&certificate, "key_file") } else { (&key, "cert_file") };
            there.report(format!("requires {other}"));
        }
        self.path(&certificate).zip(self.path(&key))
    }

    fn path(&self, place: &Cursor<'_>) -> Option<PathBuf> {
        Some(self.directory.join(place.string()?))
    }
}

/// Guesses a missing `auth_method` from the other keys.
fn guess_method(fields: &Fields<'_>) -> &'static str {
    let there = |key: &str| !fields.get(key).is_absent();
    if there("kubeconfig_path") || there("kubeconfig_context") {
        "auth_method: kubeconfig"
    } else if there("service_account_token_file") {
        "auth_method: service_account"
    } else if there("token") || there("token_file") {
        "auth_method: token"
    } else if there("api_server_url") || there("tls_config") {
        "auth_method: service_account or auth_method: token"
    } else {
        ALL
    }
}
