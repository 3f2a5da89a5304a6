//! The registry of the clusters that sources are read from: the local one and those of the clusters file. Each cluster has a client
//! with its own rate limit and state, created when it is first needed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::info;

use crate::kube::config::clusters_file::{
    AuthMethod, ClusterEntry, ClustersFile, Labels, TlsConfig, TokenSource,
};
use crate::kube::config::in_cluster;
use crate::kube::config::kubeconfig::{
    self, ClientOptions, LoadingRules, Overrides, ProxyEnv, ResolvedConfig,
};
use crate::kube::{
    AccessRules, Cause, Client, ClientConfig, Deadline, Error, FileStamp, Limits, Object, PemSource,
    RequestMetrics, Reviews, Server,
};
use crate::object::{ClusterId, ClusterRef, Namespace, ObjectRef};
use crate::secret::read_bounded;
use crate::thread::lock;
use crate::yaml::TEXT_LIMIT;

/// Makes the configuration of a cluster. It is called when the cluster is first used, again after a failure, and when one of its
/// kubeconfigs changes.
pub(crate) type Connect = Box<dyn Fn() -> Result<ClientConfig, ConfigError> + Send + Sync>;

/// All configured clusters.
#[derive(Debug)]
pub(crate) struct Clusters {
    own: Cluster,
    /// The first client of the local cluster, which makes [`Self::own`] infallible.
    first: Arc<Client>,
    others: BTreeMap<ClusterId, Cluster>,
}

/// A cluster and its lazily created client.
pub(crate) struct Cluster {
    labels: Labels,
    connect: Connect,
    /// The kubeconfigs that `connect` reads. If one of them changes, the client is recreated.
    files: Vec<PathBuf>,
    requests: Arc<RequestMetrics>,
    /// Its own, so that a slow cluster delays no other.
    reviews: Reviews,
    slot: Mutex<Option<ClientSlot>>,
}

/// A client and the stamps of the kubeconfigs that it was created from.
struct ClientSlot {
    client: Arc<Client>,
    stamps: Vec<Option<FileStamp>>,
    /// The hash of their content.
    content: u64,
    /// Whether the content has changed since the last report. The kubeconfigs may then name another server, proxy, server name or
    /// certificate authority, and so another cluster, whose objects have resourceVersions of their own.
    is_changed: bool,
    /// Whether the last report was a failure.
    had_failed: bool,
    /// Why the changed kubeconfigs cannot be used. `None` means that they are in use.
    failure: Option<String>,
}

impl Clusters {
    /// Creates the client of the local cluster at once, and those of `others` when they are first used.
    ///
    /// # Errors
    /// If the client of the local cluster cannot be created.
    pub(crate) fn new(own: Cluster, others: BTreeMap<ClusterId, Cluster>) -> Result<Self, Cause> {
        let first = own.client(&ClusterRef::Local)?;
        Ok(Self { own, first, others })
    }

    /// The client of the local cluster.
    pub(crate) fn own(&self) -> Arc<Client> {
        self.own.client(&ClusterRef::Local).unwrap_or_else(|_| Arc::clone(&self.first))
    }

    /// The clusters of the clusters file.
    pub(crate) fn others(&self) -> &BTreeMap<ClusterId, Cluster> {
        &self.others
    }

    /// The client of a cluster.
    ///
    /// # Errors
    /// [`Cause::Configuration`] if it has no usable configuration. The next call tries again.
    pub(crate) fn client(&self, cluster: &ClusterRef) -> Result<Arc<Client>, Cause> {
        let ClusterRef::Named(id) = cluster else { return Ok(self.own()) };
        match self.others.get(id) {
            Some(known) => known.client(cluster),
            None => Err(Cause::Configuration { reason: format!("unknown cluster {id}") }),
        }
    }

    /// Whether the address of this cluster's API server comes from the pod's environment.
    pub(crate) fn is_service_account(&self, cluster: &ClusterRef) -> bool {
        *cluster == ClusterRef::Local && self.own.files.is_empty()
    }

    pub(crate) fn has_kubeconfigs(&self) -> bool {
        std::iter::once(&self.own).chain(self.others.values()).any(|cluster| !cluster.files.is_empty())
    }

    /// Reloads changed kubeconfigs of the clusters in use. Calls `report` for each change, each failure and the end of a failure,
    /// with the cluster, whether the content of its kubeconfigs has changed, and why they cannot be used. Reports a lasting failure
    /// again at each call.
    pub(crate) fn reload_kubeconfigs(&self, report: &mut dyn FnMut(ClusterRef, bool, Option<String>)) {
        self.own.reload(&ClusterRef::Local, report);
        for (id, cluster) in &self.others {
            cluster.reload(&ClusterRef::Named(id.clone()), report);
        }
    }

    /// Reads an object from its cluster.
    ///
    /// # Errors
    /// Those of [`Clusters::client`] and [`Client::object`].
    pub(crate) fn object(&self, object: &ObjectRef, deadline: Deadline) -> Result<Object, Error> {
        let client = self.client(&object.cluster).map_err(|cause| Error::new(object, cause))?;
        client.object(object, deadline)
    }

    /// What the account may read in a namespace; requested after a 403. `None` means that this is unknown.
    pub(crate) fn access_rules(
        &self,
        cluster: &ClusterRef,
        namespace: &Namespace,
    ) -> Option<Arc<AccessRules>> {
        let client = self.client(cluster).ok()?;
        let known = match cluster {
            ClusterRef::Local => &self.own,
            ClusterRef::Named(id) => self.others.get(id)?,
        };
        known.reviews.rules(&client, namespace)
    }

    /// If RBAC forbids a read, adds to its error what the account may read instead.
    pub(crate) fn explain(&self, error: &mut Error) {
        let object = error.object();
        if error.is_forbidden()
            && let Some(rules) = self.access_rules(&object.cluster, &object.namespace)
        {
            error.explain(&rules);
        }
    }

    /// Makes the next explanation review the access rules again.
    pub(crate) fn forget_access_rules(&self) {
        self.own.reviews.forget();
        self.others.values().for_each(|cluster| cluster.reviews.forget());
    }

    /// The error of a read of this object if the account's rules forbid it.
    pub(crate) fn forbidden(&self, object: &ObjectRef) -> Option<Error> {
        let rules = self.access_rules(&object.cluster, &object.namespace)?;
        let mut error = Error::forbidden(object);
        error.explain(&rules).then_some(error)
    }
}

impl Cluster {
    /// `files` are the kubeconfigs that `connect` reads.
    pub(crate) fn new(labels: Labels, connect: Connect, files: Vec<PathBuf>) -> Self {
        let (requests, reviews, slot) = (Arc::default(), Reviews::default(), Mutex::default());
        Self { labels, connect, files, requests, reviews, slot }
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Its counter of requests, which survives a new client.
    pub(crate) fn requests(&self) -> Arc<RequestMetrics> {
        Arc::clone(&self.requests)
    }

    /// Creates a new client if a kubeconfig has changed. A cluster that is not in use yet has no client.
    fn reload(&self, cluster: &ClusterRef, report: &mut dyn FnMut(ClusterRef, bool, Option<String>)) {
        if self.files.is_empty() || lock(&self.slot).is_none() {
            return;
        }
        let _ = self.client(cluster);
        let mut locked = lock(&self.slot);
        let Some(slot) = &mut *locked else { return };
        let is_changed = std::mem::take(&mut slot.is_changed);
        let had_failed = std::mem::replace(&mut slot.had_failed, slot.failure.is_some());
        let failure = slot.failure.clone();
        // `report` may wait.
        drop(locked);
        if is_changed || had_failed || failure.is_some() {
            report(cluster.clone(), is_changed, failure);
        }
    }

    /// Returns the client, and creates it if there is none or a kubeconfig has changed. Other callers wait meanwhile. While a changed
    /// kubeconfig cannot be used, the previous client stays in use and each call tries again: a file that the kubeconfig names may
    /// be replaced after it.
    fn client(&self, cluster: &ClusterRef) -> Result<Arc<Client>, Cause> {
        // The slot is only ever replaced as a whole, so that a panic cannot leave it inconsistent.
        let mut slot = lock(&self.slot);
        let stamps: Vec<_> = self.files.iter().map(|file| FileStamp::stat(file)).collect();
        if let Some(slot) = &mut *slot
            && slot.stamps == stamps
        {
            // The files that the client was created from may be back, as by a link that points to them again.
            slot.failure = None;
            return Ok(Arc::clone(&slot.client));
        }
        let content = content(&self.files);
        match ((self.connect)(), slot.as_mut()) {
            (Ok(config), _) => {
                if let ClusterRef::Named(id) = cluster {
                    info!("cluster {id}{}: API server {}", self.labels, config.server);
                }
                let client = Arc::new(Client::with_metrics(config, self.requests()));
                let before = slot.as_ref();
                let is_changed = before.is_some_and(|it| it.is_changed || it.content != content);
                let had_failed = before.is_some_and(|it| it.had_failed);
                let (shared, failure) = (Arc::clone(&client), None);
                *slot = Some(ClientSlot { client: shared, stamps, content, is_changed, had_failed, failure });
                Ok(client)
            }
            (Err(error), Some(before)) => {
                before.failure = Some(format!("{error}; keeping the previous configuration"));
                Ok(Arc::clone(&before.client))
            }
            (Err(error), None) => Err(Cause::Configuration { reason: error.to_string() }),
        }
    }
}

/// A hash of the content of these files.
fn content(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in files {
        let bytes = File::open(path).and_then(|file| read_bounded(file, TEXT_LIMIT)).ok();
        bytes.as_ref().map(|bytes| bytes.as_slice()).hash(&mut hasher);
    }
    hasher.finish()
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// Where a pod finds its service account and API server, for entries with `auth_method: in_cluster`.
#[derive(Clone, Debug)]
pub(crate) struct PodEnvironment {
    /// The directory with `token`, `ca.crt` and `namespace`.
    pub(crate) service_account: PathBuf,
    /// `KUBERNETES_SERVICE_HOST`
    pub(crate) host: Option<String>,
    /// `KUBERNETES_SERVICE_PORT`
    pub(crate) port: Option<String>,
}

/// Makes a cluster of each entry. `request_timeout` applies to entries without a `timeout`.
pub(crate) fn clusters_from_file(
    file: ClustersFile,
    pod: &PodEnvironment,
    proxies: &ProxyEnv,
    request_timeout: Duration,
) -> BTreeMap<ClusterId, Cluster> {
    let cluster = |entry: ClusterEntry| {
        let ClusterEntry { id, labels, method, qps, burst, timeout } = entry;
        let options = ClientOptions {
            request_timeout: timeout.unwrap_or(request_timeout),
            limits: qps.map(|qps| Limits { qps, burst }),
            proxies: proxies.clone(),
        };
        let pod = pod.clone();
        let files = match &method {
            AuthMethod::Kubeconfig { path, .. } => vec![path.clone()],
            _ => Vec::new(),
        };
        let connect: Connect = Box::new(move || config(&method, &pod, &options));
        (id, Cluster::new(labels, connect, files))
    };
    file.clusters.into_iter().map(cluster).collect::<BTreeMap<_, _>>()
}

fn config(
    method: &AuthMethod,
    pod: &PodEnvironment,
    options: &ClientOptions,
) -> Result<ClientConfig, ConfigError> {
    let resolved = match method {
        AuthMethod::InCluster => {
            let ClientOptions { request_timeout, limits, .. } = *options;
            let config = in_cluster::load(
                &pod.service_account,
                pod.host.as_deref(),
                pod.port.as_deref(),
                request_timeout,
            );
            return config.map(|config| ClientConfig { limits, ..config }).map_err(ConfigError::AuthMethod);
        }
        AuthMethod::Kubeconfig { path, context } => {
            let overrides = Overrides { context: context.clone(), ..Overrides::default() };
            return Ok(kubeconfig::load_client_config(
                &LoadingRules::File(path.clone()),
                &overrides,
                options,
            )?);
        }
        AuthMethod::ServiceAccount { server, token_file, tls } => {
            ResolvedConfig { token_file: Some(token_file.clone()), ..without_token(server, tls) }
        }
        AuthMethod::Token { server, token: TokenSource::File(file), tls } => {
            ResolvedConfig { token_file: Some(file.clone()), ..without_token(server, tls) }
        }
        AuthMethod::Token { server, token: TokenSource::Inline(token), tls } => {
            ResolvedConfig { token: Some(token.clone()), ..without_token(server, tls) }
        }
    };
    Ok(resolved.into_client_config(options)?)
}

fn without_token(server: &Server, tls: &TlsConfig) -> ResolvedConfig {
    let TlsConfig { insecure, ca_file, client_certificate, server_name } = tls.clone();
    ResolvedConfig {
        server_name,
        insecure,
        authority: ca_file.map(PemSource::File),
        client_certificate: client_certificate
            .map(|(certificate, key)| (PemSource::File(certificate), PemSource::File(key))),
        ..ResolvedConfig::anonymous(server.clone())
    }
}

/// Why a cluster has no usable configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The local cluster, from the service account of the pod.
    #[error(transparent)]
    InCluster(#[from] in_cluster::Error),
    /// The same for an entry of the clusters file, which names it.
    #[error("auth_method in_cluster: {0}")]
    AuthMethod(#[source] in_cluster::Error),
    /// A kubeconfig.
    #[error(transparent)]
    Kubeconfig(#[from] kubeconfig::LoadError),
    /// The files of an entry with `service_account` or `token`.
    #[error(transparent)]
    Connect(#[from] kubeconfig::ConnectError),
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::kube::{Identity, Reloading, Server, Trust};

    fn config() -> ClientConfig {
        ClientConfig {
            server: Server::parse("127.0.0.1", "1").unwrap(),
            server_name: None,
            trust: Trust::Insecure,
            identity: Identity {
                token: Some(Reloading::fixed(zeroize::Zeroizing::new("test-token-1".into()))),
                ..Identity::default()
            },
            proxy: None,
            request_timeout: Duration::from_secs(1),
            limits: None,
        }
    }

    #[test]
    fn a_client_is_created_at_first_use_and_retried_after_a_failure() {
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        let connect: Connect = Box::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Err(ConfigError::InCluster(in_cluster::Error::NotInPod { variable: "TEST" })),
            _ => Ok(config()),
        });
        let hub = ClusterId::parse("hub").unwrap();
        let labels = Labels { region: Some("eu".into()), name: Some("The Hub".into()), ..Labels::default() };
        assert_eq!(labels.to_string(), " (The Hub, eu)");
        let others = BTreeMap::from([(hub.clone(), Cluster::new(labels, connect, Vec::new()))]);
        let own = Cluster::new(Labels::default(), Box::new(|| Ok(config())), Vec::new());
        let clusters = Clusters::new(own, others).unwrap();
        assert_eq!(opened.load(Ordering::SeqCst), 0);
        assert!(
            matches!(clusters.client(&ClusterRef::Named(hub.clone())), Err(Cause::Configuration { reason }) if reason.starts_with("TEST is not set"))
        );
        let client = clusters.client(&ClusterRef::Named(hub.clone())).unwrap();
        assert!(Arc::ptr_eq(&client, &clusters.client(&ClusterRef::Named(hub.clone())).unwrap()));
        assert_eq!(opened.load(Ordering::SeqCst), 2);
        assert!(clusters.client(&ClusterRef::Named(ClusterId::parse("other").unwrap())).is_err());
        assert!(Arc::ptr_eq(&clusters.client(&ClusterRef::Local).unwrap(), &clusters.own()));
    }

    #[test]
    fn a_review_of_access_rules_in_one_cluster_delays_no_other_cluster() {
        let hub = ClusterId::parse("hub").unwrap();
        let cluster = || Cluster::new(Labels::default(), Box::new(|| Ok(config())), Vec::new());
        let clusters = Clusters::new(cluster(), BTreeMap::from([(hub.clone(), cluster())])).unwrap();
        let _slow = clusters.own.reviews.hold();
        let namespace = Namespace::parse("prod").unwrap();
        assert!(clusters.access_rules(&ClusterRef::Named(hub), &namespace).is_none(), "nothing listens");
    }

    /// What [`Cluster::reload`] reports.
    fn reported(cluster: &Cluster) -> Option<(bool, Option<String>)> {
        let mut report = None;
        cluster
            .reload(&ClusterRef::Local, &mut |_, is_changed, failure| report = Some((is_changed, failure)));
        report
    }

    #[test]
    fn a_changed_kubeconfig_is_tried_until_it_can_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("config");
        std::fs::write(&kubeconfig, "one").unwrap();
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        // What the changed kubeconfig names comes later than itself.
        let connect: Connect = Box::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
            1 | 2 => Err(ConfigError::InCluster(in_cluster::Error::NotInPod { variable: "TEST" })),
            _ => Ok(config()),
        });
        let cluster = Cluster::new(Labels::default(), connect, vec![kubeconfig.clone()]);
        let client = || cluster.client(&ClusterRef::Local).unwrap();
        let first = client();
        assert!(Arc::ptr_eq(&first, &client()));
        std::fs::write(&kubeconfig, "another").unwrap();
        assert!(Arc::ptr_eq(&first, &client()), "the previous one stays in use");
        let failure = reported(&cluster).unwrap();
        assert!(!failure.0 && failure.1.is_some_and(|reason| reason.contains("TEST is not set")));
        assert_eq!([reported(&cluster), reported(&cluster)], [Some((true, None)), None], "it is tried again");
        let second = client();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &client()));
        assert_eq!(opened.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn a_kubeconfig_that_is_put_back_ends_the_failure_of_its_replacement() {
        let directory = tempfile::tempdir().unwrap();
        let [kubeconfig, backup] = ["config", "backup"].map(|name| directory.path().join(name));
        std::fs::write(&kubeconfig, "good").unwrap();
        let shared = kubeconfig.clone();
        let connect: Connect = Box::new(move || match std::fs::read_to_string(&shared).as_deref() {
            Ok("good") => Ok(config()),
            _ => Err(ConfigError::InCluster(in_cluster::Error::NotInPod { variable: "TEST" })),
        });
        let cluster = Cluster::new(Labels::default(), connect, vec![kubeconfig.clone()]);
        cluster.client(&ClusterRef::Local).unwrap();
        std::fs::rename(&kubeconfig, &backup).unwrap();
        std::fs::write(&kubeconfig, "broken").unwrap();
        assert!(reported(&cluster).unwrap().1.is_some());
        std::fs::rename(&backup, &kubeconfig).unwrap();
        assert_eq!([reported(&cluster), reported(&cluster)], [Some((false, None)), None]);
    }

    #[test]
    fn only_another_content_of_a_kubeconfig_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("config");
        let connect: Connect = Box::new(|| Ok(config()));
        let cluster = Cluster::new(Labels::default(), connect, vec![kubeconfig.clone()]);
        let put = |text: &str| {
            std::fs::write(directory.path().join("new"), text).unwrap();
            std::fs::rename(directory.path().join("new"), &kubeconfig).unwrap();
        };
        put("one");
        assert_eq!(reported(&cluster), None);
        assert!(lock(&cluster.slot).is_none(), "a cluster that is not in use is not connected to");
        cluster.client(&ClusterRef::Local).unwrap();
        put("one");
        assert_eq!(reported(&cluster), None);
        put("two");
        // A request may notice the change first.
        cluster.client(&ClusterRef::Local).unwrap();
        assert_eq!([reported(&cluster), reported(&cluster)], [Some((true, None)), None]);
        std::fs::remove_file(&kubeconfig).unwrap();
        assert_eq!(reported(&cluster), Some((true, None)));
    }
}
