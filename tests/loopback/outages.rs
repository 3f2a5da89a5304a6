//! Outages of the sidecar's API server: the files stay, `/metrics` shows the fault while it lasts, the sidecar stays
//! quiet, and afterwards a change arrives within [`RECOVERS`].

use std::time::{Duration, Instant};

use crate::Scene;
use crate::health::Asked;
use crate::support::run::poll_until;
use crate::support::server::{Fault, Kind, Times, WatchFault};
use crate::support::witness::{
    RECOVERS, REFUSED, REQUESTS, UNREACHABLE, WATCH_RESTARTS, Witness, answered, names,
};

/// A temporary fault.
struct Outage {
    args: &'static [&'static str],
    /// The longest time between two requests of a loop with these arguments.
    cadence: Duration,
    begins: fn(&Scene),
    /// How long the fault lasts after the metrics show it.
    lasts: Duration,
    /// Counters that rise while it lasts.
    counters: &'static [&'static str],
    ends: fn(&Scene),
    /// Counters that rise when it ends.
    afterwards: &'static [&'static str],
}

/// Short timeouts and polling intervals.
const IMPATIENT: &[&str] = &["--watch-timeout", "1s", "--poll-interval", "1s", "--request-timeout", "1s"];

impl Outage {
    /// Defaults, to be overridden.
    const ANY: Self = Self {
        args: &["--request-timeout", "2s"],
        cadence: Duration::from_secs(60),
        begins: |_| (),
        lasts: Duration::from_secs(1),
        counters: &[UNREACHABLE, WATCH_RESTARTS],
        ends: |_| (),
        afterwards: &[],
    };

    /// An outage that affects all requests.
    const fn on_all_requests(spoil: fn(&Scene)) -> Self {
        Self { begins: spoil, ends: |scene| scene.server.clear_faults(), ..Self::ANY }
    }

    /// Goes through the outage. Returns the number of requests during it, and its duration.
    #[track_caller]
    fn passes(self) -> (usize, Duration) {
        let sidecar = Asked::ready(Scene::plain(), self.args);
        let server = &sidecar.scene.server;
        let witness = Witness::new(&sidecar.health, self.cadence);
        let (began, before) = (Instant::now(), server.requests().len());

        (self.begins)(&sidecar.scene);
        witness.tells(self.counters, self.lasts);
        let lasted = (server.requests().len() - before, began.elapsed());
        sidecar.scene.put_password("test-password-meanwhile");
        (self.ends)(&sidecar.scene);

        arrives(&sidecar, "test-password-meanwhile");
        poll_until(RECOVERS, "the Secret is watched again", || server.open_watches() == 1);
        sidecar.scene.put_password("test-password-afterwards");
        arrives(&sidecar, "test-password-afterwards");
        assert_eq!(witness.ends(2), names(&[self.counters, self.afterwards].concat()));
        counts_every_request(&sidecar);
        lasted
    }
}

/// Checks that every received request is counted, with or without a response.
#[track_caller]
fn counts_every_request(sidecar: &Asked) {
    poll_until(RECOVERS, "every request is counted", || {
        let metrics = sidecar.health.metrics();
        let came = sidecar.scene.server.requests().len() as f64;
        let counted: f64 = metrics.all(REQUESTS).map(|(_, count)| count).sum();
        (counted - metrics.get(answered!("error"))..=counted).contains(&came)
    });
}

#[track_caller]
fn arrives(sidecar: &Asked, password: &str) {
    poll_until(RECOVERS, password, || sidecar.scene.read("db/password") == password);
}

fn answer(scene: &Scene, code: u16, retry_after: Option<&str>) {
    let retry_after = retry_after.map(str::to_owned);
    scene.server.fail_on("", Fault::Status { code, retry_after, message: "test".into() }, Times::Always);
    scene.server.drop_connections();
}

#[test]
fn an_api_server_that_stops_and_starts_again() {
    Outage {
        begins: |scene| scene.server.stop(),
        counters: &[UNREACHABLE, WATCH_RESTARTS, answered!("error")],
        ends: |scene| scene.server.start_again(),
        ..Outage::ANY
    }
    .passes();
}

#[test]
fn versions_compacted_during_a_watch() {
    Outage {
        begins: |scene| scene.server.stop(),
        counters: &[UNREACHABLE, WATCH_RESTARTS, answered!("error")],
        ends: |scene| {
            scene.server.compact();
            scene.server.start_again();
        },
        ..Outage::ANY
    }
    .passes();
}

#[test]
fn an_expired_version_at_the_renewal_of_a_watch_is_not_a_failure() {
    let sidecar = Asked::ready(Scene::plain(), &["--watch-timeout", "1s"]);
    let gone = Fault::Status { code: 410, retry_after: None, message: "test".into() };
    sidecar.scene.server.fail_on("watch=true", gone, Times::Once);
    let metrics = || sidecar.health.metrics();
    poll_until(RECOVERS, "the watch is answered with 410", || metrics().get(answered!("410")) == 1.0);
    sidecar.scene.put_password("test-password-afterwards");
    arrives(&sidecar, "test-password-afterwards");
    assert_eq!((metrics().get(UNREACHABLE), metrics().get(REFUSED)), (0.0, 0.0));
    assert!(metrics().get(WATCH_RESTARTS) >= 1.0);
}

#[test]
fn an_expired_token_that_is_replaced() {
    Outage {
        begins: |scene| {
            scene.server.accept_tokens(&["test-token-2"]);
            scene.server.drop_connections();
        },
        counters: &[UNREACHABLE, REFUSED, WATCH_RESTARTS, answered!("401")],
        ends: |scene| scene.pod.rotate_token("test-token-2"),
        ..Outage::ANY
    }
    .passes();
}

#[test]
fn permissions_that_are_revoked_and_restored() {
    Outage {
        begins: |scene| {
            scene.server.forbid(Kind::Secret, "prod", "db");
            scene.server.forbid_watch(Kind::Secret, "prod", "db");
            scene.server.drop_connections();
        },
        // The review that explains the refusal is answered with 201.
        counters: &[UNREACHABLE, REFUSED, WATCH_RESTARTS, answered!("403"), answered!("201")],
        ends: |scene| {
            scene.server.allow(Kind::Secret, "prod", "db");
            scene.server.allow_watch(Kind::Secret, "prod", "db");
        },
        ..Outage::ANY
    }
    .passes();
}

#[test]
fn a_secret_that_is_deleted_and_recreated() {
    Outage {
        begins: |scene| scene.server.delete(Kind::Secret, "prod", "db"),
        counters: &[REFUSED, answered!("404")],
        // The event that has already arrived.
        ends: |_| (),
        ..Outage::ANY
    }
    .passes();
}

#[test]
fn a_black_hole() {
    Outage {
        args: IMPATIENT,
        cadence: Duration::from_millis(900),
        begins: |scene| {
            scene.server.mute_watches();
            scene.server.pause_accept();
        },
        counters: &[UNREACHABLE, WATCH_RESTARTS, answered!("error")],
        ends: |scene| {
            scene.server.unmute_watches();
            scene.server.resume_accept();
        },
        ..Outage::ANY
    }
    .passes();
}

#[test]
fn a_dripping_event() {
    Outage {
        args: IMPATIENT,
        cadence: Duration::from_millis(900),
        // The read starts at once and never gets a complete response.
        ..Outage::on_all_requests(|scene| {
            let drip = Fault::Drip { interval: Duration::from_millis(50) };
            scene.server.fail_on("", drip, Times::Always);
            scene.put_password("test-password-meanwhile");
        })
    }
    .passes();
}

#[test]
fn a_storm_of_429() {
    Outage {
        lasts: Duration::from_secs(5),
        counters: &[UNREACHABLE, WATCH_RESTARTS, answered!("429")],
        ..Outage::on_all_requests(|scene| answer(scene, 429, None))
    }
    .passes();
}

#[test]
fn a_storm_of_429_with_retry_after() {
    let (requests, time) = Outage {
        lasts: Duration::from_secs(8),
        counters: &[UNREACHABLE, WATCH_RESTARTS, answered!("429")],
        ..Outage::on_all_requests(|scene| answer(scene, 429, Some("4")))
    }
    .passes();
    // Only the watch sends requests: no change is pending that would have to be read.
    assert!(requests <= 1 + time.as_secs() as usize / 4, "{requests} requests in {time:?}");
}

#[test]
fn a_minute_of_500() {
    Outage {
        lasts: Duration::from_secs(60),
        counters: &[UNREACHABLE, WATCH_RESTARTS, answered!("500")],
        ..Outage::on_all_requests(|scene| answer(scene, 500, None))
    }
    .passes();
}

/// These faults pass too quickly for the staleness to be seen, but they are counted.
#[test]
fn after_any_fault_of_a_watch_the_next_change_is_followed() {
    for (fault, counters) in [
        (WatchFault::Reset, [UNREACHABLE, WATCH_RESTARTS].as_slice()),
        (WatchFault::Close, &[UNREACHABLE, WATCH_RESTARTS]),
        (WatchFault::End, &[WATCH_RESTARTS]),
        (WatchFault::BrokenLine, &[UNREACHABLE, WATCH_RESTARTS]),
        (WatchFault::OversizedLine { bytes: 5 * 1024 * 1024 }, &[REFUSED, WATCH_RESTARTS]),
        (WatchFault::ErrorEvent { code: 410, message: "test: too old".into() }, &[WATCH_RESTARTS]),
        (WatchFault::ErrorEvent { code: 500, message: "test".into() }, &[UNREACHABLE, WATCH_RESTARTS]),
        (WatchFault::DripLine { interval: Duration::from_millis(2) }, &[]),
    ] {
        let sidecar = Asked::ready(Scene::plain(), Outage::ANY.args);
        let witness = Witness::new(&sidecar.health, Outage::ANY.cadence);
        sidecar.scene.server.break_watches(fault.clone());
        sidecar.scene.put_password("test-password-meanwhile");
        arrives(&sidecar, "test-password-meanwhile");
        assert_eq!(witness.ends(1), names(counters), "{fault:?}");
        counts_every_request(&sidecar);
    }
}
