//! Validates the selected entries and resolves them to one configuration. No file that they name is read here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::kube::config::kubeconfig::error::EntryErrorKind;
use crate::kube::config::kubeconfig::raw::{Cluster, Context, FileOrData, Origin, RawExec, User};
use crate::kube::config::kubeconfig::{EntryError, EntryKind, Error};
use crate::kube::{Interactive, PemSource, Plugin, PluginVersion, Server};
use crate::object::Namespace;
use crate::secret::SecretBytes;

/// A context's cluster and user, validated; client-go calls this `rest.Config`. Paths are absolute, and the files are not read yet.
#[derive(Debug)]
pub struct ResolvedConfig {
    /// `None` means that flags name cluster and user without a context.
    pub context: Option<String>,
    /// `None` means that the context sets none.
    pub namespace: Option<Namespace>,
    /// Checked to be `https`.
    pub server: Server,
    /// Replaces the host of `server` in certificate verification and SNI.
    pub server_name: Option<String>,
    /// Skip certificate verification.
    pub insecure: bool,
    /// `None` means the CAs of the system. Never set together with `insecure`.
    pub authority: Option<PemSource>,
    /// May hold a password. Only its scheme has been checked.
    pub proxy_url: Option<SecretBytes>,
    /// The bearer token. It takes precedence over `exec`.
    pub token: Option<SecretBytes>,
    /// Takes precedence over `token`, which is used if the file cannot be read.
    pub token_file: Option<PathBuf>,
    /// Certificate and key.
    pub client_certificate: Option<(PemSource, PemSource)>,
    /// The exec credential plugin.
    pub exec: Option<Exec>,
    /// `as` and the keys that refine it.
    pub impersonate: Option<Impersonation>,
}

impl ResolvedConfig {
    /// Anonymous access to a server, with the defaults for everything else.
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

/// The user to impersonate.
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

/// An exec credential plugin.
/// Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>
#[derive(Debug)]
pub struct Exec {
    /// Its command is an absolute path, or a name without a slash. Its `cluster` is not filled in yet.
    pub plugin: Plugin,
    /// `None` unless `provideClusterInfo` is set.
    pub cluster: Option<ExecCluster>,
}

/// The content of `spec.cluster` in the `ExecCredential` that the plugin receives.
/// Source: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/#client-authentication-k8s-io-v1-Cluster>
#[derive(Clone)]
pub struct ExecCluster {
    /// `server`, as written in the kubeconfig.
    pub server: String,
    /// `tls-server-name`
    pub server_name: Option<String>,
    /// `insecure-skip-tls-verify`
    pub insecure: bool,
    /// `certificate-authority-data`, which is read from a file if the kubeconfig names one.
    pub authority: Option<PemSource>,
    /// `proxy-url`
    pub proxy_url: Option<SecretBytes>,
    /// `config`: the extension `client.authentication.k8s.io/exec` of the cluster.
    pub config: Option<serde_json::Value>,
}

impl fmt::Debug for ExecCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecCluster").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The proxy schemes that kubectl accepts. An unsupported one is rejected when the client is created.
const PROXY_SCHEMES: [&str; 3] = ["http://", "https://", "socks5://"];

/// Collects the errors of all entries, so that one run reports them together.
#[derive(Default)]
pub(crate) struct Validator(Vec<EntryError>);

impl Validator {
    pub(crate) fn report(&mut self, kind: EntryKind, name: &str, origin: &Origin, defect: EntryErrorKind) {
        self.0.push(EntryError { kind, name: name.to_owned(), place: origin.to_string(), defect });
    }

    pub(crate) fn into_error(self) -> Error {
        Error::InvalidEntries(self.0)
    }

    pub(crate) fn namespace(&mut self, name: &str, context: &Context) -> Option<Namespace> {
        match Namespace::parse(context.namespace.as_deref()?) {
            Ok(namespace) => Some(namespace),
            Err(error) => {
                self.report(EntryKind::Context, name, &context.origin, error.into());
                None
            }
        }
    }

    /// Validates cluster and user.
    ///
    /// # Errors
    /// Every error in them, and those reported before.
    pub(crate) fn resolve(
        mut self,
        context: Option<&str>,
        namespace: Option<Namespace>,
        (cluster_name, cluster): (&str, &Cluster),
        user: Option<(&str, &User)>,
    ) -> Result<ResolvedConfig, Error> {
        let mut report = |defect| self.report(EntryKind::Cluster, cluster_name, &cluster.origin, defect);
        let server = server(cluster, &mut report);
        let authority = material(&cluster.authority, "certificate-authority", &mut report);
        if cluster.insecure && authority.is_some() {
            report(EntryErrorKind::InsecureWithAuthority);
        }
        if cluster.proxy_url.as_ref().is_some_and(|url| !is_proxy(url)) {
            report(EntryErrorKind::Proxy);
        }
        let identity = user.map_or_else(Identity::default, |(name, user)| {
            let mut report = |defect| self.report(EntryKind::User, name, &user.origin, defect);
            identity(user, cluster, authority.as_ref(), &mut report)
        });
        let Some(server) = server.filter(|_| self.0.is_empty()) else { return Err(self.into_error()) };
        let user = user.map(|(_, user)| user);
        Ok(ResolvedConfig {
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

/// The parts of a user that need validation.
#[derive(Default)]
struct Identity {
    client_certificate: Option<(PemSource, PemSource)>,
    exec: Option<Exec>,
    impersonate: Option<Impersonation>,
}

fn server(cluster: &Cluster, report: &mut impl FnMut(EntryErrorKind)) -> Option<Server> {
    let parsed = match &cluster.server {
        Some(url) => Server::parse_url(url).map_err(EntryErrorKind::from),
        None => Err(EntryErrorKind::NoServer),
    };
    parsed.map_err(report).ok()
}

/// Checks the scheme only: a message about the rest could show a password.
fn is_proxy(url: &SecretBytes) -> bool {
    let begins = |scheme: &&str| {
        url.expose().get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    PROXY_SCHEMES.iter().any(|scheme| begins(scheme) && url.expose().len() > scheme.len())
}

fn material(
    pair: &FileOrData,
    key: &'static str,
    report: &mut impl FnMut(EntryErrorKind),
) -> Option<PemSource> {
    match (&pair.data, &pair.file) {
        (Some(_), Some(_)) => {
            report(EntryErrorKind::Both(key));
            None
        }
        (Some(data), None) => Some(PemSource::Inline(data.clone())),
        (None, Some(path)) => Some(PemSource::File(path.clone())),
        (None, None) => None,
    }
}

fn identity(
    user: &User,
    cluster: &Cluster,
    authority: Option<&PemSource>,
    report: &mut impl FnMut(EntryErrorKind),
) -> Identity {
    if user.username_or_password {
        report(EntryErrorKind::Basic);
    }
    if let Some(provider) = &user.auth_provider {
        report(EntryErrorKind::AuthProvider(provider.clone()));
    }
    let is_there = |pair: &FileOrData| pair.data.is_some() || pair.file.is_some();
    match (is_there(&user.certificate), is_there(&user.key)) {
        (true, false) => report(EntryErrorKind::NoKey),
        (false, true) => report(EntryErrorKind::NoCertificate),
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

fn impersonation(user: &User, report: &mut impl FnMut(EntryErrorKind)) -> Option<Impersonation> {
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
                report(EntryErrorKind::Impersonation);
            }
            None
        }
    }
}

fn exec(
    raw: &RawExec,
    cluster: &Cluster,
    authority: Option<&PemSource>,
    report: &mut impl FnMut(EntryErrorKind),
) -> Option<Exec> {
    let version = match raw.version.as_deref() {
        Some("client.authentication.k8s.io/v1") => Some(PluginVersion::V1),
        Some("client.authentication.k8s.io/v1beta1") => Some(PluginVersion::V1Beta1),
        Some(other) => {
            report(EntryErrorKind::ExecVersion(other.to_owned()));
            None
        }
        None => {
            report(EntryErrorKind::NoExec("apiVersion"));
            None
        }
    };
    let interactive = match raw.interactive.as_deref() {
        Some("Never") => Some(Interactive::Never),
        Some("IfAvailable") => Some(Interactive::IfAvailable),
        Some("Always") => Some(Interactive::Always),
        Some(other) => {
            report(EntryErrorKind::Interactive(other.to_owned()));
            None
        }
        None if version == Some(PluginVersion::V1) => {
            report(EntryErrorKind::NoInteractive);
            None
        }
        None => Some(Interactive::IfAvailable),
    };
    if raw.command.is_none() {
        report(EntryErrorKind::NoExec("command"));
    }
    let has_nul = |bytes: &[u8]| bytes.contains(&0);
    if raw.command.as_ref().is_some_and(|command| has_nul(command.as_os_str().as_encoded_bytes())) {
        report(EntryErrorKind::Nul("command"));
    }
    if raw.args.iter().any(|argument| has_nul(argument.as_bytes())) {
        report(EntryErrorKind::Nul("args"));
    }
    for (index, (name, value)) in raw.env.iter().enumerate() {
        if name.is_empty() || name.contains(['=', '\0']) || has_nul(value.expose()) {
            report(EntryErrorKind::Variable(index));
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
