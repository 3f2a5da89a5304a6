//! Notifications by HTTP and HTTPS.

use std::path::Path;
use std::time::Duration;

use ureq::http::request::Builder;
use ureq::http::{HeaderValue, Request};

use crate::credential::Header;
use crate::kube::{Roots, one_time_agent, tls_error, tls_reason};
use crate::sidecar::notify::{Notification, NotifyError};

/// Time limit for one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What an attempt sends, beside the notification, and how it verifies the server.
#[derive(Clone, Copy)]
pub(crate) struct Extra<'a> {
    pub(crate) header: Option<&'a Header>,
    /// The file of `--on-change-ca`.
    pub(crate) ca: Option<&'a Path>,
}

pub(crate) fn post(url: &str, notification: &Notification, extra: Extra<'_>) -> Result<(), NotifyError> {
    let body = serde_json::to_vec(notification)?;
    let request = Request::post(url).header("content-type", "application/json");
    send(request, Some(&body), extra)
}

pub(crate) fn get(url: &str, extra: Extra<'_>) -> Result<(), NotifyError> {
    send(Request::get(url), None, extra)
}

/// Any 2xx status is a success. A redirect is not: the header is for this URL alone.
fn send(
    mut request: Builder,
    body: Option<&[u8]>,
    Extra { header, ca }: Extra<'_>,
) -> Result<(), NotifyError> {
    if let Some(Header { name, value }) = header {
        let mut value = HeaderValue::from_bytes(value.expose()).map_err(ureq::http::Error::from)?;
        value.set_sensitive(true);
        request = request.header(name.as_str(), value);
    }
    let uri = request.uri_ref().cloned().unwrap_or_default();
    let roots = if uri.scheme_str() == Some("https") { Some(roots(ca)?) } else { None };
    let agent = one_time_agent(&uri, roots.as_ref(), TIMEOUT);
    let response = match body {
        Some(body) => agent.run(request.body(body)?),
        None => agent.run(request.body(())?),
    };
    match response {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(NotifyError::Status { status: response.status(), has_header: header.is_some() }),
        Err(ureq::Error::Other(other)) => Err(match other.downcast() {
            Ok(error) => NotifyError::NoThread(*error),
            Err(other) => NotifyError::Http(ureq::Error::Other(other)),
        }),
        Err(error) => Err(match tls_error(&error) {
            Some(error) => NotifyError::Tls(tls_reason(error, &untrusted(ca), OTHER_NAME)),
            None => NotifyError::Http(error),
        }),
    }
}

/// The authorities that servers are verified against: those of the system and those of the file, read again for each attempt, because a mesh
/// replaces its own while the sidecar runs.
pub(crate) fn roots(ca: Option<&Path>) -> Result<Roots, NotifyError> {
    match (Roots::from_system(), ca.map(Roots::read).transpose()?) {
        (Ok(system), Some(of_file)) => Ok(system.and(of_file)),
        (Ok(roots), None) | (Err(_), Some(roots)) => Ok(roots),
        (Err(_), None) => Err(NotifyError::NoAuthority),
    }
}

const OTHER_NAME: &str = "write one of these in the URL of .on-change";

/// What to do if no authority is known that has signed the certificate.
fn untrusted(ca: Option<&Path>) -> String {
    match ca {
        Some(path) => format!(
            "no certificate authority of {} (--on-change-ca) or of this system has signed its certificate: add the right one to the file",
            path.display()
        ),
        None => "no certificate authority of this system has signed its certificate: mount the certificate of its authority and name the file in --on-change-ca".to_owned(),
    }
}
