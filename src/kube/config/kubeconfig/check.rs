//! Whether the selected entries make sense, and what they come to.

use crate::kube::Server;
use crate::kube::config::kubeconfig::entries::{Cluster, Context, Origin, Pair, RawExec, User};
use crate::kube::config::kubeconfig::error::Defect;
use crate::kube::config::kubeconfig::{Access, Error, Exec, ExecCluster, Impersonation, Kind, Unusable};
use crate::kube::{Interactive, PemSource, Plugin, PluginVersion};
use crate::object::Namespace;
use crate::secret::SecretBytes;

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
    client_certificate: Option<(PemSource, PemSource)>,
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

fn material(pair: &Pair, key: &'static str, report: &mut impl FnMut(Defect)) -> Option<PemSource> {
    match (&pair.data, &pair.file) {
        (Some(_), Some(_)) => {
            report(Defect::Both(key));
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
    authority: Option<&PemSource>,
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
