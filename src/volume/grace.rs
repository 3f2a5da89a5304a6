//! How long a superseded version of a directory is kept.
//!
//! A version was current until its successor was created. The successor's name contains that time, but from the wall clock: after a
//! step forward the name looks too old, after a step back it is in the future. So a process measures the age of the versions that
//! it has created itself with the monotonic clock.

use std::time::{Duration, Instant, SystemTime};

use crate::volume::directory::{KEPT_VERSIONS, VersionName};

#[derive(Clone, Debug, Default)]
pub(crate) struct Grace {
    period: Duration,
    /// The versions that this process has created, oldest first.
    created: Vec<(VersionName, Instant)>,
}

impl Grace {
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, created: Vec::new() }
    }

    /// Notes that a version was created.
    pub(crate) fn add(&mut self, version: VersionName, now: Instant) {
        if self.created.len() == KEPT_VERSIONS {
            self.created.remove(0);
        }
        self.created.push((version, now));
    }

    /// Whether the predecessor of this version is still kept.
    pub(crate) fn covers_before(&self, version: &VersionName, now: Instant, clock: SystemTime) -> bool {
        let created = self.created.iter().find(|(created, _)| created == version);
        let age = match created {
            Some((_, at)) => now.saturating_duration_since(*at),
            // Zero if the clock was set back since.
            None => clock.duration_since(version.time()).unwrap_or_default(),
        };
        age < self.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_changes_no_grace_period_of_this_process() {
        let (clock, now) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30), Instant::now());
        let seconds = Duration::from_secs;
        let mut grace = Grace::new(seconds(10));
        let version = VersionName::new(clock);
        grace.add(version.clone(), now);
        for step in [clock - seconds(3600), clock, clock + seconds(3600), SystemTime::UNIX_EPOCH - seconds(1)]
        {
            assert!(grace.covers_before(&version, now + seconds(9), step));
            assert!(!grace.covers_before(&version, now + seconds(10), step));
        }
        // The version of an earlier process has no other time than that in its name.
        let earlier = VersionName::new(clock - seconds(5));
        assert!(grace.covers_before(&earlier, now, clock + seconds(4)));
        assert!(!grace.covers_before(&earlier, now, clock + seconds(5)));
    }

    #[test]
    fn the_list_of_created_versions_is_bounded() {
        let mut grace = Grace::new(Duration::from_secs(10));
        let at = |n| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
        (0..2000).for_each(|n| grace.add(VersionName::new(at(n)), Instant::now()));
        assert_eq!(grace.created.len(), KEPT_VERSIONS);
        assert_eq!(grace.created.last().map(|(version, _)| version.time()), Some(at(1999)));
    }
}
