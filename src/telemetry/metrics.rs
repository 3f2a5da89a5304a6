//! The metrics in Prometheus' text format, version 0.0.4.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use crate::object::{ClusterId, ClusterRef};
use crate::proc::{self, Stat};
use crate::telemetry::{Cluster, Health, Moment, Reason};

/// The upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// The cumulative count of each of [`BUCKETS`].
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    #[cfg(test)]
    pub(crate) fn sum(&self) -> Duration {
        self.sum
    }

    pub(crate) fn observe(&mut self, time: Duration) {
        for (bucket, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(time.as_secs_f64() <= bound);
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
    }
}

/// The labels of `podcreds_build_info`. The Dockerfile sets `PODCREDS_REVISION`; other builds do not know their revision.
const BUILD: [(&str, &str); 3] = [
    ("version", env!("CARGO_PKG_VERSION")),
    (
        "revision",
        match option_env!("PODCREDS_REVISION") {
            Some(revision) => revision,
            None => "",
        },
    ),
    ("arch", std::env::consts::ARCH),
];

/// Formats all metrics.
pub(crate) fn write(health: &Health) -> String {
    let clusters: Vec<_> = health.clusters.iter().map(|it| (it, it.requests.counts())).collect();
    let state = health.status();
    let mut text = Text(String::with_capacity(4096));

    text.family("podcreds_build_info", "gauge", "The version of podcreds; always 1.");
    text.sample_with_all("podcreds_build_info", &BUILD, 1);

    if let Some(starts) = state.program_starts {
        text.family(
            "podcreds_program_restarts_total",
            "counter",
            "Total number of restarts of the program, because its variables changed.",
        );
        text.sample("podcreds_program_restarts_total", starts.saturating_sub(1));
        // What follows is about a sidecar.
        drop(state);
        text.process(&ProcessStats::read(), health.process_started);
        return text.0;
    }

    text.family("podcreds_stale_since_timestamp_seconds", "gauge", "Unix time at which the oldest ongoing failure began, or at which the sidecar started while no files are written yet; 0 while the files are current.");
    text.sample("podcreds_stale_since_timestamp_seconds", timestamp(state.stale_since()));

    let family = "podcreds_credential_stale_since_timestamp_seconds";
    text.family(family, "gauge", "Unix time at which the oldest ongoing failure of one of the credential's sources, or to render it, began; 0 while it is current.");
    for (credential, since) in state.credentials_stale_since() {
        text.sample_with(family, "credential", credential, timestamp(since));
    }

    let family = "podcreds_credential_last_rotation_timestamp_seconds";
    text.family(family, "gauge", "Unix time at which the files of the credential last changed; 0 while it has no files, and while their time is not known.");
    let family_of_sources = "podcreds_source_info";
    let mut sources = Vec::new();
    for credential in state.credentials() {
        let since = credential.served.and_then(|served| served.since);
        text.sample_with(family, "credential", credential.name, since.map_or(0.0, unix_time));
        for source in credential.sources {
            let served = source.served.map(|version| (source.object, version));
            sources.extend(served.filter(|served| !sources.contains(served)));
        }
    }
    text.family(family_of_sources, "gauge", "A Secret, ConfigMap or Service that files come from, with the resourceVersion that they come from; always 1.");
    for (object, version) in sources {
        let namespace = object.namespace.to_string();
        let labels = [
            ("kind", object.kind.as_str()),
            ("namespace", &namespace),
            ("name", object.name()),
            ("resource_version", version),
        ];
        let cluster = object.cluster.id().map(|id| ("cluster", id.as_str()));
        let labels: Vec<_> = labels.into_iter().chain(cluster).collect();
        text.sample_with_all(family_of_sources, &labels, 1);
    }

    let family = "podcreds_certificate_expiry_timestamp_seconds";
    text.family(family, "gauge", "Unix time at which the first certificate in a field of the credential expires; absent for fields without one.");
    for credential in state.credentials() {
        for certificate in credential.served.map_or(&[][..], |served| &served.certificates) {
            let labels = [("credential", credential.name), ("field", &certificate.field)];
            text.sample_with_all(family, &labels, unix_time(certificate.not_after));
        }
    }

    // With the local cluster alone, podcreds_stale_since_timestamp_seconds is its own.
    if clusters.len() > 1 {
        text.family("podcreds_cluster_info", "gauge", "A cluster that podcreds reads from, with its labels in the clusters file; always 1. The local cluster has an empty id.");
        for (Cluster { id, labels, .. }, _) in &clusters {
            let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
            let all: Vec<_> = [("cluster", name(id))].into_iter().chain(labels).collect();
            text.sample_with_all("podcreds_cluster_info", &all, 1);
        }
        text.family("podcreds_cluster_stale_since_timestamp_seconds", "gauge", "Unix time at which the oldest ongoing failure of a source in this cluster began; 0 while all are current.");
        for (Cluster { id, .. }, _) in &clusters {
            let since = timestamp(state.cluster_stale_since(id));
            text.sample_with("podcreds_cluster_stale_since_timestamp_seconds", "cluster", name(id), since);
        }
    }

    text.family(
        "podcreds_last_success_timestamp_seconds",
        "gauge",
        "Unix time of the last successful attempt to publish; 0 before the first one.",
    );
    text.sample("podcreds_last_success_timestamp_seconds", state.last_success.map_or(0.0, unix_time));

    let by_result = |text: &mut Text, name: &str, succeeded: u64, failed: u64| {
        for (result, count) in [("success", succeeded), ("failure", failed)] {
            text.sample_with(name, "result", result, count);
        }
    };
    text.family("podcreds_syncs_total", "counter", "Total number of attempts to render and publish the files, by result. Failures before that, such as a source that cannot be read, count only in podcreds_failures_total.");
    by_result(&mut text, "podcreds_syncs_total", state.syncs.succeeded, state.syncs.failed);

    text.family("podcreds_failures_total", "counter", "Total number of failures, by reason: of reads and watches, of edited annotations, and of attempts to publish.");
    for reason in Reason::ALL {
        text.sample_with(
            "podcreds_failures_total",
            "reason",
            reason.label(),
            state.failures[reason as usize],
        );
    }

    text.family(
        "podcreds_rotations_total",
        "counter",
        "Total number of bundles that replaced an earlier bundle.",
    );
    text.sample("podcreds_rotations_total", state.rotations.count);

    let name = "podcreds_rotation_duration_seconds";
    text.family(
        name,
        "histogram",
        "Time from the detection of a change to the new files, failed attempts included.",
    );
    for (count, bound) in state.rotations.buckets.iter().zip(BUCKETS) {
        text.sample_with(&format!("{name}_bucket"), "le", bound, count);
    }
    text.sample_with(&format!("{name}_bucket"), "le", "+Inf", state.rotations.count);
    text.sample(&format!("{name}_sum"), state.rotations.sum.as_secs_f64());
    text.sample(&format!("{name}_count"), state.rotations.count);

    text.family(
        "podcreds_watch_restarts_total",
        "counter",
        "Total number of watches that broke or ended early.",
    );
    text.sample("podcreds_watch_restarts_total", state.watch_restarts);

    let family = "podcreds_unwatched_objects";
    text.family(
        family,
        "gauge",
        "Number of objects that podcreds cannot watch, and polls instead; 0 with --sync poll.",
    );
    text.sample(family, state.unwatched());

    text.family(
        "podcreds_notifications_total",
        "counter",
        "Total number of attempts to notify an application of a rotation (.on-change), by result.",
    );
    let notifications = &state.notifications;
    by_result(&mut text, "podcreds_notifications_total", notifications.succeeded, notifications.failed);

    text.family("podcreds_notification_pending_since_timestamp_seconds", "gauge", "Unix time of the first failed attempt of the notification that has been failing longest; 0 while none is failing.");
    let longest = state.pending_notifications.values().map(|(since, _)| *since).min();
    text.sample("podcreds_notification_pending_since_timestamp_seconds", timestamp(longest));

    text.family(
        "podcreds_events_total",
        "counter",
        "Total number of Events for the pod (--events), by result.",
    );
    by_result(&mut text, "podcreds_events_total", state.events.succeeded, state.events.failed);

    text.family(
        "podcreds_api_requests_total",
        "counter",
        "Total number of requests to API servers, by HTTP status (error: no response) and by cluster (absent for the local cluster).",
    );
    for (Cluster { id, .. }, requests) in &clusters {
        let cluster = id.id().map(|id| ("cluster", id.as_str()));
        let mut sample = |code: &str, count: &u64| {
            let labels: Vec<_> = [("code", code)].into_iter().chain(cluster).collect();
            text.sample_with_all("podcreds_api_requests_total", &labels, count);
        };
        requests.by_status.iter().for_each(|(status, count)| sample(&status.to_string(), count));
        sample("error", &requests.unanswered);
    }
    drop(state);
    text.process(&ProcessStats::read(), health.process_started);
    text.0
}

fn unix_time(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// 0 for `None`.
fn timestamp(moment: Option<Moment>) -> f64 {
    moment.map_or(0.0, |moment| unix_time(moment.time))
}

/// The value of the label `cluster`. To Prometheus an empty label is the same as an absent one.
fn name(cluster: &ClusterRef) -> &str {
    cluster.id().map(ClusterId::as_str).unwrap_or_default()
}

/// Lines of the format. Names and help are constants that need no escaping.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn sample_with(&mut self, name: &str, label: &str, label_value: impl Display, value: impl Display) {
        self.sample_with_all(name, &[(label, &label_value.to_string())], value);
    }

    fn sample_with_all(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }

    /// The family is absent where the kernel has no value.
    fn process(&mut self, stats: &ProcessStats, started: Option<SystemTime>) {
        let mut family = |name: &str, kind: &str, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                self.family(name, kind, help);
                self.sample(name, value);
            }
        };
        let float = |count: Option<u64>| count.map(|count| count as f64);
        let ProcessStats { cpu_seconds, .. } = *stats;
        family(
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time in seconds.",
            cpu_seconds,
        );
        family("process_open_fds", "gauge", "Number of open file descriptors.", float(stats.open_fds));
        family("process_max_fds", "gauge", "Maximum number of open file descriptors.", float(stats.max_fds));
        let memory = float(stats.virtual_memory_bytes);
        family("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", memory);
        let memory = float(stats.resident_memory_bytes);
        family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", memory);
        let started = started.map(unix_time);
        family("process_start_time_seconds", "gauge", "Unix time of the start of the process.", started);
        family("process_threads", "gauge", "Number of threads.", float(stats.threads));
    }
}

/// What the kernel counts for this process: the `process_*` metrics, as Prometheus' client libraries define them. A field is
/// `None` if /proc does not have it, as in some sandboxes.
/// Source: <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>, proc_pid_stat(5), proc_pid_status(5)
#[derive(Debug, Default, PartialEq)]
struct ProcessStats {
    cpu_seconds: Option<f64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    virtual_memory_bytes: Option<u64>,
    resident_memory_bytes: Option<u64>,
    threads: Option<u64>,
}

impl ProcessStats {
    fn read() -> Self {
        let stat = Stat::own();
        let stat = stat.as_ref();
        Self {
            cpu_seconds: stat.map(|stat| seconds(stat.cpu_ticks)),
            // The directory itself is one of them while it is read.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as u64),
            max_fds: getrlimit(Resource::Nofile).current,
            virtual_memory_bytes: stat.map(|stat| stat.virtual_bytes),
            // In `stat` it is a number of pages, whose size differs between kernels.
            resident_memory_bytes: proc::read("/proc/self/status")
                .ok()
                .and_then(|status| resident_bytes(&status)),
            threads: stat.map(|stat| stat.threads),
        }
    }
}

/// When this process started. The kernel counts from the boot, so each call may differ by the resolution of its clocks: a
/// caller keeps the first result.
pub(crate) fn start_time() -> Option<SystemTime> {
    SystemTime::now().checked_sub(Stat::own()?.age())
}

/// Finds `VmRSS:   1234 kB` in `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / proc::TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::*;
    use crate::object::{Kind, Namespace, ObjectRef};
    use crate::telemetry::{Component, Content};

    /// The value of each sample, by its name and labels.
    fn samples(text: &str) -> BTreeMap<&str, f64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn every_sample_follows_its_help_and_type() {
        let text = write(&Health::new(vec![Cluster::default()], Duration::ZERO));
        assert!(text.ends_with('\n'));
        let mut family = "";
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap();
                let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {family} ")).unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
                assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
                assert!(
                    ["podcreds_", "process_"].iter().any(|prefix| family.starts_with(prefix)),
                    "{family}"
                );
            } else {
                assert!(line.starts_with(family) && !family.is_empty(), "{line} under {family}");
            }
        }
        let build = text.lines().find(|line| line.starts_with("podcreds_build_info{")).unwrap();
        let [(_, version), (_, revision), (_, arch)] = BUILD;
        assert_eq!(
            build,
            format!(r#"podcreds_build_info{{version="{version}",revision="{revision}",arch="{arch}"}} 1"#)
        );
    }

    #[test]
    fn each_cluster_has_its_own_timestamp_and_requests() {
        let hub = ClusterId::parse("hub").unwrap();
        let labels = vec![("name", "The \"Hub\"".to_owned()), ("region", "eu".to_owned())];
        let clusters = vec![
            Cluster::default(),
            Cluster { id: ClusterRef::Named(hub.clone()), labels, requests: Arc::default() },
        ];
        let health = Health::new(clusters, Duration::ZERO);
        let now = Moment::now();
        health.status().set_waiting(BTreeMap::new());
        let secret = ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), "db").unwrap();
        let source = Component::Source(secret.in_cluster(ClusterRef::Named(hub)));
        health.status().failing(now, source, Reason::ApiUnreachable, "test");
        let text = write(&health);
        let samples = samples(&text);
        assert_eq!(samples["podcreds_cluster_info{cluster=\"\"}"], 1.0);
        assert_eq!(
            samples["podcreds_cluster_info{cluster=\"hub\",name=\"The \\\"Hub\\\"\",region=\"eu\"}"],
            1.0
        );
        assert_eq!(samples["podcreds_cluster_stale_since_timestamp_seconds{cluster=\"\"}"], 0.0);
        assert!(samples["podcreds_cluster_stale_since_timestamp_seconds{cluster=\"hub\"}"] > 1.7e9);
        assert!(samples["podcreds_stale_since_timestamp_seconds"] > 1.7e9);
        assert_eq!(samples["podcreds_api_requests_total{code=\"error\",cluster=\"hub\"}"], 0.0);
    }

    #[test]
    fn each_credential_has_its_own_timestamp() {
        let health = Health::new(Vec::new(), Duration::ZERO);
        let secret =
            |name: &str| ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), name).unwrap();
        let named = [("cache", secret("redis")), ("db", secret("postgres")), ("mail", secret("smtp"))];
        let named = named.map(|(name, object)| (name.to_owned(), [object].into())).into();
        let now = Moment::now();
        let mut status = health.status();
        status.set_credentials(named);
        status.set_waiting(BTreeMap::new());
        status.failing(now, Component::Watch(secret("postgres")), Reason::ApiUnreachable, "test");
        status.failing(now, Component::Credential("mail".to_owned()), Reason::Render, "test");
        drop(status);
        let text = write(&health);
        let since = |name: &str| {
            samples(&text)[format!(
                "podcreds_credential_stale_since_timestamp_seconds{{credential=\"{name}\"}}"
            )
            .as_str()]
        };
        assert_eq!(since("cache"), 0.0);
        assert!(since("db") > 1.7e9 && since("mail") > 1.7e9, "{text}");
    }

    #[test]
    fn each_source_has_the_versions_that_are_served() {
        let health = Health::new(Vec::new(), Duration::ZERO);
        let secret = ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), "db").unwrap();
        let far = secret.clone().in_cluster(ClusterRef::Named(ClusterId::parse("hub").unwrap()));
        let mut status = health.status();
        let named = [("a", &secret), ("b", &secret), ("far", &far)];
        status.set_credentials(named.map(|(name, object)| (name.to_owned(), [object.clone()].into())).into());
        for object in [&secret, &far] {
            status.served.read(object, Some("7"), Content::New);
        }
        for (name, object) in named {
            status.served.rendered(name, [object].into_iter());
            status.served.published(name, Some(("..1", UNIX_EPOCH + Duration::from_secs(9))));
        }
        drop(status);
        let info = |cluster: &str, version: &str| {
            format!(
                "podcreds_source_info{{kind=\"Secret\",namespace=\"prod\",name=\"db\",resource_version=\"{version}\"{cluster}}}"
            )
        };
        let text = write(&health);
        assert_eq!(text.matches("podcreds_source_info{").count(), 2, "{text}");
        assert_eq!(samples(&text)[info("", "7").as_str()], 1.0);
        assert_eq!(samples(&text)[info(",cluster=\"hub\"", "7").as_str()], 1.0);
        assert_eq!(
            samples(&text)["podcreds_credential_last_rotation_timestamp_seconds{credential=\"a\"}"],
            9.0
        );
        // One of two credentials of the Secret cannot be rendered from version 8: both versions are served.
        health.status().served.read(&secret, Some("8"), Content::New);
        health.status().served.rendered("a", [&secret].into_iter());
        health.status().served.published("a", None);
        let text = write(&health);
        assert_eq!(text.matches("podcreds_source_info{").count(), 3, "{text}");
        health.status().served.rendered("b", [&secret].into_iter());
        health.status().served.published("b", None);
        let text = write(&health);
        assert!(!samples(&text).contains_key(info("", "7").as_str()), "the old series ends: {text}");
    }

    #[test]
    fn each_certificate_has_a_timestamp_until_it_is_removed() {
        let health = Health::new(Vec::new(), Duration::ZERO);
        health.status().set_credentials([("tls".to_owned(), BTreeSet::new())].into());
        let expires = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let fields = [("ca.crt", expires), ("tls.crt", expires)];
        health.status().served.set_certificates("tls", fields.into_iter());
        let text = write(&health);
        for field in ["ca.crt", "tls.crt"] {
            let name = format!(
                "podcreds_certificate_expiry_timestamp_seconds{{credential=\"tls\",field=\"{field}\"}}"
            );
            assert_eq!(samples(&text)[name.as_str()], 2e9);
        }
        health.status().set_credentials(BTreeMap::new());
        assert!(!write(&health).contains("certificate_expiry_timestamp_seconds{"));
    }

    #[test]
    fn a_source_that_cannot_be_read_is_a_failure_but_no_attempt_to_publish() {
        let health = Health::new(vec![Cluster::default()], Duration::ZERO);
        let secret = ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), "db").unwrap();
        let source = Component::Source(secret);
        health.status().failing(Moment::now(), source, Reason::ApiRefused, "test");
        let text = write(&health);
        let samples = samples(&text);
        assert_eq!(samples["podcreds_failures_total{reason=\"api_refused\"}"], 1.0);
        assert_eq!(samples["podcreds_syncs_total{result=\"failure\"}"], 0.0);
        let help =
            |name: &str| text.lines().find(|line| line.starts_with(&format!("# HELP {name} "))).unwrap();
        assert!(help("podcreds_syncs_total").ends_with("count only in podcreds_failures_total."), "{text}");
        assert!(help("podcreds_failures_total").contains("of reads and watches"), "{text}");
    }

    #[test]
    fn counters_count() {
        let health = Health::new(vec![Cluster::default()], Duration::ZERO);
        let now = Moment::now();
        let credential = Component::Credential("db".to_owned());
        let mut status = health.status();
        status.publish_failed(now, credential.clone(), Reason::Render, "test");
        status.published(now, None, "test");
        status.published(now, Some(Duration::from_millis(20)), "test");
        status.published(now, Some(Duration::from_secs(100)), "test");
        status.succeeded(now);
        status.healthy(&credential);
        status.set_waiting(BTreeMap::new());
        status.watch_restarted();
        status.notify_failed(now, "test", "test");
        status.notify_failed(now, "test", "test");
        status.notified(now, "test", &BTreeSet::new(), "..1");
        status.events.count(true);
        drop(status);
        let text = write(&health);
        let samples = samples(&text);
        for (name, value) in [
            ("podcreds_syncs_total{result=\"success\"}", 4.0),
            ("podcreds_syncs_total{result=\"failure\"}", 1.0),
            ("podcreds_failures_total{reason=\"render\"}", 1.0),
            ("podcreds_failures_total{reason=\"volume\"}", 0.0),
            ("podcreds_rotations_total", 2.0),
            ("podcreds_rotation_duration_seconds_bucket{le=\"0.01\"}", 0.0),
            ("podcreds_rotation_duration_seconds_bucket{le=\"0.025\"}", 1.0),
            ("podcreds_rotation_duration_seconds_bucket{le=\"60\"}", 1.0),
            ("podcreds_rotation_duration_seconds_bucket{le=\"+Inf\"}", 2.0),
            ("podcreds_rotation_duration_seconds_sum", 100.02),
            ("podcreds_rotation_duration_seconds_count", 2.0),
            ("podcreds_watch_restarts_total", 1.0),
            ("podcreds_notifications_total{result=\"success\"}", 1.0),
            ("podcreds_notifications_total{result=\"failure\"}", 2.0),
            ("podcreds_notification_pending_since_timestamp_seconds", 0.0),
            ("podcreds_events_total{result=\"success\"}", 1.0),
            ("podcreds_events_total{result=\"failure\"}", 0.0),
            ("podcreds_stale_since_timestamp_seconds", 0.0),
            ("podcreds_api_requests_total{code=\"error\"}", 0.0),
        ] {
            assert_eq!(samples[name], value, "{name}\n{text}");
        }
        assert!(samples["podcreds_last_success_timestamp_seconds"] > 1.7e9);
    }

    #[test]
    fn timestamps_do_not_move_while_a_failure_holds() {
        let health = Health::new(vec![Cluster::default()], Duration::ZERO);
        health.status().notify_failed(Moment::now(), "test", "test");
        let names = [
            "podcreds_stale_since_timestamp_seconds",
            "podcreds_notification_pending_since_timestamp_seconds",
            "process_start_time_seconds",
        ];
        let read = || {
            let text = write(&health);
            names.map(|name| samples(&text)[name])
        };
        let first = read();
        assert!(first.iter().all(|time| *time > 1.7e9), "{first:?}");
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(read(), first);
    }

    #[test]
    fn the_process_metrics_are_there() {
        let text = write(&Health::new(Vec::new(), Duration::ZERO));
        let samples = samples(&text);
        for name in ["cpu_seconds_total", "open_fds", "max_fds", "virtual_memory_bytes", "threads"] {
            assert!(samples[format!("process_{name}").as_str()] >= 0.0, "{name}");
        }
        assert!(samples["process_resident_memory_bytes"] > 100_000.0);
    }

    #[test]
    fn the_resident_memory_is_found_in_the_status() {
        assert_eq!(resident_bytes("Name:\ta\nVmRSS:\t    2 kB\nThreads:\t3\n"), Some(2048));
        assert_eq!(resident_bytes("Name:\ta\n"), None);
    }

    #[test]
    fn this_process_has_plausible_stats() {
        let stats = ProcessStats::read();
        assert!(stats.cpu_seconds.is_some_and(|seconds| (0.0..3600.0).contains(&seconds)), "{stats:?}");
        assert!(
            stats.open_fds.is_some_and(|count| count >= 3) && stats.open_fds <= stats.max_fds,
            "{stats:?}"
        );
        assert!(stats.threads.is_some_and(|count| count >= 1), "{stats:?}");
        assert!(stats.resident_memory_bytes > Some(100_000), "{stats:?}");
        assert!(stats.virtual_memory_bytes > stats.resident_memory_bytes, "{stats:?}");
        let age = start_time().unwrap().elapsed().unwrap_or_default();
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}
