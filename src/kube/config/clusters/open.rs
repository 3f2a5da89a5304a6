//! From an entry of the clusters file to a client: what the entry names is read when the cluster is first needed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::kube::config::clusters::file::{ClustersFile, Entry, Method, Tls, TokenFrom};
use crate::kube::config::clusters::pool::{Member, Open};
use crate::kube::config::in_cluster;
use crate::kube::config::kubeconfig::{self, Access, Named, Proxies, Surroundings, Wanted};
use crate::kube::{ClientConfig, Limits, Server};
use crate::object::ClusterId;

/// The pod's own way into its cluster, for entries that take it too.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// Where token, CA and namespace are mounted.
    pub(crate) folder: PathBuf,
    /// `KUBERNETES_SERVICE_HOST`
    pub(crate) host: Option<String>,
    /// `KUBERNETES_SERVICE_PORT`
    pub(crate) port: Option<String>,
}

/// Makes a member of the pool of each entry. Entries without a `timeout` have this one.
pub(crate) fn members(
    file: ClustersFile,
    pod: &Pod,
    proxies: &Proxies,
    request_timeout: Duration,
) -> BTreeMap<ClusterId, Member> {
    let member = |entry: Entry| {
        let Entry { id, labels, method, qps, burst, timeout } = entry;
        let surroundings = Surroundings {
            request_timeout: timeout.unwrap_or(request_timeout),
            limits: qps.map(|qps| Limits { qps, burst }),
            proxies: proxies.clone(),
        };
        let pod = pod.clone();
        let files = match &method {
            Method::Kubeconfig { path, .. } => vec![path.clone()],
            _ => Vec::new(),
        };
        let open: Open = Box::new(move || config(&method, &pod, &surroundings));
        (id, Member::new(labels, open, files))
    };
    file.clusters.into_iter().map(member).collect::<BTreeMap<_, _>>()
}

fn config(method: &Method, pod: &Pod, surroundings: &Surroundings) -> Result<ClientConfig, String> {
    let access = match method {
        Method::InCluster => {
            let Surroundings { request_timeout, limits, .. } = *surroundings;
            let config =
                in_cluster::load(&pod.folder, pod.host.as_deref(), pod.port.as_deref(), request_timeout);
            return config
                .map(|config| ClientConfig { limits, ..config })
                .map_err(|error| format!("auth_method in_cluster is for pods: {error}"));
        }
        Method::Kubeconfig { path, context } => {
            let wanted = Wanted { context: context.clone(), ..Wanted::default() };
            return kubeconfig::open(&Named::File(path.clone()), &wanted, surroundings);
        }
        Method::ServiceAccount { server, token_file, tls } => {
            Access { token_file: Some(token_file.clone()), ..access(server, tls) }
        }
        Method::Token { server, token: TokenFrom::File(file), tls } => {
            Access { token_file: Some(file.clone()), ..access(server, tls) }
        }
        Method::Token { server, token: TokenFrom::Inline(token), tls } => {
            Access { token: Some(token.clone()), ..access(server, tls) }
        }
    };
    access.open(surroundings).map_err(|error| error.to_string())
}

/// A way in without a token yet.
fn access(server: &Server, tls: &Tls) -> Access {
    use crate::kube::PemSource::File;
    let Tls { insecure, ca_file, client_certificate, server_name } = tls.clone();
    Access {
        server_name,
        insecure,
        authority: ca_file.map(File),
        client_certificate: client_certificate.map(|(certificate, key)| (File(certificate), File(key))),
        ..Access::anonymous(server.clone())
    }
}
