//! Validates the selected entries and resolves them to one configuration. No file that they name is read here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::kube::config::kubeconfig::error::Defect;
use crate::kube::config::kubeconfig::raw::{Cluster, Context, Origin, Pair, RawExec, User};
use crate::kube::config::kubeconfig::{Error, Kind, Unusable};
use crate::kube::{Interactive, Material, Plugin, PluginVersion, Server};
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
    pub authority: Option<Material>,
    /// The proxy to go through; it begins with `http://` or `https://`, or is refused when it is opened, and may hold a password.
    pub proxy_url: Option<SecretBytes>,
    /// The bearer token. It wins over `exec`.
    pub token: Option<SecretBytes>,
    /// The file that holds the bearer token. What is read from it wins over `token`, which is for when it cannot be read.
    pub token_file: Option<PathBuf>,
    /// The client's certificate and its key.
    pub client_certificate: Option<(Material, Material)>,
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

/// A program that prints an `ExecCredential`, and what it wants to know.
#[derive(Debug)]
pub struct Exec {
    /// How it is run. Its command is an absolute path, or a name without a slash; it is not told the cluster yet.
    pub plugin: Plugin,
    /// The cluster, where the program wants to know it (`provideClusterInfo`).
    pub cluster: Option<ExecCluster>,
}

/// What goes into `spec.cluster` of the `ExecCredential` that the program gets.
/// Source: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/#client-authentication-k8s-io-v1-Cluster>
#[derive(Clone)]
pub struct ExecCluster {
    /// `server`, as the kubeconfig has it.
    pub server: String,
    /// `tls-server-name`
    pub server_name: Option<String>,
    /// `insecure-skip-tls-verify`
    pub insecure: bool,
    /// `certificate-authority-data`; a file has to be read for it.
    pub authority: Option<Material>,
    /// `proxy-url`
    pub proxy_url: Option<SecretBytes>,
    /// `config`: what the cluster's extension `client.authentication.k8s.io/exec` holds.
    pub config: Option<serde_json::Value>,
}

impl fmt::Debug for ExecCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecCluster").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The schemes of a proxy that kubectl knows.
const PROXY_SCHEMES: [&str; 3] = ["http://", "https://", "socks5://"];

/// Collects what is wrong.
#[derive(Default)]
pub(crate) struct Checker(Vec<Unusable>);

impl Checker {
    /// Notes what is wrong with an entry.
    pub(crate) fn found(&mut self, kind: Kind, name: &str, origin: &Origin, defect: Defect) {
        self.0.push(Unusable { kind, name: name.to_owned(), place: origin.to_string(), defect });
    }

    pub(crate) fn into_error(self) -> Error {
        Error::Unusable(self.0)
    }

    pub(crate) fn namespace(&mut self, name: &str, context: &Context) -> Option<Namespace> {
        match Namespace::parse(context.namespace.as_deref()?) {
            Ok(namespace) => Some(namespace),
            Err(error) => {
                self.found(Kind::Context, name, &context.origin, error.into());
                None
            }
        }
    }

    /// Puts a way in together.
    ///
    /// # Errors
    /// All that is wrong with the cluster and the user, and what was noted before.
    pub(crate) fn access(
        mut self,
        context: Option<&str>,
        namespace: Option<Namespace>,
        (cluster_name, cluster): (&str, &Cluster),
        user: Option<(&str, &User)>,
    ) -> Result<Access, Error> {
        let mut report = |defect| self.found(Kind::Cluster, cluster_name, &cluster.origin, defect);
        let server = server(cluster, &mut report);
        let authority = material(&cluster.authority, "certificate-authority", &mut report);
        if cluster.insecure && authority.is_some() {
            report(Defect::InsecureWithAuthority);
        }
        if cluster.proxy_url.as_ref().is_some_and(|url| !is_proxy(url)) {
            report(Defect::Proxy);
        }
        let identity = user.map_or_else(Identity::default, |(name, user)| {
            let mut report = |defect| self.found(Kind::User, name, &user.origin, defect);
            identity(user, cluster, authority.as_ref(), &mut report)
        });
        let Some(server) = server.filter(|_| self.0.is_empty()) else { return Err(self.into_error()) };
        let user = user.map(|(_, user)| user);
        Ok(Access {
            context: context.map(str::to_owned),
            namespace,
            server,
            server_name: cluster.server_name.clone(),
            insecure: cluster.insecure,
            authority,
            proxy_url: cluster.proxy_url.clone(),
            token: user.and_then(|user| user.token.clone()),
            token_file: user.and_then(|user| user.token_file.clone()),
            client_certificate: identity.client_certificate,
            exec: identity.exec,
            impersonate: identity.impersonate,
        })
    }
}

/// What of a user has to be checked.
#[derive(Default)]
struct Identity {
    client_certificate: Option<(Material, Material)>,
    exec: Option<Exec>,
    impersonate: Option<Impersonation>,
}

fn server(cluster: &Cluster, report: &mut impl FnMut(Defect)) -> Option<Server> {
    let parsed = match &cluster.server {
        Some(url) => Server::parse_url(url).map_err(Defect::from),
        None => Err(Defect::NoServer),
    };
    parsed.map_err(report).ok()
}

/// The scheme alone: the rest may hold a password.
fn is_proxy(url: &SecretBytes) -> bool {
    let begins = |scheme: &&str| {
        url.expose().get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    PROXY_SCHEMES.iter().any(|scheme| begins(scheme) && url.expose().len() > scheme.len())
}

fn material(pair: &Pair, key: &'static str, report: &mut impl FnMut(Defect)) -> Option<Material> {
    match (&pair.data, &pair.file) {
        (Some(_), Some(_)) => {
            report(Defect::Both(key));
            None
        }
        (Some(data), None) => Some(Material::Inline(data.clone())),
        (None, Some(path)) => Some(Material::File(path.clone())),
        (None, None) => None,
    }
}

fn identity(
    user: &User,
    cluster: &Cluster,
    authority: Option<&Material>,
    report: &mut impl FnMut(Defect),
) -> Identity {
    if user.username_or_password {
        report(Defect::Basic);
    }
    if let Some(provider) = &user.auth_provider {
        report(Defect::AuthProvider(provider.clone()));
    }
    let is_there = |pair: &Pair| pair.data.is_some() || pair.file.is_some();
    match (is_there(&user.certificate), is_there(&user.key)) {
        (true, false) => report(Defect::NoKey),
        (false, true) => report(Defect::NoCertificate),
        _ => {}
    }
    let certificate = material(&user.certificate, "client-certificate", report);
    let key = material(&user.key, "client-key", report);
    Identity {
        client_certificate: certificate.zip(key),
        exec: user.exec.as_ref().and_then(|raw| exec(raw, cluster, authority, report)),
        impersonate: impersonation(user, report),
    }
}

fn impersonation(user: &User, report: &mut impl FnMut(Defect)) -> Option<Impersonation> {
    let (uid, groups, extra) = (&user.act_as_uid, &user.act_as_groups, &user.act_as_extra);
    match &user.act_as {
        Some(name) => Some(Impersonation {
            user: name.clone(),
            uid: uid.clone(),
            groups: groups.clone(),
            extra: extra.clone(),
        }),
        None => {
            if uid.is_some() || !groups.is_empty() || !extra.is_empty() {
                report(Defect::Impersonation);
            }
            None
        }
    }
}

fn exec(
    raw: &RawExec,
    cluster: &Cluster,
    authority: Option<&Material>,
    report: &mut impl FnMut(Defect),
) -> Option<Exec> {
    let version = match raw.version.as_deref() {
        Some("client.authentication.k8s.io/v1") => Some(PluginVersion::V1),
        Some("client.authentication.k8s.io/v1beta1") => Some(PluginVersion::V1Beta1),
        Some(other) => {
            report(Defect::ExecVersion(other.to_owned()));
            None
        }
        None => {
            report(Defect::NoExec("apiVersion"));
            None
        }
    };
    let interactive = match raw.interactive.as_deref() {
        Some("Never") => Some(Interactive::Never),
        Some("IfAvailable") => Some(Interactive::IfAvailable),
        Some("Always") => Some(Interactive::Always),
        Some(other) => {
            report(Defect::Interactive(other.to_owned()));
            None
        }
        None if version == Some(PluginVersion::V1) => {
            report(Defect::NoInteractive);
            None
        }
        None => Some(Interactive::IfAvailable),
    };
    if raw.command.is_none() {
        report(Defect::NoExec("command"));
    }
    let has_nul = |bytes: &[u8]| bytes.contains(&0);
    if raw.command.as_ref().is_some_and(|command| has_nul(command.as_os_str().as_encoded_bytes())) {
        report(Defect::Nul("command"));
    }
    if raw.args.iter().any(|argument| has_nul(argument.as_bytes())) {
        report(Defect::Nul("args"));
    }
    for (index, (name, value)) in raw.env.iter().enumerate() {
        if name.is_empty() || name.contains(['=', '\0']) || has_nul(value.expose()) {
            report(Defect::Variable(index));
        }
    }
    Some(Exec {
        plugin: Plugin {
            command: raw.command.clone()?,
            args: raw.args.clone(),
            env: raw.env.clone(),
            version: version?,
            interactive: interactive?,
            install_hint: raw.install_hint.clone(),
            cluster: None,
        },
        cluster: raw.provide_cluster.then(|| ExecCluster {
            server: cluster.server.clone().unwrap_or_default(),
            server_name: cluster.server_name.clone(),
            insecure: cluster.insecure,
            authority: authority.cloned(),
            proxy_url: cluster.proxy_url.clone(),
            config: cluster.exec_config.as_ref().map(|hidden| hidden.0.clone()),
        }),
    })
}
