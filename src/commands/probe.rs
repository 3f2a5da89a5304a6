//! `podcreds probe`: an exec probe for images without a shell.

use std::time::Duration;

use crate::telemetry::probe::{self, Error};
use crate::telemetry::server::Listen;

/// Queries the sidecar that listens on `listen` in this pod, for `timeout` at most.
///
/// # Errors
/// If the sidecar is not ready, or does not respond in time.
pub(crate) fn run(listen: Listen, timeout: Duration) -> Result<(), Error> {
    probe::check_ready(listen, timeout)
}
