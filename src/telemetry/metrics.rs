//! The metrics in Prometheus' text format, version 0.0.4.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};
use std::fs::{self, File};
use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use crate::object::{ClusterId, ClusterRef};
use crate::telemetry::{Cluster, Health, Moment, Reason};

/// The upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// Maximum size of a file in /proc, in bytes.
const PROC_LIMIT: u64 = 4096;
/// `USER_HZ`: the same on all platforms that Rust supports, and a constant in Prometheus' procfs library too. sysconf(3) would
/// need the auxiliary vector, which a process that is not dumpable may not read.
const TICKS_PER_SECOND: f64 = 100.0;

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

/// Formats all metrics.
pub(crate) fn write(health: &Health) -> String {
    let clusters: Vec<_> = health.clusters.iter().map(|it| (it, it.requests.counts())).collect();
    let state = health.status();
    let mut text = Text(String::with_capacity(4096));

    text.family("podcreds_build_info", "gauge", "The version of podcreds; always 1.");
    text.sample_with("podcreds_build_info", "version", env!("CARGO_PKG_VERSION"), 1);

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

    // With the local cluster alone, the gauge above is its own.
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
        let stat = Stat::read();
        let stat = stat.as_ref();
        Self {
            cpu_seconds: stat.map(|stat| seconds(stat.cpu_ticks)),
            // The directory itself is one of them while it is read.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as u64),
            max_fds: getrlimit(Resource::Nofile).current,
            virtual_memory_bytes: stat.map(|stat| stat.virtual_bytes),
            // In `stat` it is a number of pages, whose size differs between kernels.
            resident_memory_bytes: read_proc("/proc/self/status")
                .ok()
                .and_then(|status| resident_bytes(&status)),
            threads: stat.map(|stat| stat.threads),
        }
    }
}

/// When this process started. The kernel counts from the boot, so each call may differ by the resolution of its clocks: a
/// caller keeps the first result.
pub(crate) fn start_time() -> Option<SystemTime> {
    let uptime: f64 = read_proc("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let age = uptime - seconds(Stat::read()?.start_ticks);
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(age.max(0.0)).ok()?)
}

struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// From the boot.
    start_ticks: u64,
    virtual_bytes: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&read_proc("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is a name in parentheses that may itself contain spaces and parentheses.
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
        })
    }
}

/// Finds `VmRSS:   1234 kB` in `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn read_proc(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(PROC_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::object::{Kind, Namespace, ObjectRef};
    use crate::telemetry::Component;

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
        assert_eq!(
            samples(&text)[concat!("podcreds_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")],
            1.0
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
        status.notified("test");
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
    fn the_fields_after_a_name_with_parentheses_are_parsed() {
        let text = "42 (a) (b c) S 1 42 42 0 -1 4194560 5 0 0 0 150 50 7 8 20 0 3 0 1000 8192000 200 1 2\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.threads, stat.start_ticks), (200, 3, 1000));
        assert_eq!(stat.virtual_bytes, 8_192_000);
        assert_eq!(resident_bytes("Name:\ta\nVmRSS:\t    2 kB\nThreads:\t3\n"), Some(2048));
        assert_eq!(resident_bytes("Name:\ta\n"), None);
        for cut in ["", "42 (a", "42 (a) S 1"] {
            assert!(Stat::parse(cut).is_none(), "{cut}");
        }
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
