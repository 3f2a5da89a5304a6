//! One way into a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::kube::config::kubeconfig::exec::Exec;
use crate::kube::{PemSource, Server};
use crate::object::Namespace;
use crate::secret::SecretBytes;

/// One way into a cluster, as a kubeconfig describes it. No file that it names has been read yet. All paths are absolute.
#[derive(Debug)]
pub struct Access {
    /// The context that it comes from; none where cluster and user were named without one.
    pub context: Option<String>,
    /// What the context has as its namespace.
    pub namespace: Option<Namespace>,
    /// Where the API server is.
    pub server: Server,
    /// The name that the server's certificate must have in place of the server's own, and that is sent for SNI.
    pub server_name: Option<String>,
    /// Whether any certificate will do: worth a warning each time.
    pub insecure: bool,
    /// The certificates that the server's must lead to; none for those of the system. Never with `insecure`.
    pub authority: Option<PemSource>,
    /// The proxy to go through; it begins with `http://` or `https://`, or is refused when it is opened, and may hold a password.
    pub proxy_url: Option<SecretBytes>,
    /// The bearer token. It wins over `exec`.
    pub token: Option<SecretBytes>,
    /// The file that holds the bearer token. What is read from it wins over `token`, which is for when it cannot be read.
    pub token_file: Option<PathBuf>,
    /// The client's certificate and its key.
    pub client_certificate: Option<(PemSource, PemSource)>,
    /// The program that says who we are.
    pub exec: Option<Exec>,
    /// Whom to act as.
    pub impersonate: Option<Impersonation>,
}

impl Access {
    /// The way to this server of somebody who says nothing of himself.
    pub(crate) fn anonymous(server: Server) -> Self {
        Self {
            context: None,
            namespace: None,
            server,
            server_name: None,
            insecure: false,
            authority: None,
            proxy_url: None,
            token: None,
            token_file: None,
            client_certificate: None,
            exec: None,
            impersonate: None,
        }
    }
}

/// Whom to act as.
/// Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonation {
    /// `as`
    pub user: String,
    /// `as-uid`
    pub uid: Option<String>,
    /// `as-groups`
    pub groups: Vec<String>,
    /// `as-user-extra`
    pub extra: BTreeMap<String, Vec<String>>,
}
