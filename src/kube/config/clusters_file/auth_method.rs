//! The ways into a cluster that the file has words for.

use std::path::{self, Path, PathBuf};

use crate::kube::Server;
use crate::kube::config::clusters_file::parsed;
use crate::secret::SecretBytes;
use crate::text::{Quoted, nearest, suggest};
use crate::yaml::{Fields, Place};

/// A way into a cluster: `auth_method` and what belongs to it. Paths are absolute.
#[derive(Debug)]
pub(crate) enum Method {
    /// `kubeconfig`
    Kubeconfig {
        /// `kubeconfig_path`
        path: PathBuf,
        /// `kubeconfig_context`; none for the current one.
        context: Option<String>,
    },
    /// `in_cluster`: the pod's own service account.
    InCluster,
    /// `service_account`: a token that something keeps current in a file.
    ServiceAccount {
        /// `api_server_url`
        server: Server,
        /// `service_account_token_file`
        token_file: PathBuf,
        /// `tls_config`
        tls: Tls,
    },
    /// `token`
    Token {
        /// `api_server_url`
        server: Server,
        /// `token` or `token_file`
        token: TokenFrom,
        /// `tls_config`
        tls: Tls,
    },
}

/// Where a bearer token comes from.
#[derive(Debug)]
pub(crate) enum TokenFrom {
    /// It stands in the file.
    Inline(SecretBytes),
    /// The absolute path of a file that holds it.
    File(PathBuf),
}

/// How the server is checked, and who the client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Whether any certificate will do: worth a warning each time. Never with `ca_file`.
    pub(crate) insecure: bool,
    /// The certificates that the server's must lead to; none for those of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// `cert_file` and `key_file`: the client's certificate and its key.
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have in place of the server's own.
    pub(crate) server_name: Option<String>,
}

/// Keys that an entry may have whatever its `auth_method` is.
const COMMON: [&str; 8] = ["id", "name", "environment", "region", "auth_method", "qps", "burst", "timeout"];
/// Each `auth_method` and the keys that belong to it.
const METHODS: [(&str, &[&str]); 4] = [
    ("kubeconfig", &["kubeconfig_path", "kubeconfig_context"]),
    ("in_cluster", &[]),
    ("service_account", &["api_server_url", "service_account_token_file", "tls_config"]),
    ("token", &["api_server_url", "token", "token_file", "tls_config"]),
];
const ALL: &str = "kubeconfig, in_cluster, service_account or token";

/// Knows the folder that relative paths are read against.
pub(crate) struct Reader {
    folder: PathBuf,
}

impl Reader {
    pub(crate) fn new(path: &Path) -> Self {
        // Without a working folder a relative path is the best that there is.
        let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { folder: absolute.parent().unwrap_or(&absolute).to_owned() }
    }

    pub(crate) fn method(&self, fields: &Fields<'_>) -> Option<Method> {
        let known: Vec<_> =
            COMMON.iter().chain(METHODS.iter().flat_map(|(_, keys)| *keys)).copied().collect();
        fields.only(&known);
        let place = fields.get("auth_method");
        let Some(method) = place.string() else {
            if place.is_absent() {
                place.report(format!("is missing: write {}", probable(fields)));
            }
            return None;
        };
        let Some((_, own)) = METHODS.iter().find(|(name, _)| *name == method) else {
            let suggestion = suggest(nearest(&method, METHODS.iter().map(|(name, _)| *name)));
            place.report(format!("{} is unknown: write {ALL}{suggestion}", Quoted(&method)));
            return None;
        };
        for (index, (other, keys)) in METHODS.iter().enumerate() {
            // A key of two other methods is told once.
            let told = || METHODS[..index].iter().flat_map(|(_, keys)| *keys).chain(*own);
            let foreign: Vec<_> =
                keys.iter().copied().filter(|key| !told().any(|told| told == key)).collect();
            fields.without(&foreign, &format!("belongs to auth_method {other}, and this one is {method}"));
        }
        match method.as_str() {
            "kubeconfig" => {
                let context = fields.get("kubeconfig_context").string();
                let path = self.path(fields.get("kubeconfig_path").required());
                Some(Method::Kubeconfig { path: path?, context })
            }
            "in_cluster" => Some(Method::InCluster),
            "service_account" => {
                let (server, tls) = self.server(fields);
                let token_file = self.path(fields.get("service_account_token_file").required());
                Some(Method::ServiceAccount { server: server?, token_file: token_file?, tls })
            }
            _ => {
                let (server, tls) = self.server(fields);
                let token = self.token(fields);
                Some(Method::Token { server: server?, token: token?, tls })
            }
        }
    }

    fn server(&self, fields: &Fields<'_>) -> (Option<Server>, Tls) {
        let server = parsed(fields.get("api_server_url").required(), Server::parse_url);
        (server, fields.get("tls_config").fields().map(|fields| self.tls(&fields)).unwrap_or_default())
    }

    fn token(&self, fields: &Fields<'_>) -> Option<TokenFrom> {
        let (token, file) = (fields.get("token"), fields.get("token_file"));
        match (token.secret(), self.path(&file)) {
            (Some(_), Some(_)) => {
                file.report("does not go with token: remove one of them");
                None
            }
            (Some(token), None) => Some(TokenFrom::Inline(token)),
            (None, Some(path)) => Some(TokenFrom::File(path)),
            (None, None) if token.is_absent() && file.is_absent() => {
                token.report("is missing: write token or token_file");
                None
            }
            (None, None) => {
                // Of a wrong type, which is told already, or empty.
                [token, file].iter().filter(|place| !place.is_absent()).for_each(|place| {
                    place.required();
                });
                None
            }
        }
    }

    fn tls(&self, fields: &Fields<'_>) -> Tls {
        fields.only(&["insecure", "ca_file", "cert_file", "key_file", "server_name"]);
        let insecure = fields.get("insecure");
        let tls = Tls {
            insecure: insecure.boolean().unwrap_or_default(),
            ca_file: self.path(&fields.get("ca_file")),
            client_certificate: self.certificate(fields),
            server_name: fields.get("server_name").string(),
        };
        if tls.insecure && tls.ca_file.is_some() {
            insecure.report("does not go with ca_file: remove one of them");
        }
        tls
    }

    fn certificate(&self, fields: &Fields<'_>) -> Option<(PathBuf, PathBuf)> {
        let (certificate, key) = (fields.get("cert_file"), fields.get("key_file"));
        if certificate.is_absent() != key.is_absent() {
            let (there, other) =
                if key.is_absent() { (&certificate, "key_file") } else { (&key, "cert_file") };
            there.report(format!("needs {other}: a certificate and its key come together"));
        }
        self.path(&certificate).zip(self.path(&key))
    }

    fn path(&self, place: &Place<'_>) -> Option<PathBuf> {
        Some(self.folder.join(place.string()?))
    }
}

/// What `auth_method` is probably meant to be, by the other keys.
fn probable(fields: &Fields<'_>) -> &'static str {
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
