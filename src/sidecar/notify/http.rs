//! Notifications by HTTP.

use std::time::Duration;

use ureq::Agent;
use ureq::unversioned::transport::DefaultConnector;

use crate::kube::ThreadResolver;
use crate::sidecar::notify::{Notification, NotifyError};

/// Time limit for one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn post(url: &str, notification: &Notification) -> Result<(), NotifyError> {
    let body = serde_json::to_string(notification)?;
    check_status(agent().post(url).header("content-type", "application/json").send(body))
}

pub(crate) fn get(url: &str) -> Result<(), NotifyError> {
    check_status(agent().get(url).call())
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        // The input buffer keeps ureq's size: a response counts by its status, however large its headers are (cookies, policies).
        .output_buffer_size(4096)
        .user_agent(concat!("podcreds/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::with_parts(config, DefaultConnector::default(), ThreadResolver)
}

/// Any 2xx status is a success.
fn check_status(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(), NotifyError> {
    match result {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(NotifyError::Status(response.status())),
        Err(ureq::Error::Other(other)) => Err(match other.downcast() {
            Ok(error) => NotifyError::NoThread(*error),
            Err(other) => NotifyError::Http(ureq::Error::Other(other)),
        }),
        Err(error) => Err(NotifyError::Http(error)),
    }
}
