//! Certificates that the kubelet projects into a pod, in a clusters file: the API server's CA from a ClusterTrustBundle, and
//! a pod certificate instead of a token. Both are replaced while the sidecar runs.
//!
//! The other cluster is the pod's own cluster under another id, so that one API server is enough.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::{env, time::Duration};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::native::{self, container_run, is_running, log};
use crate::pods;
use crate::requirements::since;
use crate::sidecar::{FIRST, put_password};
use crate::support::openssl;
use crate::support::pki::Authority;
use crate::support::run::{poll_every, poll_until};
use crate::support::skip::require;

/// Poll interval for operations that take the kubelet seconds.
const INTERVAL: Duration = Duration::from_millis(100);

const APPLICATION: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

/// A ClusterTrustBundle that is deleted on drop.
struct TrustBundle<'a> {
    namespace: &'a Namespace,
}

impl<'a> TrustBundle<'a> {
    fn new(namespace: &'a Namespace, pem: &str) -> Self {
        let bundle = Self { namespace };
        bundle.put(pem);
        bundle
    }

    fn put(&self, pem: &str) {
        self.namespace.apply(&json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "ClusterTrustBundle",
            "metadata": {"name": self.namespace.name()},
            "spec": {"trustBundle": pem},
        }));
    }
}

impl Drop for TrustBundle<'_> {
    fn drop(&mut self) {
        let mut kubectl = self.namespace.command();
        let _ = kubectl.args(["delete", "clustertrustbundle", self.namespace.name()]).output();
    }
}

/// A pod whose credentials come from `clusters`, with the clusters file and these projected sources in one directory.
fn pod(namespace: &Namespace, clusters: &[&str], files: Value, sources: &[Value]) -> Value {
    namespace.put("v1", "ConfigMap", "clusters", json!({"data": files}));
    let mut pod = native::pod(APPLICATION);
    pod["metadata"]["annotations"] = json!({});
    for cluster in clusters {
        for (key, value) in
            [("secret", format!("{}/db", namespace.name())), ("cluster", (*cluster).to_owned())]
        {
            pod["metadata"]["annotations"][format!("podcreds.io/{cluster}.{key}")] = value.into();
        }
    }
    let mut all = vec![json!({"configMap": {"name": "clusters"}})];
    all.extend_from_slice(sources);
    pods::push(&mut pod["spec"]["volumes"], json!({"name": "clusters", "projected": {"sources": all}}));
    let sidecar = &mut pod["spec"]["initContainers"][0];
    sidecar["args"] =
        json!(["sidecar", "--clusters", "/etc/podcreds/clusters.yaml", "--watch-timeout", "2s"]);
    let mount = json!({"name": "clusters", "mountPath": "/etc/podcreds", "readOnly": true});
    pods::push(&mut sidecar["volumeMounts"], mount);
    pod
}

/// The URL of the API server for pods.
fn url(namespace: &Namespace) -> String {
    let service = namespace.kubectl(&["get", "service", "kubernetes", "-n", "default", "-o", "json"]);
    let service: Value = serde_json::from_str(&service).unwrap();
    format!(
        "https://{}",
        service["spec"]["clusterIP"].as_str().expect("the API server has an address in pods")
    )
}

/// Waits until the application can read this password from the files of each cluster.
fn wait_until_seen(namespace: &Namespace, clusters: &[&str], password: &str) {
    let files: Vec<_> = clusters.iter().map(|cluster| format!("/podcreds/{cluster}/password")).collect();
    let mut read = vec!["exec", "app", "-c", "app", "--", "cat"];
    read.extend(files.iter().map(String::as_str));
    poll_every(INTERVAL, PATIENCE, &format!("{clusters:?} have {password}"), || {
        namespace.kubectl(&read) == password.repeat(clusters.len())
    });
}

#[test]
fn a_cluster_trust_bundle_is_a_ca_file_that_the_sidecar_reloads() {
    if since(37, "ClusterTrustBundle projections").is_none() {
        return;
    }
    let Some(namespace) = native::namespace() else { return };
    let (_, _, ca) = namespace.server();
    let bundle = TrustBundle::new(&namespace, &Authority::named("another").pem());
    let file = format!(
        "clusters:\n- id: far\n  auth_method: service_account\n  api_server_url: {}\n  service_account_token_file: \
         /var/run/secrets/kubernetes.io/serviceaccount/token\n  tls_config: {{ca_file: far-ca.crt}}\n",
        url(&namespace)
    );
    let source = json!({"clusterTrustBundle": {"name": namespace.name(), "path": "far-ca.crt"}});
    namespace.put("v1", "Pod", "app", pod(&namespace, &["far"], json!({"clusters.yaml": file}), &[source]));
    poll_until(PATIENCE, "the sidecar distrusts the API server", || {
        let status = namespace.get("pod/app")["status"].take();
        is_running(&status, "podcreds")
            && log(&namespace, "app", "podcreds").contains("is not signed by a trusted certificate authority")
    });
    bundle.put(&ca);
    namespace.pod_status("app", "starts", |status| is_running(status, "app"));
    wait_until_seen(&namespace, &["far"], FIRST);

    // A new authority in the bundle causes no interruption.
    bundle.put(&format!("{ca}\n{}", Authority::named("next").pem()));
    put_password(&namespace, "test-password-1");
    wait_until_seen(&namespace, &["far"], "test-password-1");
    assert_eq!(
        container_run(&namespace.get("pod/app")["status"], "podcreds").1,
        0,
        "the sidecar has not restarted"
    );
}

/// Signs certificate requests of pods with the client CA of the API server.
struct Signer {
    name: String,
    /// The directory with the CA's certificate and key, from the cluster script.
    pki: PathBuf,
    signed: BTreeSet<String>,
}

impl Signer {
    /// Waits for the next certificate request of the pod and issues a certificate for this user.
    fn sign(&mut self, namespace: &Namespace, user: &str) {
        let mut request = Value::Null;
        poll_every(INTERVAL, PATIENCE, &format!("the kubelet requests a certificate for {user}"), || {
            let requests = namespace.kubectl(&["get", "podcertificaterequests", "-o", "json"]);
            let mut requests: Value = serde_json::from_str(&requests).unwrap();
            let requests = requests["items"].as_array_mut().unwrap();
            let open = requests.iter_mut().find(|request| {
                request["spec"]["signerName"] == self.name.as_str()
                    && !self.signed.contains(request["metadata"]["name"].as_str().unwrap())
            });
            open.is_some_and(|open| {
                request = open.take();
                true
            })
        });
        let name = request["metadata"]["name"].as_str().unwrap().to_owned();
        let csr = STANDARD.decode(request["spec"]["stubPKCS10Request"].as_str().unwrap()).unwrap();
        let issued = openssl::issue((&self.pki.join("ca.crt"), &self.pki.join("ca.key")), &csr, user);
        let status = json!({
                    "conditions": [{
                        "type": "Issued",
                        "status": "True",
                        "reason": "Test",
                        "message": "signed by the test",
                        "lastTransitionTime": issued.not_before,
                    }],
                    "certificateChain": issued.certificate,
                    "notBefore": issued.not_before,
        // The API server rejects a refresh time within the first or last ten minutes.
                    "beginRefreshAt": issued.refresh,
                    "notAfter": issued.not_after,
                });
        let patch = json!({"status": status}).to_string();
        namespace.kubectl(&[
            "patch",
            "podcertificaterequest",
            &name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ]);
        self.signed.insert(name);
    }
}

/// Lets only this user read and watch the Secret.
fn grant_only(namespace: &Namespace, user: &str) {
    let group = "rbac.authorization.k8s.io";
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get", "watch"]},
    ]);
    namespace.put(&format!("{group}/v1"), "Role", "far", json!({"rules": rules}));
    let binding = json!({
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "far"},
        "subjects": [{"kind": "User", "apiGroup": group, "name": user}],
    });
    namespace.put(&format!("{group}/v1"), "RoleBinding", "far", binding);
}

/// How often a user has read the Secret, according to the audit log.
fn count_reads(audit: &Path, namespace: &Namespace, user: &str) -> usize {
    let uri = format!("/api/v1/namespaces/{}/secrets/db", namespace.name());
    let log = fs::read_to_string(audit).unwrap();
    let events =
        log.lines().filter(|line| line.contains(user)).filter_map(|line| serde_json::from_str(line).ok());
    events
        .filter(|event: &Value| {
            event["user"]["username"] == user
                && event["responseStatus"]["code"] == 200
                && event["requestURI"].as_str().is_some_and(|requested| requested.starts_with(&uri))
        })
        .count()
}

/// A pod whose sidecar authenticates with a pod certificate, through the files of `tls_config` and through a kubeconfig.
pub(crate) struct PodWithCertificate {
    pub(crate) namespace: Namespace,
    signer: Signer,
    audit: PathBuf,
}

impl PodWithCertificate {
    const CLUSTERS: [&'static str; 2] = ["near", "far"];

    /// Starts the pod with a certificate for the user `first`; `None` means that the test is skipped.
    pub(crate) fn start() -> Option<Self> {
        since(37, "pod certificates")?;
        let pki = env::var_os("KUBECONFIG").and_then(|path| Some(Path::new(&path).parent()?.join("pki")));
        let pki = pki.filter(|pki| pki.join("ca.key").exists());
        let pki = require("the key of the cluster's client CA, to sign with,", pki)?;
        let audit = require("PODCREDS_TEST_AUDIT_LOG", env::var_os("PODCREDS_TEST_AUDIT_LOG"))?.into();
        require("openssl", openssl::found())?;
        let namespace = native::namespace()?;
        // The pod's service account may not read any Secret.
        namespace.grant(&json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]));
        let (_, _, ca) = namespace.server();
        let server = url(&namespace);
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "near",
            "contexts": [{"name": "near", "context": {"cluster": "near", "user": "near"}}],
            "clusters": [{"name": "near", "cluster": {"server": server, "certificate-authority": "far-ca.crt"}}],
            "users": [{"name": "near", "user": {"client-certificate": "bundle.pem", "client-key": "bundle.pem"}}],
        });
        let tls = "{ca_file: far-ca.crt, cert_file: bundle.pem, key_file: bundle.pem}";
        let file = format!(
            "clusters:\n- {{id: near, auth_method: kubeconfig, kubeconfig_path: kubeconfig}}\n\
             - {{id: far, auth_method: token, token: none, api_server_url: {server}, tls_config: {tls}}}\n"
        );
        let files = json!({"clusters.yaml": file, "kubeconfig": kubeconfig.to_string(), "far-ca.crt": ca});
        let name = format!("example.com/{}", namespace.name());
        let source = json!({"podCertificate": {
            "signerName": name,
            "keyType": "ECDSAP256",
            "credentialBundlePath": "bundle.pem",
        }});
        let pod = pod(&namespace, &Self::CLUSTERS, files, &[source]);
        let mut certified = Self { namespace, signer: Signer { name, pki, signed: BTreeSet::new() }, audit };
        certified.namespace.put("v1", "Pod", "app", pod);
        certified.sign_for("first");
        certified.namespace.pod_status("app", "starts", |status| is_running(status, "app"));
        Some(certified)
    }

    fn user(&self, name: &str) -> String {
        format!("{}:{name}", self.namespace.name())
    }

    /// Issues the next certificate that the kubelet requests for this user, and grants the rights to this user only.
    pub(crate) fn sign_for(&mut self, name: &str) {
        let user = self.user(name);
        self.signer.sign(&self.namespace, &user);
        grant_only(&self.namespace, &user);
    }

    /// Waits until this password has arrived from each cluster, through requests of this user.
    pub(crate) fn wait_until_seen(&self, password: &str, name: &str) {
        wait_until_seen(&self.namespace, &Self::CLUSTERS, password);
        let user = self.user(name);
        poll_every(INTERVAL, PATIENCE, &format!("{user} has read the Secret from each cluster"), || {
            count_reads(&self.audit, &self.namespace, &user) >= Self::CLUSTERS.len()
        });
    }
}

#[test]
fn a_pod_certificate_authenticates_to_a_cluster() {
    let Some(certified) = PodWithCertificate::start() else { return };
    certified.wait_until_seen(FIRST, "first");
}
