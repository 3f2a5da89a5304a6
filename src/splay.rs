//! How long an application's reaction to a rotation is delayed, so that the replicas that share a Secret do not all reload or restart
//! at once. Pure, and without random state: a rotation and a replica always give the same delay.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The part of `splay` that this replica waits: at least zero, and less than `splay`. `version` identifies the rotation.
pub(crate) fn delay(splay: Duration, pod: &str, version: &str) -> Duration {
    // SipHash with a fixed key: names that differ in one character give unrelated numbers.
    let mut hasher = DefaultHasher::new();
    (pod, version).hash(&mut hasher);
    let milliseconds = (splay.as_millis() * u128::from(hasher.finish())) >> u64::BITS;
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "..2026_11_20_17_40_01.123456789";
    const WINDOW: Duration = Duration::from_secs(10);

    /// The delays of the pods of one StatefulSet and of one ReplicaSet.
    fn delays(version: &str) -> Vec<Duration> {
        let pods = (0..20).flat_map(|number| [format!("app-{number}"), format!("app-7c9f5d{number}-x2x4z")]);
        pods.map(|pod| delay(WINDOW, &pod, version)).collect()
    }

    #[test]
    fn the_delay_is_shorter_than_the_splay() {
        for seconds in [1, 30, 3600, 366 * 24 * 3600] {
            let splay = Duration::from_secs(seconds);
            assert!((0..200).all(|pod| delay(splay, &format!("app-{pod}"), VERSION) < splay), "{seconds}");
        }
    }

    #[test]
    fn without_a_splay_there_is_no_delay() {
        assert!((0..200).all(|pod| delay(Duration::ZERO, &format!("app-{pod}"), VERSION).is_zero()));
    }

    #[test]
    fn a_rotation_has_one_delay_and_the_next_rotation_another() {
        assert_eq!(delays(VERSION), delays(VERSION));
        assert_ne!(delays(VERSION), delays("..2026_11_20_17_40_01.123456790"));
        assert_ne!(delay(WINDOW, "app-1", "2"), delay(WINDOW, "app-", "12"));
    }

    /// The rotation is fixed, so this test always sees the same delays.
    #[test]
    #[expect(clippy::print_stdout, reason = "the histogram, with --nocapture")]
    fn forty_pods_are_spread_over_the_window() {
        let mut counts = [0; 10];
        for delay in delays(VERSION) {
            counts[usize::try_from(delay.as_secs()).unwrap()] += 1;
        }
        for (second, count) in counts.iter().enumerate() {
            println!("{second:2} s {}", "#".repeat(*count));
        }
        assert!(counts.iter().all(|count| (1..=10).contains(count)), "{counts:?}");
    }
}
