//! Which failures have lasted for too long: they are reported as stale files, or as an application that was not notified.

use std::time::Instant;

use humantime::format_rfc3339_seconds;
use log::Level;

use crate::telemetry::component::{Component, Subject};
use crate::telemetry::events::EventReason;
use crate::telemetry::status::{Moment, Status};
use crate::text::formattable;

/// Maximum number of failures that one message names.
const NAMED: usize = 3;

impl Status {
    /// Reports failures that have lasted for longer than `--stale-after`, and the end of those that were reported. Returns when
    /// to check again.
    pub(crate) fn check_deadlines(&mut self, now: Moment) -> Option<Instant> {
        let due = [self.check_staleness(now), self.check_notifications(now), self.check_certificates(now)];
        due.into_iter().flatten().min()
    }

    fn check_staleness(&mut self, now: Moment) -> Option<Instant> {
        let failing = &self.failing;
        self.stale.retain(|component| failing.contains_key(component));
        if !self.ready {
            return None;
        }
        if self.failing.is_empty() {
            if let Some(since) = self.stale_since.take() {
                let message = format!("the files are current again (stale since {})", clock(since));
                self.log(Level::Info, Subject::None, message.clone());
                self.event(EventReason::Current, message);
            }
            return None;
        }
        // Each failure is reported once, so that one that lasts does not hide a later one.
        let unreported = self.failing.iter().filter(|(component, _)| !self.stale.contains(*component));
        let unreported = unreported.map(|(component, since)| (component.clone(), *since)).collect::<Vec<_>>();
        let since = unreported.iter().map(|(_, since)| *since).min()?;
        let due = since.instant + self.stale_after;
        if due > now.instant {
            return Some(due);
        }
        self.stale_since.get_or_insert(since);
        let reasons = self.reasons(&unreported);
        let message = format!("the files may have been out of date since {}: {reasons}", clock(since));
        self.stale.extend(unreported.into_iter().map(|(component, _)| component));
        self.warn(EventReason::Stale, message);
        None
    }

    fn check_notifications(&mut self, now: Moment) -> Option<Instant> {
        let mut next = None;
        for (application, (since, reason)) in self.pending_notifications.clone() {
            let due = since.instant + self.stale_after;
            if due > now.instant {
                next = [next, Some(due)].into_iter().flatten().min();
            } else if self.overdue.insert(application.clone()) {
                let message = format!("{application}: notification failing since {}: {reason}", clock(since));
                self.warn(EventReason::NotifyFailed, message);
            }
        }
        for application in std::mem::take(&mut self.overdue) {
            if self.pending_notifications.contains_key(&application) {
                self.overdue.insert(application);
            } else {
                self.event(EventReason::Notified, format!("{application}: notified"));
            }
        }
        next
    }

    /// The messages of failing components, at most [`NAMED`] of them.
    fn reasons(&self, failing: &[(Component, Moment)]) -> String {
        let message = |(component, _): &(Component, Moment)| match self.last.get(component) {
            Some(last) => last.message.clone(),
            None => component.to_string(),
        };
        let named: Vec<_> = failing.iter().take(NAMED).map(message).collect();
        match failing.len().saturating_sub(NAMED) {
            0 => named.join("; "),
            more => format!("{}; and {more} more", named.join("; ")),
        }
    }
}

pub(super) fn clock(moment: Moment) -> humantime::Rfc3339Timestamp {
    format_rfc3339_seconds(formattable(moment.time))
}
