//! Compares a sidecar's `/metrics` with the fault that it goes through, and checks that it stays quiet meanwhile:
//! requests as the back-off allows, and hardly any processor time in between.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use super::health::{Health, Metrics, unix_time};
use super::run::poll_every;

/// The files and metrics must be right this soon after a fault: the longest back-off is 30 s, and a request that began
/// before the end of the fault may still time out.
pub(crate) const RECOVERS: Duration = Duration::from_secs(60);

/// Interval between two scrapes.
const INTERVAL: Duration = Duration::from_millis(100);
/// Processor time allowed without work, as a share of the elapsed time: clock ticks are coarse, and threads wake only
/// to wait again.
const IDLE: f64 = 0.01;
/// Processor time that any fault may cost once, such as reading a line of 4 MiB before it is rejected.
const ONCE: Duration = Duration::from_millis(400);
/// Processor time for one request to the API server by an unoptimized binary, including TLS handshake and logging.
const PER_REQUEST: Duration = Duration::from_millis(10);
/// Processor time for answering one scrape.
const PER_ANSWER: Duration = Duration::from_millis(1);
/// The loops that send requests, each with its own back-off: the reader and the watch of one object.
const LOOPS: f64 = 2.0;
/// The requests of one loop when nothing fails and a few objects change.
const ORDINARY: f64 = 10.0;

pub(crate) const STALE_SINCE: &str = "podcreds_stale_since_timestamp_seconds";
pub(crate) const ROTATIONS: &str = "podcreds_rotations_total";
pub(crate) const WATCH_RESTARTS: &str = "podcreds_watch_restarts_total";
pub(crate) const REFUSED: &str = "podcreds_failures_total{reason=\"api_refused\"}";
pub(crate) const UNREACHABLE: &str = "podcreds_failures_total{reason=\"api_unreachable\"}";
pub(crate) const REQUESTS: &str = "podcreds_api_requests_total";
const FAILURES: &str = "podcreds_failures_total";
/// Counters that a fault between the sidecar and the API server must not raise.
const UNTOUCHED: [&str; 4] = [
    "podcreds_failures_total{reason=\"annotations\"}",
    "podcreds_failures_total{reason=\"render\"}",
    "podcreds_failures_total{reason=\"volume\"}",
    "podcreds_syncs_total{result=\"failure\"}",
];

/// The counter of responses with this status, or of requests without a response for `error`.
macro_rules! answered {
    ($code:literal) => {
        concat!("podcreds_api_requests_total{code=\"", $code, "\"}")
    };
}
pub(crate) use answered;

/// Counter names in the form that [`Witness::ends`] returns.
pub(crate) fn names(counters: &[&str]) -> BTreeSet<String> {
    counters.iter().map(|counter| (*counter).to_owned()).collect()
}

/// Observes a sidecar from before a fault until after it.
pub(crate) struct Witness<'a> {
    health: &'a Health,
    /// The longest time between two requests of a loop while nothing fails.
    cadence: Duration,
    came: Instant,
    came_at: f64,
    before: Metrics,
    cpu: Duration,
    asked: u32,
}

impl<'a> Witness<'a> {
    /// Starts while nothing fails. Each loop sends a request at least every `cadence`.
    #[track_caller]
    pub(crate) fn new(health: &'a Health, cadence: Duration) -> Self {
        poll_every(INTERVAL, RECOVERS, "nothing is stale before", || {
            health.metrics().get(STALE_SINCE) == 0.0
        });
        let (cpu, asked, came) = (health.cpu_time(), health.asked(), Instant::now());
        let came_at = unix_time(SystemTime::now());
        Self { health, cadence, came, came_at, before: health.metrics(), cpu, asked }
    }

    /// Waits until the files are reported stale and each of these counters has risen. Then checks for `time` that this
    /// stays so with that the time of the fault.
    #[track_caller]
    pub(crate) fn tells(&self, counters: &[&str], time: Duration) {
        let mut now = self.before.clone();
        poll_every(INTERVAL, RECOVERS, &format!("it is stale, with {counters:?}"), || {
            now = self.health.metrics();
            now.get(STALE_SINCE) > 0.0 && counters.iter().all(|counter| self.rise(&now, counter) > 0.0)
        });
        let (seen, since, rotations) = (Instant::now(), now.get(STALE_SINCE), now.get(ROTATIONS));
        let range = self.came_at..=unix_time(SystemTime::now());
        assert!(range.contains(&since), "stale since {since}, and the fault came within {range:?}");
        poll_every(INTERVAL, time + RECOVERS, "the fault has lasted", || {
            now = self.health.metrics();
            assert_eq!(now.get(STALE_SINCE), since, "the first failure still holds: {now:?}");
            assert_eq!(now.get(ROTATIONS), rotations, "nothing can be known of a change");
            seen.elapsed() >= time
        });
        // Neither more processes nor a restart would help.
        assert_eq!((self.health.status("/readyz"), self.health.status("/healthz")), (200, 200));
    }

    /// Call it when the fault is over and the files have changed `rotations` times: checks that the metrics say so, and
    /// that the sidecar did nothing else. Returns what was counted since before the fault: broken watches, failures by
    /// reason, and responses other than 200.
    #[track_caller]
    pub(crate) fn ends(self, rotations: usize) -> BTreeSet<String> {
        let mut now = self.before.clone();
        poll_every(INTERVAL, RECOVERS, &format!("nothing is stale after {rotations} rotations"), || {
            now = self.health.metrics();
            now.get(STALE_SINCE) == 0.0 && self.rise(&now, ROTATIONS) >= rotations as f64
        });
        assert_eq!(self.rise(&now, ROTATIONS), rotations as f64, "{now:?}");
        for counter in UNTOUCHED {
            assert_eq!(self.rise(&now, counter), 0.0, "{counter}: {now:?}");
        }
        self.was_quiet(&now);
        let samples = now.all(WATCH_RESTARTS).chain(now.all(FAILURES)).chain(now.all(REQUESTS));
        let counters = samples.map(|(name, _)| name).filter(|name| *name != answered!("200"));
        counters.filter(|name| self.rise(&now, name) > 0.0).map(str::to_owned).collect()
    }

    /// A loop that does not back off sends more requests than this; one that spins without sending any uses more
    /// processor time.
    #[track_caller]
    fn was_quiet(&self, now: &Metrics) {
        // Read first, so that the limits also cover what happens meanwhile.
        let cpu = self.health.cpu_time() - self.cpu;
        let (answers, elapsed) = (self.health.asked() - self.asked, self.came.elapsed());

        let requests: f64 = now.all(REQUESTS).map(|(name, _)| self.rise(now, name)).sum();
        // Delays are drawn evenly up to 100 ms, 200 ms, 400 ms …, so n of them take 50 ms · 2^n on average. Three times
        // as many in that time is practically impossible.
        let tries = 3.0 * (1.0 + elapsed.as_secs_f64() / 0.05).log2();
        let regular = elapsed.as_secs_f64() / self.cadence.as_secs_f64();
        let most = LOOPS * (tries + regular) + ORDINARY;
        assert!(requests <= most, "{requests} requests in {elapsed:?}, expected at most {most}");

        let most = ONCE + elapsed.mul_f64(IDLE) + PER_REQUEST.mul_f64(requests) + PER_ANSWER * answers;
        assert!(cpu <= most, "{cpu:?} of processor time in {elapsed:?}, expected at most {most:?}");
    }

    fn rise(&self, now: &Metrics, counter: &str) -> f64 {
        now.get(counter) - self.before.get(counter)
    }
}
