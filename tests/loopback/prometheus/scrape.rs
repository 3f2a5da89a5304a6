//! A real Prometheus with the relabeling of `deploy/monitoring` scrapes a real sidecar and a supervised program. Debian's
//! Prometheus is built without the discovery of pods, so the labels that a discovery attaches are in the configuration.

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::exec::publish;
use crate::health::Asked;
use crate::prometheus::{PAGE, dashboard, plain_rules, rules, tool, yaml};
use crate::support::health::{Health, exchange, status};
use crate::support::run::Running;
use crate::support::server::Kind;
use crate::{HANGS, Scene};

const SCRAPE_CONFIG: &str = include_str!("../../../deploy/monitoring/scrape-config.yaml");
const POD_MONITOR: &str = include_str!("../../../deploy/monitoring/podmonitor.yaml");

/// A certificate that expires in this many days.
pub(crate) fn certificate(days: i64) -> String {
    let mut params = CertificateParams::new(vec!["test".into()]).unwrap();
    let seconds = crate::support::health::unix_time(std::time::SystemTime::now()) as i64 + days * 86_400;
    // rcgen's time type has no other constructor that is public.
    let (year, month, day) = civil(seconds / 86_400);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// The date of a day since 1970.
fn civil(days: i64) -> (i32, u8, u8) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(days as u64 * 86_400);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let part = |range: std::ops::Range<usize>| text[range].parse::<i32>().unwrap();
    (part(0..4), part(5..7) as u8, part(8..10) as u8)
}

/// A container's port, as the discovery of pods describes it.
fn target(
    address: SocketAddr,
    pod: &str,
    (kind, owner): (&str, &str),
    container: &str,
    port: &str,
    phase: &str,
) -> Value {
    json!({"targets": [address.to_string()], "labels": {
        "__meta_kubernetes_namespace": "prod",
        "__meta_kubernetes_pod_name": pod,
        "__meta_kubernetes_pod_phase": phase,
        "__meta_kubernetes_pod_controller_kind": kind,
        "__meta_kubernetes_pod_controller_name": owner,
        "__meta_kubernetes_pod_container_name": container,
        "__meta_kubernetes_pod_container_port_name": port,
        "__meta_kubernetes_pod_container_init": if container == "podcreds" { "true" } else { "false" },
    }})
}

/// The scrape configurations that version 0.85 of the Prometheus operator makes of the PodMonitor, without sharding.
fn operator_configs(targets: &Value) -> Vec<Value> {
    let monitor = yaml(POD_MONITOR);
    let endpoints = monitor["spec"]["podMetricsEndpoints"].as_array().unwrap();
    let config = |(index, endpoint): (usize, &Value)| {
        let source = |label: &str| json!([format!("__meta_kubernetes_{label}")]);
        let mut relabelings = vec![
            json!({"source_labels": source("pod_phase"), "regex": "(Failed|Succeeded)", "action": "drop"}),
            json!({"source_labels": source("pod_container_port_name"), "regex": endpoint["port"], "action": "keep"}),
            json!({"source_labels": source("namespace"), "target_label": "namespace"}),
            json!({"source_labels": source("pod_container_name"), "target_label": "container"}),
            json!({"source_labels": source("pod_name"), "target_label": "pod"}),
            json!({"target_label": "job", "replacement": "monitoring/podcreds"}),
        ];
        for relabeling in endpoint["relabelings"].as_array().unwrap() {
            let text = relabeling
                .to_string()
                .replace("sourceLabels", "source_labels")
                .replace("targetLabel", "target_label");
            relabelings.push(serde_json::from_str(&text).unwrap());
        }
        json!({"job_name": format!("podMonitor/monitoring/podcreds/{index}"), "static_configs": targets, "relabel_configs": relabelings})
    };
    endpoints.iter().enumerate().map(config).collect()
}

/// The scrape configuration for a Prometheus without the operator.
fn plain_configs(targets: &Value) -> Vec<Value> {
    let mut configs = yaml(SCRAPE_CONFIG)["scrape_configs"].as_array().unwrap().clone();
    for config in &mut configs {
        let config = config.as_object_mut().unwrap();
        assert_eq!(config.remove("kubernetes_sd_configs"), Some(json!([{"role": "pod"}])));
        config.insert("static_configs".to_owned(), targets.clone());
    }
    configs
}

struct Prometheus {
    running: Running,
    address: SocketAddr,
}

impl Prometheus {
    fn start(program: &Path, directory: &Path, scrape_configs: &[Value]) -> Self {
        fs::write(directory.join("rules.yaml"), plain_rules()).unwrap();
        let config = json!({
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": scrape_configs,
        });
        fs::write(directory.join("prometheus.yaml"), config.to_string()).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(program);
        command
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(directory);
        let prometheus = Self { running: Running::start(command), address };
        prometheus.running.poll_until(HANGS, "Prometheus is ready", || {
            TcpStream::connect(address).is_ok()
                && status(&exchange(address, b"GET /-/ready HTTP/1.0\r\nHost: test\r\n\r\n")) == 200
        });
        prometheus
    }

    fn api(&self, path: &str) -> Value {
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\nHost: test\r\n\r\n");
        let response = exchange(self.address, request.as_bytes());
        let body = response.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {response}"))
    }

    /// The result of a query.
    fn query(&self, expression: &str) -> Vec<Value> {
        let mut encoded = String::new();
        for byte in expression.bytes() {
            let _ = write!(encoded, "%{byte:02x}");
        }
        let found = self.api(&format!("query?query={encoded}"));
        assert_eq!(found["status"], "success", "{expression}: {found}");
        found["data"]["result"].as_array().unwrap().clone()
    }

    /// The labels of each target.
    fn targets(&self) -> Vec<Value> {
        let found = self.api("targets?state=active");
        found["data"]["activeTargets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| target["labels"].clone())
            .collect()
    }
}

#[test]
fn both_configurations_keep_the_containers_with_podcreds_and_name_their_workloads() {
    let Some(program) = tool("prometheus") else { return };
    // Nothing has to respond.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let targets = json!([
        target(
            address,
            "app-7d9f8c6b5-x2x4z",
            ("ReplicaSet", "app-7d9f8c6b5"),
            "podcreds",
            "health",
            "Pending"
        ),
        target(address, "db-0", ("StatefulSet", "db"), "podcreds", "health", "Running"),
        target(address, "backup-28912345-abcde", ("Job", "backup-28912345"), "podcreds", "health", "Running"),
        target(address, "migrate-2-abcde", ("Job", "migrate-2"), "podcreds", "health", "Running"),
        target(address, "alone", ("", ""), "podcreds", "health", "Running"),
        target(address, "env-5c-x", ("ReplicaSet", "env-5c"), "app", "podcreds", "Running"),
        // These are not podcreds, or not running any more.
        target(address, "other-5c-x", ("ReplicaSet", "other-5c"), "app", "health", "Running"),
        target(
            address,
            "app-7d9f8c6b5-aaaaa",
            ("ReplicaSet", "app-7d9f8c6b5"),
            "podcreds",
            "http",
            "Running"
        ),
        target(address, "done-abcde", ("Job", "done"), "podcreds", "health", "Succeeded"),
        target(address, "killed-abcde", ("Job", "killed"), "podcreds", "health", "Failed"),
    ]);
    let expected = [
        "alone podcreds -",
        "app-7d9f8c6b5-x2x4z podcreds app",
        "backup-28912345-abcde podcreds backup",
        "db-0 podcreds db",
        "env-5c-x app env",
        "migrate-2-abcde podcreds migrate-2",
    ];
    for (job, configs) in
        [("podcreds", plain_configs(&targets)), ("monitoring/podcreds", operator_configs(&targets))]
    {
        let directory = tempfile::tempdir().unwrap();
        let prometheus = Prometheus::start(&program, directory.path(), &configs);
        prometheus
            .running
            .poll_until(HANGS, "the targets are known", || prometheus.targets().len() >= expected.len());
        let mut found: Vec<_> = prometheus
            .targets()
            .iter()
            .map(|labels| {
                let label = |name: &str| labels[name].as_str().unwrap_or("-").to_owned();
                assert_eq!((label("namespace"), label("job")), ("prod".to_owned(), job.to_owned()));
                format!("{} {} {}", label("pod"), label("container"), label("workload"))
            })
            .collect();
        found.sort();
        assert_eq!(found, expected, "{job}");
    }
}

#[test]
fn each_query_has_data_where_something_fails() {
    let Some(program) = tool("prometheus") else { return };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scene = Scene::new(&[
        ("both.secret", "db"),
        ("both.keys", "username, password, extra"),
        ("db.secret", "db"),
        ("db.keys", "username, password"),
        ("db.on-change", &format!("POST http://{closed}/reload")),
        ("tls.secret", "tls"),
    ]);
    let put = |data: &[(&str, &[u8])]| scene.server.put_secret("prod", "db", data);
    put(&[("username", b"app"), ("password", b"1"), ("extra", b"x")]);
    scene.server.put_secret("prod", "tls", &[("tls.crt", certificate(2).as_bytes())]);
    scene.server.forbid_watch(Kind::Secret, "prod", "tls");
    let asked = Asked::ready(scene, &["--grace", "0s"]);

    // A program that podcreds restarts.
    let supervised = Scene::new(&[]);
    let environment = |value: &str| {
        publish(&supervised.pod.volume(), &[("db.env", &format!("export A='{value}'\n"))]);
    };
    environment("1");
    let args = ["exec", "--restart-on-change", "--listen", "127.0.0.1:0", "--", "/bin/sleep", "60"];
    let program_of = Running::start(supervised.command(&args));
    let health = Health::of(&program_of, HANGS);

    let targets = json!([
        target(
            asked.health.address,
            "app-7d9f8c6b5-x2x4z",
            ("ReplicaSet", "app-7d9f8c6b5"),
            "podcreds",
            "health",
            "Running"
        ),
        target(health.address, "env-5c-x", ("ReplicaSet", "env-5c"), "app", "podcreds", "Running"),
        target(closed, "gone-5c-x", ("ReplicaSet", "gone-5c"), "podcreds", "health", "Running"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(&program, directory.path(), &plain_configs(&targets));
    let waits = |what: &str, query: &str| {
        prometheus.running.poll_until(HANGS, what, || !prometheus.query(query).is_empty());
    };
    waits("the sidecar is scraped", "podcreds_source_info");
    waits("the program is scraped", "podcreds_program_restarts_total");
    // Credential `both` keeps the old version.
    asked.scene.server.put_secret("prod", "db", &[("username", b"app"), ("password", b"2")]);
    environment("2");
    waits("a rotation is scraped", "increase(podcreds_rotations_total[1m]) > 0");
    waits(
        "two versions are served",
        "count without (resource_version) (source:podcreds_source_info:count) > 1",
    );
    waits("a notification fails", "podcreds_notification_pending_since_timestamp_seconds > 0");
    waits(
        "a credential is stale",
        "podcreds_credential_stale_since_timestamp_seconds{credential=\"both\"} > 0",
    );
    waits("a restart is scraped", "podcreds_program_restarts_total > 0");

    for expression in dashboard::expressions() {
        let is_finite = |sample: &Value| sample["value"][1] != "NaN";
        prometheus
            .running
            .poll_until(HANGS, &expression, || prometheus.query(&expression).iter().any(is_finite));
    }
    for rule in rules() {
        prometheus.query(rule["expr"].as_str().unwrap());
    }
    let queries: Vec<_> =
        PAGE.split("```promql\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(queries.len() > 3, "{queries:?}");
    for query in queries {
        prometheus.query(query);
    }
    // The object's namespace is the same with and without the label of the target.
    let found =
        prometheus.query("source:podcreds_source_info:count{source_namespace=\"prod\", name=\"tls\"}");
    assert_eq!((found.len(), &found[0]["value"][1]), (1, &json!("1")), "{found:?}");
    waits(
        "the alert on a certificate fires",
        "ALERTS{alertname=\"PodcredsCertificateExpiresSoon\", field=\"tls.crt\", workload=\"app\"}",
    );
    let states = prometheus.api("rules");
    let groups = states["data"]["groups"].as_array().unwrap().iter();
    for rule in groups.flat_map(|group| group["rules"].as_array().unwrap()) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
