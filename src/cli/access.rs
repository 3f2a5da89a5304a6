//! The way to the API server that the flags and the environment name, and to other clusters.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::failure::Failure;
use crate::cli::source::{AccessArgs, SourceArgs};
use crate::kube::config::clusters_file::{self, Labels};
use crate::kube::config::in_cluster;
use crate::kube::config::kubeconfig::{self, ClientOptions, LoadingRules, Overrides, ProxyEnv};
use crate::kube::config::registry::{self, Cluster, Clusters, ConfigError, PodEnvironment};
use crate::kube::{Cause, ClientConfig, Limits};
use crate::object::{ClusterId, Namespace};
use crate::secret::SecretBytes;

/// How often everything is read besides the watches, where there is a clusters file that does not say.
const RESYNC: Duration = Duration::from_secs(600);

/// The clusters, and what is known with them.
pub(crate) struct Found {
    pub(crate) clusters: Clusters,
    /// The namespace that comes with the way in.
    pub(crate) namespace: Namespace,
    /// The namespace of sources in each other cluster, where the clusters file says.
    pub(crate) default_namespace: Option<Namespace>,
    /// How often everything is read besides the watches.
    pub(crate) resync: Option<Duration>,
    /// What the cluster is called: by the context of its kubeconfig.
    pub(crate) name: String,
}

/// Finds the way in: a kubeconfig that is named, else the pod's own, else the kubeconfig in the home folder, as kubectl does.
pub(crate) fn find(args: &SourceArgs) -> Result<Found, Failure> {
    let pod = PodEnvironment {
        service_account: args.service_account_dir.clone(),
        host: variable("KUBERNETES_SERVICE_HOST"),
        port: variable("KUBERNETES_SERVICE_PORT"),
    };
    let limits = limits(&args.access);
    let proxies = proxies();
    let named = named(&args.access, pod.host.is_some())?;
    let request_timeout = args.request_timeout;
    let (own, namespace, name) = match named {
        None => {
            let (found, pod) = (given_namespace(args)?, pod.clone());
            // The address and the token are looked for first: without them this is no pod.
            let load = move || {
                let (host, port) = (pod.host.as_deref(), pod.port.as_deref());
                let config = in_cluster::load(&pod.service_account, host, port, request_timeout);
                config.map(|config| ClientConfig { limits, ..config }).map_err(ConfigError::from)
            };
            let own = Cluster::new(Labels::default(), Box::new(load), Vec::new());
            (own, found, "in-cluster".to_owned())
        }
        Some(named) => {
            let AccessArgs { context, cluster_name, user, .. } = &args.access;
            let wanted =
                Overrides { context: context.clone(), cluster: cluster_name.clone(), user: user.clone() };
            let access = kubeconfig::load(&named)?.select(&wanted)?;
            let name = access.context.clone().unwrap_or_else(|| "kubeconfig".to_owned());
            let namespace = match given_namespace(args)? {
                Some(namespace) => namespace,
                None => access.namespace.map_or_else(default_namespace, Ok)?,
            };
            let options = ClientOptions { request_timeout, limits, proxies: proxies.clone() };
            let files = named.files().to_vec();
            let open = move || Ok(kubeconfig::load_client_config(&named, &wanted, &options)?);
            (Cluster::new(Labels::default(), Box::new(open), files), Some(namespace), name)
        }
    };
    let (file, others) = match &args.access.clusters {
        None => (None, BTreeMap::new()),
        Some(path) => {
            let mut file = clusters_file::load(path)?;
            let found = (file.default_namespace.take(), file.resync_period.unwrap_or(RESYNC));
            (Some(found), registry::clusters_from_file(file, &pod, &proxies, request_timeout))
        }
    };
    let clusters = Clusters::new(own, others).map_err(|cause| match cause {
        Cause::Configuration { reason } => Failure::Open(reason),
        other => Failure::Open(other.to_string()),
    })?;
    // A namespace that is named need not be mounted.
    let namespace = namespace.map_or_else(|| in_cluster::namespace(&pod.service_account), Ok)?;
    let (default_namespace, resync) =
        file.map_or((None, None), |(namespace, resync)| (namespace, Some(resync)));
    Ok(Found { clusters, namespace, default_namespace, resync, name })
}

/// The default namespace of sources in each other cluster.
pub(crate) fn namespaces(found: &Found) -> BTreeMap<ClusterId, Namespace> {
    let namespace = found.default_namespace.as_ref().unwrap_or(&found.namespace);
    found.clusters.others().keys().map(|id| (id.clone(), namespace.clone())).collect::<BTreeMap<_, _>>()
}

/// The kubeconfig that is to be read; none in a pod, unless one is named.
fn named(args: &AccessArgs, in_pod: bool) -> Result<Option<LoadingRules>, Failure> {
    if let Some(path) = &args.kubeconfig {
        return Ok(Some(LoadingRules::File(path.clone())));
    }
    if let Some(list) = env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        return Ok(Some(LoadingRules::List(env::split_paths(&list).collect())));
    }
    let flags =
        [("--context", &args.context), ("--cluster-name", &args.cluster_name), ("--user", &args.user)];
    let flag = flags.into_iter().find(|(_, value)| value.is_some());
    if in_pod {
        return match flag {
            Some((flag, _)) => Err(Failure::Setting(format!(
                "{flag} is for a kubeconfig, and in a pod none is read unless it is named: add --kubeconfig"
            ))),
            None => Ok(None),
        };
    }
    let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let usual = home.map(|home| home.join(".kube").join("config"));
    // Without any, the message is of the pod that this is not.
    Ok(usual.filter(|path| flag.is_some() || path.exists()).map(|path| LoadingRules::List(vec![path])))
}

fn limits(args: &AccessArgs) -> Option<Limits> {
    let qps = args.qps.filter(|qps| *qps > 0.0)?;
    Some(Limits { qps, burst: args.burst })
}

/// The variables that kubectl obeys, in either spelling.
/// Source: <https://pkg.go.dev/net/http#ProxyFromEnvironment>
fn proxies() -> ProxyEnv {
    let either = |upper, lower| variable(upper).or_else(|| variable(lower));
    ProxyEnv {
        https: either("HTTPS_PROXY", "https_proxy").map(|url| SecretBytes::new(url.into_bytes())),
        except: either("NO_PROXY", "no_proxy").unwrap_or_default(),
    }
}

fn given_namespace(args: &SourceArgs) -> Result<Option<Namespace>, Failure> {
    let given = args.namespace.as_deref().filter(|name| !name.is_empty());
    let parse =
        |name| Namespace::parse(name).map_err(|cause| Failure::Setting(format!("--namespace: {cause}")));
    given.map(parse).transpose()
}

/// kubectl's namespace where nothing names another.
fn default_namespace() -> Result<Namespace, Failure> {
    Namespace::parse("default").map_err(|cause| Failure::Setting(cause.to_string()))
}

/// A variable that is not empty. What is not UTF-8 is no address either, and is shown as what it looks like.
fn variable(name: &str) -> Option<String> {
    let value = env::var_os(name).filter(|value| !value.is_empty())?;
    Some(value.to_string_lossy().into_owned())
}
