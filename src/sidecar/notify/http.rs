//! Notifications by HTTP. Any 2xx status is a success.

use std::time::Duration;

use ureq::Agent;

use crate::sidecar::notify::Notification;

/// For one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn post(url: &str, notification: &Notification) -> Result<(), String> {
    let body = serde_json::to_string(notification).map_err(|error| error.to_string())?;
    check(agent().post(url).header("content-type", "application/json").send(body))
}

pub(crate) fn get(url: &str) -> Result<(), String> {
    check(agent().get(url).call())
}

fn agent() -> Agent {
    Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        // Only the status of the response is read.
        .input_buffer_size(4096)
        .output_buffer_size(4096)
        .user_agent(concat!("podcreds/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

fn check(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(), String> {
    match result {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("HTTP status {}", response.status())),
        Err(error) => Err(error.to_string()),
    }
}
