//! Credentials from several clusters in one pod: each cluster fails, goes stale and recovers independently.

use std::fs;
use std::process::Command;

use crate::support::health::Health;
use crate::support::run::{Finished, Running, poll_until, run};
use crate::support::server::{ApiServer, Fault, Kind, Times, WatchFault};
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

/// The pod's own cluster with the Secret `db`, and the cluster `hub` with another Secret `db`.
pub(crate) struct TwoClusters {
    pub(crate) own: Scene,
    pub(crate) hub: ApiServer,
}

const HUB: &str = "podcreds_cluster_stale_since_timestamp_seconds{cluster=\"hub\"}";
const OWN: &str = "podcreds_cluster_stale_since_timestamp_seconds{cluster=\"\"}";
/// Short timeouts and polling intervals.
const IMPATIENT: &[&str] = &["--request-timeout", "1s", "--poll-interval", "1s", "--watch-timeout", "2s"];
/// A request timeout longer than the test.
const PATIENT: &[&str] = &["--request-timeout", "25s"];

impl TwoClusters {
    pub(crate) fn new() -> Self {
        let own = Scene::new(&[("db.secret", "db"), ("far.secret", "shared/db"), ("far.cluster", "hub")]);
        let two = Self { own, hub: ApiServer::start() };
        two.put_hub_password(PASSWORD);
        two.describe(&two.hub_entry("hub", "hub-ca.crt"));
        fs::write(two.own.pod.root().join("hub-ca.crt"), two.hub.authority().pem()).unwrap();
        fs::write(two.own.pod.root().join("hub-token"), "test-token-1").unwrap();
        two
    }

    fn hub_entry(&self, id: &str, ca: &str) -> String {
        format!(
            "- id: {id}\n  name: The Hub\n  region: eu-1\n  auth_method: service_account\n  api_server_url: {}\n  \
             service_account_token_file: hub-token\n  tls_config: {{ca_file: {ca}}}\n",
            self.hub.url()
        )
    }

    /// Writes the clusters file.
    fn describe(&self, entries: &str) {
        fs::write(self.own.pod.root().join("clusters.yaml"), format!("clusters:\n{entries}")).unwrap();
    }

    fn put_hub_password(&self, password: &str) {
        self.hub.put_secret("shared", "db", &[("username", b"far"), ("password", password.as_bytes())]);
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.own.command(args);
        command.env("PODCREDS_CLUSTERS", self.own.pod.root().join("clusters.yaml"));
        command
    }

    fn init(&self, args: &[&str]) -> Finished {
        run(self.command(&[&["init"], args].concat()), HANGS)
    }

    fn sidecar(self, args: &[&str]) -> Sidecar {
        let arguments = [&["sidecar", "--listen", "127.0.0.1:0"], args].concat();
        let running = Running::start(self.command(&arguments));
        let health = Health::of(&running, HANGS);
        Sidecar { two: self, running, health }
    }
}

struct Sidecar {
    two: TwoClusters,
    running: Running,
    health: Health,
}

impl Sidecar {
    /// Waits until the files of both clusters are published and both Secrets are watched.
    fn ready(two: TwoClusters, args: &[&str]) -> Self {
        let sidecar = two.sidecar(args);
        sidecar.waits("both are published", || {
            sidecar.two.own.read("db/password") == PASSWORD && sidecar.two.own.read("far/username") == "far"
        });
        let watches = || (sidecar.two.own.server.open_watches(), sidecar.two.hub.open_watches());
        sidecar.waits("both are watched", || watches() == (1, 1));
        sidecar
    }

    #[track_caller]
    fn waits(&self, what: &str, condition: impl FnMut() -> bool) {
        self.running.poll_until(HANGS * 2, what, condition);
    }

    fn metric(&self, name: &str) -> f64 {
        self.health.metrics().get(name)
    }

    #[track_caller]
    fn local_follows(&self, password: &str) {
        self.two.own.put_password(password);
        self.waits(password, || self.two.own.read("db/password") == password);
    }

    #[track_caller]
    fn hub_follows(&self, password: &str) {
        self.two.put_hub_password(password);
        self.waits(password, || self.two.own.read("far/password") == password);
    }
}

#[test]
fn init_reads_each_source_from_its_cluster() {
    let two = TwoClusters::new();
    assert_code(&two.init(&[]), 0);
    assert_eq!((two.own.read("db/username"), two.own.read("far/username")), ("app".into(), "far".into()));
    assert_eq!(two.hub.request_lines(), ["GET /api/v1/namespaces/shared/secrets/db"]);
    assert_eq!(two.hub.requests()[0].header("authorization"), Some("Bearer test-token-1"));
    assert!(two.own.server.request_lines().iter().all(|line| !line.contains("/shared/")));
}

#[test]
fn podcreds_does_not_connect_to_a_cluster_without_credentials() {
    let two = TwoClusters::new();
    two.own.annotate(&[("db.secret", "db")]);
    two.describe(&two.hub_entry("hub", "missing-ca.crt"));
    assert_code(&two.init(&[]), 0);
    assert_eq!(two.hub.connections(), 0);
}

#[test]
fn init_names_the_cluster_that_is_unreachable_or_misconfigured() {
    let two = TwoClusters::new();
    two.hub.stop();
    let finished = two.init(&["--timeout", "1s"]);
    assert_code(&finished, 4);
    assert_has(&finished.stderr, &["credential far: Secret shared/db of cluster hub: ", "cannot be reached"]);
    assert!(two.own.names().is_empty(), "no partial bundle is published");

    two.describe(&two.hub_entry("hub", "missing-ca.crt"));
    let finished = two.init(&[]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &["of cluster hub: cannot connect to the cluster: ", "missing-ca.crt cannot be read"],
    );

    two.own.annotate(&[("db.secret", "db"), ("db.cluster", "hbu")]);
    let finished = two.init(&[]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &["podcreds.io/db.cluster: unknown cluster \"hbu\": not in the clusters file; did you mean \"hub\"?"],
    );
}

/// Takes the hub through an outage: the local cluster's credentials keep rotating, the metrics show which cluster is
/// stale, and the change made meanwhile arrives afterwards.
#[track_caller]
fn survives_an_outage_of_the_hub(begins: fn(&ApiServer), ends: fn(&ApiServer)) {
    let sidecar = Sidecar::ready(TwoClusters::new(), IMPATIENT);
    assert_eq!((sidecar.metric(OWN), sidecar.metric(HUB)), (0.0, 0.0));
    begins(&sidecar.two.hub);
    sidecar.waits("the hub is stale", || sidecar.metric(HUB) > 0.0);
    for number in 0..10 {
        sidecar.local_follows(&format!("test-password-{number}"));
        assert_eq!(sidecar.metric(OWN), 0.0);
    }
    assert_eq!(sidecar.two.own.read("far/password"), PASSWORD);
    assert_eq!((sidecar.health.status("/readyz"), sidecar.health.status("/healthz")), (200, 200));
    sidecar.two.put_hub_password("test-password-meanwhile");
    ends(&sidecar.two.hub);
    sidecar.waits("it catches up", || sidecar.two.own.read("far/password") == "test-password-meanwhile");
    sidecar.waits("nothing is stale", || sidecar.metric("podcreds_stale_since_timestamp_seconds") == 0.0);
    sidecar.hub_follows("test-password-afterwards");
}

#[test]
fn only_the_stopped_cluster_goes_stale() {
    survives_an_outage_of_the_hub(ApiServer::stop, ApiServer::start_again);
}

#[test]
fn only_the_hanging_cluster_goes_stale() {
    survives_an_outage_of_the_hub(
        |hub| {
            hub.fail_on("", Fault::SilentHeader, Times::Always);
            hub.drop_connections();
        },
        ApiServer::clear_faults,
    );
}

#[test]
fn only_the_cluster_that_rejects_the_token_goes_stale() {
    survives_an_outage_of_the_hub(
        |hub| {
            hub.accept_tokens(&[]);
            hub.drop_connections();
        },
        |hub| hub.accept_tokens(&["test-token-1"]),
    );
}

/// The number of reads of the hub's Secret.
fn reads(hub: &ApiServer) -> usize {
    hub.request_lines().iter().filter(|line| line.ends_with("/secrets/db")).count()
}

#[test]
fn a_hanging_read_does_not_delay_other_clusters() {
    let sidecar = Sidecar::ready(TwoClusters::new(), PATIENT);
    let before = reads(&sidecar.two.hub);
    sidecar.two.hub.fail_on("/shared/secrets/db", Fault::SilentHeader, Times::Once);
    sidecar.two.hub.break_watches(WatchFault::End);
    sidecar.two.put_hub_password("test-password-far");
    sidecar.waits("the hub receives a request", || reads(&sidecar.two.hub) == before + 1);
    for number in 0..10 {
        sidecar.local_follows(&format!("test-password-{number}"));
    }
    let said = sidecar.running.stderr();
    assert!(!said.contains("hub: https"), "all changes arrived while the hub's response was pending: {said}");
    sidecar.waits("the hub's change arrives", || sidecar.two.own.read("far/password") == "test-password-far");
}

#[test]
fn other_clusters_rotate_while_the_local_cluster_is_down() {
    let sidecar = Sidecar::ready(TwoClusters::new(), IMPATIENT);
    sidecar.two.own.server.fail_on("", Fault::SilentHeader, Times::Always);
    sidecar.two.own.server.drop_connections();
    sidecar.waits("the local cluster is stale", || sidecar.metric(OWN) > 0.0);
    for number in 0..10 {
        sidecar.hub_follows(&format!("test-password-{number}"));
    }
    assert_eq!(sidecar.metric(HUB), 0.0);
    sidecar.two.own.server.clear_faults();
    sidecar.local_follows("test-password-afterwards");
    sidecar.waits("nothing is stale", || sidecar.metric("podcreds_stale_since_timestamp_seconds") == 0.0);
}

#[test]
fn a_restart_keeps_the_files_of_a_cluster_that_is_down() {
    let sidecar = Sidecar::ready(TwoClusters::new(), IMPATIENT);
    let Sidecar { two, running, .. } = sidecar;
    drop(running);
    two.hub.stop();
    two.own.put_password("test-password-meanwhile");
    let sidecar = two.sidecar(IMPATIENT);
    sidecar.waits("the local cluster's change arrives", || {
        sidecar.two.own.read("db/password") == "test-password-meanwhile"
    });
    assert_eq!(sidecar.two.own.read("far/password"), PASSWORD);
    // The local cluster's change can be published before the first attempt to reach the hub has failed.
    sidecar.waits("the hub is stale", || sidecar.metric(HUB) > 0.0);
    sidecar.local_follows("test-password-1");
    assert_eq!(sidecar.two.own.read("far/password"), PASSWORD);
    sidecar.two.put_hub_password("test-password-2");
    sidecar.two.hub.start_again();
    sidecar.waits("the hub's change arrives", || sidecar.two.own.read("far/password") == "test-password-2");
}

#[test]
fn after_a_restart_a_hanging_cluster_does_not_delay_others() {
    let sidecar = Sidecar::ready(TwoClusters::new(), PATIENT);
    let Sidecar { two, running, .. } = sidecar;
    drop(running);
    two.hub.fail_on("", Fault::SilentHeader, Times::Always);
    two.own.put_password("test-password-1");
    let sidecar = two.sidecar(PATIENT);
    sidecar.waits("the local cluster's change arrives", || {
        sidecar.two.own.read("db/password") == "test-password-1"
    });
    assert_eq!(sidecar.two.own.read("far/password"), PASSWORD);
    let said = sidecar.running.stderr();
    assert!(!said.contains("hub: https"), "the change arrives while the hub's response is pending: {said}");
}

#[test]
fn after_a_restart_an_optional_credential_without_files_delays_nothing() {
    let two = TwoClusters::new();
    two.own.annotate(&[
        ("db.secret", "db"),
        ("far.secret", "shared/none"),
        ("far.cluster", "hub"),
        ("far.optional", "true"),
    ]);
    let sidecar = two.sidecar(IMPATIENT);
    sidecar.waits("the first file is published", || sidecar.two.own.read("db/password") == PASSWORD);
    let Sidecar { two, running, .. } = sidecar;
    drop(running);
    two.hub.stop();
    let sidecar = two.sidecar(IMPATIENT);
    sidecar.local_follows("test-password-1");
}

#[test]
fn a_replaced_kubeconfig_is_reloaded() {
    let two = TwoClusters::new();
    let put = |token: &str| {
        let root = two.own.pod.root();
        let kubeconfig = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{}', certificate-authority: hub-ca.crt}}}}]\n\
             users: [{{name: u, user: {{token: {token}}}}}]\n",
            two.hub.url()
        );
        fs::write(root.join("new"), kubeconfig).unwrap();
        fs::rename(root.join("new"), root.join("hub.kubeconfig")).unwrap();
    };
    put("test-token-1");
    two.describe("- id: hub\n  auth_method: kubeconfig\n  kubeconfig_path: hub.kubeconfig\n");
    let running = Running::start(two.command(&[&["sidecar"], IMPATIENT].concat()));
    let arrives = |password: &str| {
        poll_until(HANGS, password, || two.own.read("far/password") == password);
    };
    arrives(PASSWORD);
    put("test-token-2");
    two.hub.accept_tokens(&["test-token-2"]);
    two.hub.drop_connections();
    two.put_hub_password("test-password-1");
    arrives("test-password-1");
    // If the new kubeconfig is invalid, the previous one stays in use.
    fs::write(two.own.pod.root().join("hub.kubeconfig"), "users: test-token-3").unwrap();
    two.hub.drop_connections();
    two.put_hub_password("test-password-2");
    arrives("test-password-2");
    poll_until(HANGS, "the log says so", || running.stderr().contains("keeping the previous configuration"));
    assert!(!running.stderr().contains("test-token"), "{}", running.stderr());
}

#[test]
fn a_kubeconfig_that_changes_before_the_files_that_it_names_is_used_once_they_are_there() {
    let two = TwoClusters::new();
    let root = two.own.pod.root().to_owned();
    let put = |server: &ApiServer, ca: &str, token: &str| {
        let kubeconfig = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{}', certificate-authority: {ca}}}}}]\n\
             users: [{{name: u, user: {{tokenFile: {token}}}}}]\n",
            server.url()
        );
        fs::write(root.join("new"), kubeconfig).unwrap();
        fs::rename(root.join("new"), root.join("hub.kubeconfig")).unwrap();
    };
    put(&two.hub, "hub-ca.crt", "hub-token");
    two.describe("- id: hub\n  auth_method: kubeconfig\n  kubeconfig_path: hub.kubeconfig\n");
    let second = ApiServer::start();
    second.put_secret("shared", "db", &[("username", b"far"), ("password", b"test-password-second")]);
    let sidecar = Sidecar::ready(two, &[]);
    put(&second, "second-ca.crt", "second-token");
    sidecar.waits("the hub is stale", || sidecar.metric(HUB) > 0.0);
    assert_eq!((sidecar.metric(OWN), sidecar.health.status("/healthz")), (0.0, 200));
    assert!(sidecar.metric("podcreds_failures_total{reason=\"configuration\"}") > 0.0);
    sidecar.hub_follows("test-password-of-the-hub");
    fs::write(root.join("second-ca.crt"), second.authority().pem()).unwrap();
    fs::write(root.join("second-token"), "test-token-1").unwrap();
    sidecar.waits("the second is read", || sidecar.two.own.read("far/password") == "test-password-second");
    sidecar.waits("nothing is stale", || sidecar.metric("podcreds_stale_since_timestamp_seconds") == 0.0);
    let said = sidecar.running.stderr();
    assert_eq!(said.matches("keeping the previous configuration").count(), 1, "{said}");
    assert!(said.contains("the kubeconfig of cluster hub is in use again"), "{said}");
}

#[test]
fn a_secret_deleted_between_two_runs_is_cleared_at_the_start() {
    let clear = [IMPATIENT, &["--on-delete", "clear"]].concat();
    let Sidecar { two, running, .. } = Sidecar::ready(TwoClusters::new(), &clear);
    drop(running);
    two.hub.delete(Kind::Secret, "shared", "db");
    // The next run starts from the files that this one has cleared.
    let mut two = two;
    for password in ["test-password-1", "test-password-2"] {
        let sidecar = two.sidecar(&clear);
        sidecar.waits("the sidecar is ready", || sidecar.health.status("/readyz") == 200);
        sidecar.local_follows(password);
        assert!(!sidecar.two.own.files().contains_key("far/password"));
        let Sidecar { two: after, running, .. } = sidecar;
        drop(running);
        two = after;
    }
    let sidecar = two.sidecar(&clear);
    sidecar.waits("the sidecar is ready", || sidecar.health.status("/readyz") == 200);
    sidecar.hub_follows("test-password-3");
}

#[test]
fn a_missing_optional_secret_delays_no_other_after_a_restart() {
    let two = TwoClusters::new();
    two.own.annotate(&[
        ("db.secret", "db"),
        ("far.secret", "shared/none"),
        ("far.cluster", "hub"),
        ("far.optional", "true"),
    ]);
    let sidecar = two.sidecar(IMPATIENT);
    sidecar.waits("the first file is published", || sidecar.two.own.read("db/password") == PASSWORD);
    let Sidecar { two, running, .. } = sidecar;
    drop(running);
    two.hub.stop();
    two.sidecar(IMPATIENT).local_follows("test-password-1");
}

#[test]
fn the_first_bundle_waits_for_every_cluster() {
    let two = TwoClusters::new();
    two.hub.stop();
    let sidecar = two.sidecar(IMPATIENT);
    sidecar.waits("the hub is stale", || sidecar.metric(HUB) > 0.0);
    sidecar.waits("the local Secret is watched", || sidecar.two.own.server.open_watches() == 1);
    assert_eq!(sidecar.health.status("/readyz"), 503);
    assert_eq!(sidecar.two.own.names(), ["..podcreds"]);
    sidecar.two.hub.start_again();
    sidecar.waits("the sidecar is ready", || sidecar.health.status("/readyz") == 200);
    assert_eq!(
        (sidecar.two.own.read("db/username"), sidecar.two.own.read("far/username")),
        ("app".into(), "far".into())
    );
}

#[test]
fn a_missing_ca_file_is_reported_and_read_once_it_exists() {
    let two = TwoClusters::new();
    let ca = two.own.pod.root().join("hub-ca.crt");
    let pem = fs::read(&ca).unwrap();
    fs::remove_file(&ca).unwrap();
    let sidecar = two.sidecar(IMPATIENT);
    sidecar.waits("the message is logged", || sidecar.running.stderr().contains("hub-ca.crt cannot be read"));
    sidecar
        .waits("it is counted", || sidecar.metric("podcreds_failures_total{reason=\"configuration\"}") > 0.0);
    fs::write(&ca, pem).unwrap();
    sidecar.waits("the sidecar is ready", || sidecar.health.status("/readyz") == 200);
    sidecar.hub_follows("test-password-1");
    assert_has(&sidecar.running.stderr(), &["cluster hub (The Hub, eu-1): API server https://127.0.0.1:"]);
}

#[test]
fn an_edit_that_adds_a_cluster_which_is_down_delays_nothing() {
    let two = TwoClusters::new();
    two.own.annotate(&[("db.secret", "db")]);
    two.hub.fail_on("", Fault::SilentHeader, Times::Always);
    let sidecar = two.sidecar(&[PATIENT, &["--follow-annotations"]].concat());
    sidecar.waits("the first file is published", || sidecar.two.own.read("db/password") == PASSWORD);
    sidecar.waits("Secret and pod are watched", || sidecar.two.own.server.open_watches() == 2);
    let edited = [("db.secret", "db"), ("far.secret", "shared/db"), ("far.cluster", "hub")];
    sidecar.two.own.annotate(&edited);
    sidecar.waits("the hub receives a request", || sidecar.two.hub.requests().len() == 1);
    sidecar.local_follows("test-password-1");
    let said = sidecar.running.stderr();
    assert!(!said.contains("hub: https"), "the change arrives while the hub's response is pending: {said}");
    sidecar.two.hub.clear_faults();
    sidecar.two.hub.drop_connections();
    sidecar.waits("the edit is applied", || sidecar.two.own.read("far/password") == PASSWORD);
}

#[test]
fn everything_is_reread_in_the_resync_period() {
    let two = TwoClusters::new();
    let entries = two.hub_entry("hub", "hub-ca.crt");
    two.describe(&format!("{entries}resync_period: 200ms\n"));
    let sidecar = Sidecar::ready(two, IMPATIENT);
    sidecar
        .waits("both are read again", || reads(&sidecar.two.hub) > 3 && reads(&sidecar.two.own.server) > 3);
    assert_eq!(sidecar.metric("podcreds_rotations_total"), 0.0);
}

#[test]
fn a_slow_read_does_not_overwrite_what_a_watch_has_brought() {
    let two = TwoClusters::new();
    let entries = two.hub_entry("hub", "hub-ca.crt");
    two.describe(&format!("{entries}resync_period: 500ms\n"));
    let sidecar = Sidecar::ready(two, &[]);
    let hub = &sidecar.two.hub;
    hub.fail_on("/shared/secrets/db", Fault::Hold, Times::Once);
    sidecar.waits("the response is held", || hub.held() == 1);
    sidecar.hub_follows("test-password-1");
    let before = reads(hub);
    hub.release_held();
    // A read that follows begins after the held one has been taken.
    sidecar.waits("it is read again", || reads(hub) >= before + 2);
    assert_eq!(sidecar.two.own.read("far/password"), "test-password-1");
    assert_eq!(sidecar.metric("podcreds_rotations_total"), 1.0, "{}", sidecar.running.stderr());
}

#[test]
fn each_cluster_has_its_own_rate_limit() {
    let two = TwoClusters::new();
    two.own.annotate(&[
        ("db.secret", "db"),
        ("far.secret", "shared/db"),
        ("far.cluster", "hub"),
        ("more.secret", "shared/more"),
        ("more.cluster", "hub"),
    ]);
    two.hub.put_secret("shared", "more", &[("a", b"1")]);
    // The next request would be admitted after a quarter of an hour.
    let limited = format!("{}  qps: 0.001\n  burst: 1\n", two.hub_entry("hub", "hub-ca.crt"));
    two.describe(&limited);
    let finished = two.init(&["--timeout", "2s"]);
    assert_code(&finished, 4);
    assert_has(
        &finished.stderr,
        &["of cluster hub: ", "not sent: the client-side rate limit (qps, burst) would delay it by "],
    );
    assert_eq!(two.hub.requests().len(), 1);

    two.describe(&format!("{}  qps: 0.001\n  burst: 2\n", two.hub_entry("hub", "hub-ca.crt")));
    assert_code(&two.init(&[]), 0);
    // The local cluster's limit is a flag.
    let finished = two.init(&["--qps", "0.001", "--burst", "1", "--timeout", "2s"]);
    assert_code(&finished, 4);
    assert_has(&finished.stderr, &["Secret prod/db: ", "raise the limit"]);
}

fn inspect(two: &TwoClusters, args: &[&str]) -> Finished {
    run(two.command(&[&["inspect"], args].concat()), HANGS)
}

#[test]
fn inspect_reads_a_pods_sources_from_another_cluster() {
    let two = TwoClusters::new();
    let finished = inspect(&two, &[]);
    assert_code(&finished, 0);
    let said = finished.stdout_text();
    assert_has(
        &said,
        &["uses Secret db", "Secret shared/db of cluster hub", "annotation podcreds.io/far.secret"],
    );
    assert!(!said.contains("Secret shared/db of cluster hub (missing)"), "{said}");
    assert_eq!(two.hub.request_lines(), ["GET /api/v1/namespaces/shared/secrets/db"]);
    assert_has(two.hub.requests()[0].header("accept").unwrap(), &["as=PartialObjectMetadata"]);

    two.hub.stop();
    let finished = inspect(&two, &["-o", "json"]);
    assert_code(&finished, 0);
    assert_has(&finished.stdout_text(), &["get Secret shared/db of cluster hub", "cannot be reached"]);

    let finished = inspect(&two, &["--cluster-id", "hbu"]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &["\"hbu\" is not in the clusters file (--clusters); did you mean \"hub\"?"],
    );
}

#[test]
fn inspect_can_show_a_pod_of_another_cluster() {
    let two = TwoClusters::new();
    two.hub.put_pod("prod", "far-0", &[("podcreds.io/x.secret", "shared/db")]);
    let finished = inspect(&two, &["--cluster-id", "hub", "far-0"]);
    assert_code(&finished, 0);
    assert_has(&finished.stdout_text(), &["Pod prod/far-0", "Secret shared/db"]);
    assert_eq!(two.own.server.connections(), 0);
}

#[test]
fn inspect_clusters_reports_all_clusters_or_the_named_ones() {
    let two = TwoClusters::new();
    for server in [&two.own.server, &two.hub] {
        server.put_raw("/version", r#"{"gitVersion": "v1.34.1"}"#);
    }
    two.describe(&[two.hub_entry("hub", "hub-ca.crt"), two.hub_entry("lost", "missing-ca.crt")].concat());
    let names = |args: &[&str]| {
        let finished = inspect(&two, &[&["clusters", "-o", "json"], args].concat());
        let document: serde_json::Value = serde_json::from_str(&finished.stdout_text()).unwrap();
        let rows = document["clusters"].as_array().unwrap().clone();
        let row =
            |row: &serde_json::Value| (row["id"].as_str().unwrap().to_owned(), row["reachable"] == true);
        (finished.code, rows.iter().map(row).collect::<Vec<_>>())
    };
    let hub = ("hub".to_owned(), true);
    let lost = ("lost".to_owned(), false);
    assert_eq!(names(&[]), (Some(0), vec![("in-cluster".to_owned(), true), hub.clone(), lost.clone()]));
    assert_eq!(names(&["--cluster-id", "hub"]), (Some(0), vec![hub]));
    assert_eq!(names(&["--cluster-id", "lost"]), (Some(4), vec![lost]));
    assert_has(
        &inspect(&two, &["clusters"]).stdout_text(),
        &["lost (The Hub, eu-1): unreachable: ", "missing-ca.crt cannot be read"],
    );
}

#[test]
fn inspect_clusters_distinguishes_refused_from_unreachable() {
    let two = TwoClusters::new();
    for server in [&two.own.server, &two.hub] {
        server.accept_tokens(&[]);
    }
    let finished = inspect(&two, &["clusters"]);
    assert_code(&finished, 3);
    assert_has(&finished.stdout_text(), &["does not accept the token"]);
    assert_has(&finished.stderr, &["access denied by every cluster"]);
}

#[test]
fn a_cluster_that_returns_with_older_versions_is_followed() {
    let two = TwoClusters::new();
    for number in 0..20 {
        two.put_hub_password(&format!("test-password-{number}"));
    }
    two.put_hub_password(PASSWORD);
    let sidecar = Sidecar::ready(two, PATIENT);
    // A new cluster with the same certificate takes its place; its resource versions start from the beginning.
    sidecar.two.hub.stop();
    let (authority, port) = (sidecar.two.hub.authority(), sidecar.two.hub.address().port());
    let again = ApiServer::builder().authority(authority).port(port).start();
    again.put_secret("shared", "db", &[("username", b"far"), ("password", b"test-password-1")]);
    sidecar.waits("its Secret is read", || sidecar.two.own.read("far/password") == "test-password-1");
    sidecar.waits("the Secret is watched", || again.open_watches() == 1);
    again.put_secret("shared", "db", &[("username", b"far"), ("password", b"test-password-2")]);
    sidecar.waits("its change arrives", || sidecar.two.own.read("far/password") == "test-password-2");
}

#[test]
fn a_hundred_clusters_are_followed_in_one_sidecar() {
    const CLUSTERS: usize = 100;
    let two = TwoClusters::new();
    let mut entries = String::new();
    let mut annotations = vec![("db.secret".to_owned(), "db".to_owned())];
    for number in 0..CLUSTERS {
        entries.push_str(&two.hub_entry(&format!("c{number}"), "hub-ca.crt"));
        annotations.push((format!("f{number}.secret"), format!("shared/s{number}")));
        annotations.push((format!("f{number}.cluster"), format!("c{number}")));
        two.hub.put_secret("shared", &format!("s{number}"), &[("password", PASSWORD.as_bytes())]);
    }
    two.describe(&entries);
    let named: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    two.own.annotate(&named);
    let sidecar = two.sidecar(PATIENT);
    let last = format!("f{}/password", CLUSTERS - 1);
    sidecar.waits("all are published", || sidecar.two.own.read(&last) == PASSWORD);
    sidecar.waits("all are watched", || sidecar.two.hub.open_watches() == CLUSTERS);
    sidecar.two.hub.put_secret("shared", "s42", &[("password", b"test-password-1")]);
    sidecar.waits("a change arrives", || sidecar.two.own.read("f42/password") == "test-password-1");
    // Each cluster has its own connections and its own metrics.
    let metrics = sidecar.health.metrics();
    assert_eq!(metrics.all("podcreds_cluster_stale_since_timestamp_seconds").count(), CLUSTERS + 1);
    // The Secret and its watch.
    assert_eq!(metrics.get("podcreds_api_requests_total{code=\"200\",cluster=\"c42\"}"), 2.0);
}
