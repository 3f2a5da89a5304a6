//! The metrics in Prometheus' text format, version 0.0.4.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::object::{ClusterId, ClusterRef};
use crate::telemetry::{Cluster, Health, Reason};

/// The upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// How often something took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// How many were within each of [`BUCKETS`].
    within: [u64; BUCKETS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    pub(crate) fn observe(&mut self, time: Duration) {
        for (bucket, bound) in self.within.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(time.as_secs_f64() <= bound);
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
    }
}

/// The text of all metrics.
pub(crate) fn write(health: &Health) -> String {
    let clusters: Vec<_> = health.clusters.iter().map(|it| (it, it.requests.counts())).collect();
    let state = health.state();
    let mut text = Text(String::with_capacity(4096));

    text.about("podcreds_build_info", "gauge", "Which podcreds this is; always 1.");
    text.labelled("podcreds_build_info", "version", env!("CARGO_PKG_VERSION"), 1);

    text.about("podcreds_staleness_seconds", "gauge", "For how long the files may have been out of date: since the first failure that still holds, or since the start while there are none; 0 while they are current.");
    text.plain("podcreds_staleness_seconds", state.staleness().as_secs_f64());

    // Where there is only the pod's own, the figures above are its.
    if clusters.len() > 1 {
        text.about("podcreds_cluster_info", "gauge", "A cluster that sources are read from, with what the clusters file calls it; always 1. The pod's own has an empty id.");
        for (Cluster { id, labels, .. }, _) in &clusters {
            let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
            let all: Vec<_> = [("cluster", name(id))].into_iter().chain(labels).collect();
            text.labelled_all("podcreds_cluster_info", &all, 1);
        }
        text.about("podcreds_cluster_staleness_seconds", "gauge", "For how long what comes from a cluster may have been out of date: since the first failure that still holds; 0 while it is current.");
        for (Cluster { id, .. }, _) in &clusters {
            let staleness = state.staleness_of(id).as_secs_f64();
            text.labelled("podcreds_cluster_staleness_seconds", "cluster", name(id), staleness);
        }
    }

    text.about("podcreds_last_success_timestamp_seconds", "gauge", "When an attempt to publish last found the files as they should be, or made them so, in Unix time; 0 before the first time.");
    text.plain("podcreds_last_success_timestamp_seconds", state.last_success.map_or(0.0, unix_time));

    text.about("podcreds_syncs_total", "counter", "Attempts to publish what was read, by result.");
    for (result, count) in
        [("swapped", state.swapped), ("unchanged", state.unchanged), ("failed", state.failed)]
    {
        text.labelled("podcreds_syncs_total", "result", result, count);
    }

    text.about("podcreds_failures_total", "counter", "What failed, by reason; each new attempt counts.");
    for reason in Reason::ALL {
        text.labelled("podcreds_failures_total", "reason", reason.label(), state.failures[reason as usize]);
    }

    text.about("podcreds_rotations_total", "counter", "Bundles that took the place of another one.");
    text.plain("podcreds_rotations_total", state.rotations.count);

    let name = "podcreds_rotation_duration_seconds";
    text.about(name, "histogram", "From noticing a change to the new files, failed attempts included.");
    for (within, bound) in state.rotations.within.iter().zip(BUCKETS) {
        text.labelled(&format!("{name}_bucket"), "le", bound, within);
    }
    text.labelled(&format!("{name}_bucket"), "le", "+Inf", state.rotations.count);
    text.plain(&format!("{name}_sum"), state.rotations.sum.as_secs_f64());
    text.plain(&format!("{name}_count"), state.rotations.count);

    text.about("podcreds_watch_restarts_total", "counter", "Watches that broke or ended early.");
    text.plain("podcreds_watch_restarts_total", state.watch_restarts);

    text.about(
        "podcreds_notices_total",
        "counter",
        "Attempts to tell an application of a rotation (.on-change), by result.",
    );
    for (result, count) in [("told", state.notices.good), ("failed", state.notices.bad)] {
        text.labelled("podcreds_notices_total", "result", result, count);
    }

    text.about("podcreds_notice_delay_seconds", "gauge", "For how long an application could not be told of a rotation, the longest of all; 0 while all are told.");
    let longest = state.untold.values().min().map(Instant::elapsed).unwrap_or_default();
    text.plain("podcreds_notice_delay_seconds", longest.as_secs_f64());

    text.about("podcreds_events_total", "counter", "Events for the pod (--events), by what became of them.");
    for (result, count) in [("recorded", state.events.good), ("dropped", state.events.bad)] {
        text.labelled("podcreds_events_total", "result", result, count);
    }

    text.about(
        "podcreds_api_requests_total",
        "counter",
        "Requests to the API server, by HTTP status, error for one without an answer, and by cluster, for another than the pod's own.",
    );
    for (Cluster { id, .. }, requests) in &clusters {
        let of = id.id().map(|id| ("cluster", id.as_str()));
        let mut sample = |code: &str, count: &u64| {
            let labels: Vec<_> = [("code", code)].into_iter().chain(of).collect();
            text.labelled_all("podcreds_api_requests_total", &labels, count);
        };
        requests.by_status.iter().for_each(|(status, count)| sample(&status.to_string(), count));
        sample("error", &requests.unanswered);
    }
    text.0
}

fn unix_time(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The value of the label `cluster`. An empty one is the same as none.
fn name(cluster: &ClusterRef) -> &str {
    cluster.id().map(ClusterId::as_str).unwrap_or_default()
}

/// Lines of the format. Names and help are our own words: nothing in them has to be escaped.
struct Text(String);

impl Text {
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn plain(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, is: impl Display, value: impl Display) {
        self.labelled_all(name, &[(label, &is.to_string())], value);
    }

    fn labelled_all(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> =
            labels.iter().map(|(label, is)| format!("{label}=\"{}\"", escaped(is))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use std::sync::Arc;

    use super::*;
    use crate::object::{Kind, Namespace, ObjectRef};
    use crate::telemetry::Part;

    /// What each sample says, its labels with its name.
    fn samples(text: &str) -> BTreeMap<&str, f64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn every_sample_stands_under_its_help_and_type() {
        let text = write(&Health::new(vec![Cluster::default()]));
        assert!(text.ends_with('\n'));
        let mut family = "";
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap();
                let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {family} ")).unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
                assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
                assert!(family.starts_with("podcreds_"), "{family}");
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
    fn each_cluster_has_its_own_staleness_and_requests() {
        let hub = ClusterId::parse("hub").unwrap();
        let labels = vec![("name", "The \"Hub\"".to_owned()), ("region", "eu".to_owned())];
        let clusters = vec![
            Cluster::default(),
            Cluster { id: ClusterRef::Named(hub.clone()), labels, requests: Arc::default() },
        ];
        let health = Health::new(clusters);
        health.unchanged();
        let secret = ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), "db").unwrap();
        health.fails(Part::Source(secret.in_cluster(ClusterRef::Named(hub))), Reason::ApiUnreachable);
        std::thread::sleep(Duration::from_millis(1));
        let text = write(&health);
        let samples = samples(&text);
        assert_eq!(samples["podcreds_cluster_info{cluster=\"\"}"], 1.0);
        assert_eq!(
            samples["podcreds_cluster_info{cluster=\"hub\",name=\"The \\\"Hub\\\"\",region=\"eu\"}"],
            1.0
        );
        assert_eq!(samples["podcreds_cluster_staleness_seconds{cluster=\"\"}"], 0.0);
        assert!(samples["podcreds_cluster_staleness_seconds{cluster=\"hub\"}"] > 0.0);
        assert!(samples["podcreds_staleness_seconds"] > 0.0);
        assert_eq!(samples["podcreds_api_requests_total{code=\"error\",cluster=\"hub\"}"], 0.0);
    }

    #[test]
    fn what_happened_is_counted() {
        let health = Health::new(vec![Cluster::default()]);
        health.fails(Part::Bundle, Reason::Render);
        health.not_published();
        health.swapped(Duration::from_secs(3), false);
        health.swapped(Duration::from_millis(20), true);
        health.swapped(Duration::from_secs(100), true);
        health.unchanged();
        health.watch_restarts();
        health.not_told("test");
        health.not_told("test");
        health.told("test");
        health.event(true);
        let text = write(&health);
        let samples = samples(&text);
        for (name, value) in [
            ("podcreds_syncs_total{result=\"swapped\"}", 3.0),
            ("podcreds_syncs_total{result=\"unchanged\"}", 1.0),
            ("podcreds_syncs_total{result=\"failed\"}", 1.0),
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
            ("podcreds_notices_total{result=\"told\"}", 1.0),
            ("podcreds_notices_total{result=\"failed\"}", 2.0),
            ("podcreds_notice_delay_seconds", 0.0),
            ("podcreds_events_total{result=\"recorded\"}", 1.0),
            ("podcreds_events_total{result=\"dropped\"}", 0.0),
            ("podcreds_staleness_seconds", 0.0),
            ("podcreds_api_requests_total{code=\"error\"}", 0.0),
        ] {
            assert_eq!(samples[name], value, "{name}\n{text}");
        }
        assert!(samples["podcreds_last_success_timestamp_seconds"] > 1.7e9);
    }
}
