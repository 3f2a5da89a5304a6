//! Warns before certificates in the files expire, and again when they have expired.

use std::time::{Duration, Instant, SystemTime};

use humantime::format_rfc3339_seconds;
use log::Level;

use crate::telemetry::component::Subject;
use crate::telemetry::events::EventReason;
use crate::telemetry::status::{Moment, Status};
use crate::text::formattable;

/// An automatic issuer, such as cert-manager with its defaults, renews a certificate long before this.
pub(super) const DEFAULT_WARNING: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest time between two checks. Certificates expire by the wall clock, which can be set; timers use the monotonic clock.
const CHECK: Duration = Duration::from_secs(3600);

/// A field that contains a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) field: String,
    pub(crate) not_after: SystemTime,
    /// What was reported last. Each certificate is reported once as expiring, and once as expired.
    reported: Validity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Validity {
    Valid,
    /// It expires within `--expiry-warning`.
    Expiring,
    Expired,
}

impl Certificate {
    pub(super) fn new(field: &str, not_after: SystemTime) -> Self {
        Self { field: field.to_owned(), not_after, reported: Validity::Valid }
    }

    fn remaining(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }

    pub(crate) fn state(&self, now: SystemTime, warning: Duration) -> Validity {
        match self.remaining(now) {
            Duration::ZERO => Validity::Expired,
            remaining if remaining <= warning => Validity::Expiring,
            _ => Validity::Valid,
        }
    }

    pub(crate) fn message(&self, credential: &str, now: SystemTime) -> String {
        let verb = if self.remaining(now).is_zero() { "expired" } else { "expires" };
        let at = format_rfc3339_seconds(formattable(self.not_after));
        format!(
            "credential {credential}: the certificate in field {} {verb} at {at}: renew it at its source",
            self.field
        )
    }
}

impl Status {
    /// Reports the certificates that expire within `--expiry-warning`, and those that have expired. Returns when to check again.
    pub(super) fn check_certificates(&mut self, now: Moment) -> Option<Instant> {
        let warning = self.expiry_warning;
        let (mut next, mut due) = (None, Vec::new());
        for (credential, certificate) in self.served.certificates_mut() {
            let state = certificate.state(now.time, warning);
            if state > certificate.reported {
                certificate.reported = state;
                due.push((credential.to_owned(), certificate.message(credential, now.time)));
            }
            let remaining = certificate.remaining(now.time);
            let wait = match state {
                Validity::Valid => remaining - warning,
                Validity::Expiring => remaining,
                Validity::Expired => continue,
            };
            let at = now.instant + wait.min(CHECK);
            next = Some(next.map_or(at, |next: Instant| next.min(at)));
        }
        for (credential, message) in due {
            self.log(Level::Warn, Subject::Credential(credential), message.clone());
            self.event(EventReason::Expires, message);
        }
        next
    }
}
