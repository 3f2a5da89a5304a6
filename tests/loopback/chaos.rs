//! Random changes and faults, then quiet: the files get to the last state, and nothing is left over.
//!
//! `PODCREDS_TEST_CHAOS_SEEDS=FIRST-LAST` runs other seeds, for example after a change of the sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::time::Duration;

use fastrand::Rng;

use crate::Scene;
use crate::clusters::TwoClusters;
use crate::health::Asked;
use crate::support::server::{ApiServer, Fault, Kind, Times, WatchFault};
use crate::support::witness::{RECOVERS, STALE_SINCE};

/// The environment variable with the seeds.
const SEEDS: &str = "PODCREDS_TEST_CHAOS_SEEDS";
/// Steps of a run before the quiet.
const STEPS: u32 = 60;
/// Each Secret belongs to the credential of the same name. With two clusters, every other one is in the second.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Short, because a request without a response costs this time, and requests of the last steps delay the quiet.
const TIMES: &[&str] =
    &["--follow-annotations", "--request-timeout", "5s", "--watch-timeout", "10s", "--grace", "0s"];

struct Chaos {
    asked: Asked,
    hub: Option<ApiServer>,
    random: Rng,
    /// The credentials that the annotations have at present.
    annotated: BTreeSet<&'static str>,
    /// The value of each Secret, `None` if it is deleted.
    values: BTreeMap<&'static str, Option<String>>,
    /// The number of values so far, so that each is different.
    puts: u32,
    clears: bool,
    /// What was done, to understand a failure.
    steps: Vec<String>,
}

/// What the process has open.
type Resources = (f64, f64);

impl Chaos {
    fn start(seed: u64, two: bool, clears: bool) -> Self {
        let (scene, hub, mut command) = if two {
            let two = TwoClusters::new();
            let command = two.command(&[]);
            (two.own, Some(two.hub), command)
        } else {
            let scene = Scene::plain();
            let command = scene.command(&[]);
            (scene, None, command)
        };
        command.args(["sidecar", "--listen", "127.0.0.1:0"]).args(TIMES);
        command.args(["--on-delete", if clears { "clear" } else { "keep" }]);
        let annotated = BTreeSet::from(NAMES);
        annotate(&scene, &annotated, two);
        let values: BTreeMap<_, _> = NAMES.map(|name| (name, Some("first".to_owned()))).into();
        for name in NAMES {
            put(server_of(name, &scene, hub.as_ref()), name, "first");
        }
        let asked = Asked::of(scene, command);
        asked.waits("the sidecar is ready", || asked.status("/readyz") == 200);
        let random = Rng::with_seed(seed);
        let chaos = Self { asked, hub, random, annotated, values, puts: 0, clears, steps: Vec::new() };
        chaos.asked.waits("everything is watched", || chaos.watches() == NAMES.len() + 1);
        chaos
    }

    fn servers(&self) -> impl Iterator<Item = &ApiServer> {
        [&self.asked.scene.server].into_iter().chain(&self.hub)
    }

    fn watches(&self) -> usize {
        self.servers().map(ApiServer::open_watches).sum()
    }

    fn resources(&self) -> Resources {
        (self.asked.metric("process_threads"), self.asked.metric("process_open_fds"))
    }

    fn step(&mut self) {
        let name = NAMES[self.random.usize(..NAMES.len())];
        let choice = self.random.u8(..20);
        self.steps.push(format!("{choice} {name}"));
        match choice {
            0..=5 => self.rotate(name),
            6..=7 => self.delete(name),
            8..=9 => self.edit(name),
            _ => self.fail(choice, name),
        }
        // Time passes by requests, between none and as long as a back-off takes at first.
        for _ in 0..self.random.u8(..30) {
            assert_eq!(self.asked.status("/livez"), 200, "{:?}", self.steps);
        }
    }

    fn rotate(&mut self, name: &'static str) {
        self.puts += 1;
        let value = format!("test-{}", self.puts);
        put(server_of(name, &self.asked.scene, self.hub.as_ref()), name, &value);
        self.values.insert(name, Some(value));
    }

    fn delete(&mut self, name: &'static str) {
        server_of(name, &self.asked.scene, self.hub.as_ref()).delete(Kind::Secret, "prod", name);
        self.values.insert(name, None);
    }

    /// Adds the credential to the annotations, or removes it; one stays at least.
    fn edit(&mut self, name: &'static str) {
        if !self.annotated.remove(name) || self.annotated.is_empty() {
            self.annotated.insert(name);
        }
        annotate(&self.asked.scene, &self.annotated, self.hub.is_some());
    }

    fn fail(&mut self, choice: u8, name: &str) {
        let hub = self.hub.as_ref().filter(|_| self.random.bool());
        let server = hub.unwrap_or(&self.asked.scene.server);
        let times = Times::N(self.random.usize(1..4));
        let code = |code, retry_after: Option<&str>| Fault::Status {
            code,
            retry_after: retry_after.map(str::to_owned),
            message: "test".into(),
        };
        let faults = [
            code(500, None),
            code(503, Some("1")),
            code(429, Some("1")),
            code(401, None),
            code(403, None),
            code(404, None),
            code(410, None),
            Fault::Reset,
            Fault::CloseBeforeAnswer,
            Fault::TruncateBody,
            Fault::SilentHeader,
            Fault::Drip { interval: Duration::from_millis(1) },
            Fault::Body("{\"kind\":\"Secret\"}".into()),
            Fault::Redirect("https://example.invalid/".into()),
            Fault::HugeChunkedBody { bytes: 8 << 20 },
        ];
        let watch_faults = [
            WatchFault::Reset,
            WatchFault::Close,
            WatchFault::End,
            WatchFault::BrokenLine,
            WatchFault::OversizedLine { bytes: 5 << 20 },
            WatchFault::DripLine { interval: Duration::from_millis(1) },
            WatchFault::ErrorEvent { code: 410, message: "test".into() },
            WatchFault::ErrorEvent { code: 500, message: "test".into() },
        ];
        let path = format!("/secrets/{name}");
        match choice {
            10..=11 => server.fail_on(&path, faults[self.random.usize(..faults.len())].clone(), times),
            12 => server.fail_on("", faults[self.random.usize(..faults.len())].clone(), times),
            13..=14 => server.break_watches(watch_faults[self.random.usize(..watch_faults.len())].clone()),
            15 => server.drop_connections(),
            16 => {
                server.compact();
                server.break_watches(WatchFault::End);
            }
            17 => {
                server.forbid(Kind::Secret, "prod", name);
                server.drop_connections();
            }
            18 => {
                server.forbid_watch(Kind::Secret, "prod", name);
                server.drop_connections();
            }
            _ => {
                server.stop();
                server.start_again();
            }
        }
    }

    /// Ends all faults, and brings back all Secrets and credentials.
    fn quiet(&mut self) {
        for server in self.servers() {
            server.clear_faults();
            for name in NAMES {
                server.allow(Kind::Secret, "prod", name);
                server.allow_watch(Kind::Secret, "prod", name);
            }
        }
        // Half of the Secrets keep what the chaos left, so that a lost change would be seen.
        for name in NAMES {
            if self.values[name].is_none() {
                self.rotate(name);
            }
        }
        self.annotated = BTreeSet::from(NAMES);
        annotate(&self.asked.scene, &self.annotated, self.hub.is_some());
    }

    /// Everything gets to the last state within the longest back-off, and no thread or descriptor is left.
    fn converges(&self, seed: u64, before: Resources) {
        let settled = |what: &str, condition: &mut dyn FnMut() -> bool| {
            let what = format!("{what}, seed {seed}, clears {}, steps {:?}", self.clears, self.steps);
            self.asked.running.poll_until(RECOVERS, &what, condition);
        };
        for name in NAMES {
            let path = format!("{name}/value");
            let value = self.values[name].as_deref().expect("every Secret is back");
            settled(&format!("{path} is {value}"), &mut || self.asked.scene.read(&path) == value);
        }
        settled("nothing is stale", &mut || self.asked.metric(STALE_SINCE) == 0.0);
        settled("everything is watched again", &mut || self.watches() == NAMES.len() + 1);
        settled("no thread or descriptor is left", &mut || {
            let (threads, descriptors) = self.resources();
            threads <= before.0 && descriptors <= before.1
        });
        assert_eq!((self.asked.status("/readyz"), self.asked.status("/livez")), (200, 200));
    }
}

fn server_of<'a>(name: &str, scene: &'a Scene, hub: Option<&'a ApiServer>) -> &'a ApiServer {
    hub.filter(|_| is_far(name)).unwrap_or(&scene.server)
}

fn is_far(name: &str) -> bool {
    name.as_bytes()[0].is_multiple_of(2)
}

fn put(server: &ApiServer, name: &str, value: &str) {
    server.put_secret("prod", name, &[("value", value.as_bytes())]);
}

fn annotate(scene: &Scene, names: &BTreeSet<&str>, two: bool) {
    let mut annotations = Vec::new();
    for name in names {
        annotations.push((format!("{name}.secret"), format!("prod/{name}")));
        if two && is_far(name) {
            annotations.push((format!("{name}.cluster"), "hub".to_owned()));
        }
    }
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    scene.annotate(&annotations);
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    let Ok(range) = env::var(SEEDS) else { return 1..=2 };
    let (first, last) = range.split_once('-').expect("FIRST-LAST");
    first.parse().expect("a number")..=last.parse().expect("a number")
}

fn runs(two: bool, clears: bool) {
    for seed in seeds() {
        let mut chaos = Chaos::start(seed, two, clears);
        let before = chaos.resources();
        for _ in 0..STEPS {
            chaos.step();
        }
        chaos.quiet();
        chaos.converges(seed, before);
    }
}

#[test]
fn chaos_in_one_cluster_ends_at_the_last_state() {
    runs(false, false);
}

#[test]
fn chaos_in_one_cluster_ends_at_the_last_state_if_deleted_secrets_are_cleared() {
    runs(false, true);
}

#[test]
fn chaos_in_two_clusters_ends_at_the_last_state() {
    runs(true, false);
}

#[test]
fn chaos_in_two_clusters_ends_at_the_last_state_if_deleted_secrets_are_cleared() {
    runs(true, true);
}
