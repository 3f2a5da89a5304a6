//! One request, its bounds, and what its answer asks for.

use std::time::Duration;

use ureq::http::{Method, Request, Response};
use ureq::{Agent, AsSendBody, Body};

use crate::object::ObjectRef;

/// The bound on TCP, a proxy and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) const JSON: &str = "application/json";
/// Only the metadata of a pod is asked for, and no spec with other people's environment variables in it. A server that
/// does not know the form answers with the whole.
/// Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches>
pub(crate) const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// The same of a list.
pub(crate) const LIST_OF_METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// What is asked.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    pub(crate) accept: &'a str,
    /// What is sent, and its media type before it.
    pub(crate) content: Option<(&'static str, &'a [u8])>,
}

/// The bounds of one request.
pub(crate) struct Bounds {
    /// Of all of it.
    pub(crate) whole: Option<Duration>,
    /// Of each phase up to the answer's header.
    pub(crate) phase: Duration,
    /// Of the whole body.
    pub(crate) body: Option<Duration>,
    /// Of the silence between two pieces of the body.
    pub(crate) silence: Option<Duration>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str, accept: &'a str) -> Self {
        Self { method: Method::GET, path, accept, content: None }
    }
}

/// Makes a request within its bounds.
pub(crate) fn run<S: AsSendBody>(
    agent: &Agent,
    request: Result<Request<S>, ureq::http::Error>,
    bounds: &Bounds,
) -> Result<Response<Body>, ureq::Error> {
    let request = agent
        .configure_request(request?)
        .timeout_global(bounds.whole)
        .timeout_resolve(Some(bounds.phase))
        .timeout_connect(Some(CONNECT_TIMEOUT.min(bounds.phase)))
        .timeout_send_request(Some(bounds.phase))
        .timeout_send_body(Some(bounds.phase))
        .timeout_recv_response(Some(bounds.phase))
        .timeout_recv_body(bounds.body)
        .timeout_per_read(bounds.silence)
        .build();
    agent.run(request)
}

/// The path of all objects of this kind in its namespace.
pub(crate) fn collection(object: &ObjectRef) -> String {
    format!("/api/v1/namespaces/{}/{}", object.namespace, object.kind.resource())
}

/// `Retry-After` in seconds, the only form that Kubernetes sends.
pub(crate) fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
