//! The flags that select the pod, its annotations and the clusters to query, and what they resolve to: the kubeconfig or in-cluster
//! configuration of the local cluster, and the clusters of the clusters file.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgAction;
use clap::builder::BoolishValueParser;

use crate::annotations::{DEFAULT_PREFIX, ReferenceScope};
use crate::cli::exit::Error;
use crate::duration::positive_duration;
use crate::kube::config::clusters_file::{self, Labels};
use crate::kube::config::in_cluster::{self, SERVICE_ACCOUNT_DIR};
use crate::kube::config::kubeconfig::{self, ClientOptions, LoadingRules, Overrides, ProxyEnv};
use crate::kube::config::registry::{self, Cluster, Clusters, ConfigError, PodEnvironment};
use crate::kube::{Cause, ClientConfig, Limits};
use crate::object::{ClusterId, Namespace};
use crate::secret::SecretBytes;

/// Headings of the help. Set on each flag: clap's `next_help_heading` would also apply to the flags after a flattened group.
const SOURCE: &str = "Source";
const CLUSTERS: &str = "Clusters";

// Which pod's annotations are read, and how API servers are reached. A doc comment would replace the description of the commands
// that have these flags, because clap describes flags last.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// Pod whose annotations to read [default: the hostname]
    #[arg(long, help_heading = SOURCE, value_name = "NAME", env = "POD_NAME")]
    pub(crate) pod: Option<String>,

    /// The pod's namespace [default: the namespace of the service account or of the kubeconfig's context]
    #[arg(long, short, help_heading = SOURCE, value_name = "NAME", env = "POD_NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Read the annotations from this file of a downward API volume instead of from the API server
    #[arg(long, help_heading = SOURCE, value_name = "FILE", env = "PODCREDS_ANNOTATIONS_FILE")]
    pub(crate) annotations_file: Option<PathBuf>,

    /// Prefix of the annotation keys that podcreds reads, without the slash
    #[arg(long, help_heading = SOURCE, value_name = "PREFIX", default_value = DEFAULT_PREFIX, env = "PODCREDS_ANNOTATION_PREFIX")]
    pub(crate) annotation_prefix: String,

    /// Accept a pod without podcreds annotations
    #[arg(long, help_heading = SOURCE, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_ALLOW_NONE")]
    pub(crate) allow_none: bool,

    #[command(flatten)]
    pub(crate) access: AccessArgs,

    /// Directory where token, ca.crt and namespace are mounted
    #[arg(long, help_heading = CLUSTERS, value_name = "DIR", default_value = SERVICE_ACCOUNT_DIR, env = "PODCREDS_SERVICE_ACCOUNT_DIR")]
    pub(crate) service_account_dir: PathBuf,

    /// Time limit for reading all objects, retries included
    #[arg(long, help_heading = SOURCE, value_name = "DURATION", default_value = "60s", value_parser = positive_duration, env = "PODCREDS_TIMEOUT")]
    pub(crate) timeout: Duration,

    /// Time limit for each phase of one request: connecting (TCP, proxy and TLS together), sending, receiving the first byte, receiving the rest
    #[arg(long, help_heading = CLUSTERS, value_name = "DURATION", default_value = "10s", value_parser = positive_duration, env = "PODCREDS_REQUEST_TIMEOUT")]
    pub(crate) request_timeout: Duration,
}

// Which clusters are queried, and as which user. Not a doc comment either.
#[derive(Debug, clap::Args)]
pub(crate) struct AccessArgs {
    /// Kubeconfig file; KUBECONFIG may list several [default: the service account in a pod, ~/.kube/config elsewhere]
    #[arg(long, help_heading = CLUSTERS, value_name = "FILE", env = "PODCREDS_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: the current context]
    #[arg(long, help_heading = CLUSTERS, value_name = "NAME", env = "PODCREDS_CONTEXT")]
    pub(crate) context: Option<String>,

    /// Cluster of the kubeconfig [default: the context's cluster]
    #[arg(long, help_heading = CLUSTERS, value_name = "NAME", env = "PODCREDS_CLUSTER")]
    pub(crate) cluster: Option<String>,

    /// User of the kubeconfig [default: the context's user]
    #[arg(long, help_heading = CLUSTERS, value_name = "NAME", env = "PODCREDS_USER")]
    pub(crate) user: Option<String>,

    /// File that configures other clusters, for `.cluster` annotations
    #[arg(long, help_heading = CLUSTERS, value_name = "FILE", env = "PODCREDS_CLUSTERS")]
    pub(crate) clusters: Option<PathBuf>,

    /// Maximum average number of requests per second to the API server; 0 means no limit [default: 0]
    #[arg(long, help_heading = CLUSTERS, value_name = "NUMBER", value_parser = qps, env = "PODCREDS_QPS")]
    pub(crate) qps: Option<f64>,

    /// Maximum number of requests in a burst, with --qps
    #[arg(long, help_heading = CLUSTERS, value_name = "NUMBER", default_value_t = clusters_file::DEFAULT_BURST, value_parser = clap::value_parser!(u32).range(1..), env = "PODCREDS_BURST")]
    pub(crate) burst: u32,
}

fn qps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(qps) if qps == 0.0 || (clusters_file::MIN_QPS..=f64::MAX).contains(&qps) => Ok(qps),
        _ => Err(format!("must be 0 (unlimited) or at least {}", clusters_file::MIN_QPS)),
    }
}

/// The default `resync_period` of a clusters file.
const RESYNC: Duration = Duration::from_secs(600);

/// The clusters, and the defaults that their configuration provides.
pub(crate) struct ClusterAccess {
    pub(crate) clusters: Clusters,
    /// The namespace of `--namespace`, the kubeconfig's context or the service account.
    pub(crate) namespace: Namespace,
    /// The `default_namespace` of the clusters file.
    default_namespace: Option<Namespace>,
    /// How often every source is read again even though it is watched. `None` without a clusters file.
    pub(crate) resync: Option<Duration>,
    /// The name of the local cluster: its context in the kubeconfig.
    pub(crate) name: String,
}

impl ClusterAccess {
    /// The default namespace for sources in each cluster of the clusters file.
    pub(crate) fn namespaces(&self) -> BTreeMap<ClusterId, Namespace> {
        let namespace = self.default_namespace.as_ref().unwrap_or(&self.namespace);
        self.clusters.others().keys().map(|id| (id.clone(), namespace.clone())).collect::<BTreeMap<_, _>>()
    }
}

/// Uses the kubeconfig that is named, else the pod's service account, else `~/.kube/config`. Unlike kubectl, it prefers the
/// service account to `~/.kube/config`.
pub(crate) fn resolve(args: &SourceArgs) -> Result<ClusterAccess, Error> {
    let pod = PodEnvironment {
        service_account: args.service_account_dir.clone(),
        host: variable("KUBERNETES_SERVICE_HOST"),
        port: variable("KUBERNETES_SERVICE_PORT"),
    };
    let limits = limits(&args.access);
    let proxies = proxies();
    let request_timeout = args.request_timeout;
    let paths = kubeconfig_paths(&args.access, pod.host.is_some())?;
    let origin = variable_hint(&args.access, paths.is_some(), pod.host.is_some());
    let (local, namespace, name) = match paths {
        None => {
            let (namespace, pod) = (explicit_namespace(args)?, pod.clone());
            // This checks the variables and the token before the namespace, whose absence would be a less helpful error
            // outside a pod.
            let load = move || {
                let (host, port) = (pod.host.as_deref(), pod.port.as_deref());
                let config = in_cluster::load(&pod.service_account, host, port, request_timeout);
                config.map(|config| ClientConfig { limits, ..config }).map_err(ConfigError::from)
            };
            let local = Cluster::new(Labels::default(), Box::new(load), Vec::new());
            (local, namespace, "in-cluster".to_owned())
        }
        Some(paths) => {
            let AccessArgs { context, cluster, user, .. } = &args.access;
            let overrides =
                Overrides { context: context.clone(), cluster: cluster.clone(), user: user.clone() };
            let resolved =
                kubeconfig::load(&paths).and_then(|loaded| loaded.select(&overrides)).map_err(|error| {
                    match origin {
                        Some(origin) => Error::Setting(format!("{error}; {origin}")),
                        None => error.into(),
                    }
                })?;
            let name = resolved.context.clone().unwrap_or_else(|| "kubeconfig".to_owned());
            let namespace = match explicit_namespace(args)? {
                Some(namespace) => namespace,
                None => resolved.namespace.map_or_else(kubectl_namespace, Ok)?,
            };
            let options = ClientOptions { request_timeout, limits, proxies: proxies.clone() };
            let files = paths.files().to_vec();
            let open = move || Ok(kubeconfig::load_client_config(&paths, &overrides, &options)?);
            (Cluster::new(Labels::default(), Box::new(open), files), Some(namespace), name)
        }
    };
    let (defaults, others) = match &args.access.clusters {
        None => (None, BTreeMap::new()),
        Some(path) => {
            let mut file = clusters_file::load(path)?;
            let defaults = (file.default_namespace.take(), file.resync_period.unwrap_or(RESYNC));
            (Some(defaults), registry::clusters_from_file(file, &pod, &proxies, request_timeout))
        }
    };
    let clusters = Clusters::new(local, others).map_err(|cause| {
        let reason = match cause {
            Cause::Configuration { reason } => reason,
            other => other.to_string(),
        };
        Error::Connect(match origin {
            Some(origin) => format!("{reason}; {origin}"),
            None => reason,
        })
    })?;
    // With --namespace, the service account's namespace file need not be mounted.
    let namespace = namespace.map_or_else(|| in_cluster::namespace(&pod.service_account), Ok)?;
    let (default_namespace, resync) =
        defaults.map_or((None, None), |(namespace, resync)| (namespace, Some(resync)));
    Ok(ClusterAccess { clusters, namespace, default_namespace, resync, name })
}

/// The namespaces of objects in manifests, without a connection to a cluster: those of `--namespace` and of the clusters file.
pub(crate) fn offline_scope(args: &SourceArgs) -> Result<ReferenceScope, Error> {
    let namespace = explicit_namespace(args)?.unwrap_or_else(Namespace::unspecified);
    let mut scope = ReferenceScope::local(namespace);
    if let Some(path) = &args.access.clusters {
        let file = clusters_file::load(path)?;
        let default = file.default_namespace.unwrap_or_else(|| scope.namespace.clone());
        scope.clusters.extend(file.clusters.into_iter().map(|entry| (entry.id, default.clone())));
    }
    Ok(scope)
}

/// Whether podcreds runs in a pod, for which the kubelet sets the address of the API server.
pub(crate) fn is_in_pod() -> bool {
    variable("KUBERNETES_SERVICE_HOST").is_some()
}

/// The kubeconfig files to read. `None` means the pod's service account: in a pod, a kubeconfig is read only if it is named.
fn kubeconfig_paths(args: &AccessArgs, in_pod: bool) -> Result<Option<LoadingRules>, Error> {
    if let Some(path) = &args.kubeconfig {
        return Ok(Some(LoadingRules::File(path.clone())));
    }
    if let Some(list) = env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        return Ok(Some(LoadingRules::List(env::split_paths(&list).collect())));
    }
    let flags = [("--context", &args.context), ("--cluster", &args.cluster), ("--user", &args.user)];
    let flag = flags.into_iter().find(|(_, value)| value.is_some());
    if in_pod {
        return match flag {
            Some((flag, _)) => Err(Error::Setting(format!(
                "{flag} requires --kubeconfig in a pod, where podcreds otherwise uses the service account"
            ))),
            None => Ok(None),
        };
    }
    let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let default = home.map(|home| home.join(".kube").join("config"));
    // Without the file and without such a flag, the in-cluster configuration fails and its error names all alternatives.
    Ok(default.filter(|path| flag.is_some() || path.exists()).map(|path| LoadingRules::List(vec![path])))
}

/// Explains where an unusable kubeconfig comes from if the user may not know: `envFrom` may have set the variable.
fn variable_hint(args: &AccessArgs, is_kubeconfig: bool, in_pod: bool) -> Option<&'static str> {
    let is_flag = args.kubeconfig.is_some();
    let is_list = env::var_os("KUBECONFIG").is_some_and(|list| !list.is_empty());
    match (is_kubeconfig && !is_flag && is_list, in_pod) {
        (false, _) => None,
        (true, true) => Some(
            "the environment variable KUBECONFIG names it: without that variable, podcreds uses the pod's service account",
        ),
        (true, false) => Some("the environment variable KUBECONFIG names it"),
    }
}

fn limits(args: &AccessArgs) -> Option<Limits> {
    let qps = args.qps.filter(|qps| *qps > 0.0)?;
    Some(Limits { qps, burst: args.burst })
}

/// The proxy variables that kubectl honours, in upper or lower case.
/// Source: <https://pkg.go.dev/net/http#ProxyFromEnvironment>
fn proxies() -> ProxyEnv {
    let either = |upper, lower| variable(upper).or_else(|| variable(lower));
    ProxyEnv {
        https: either("HTTPS_PROXY", "https_proxy").map(|url| SecretBytes::new(url.into_bytes())),
        except: either("NO_PROXY", "no_proxy").unwrap_or_default(),
    }
}

fn explicit_namespace(args: &SourceArgs) -> Result<Option<Namespace>, Error> {
    let name = args.namespace.as_deref().filter(|name| !name.is_empty());
    let parse =
        |name| Namespace::parse(name).map_err(|cause| Error::Setting(format!("--namespace: {cause}")));
    name.map(parse).transpose()
}

/// The namespace that kubectl uses if neither a flag nor the context sets one.
pub(crate) fn kubectl_namespace() -> Result<Namespace, Error> {
    Namespace::parse("default").map_err(|cause| Error::Setting(cause.to_string()))
}

/// A variable that is set and not empty. Bytes that are not UTF-8 are replaced, so that the error about the invalid address
/// can show the rest.
fn variable(name: &str) -> Option<String> {
    let value = env::var_os(name).filter(|value| !value.is_empty())?;
    Some(value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!((qps("0"), qps("0.5"), qps("500")), (Ok(0.0), Ok(0.5), Ok(500.0)));
        for wrong in ["-1", "NaN", "inf", "0.0000001", "x", ""] {
            assert!(qps(wrong).is_err(), "{wrong}");
        }
    }
}
