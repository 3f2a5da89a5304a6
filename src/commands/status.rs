//! `podcreds status`: which version of each credential the sidecar serves.

use std::time::Duration;

use crate::telemetry::probe::{self, Error};
use crate::telemetry::server::Listen;
use crate::text::Printable;

/// Queries the sidecar that listens on `listen` in this pod, for `timeout` at most. Returns a table, or JSON.
///
/// # Errors
/// If the sidecar does not respond in time.
pub(crate) fn run(listen: Listen, is_table: bool, timeout: Duration) -> Result<String, Error> {
    Ok(Printable(&probe::status(listen, is_table, timeout)?).to_string())
}
