//! Spreads the reactions of many pods to one rotation over time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How long this pod waits before it reacts: a part of `splay` that is the same each time for one rotation, and differs between
/// pods and between rotations.
pub(crate) fn delay(splay: Duration, pod: &str, version: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    (pod, version).hash(&mut hasher);
    splay.mul_f64((hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_stable_and_spread_over_the_splay() {
        let splay = Duration::from_secs(40);
        let mut quarters = [0; 4];
        for pod in 0..400 {
            let delay_of = |version| delay(splay, &format!("app-{pod}"), version);
            let one = delay_of("1");
            assert!(one < splay && one == delay_of("1") && one != delay_of("2"));
            quarters[one.as_secs() as usize / 10] += 1;
        }
        assert!(quarters.iter().all(|count| (60..140).contains(count)), "{quarters:?}");
        assert_eq!(delay(Duration::ZERO, "app", "1"), Duration::ZERO);
    }
}
