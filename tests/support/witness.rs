//! Holds what a sidecar says of itself on `/metrics` against the fault that it goes through, and how much it does
//! meanwhile: no more than the back-off allows, and next to nothing between two requests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use super::health::{Health, Metrics, unix_time};
use super::run::poll_every;

/// Within this after a fault the files are right and the metrics say so: the longest back-off is 30 s, and a request that
/// began before the end may still run into its time-outs.
pub(crate) const RECOVERS: Duration = Duration::from_secs(60);

/// Between two looks at the metrics.
const INTERVAL: Duration = Duration::from_millis(100);
/// Processor time that is no work: what the clock counts in its coarse ticks, and threads that wake to wait again.
const IDLE: f64 = 0.01;
/// Processor time that any fault may cost once: a line of a MiB is read before it is too long.
const ONCE: Duration = Duration::from_millis(100);
/// Processor time of one request to the API server, TLS handshake and all that is said of it included, by a binary that is
/// not optimized.
const PER_REQUEST: Duration = Duration::from_millis(10);
/// That of one answer to this witness.
const PER_ANSWER: Duration = Duration::from_millis(1);
/// What asks the API server, each with a back-off of its own: the one that reads, and the watch of one object.
const LOOPS: f64 = 2.0;
/// What one loop asks for when nothing fails and a few changes come.
const ORDINARY: f64 = 10.0;

pub(crate) const STALE_SINCE: &str = "podcreds_stale_since_timestamp_seconds";
pub(crate) const ROTATIONS: &str = "podcreds_rotations_total";
pub(crate) const WATCH_RESTARTS: &str = "podcreds_watch_restarts_total";
pub(crate) const REFUSED: &str = "podcreds_failures_total{reason=\"api_refused\"}";
pub(crate) const UNREACHABLE: &str = "podcreds_failures_total{reason=\"api_unreachable\"}";
pub(crate) const REQUESTS: &str = "podcreds_api_requests_total";
const FAILURES: &str = "podcreds_failures_total";
/// What no fault between here and the API server brings about.
const UNTOUCHED: [&str; 4] = [
    "podcreds_failures_total{reason=\"annotations\"}",
    "podcreds_failures_total{reason=\"render\"}",
    "podcreds_failures_total{reason=\"volume\"}",
    "podcreds_syncs_total{result=\"failure\"}",
];

/// Answers with this status, or `error` for none.
macro_rules! answered {
    ($code:literal) => {
        concat!("podcreds_api_requests_total{code=\"", $code, "\"}")
    };
}
pub(crate) use answered;

/// As [`Witness::ends`] tells of them.
pub(crate) fn names(counters: &[&str]) -> BTreeSet<String> {
    counters.iter().map(|counter| (*counter).to_owned()).collect()
}

/// Looks on from before a fault until after it.
pub(crate) struct Witness<'a> {
    health: &'a Health,
    /// How often each loop asks at least, while nothing fails.
    cadence: Duration,
    came: Instant,
    came_at: f64,
    before: Metrics,
    cpu: Duration,
    asked: u32,
}

impl<'a> Witness<'a> {
    /// Nothing fails yet. Each loop asks every `cadence` at least, whatever happens.
    #[track_caller]
    pub(crate) fn new(health: &'a Health, cadence: Duration) -> Self {
        poll_every(INTERVAL, RECOVERS, "nothing is stale before", || {
            health.metrics().get(STALE_SINCE) == 0.0
        });
        let (cpu, asked, came) = (health.cpu_time(), health.asked(), Instant::now());
        let came_at = unix_time(SystemTime::now());
        Self { health, cadence, came, came_at, before: health.metrics(), cpu, asked }
    }

    /// Waits until the files are said to be stale and each of these counters has risen; then that stays so for a time, at
    /// every look, with the time of the fault.
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
        // Neither more processes nor a restart of this one would help.
        assert_eq!((self.health.status("/readyz"), self.health.status("/healthz")), (200, 200));
    }

    /// The fault is over, and the files have changed so many times: that is what the metrics say, and it was all that was
    /// done. Returns what was counted since before it: broken watches, failures by reason, and answers other than 200.
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

    /// A loop that does not back off asks more often than this, and one that does not even ask takes more processor time.
    #[track_caller]
    fn was_quiet(&self, now: &Metrics) {
        // First, so that what comes meanwhile is allowed for.
        let cpu = self.health.cpu_time() - self.cpu;
        let (answers, elapsed) = (self.health.asked() - self.asked, self.came.elapsed());

        let requests: f64 = now.all(REQUESTS).map(|(name, _)| self.rise(now, name)).sum();
        // Delays are drawn evenly up to 100 ms, 200 ms, 400 ms …, so n of them take 50 ms · 2^n; three times as many have
        // not been seen in this world.
        let tries = 3.0 * (1.0 + elapsed.as_secs_f64() / 0.05).log2();
        let regular = elapsed.as_secs_f64() / self.cadence.as_secs_f64();
        let most = LOOPS * (tries + regular) + ORDINARY;
        assert!(requests <= most, "{requests} requests in {elapsed:?}, and at most {most} were to come");

        let most = ONCE + elapsed.mul_f64(IDLE) + PER_REQUEST.mul_f64(requests) + PER_ANSWER * answers;
        assert!(cpu <= most, "{cpu:?} of processor time in {elapsed:?}, and {most:?} is enough");
    }

    fn rise(&self, now: &Metrics, counter: &str) -> f64 {
        now.get(counter) - self.before.get(counter)
    }
}
