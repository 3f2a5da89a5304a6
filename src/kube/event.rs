//! Events about a pod, as `kubectl describe pod` shows them: those of the core API group, which every version of Kubernetes has and
//! whose `count` kubectl shows.
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>

use std::time::SystemTime;

use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::kube::client::{Client, collection_path};
use crate::kube::decode;
use crate::kube::error::{Cause, Error};
use crate::kube::retry::Deadline;
use crate::kube::transport::{JSON, METADATA_ONLY, Request};
use crate::object::ObjectRef;
use crate::text::formattable;

/// The reporter of the Events.
const COMPONENT: &str = "podcreds";

/// An Event about a pod.
#[derive(Clone, Debug)]
pub(crate) struct Event<'a> {
    /// The Event object, with a unique name.
    pub(crate) object: &'a ObjectRef,
    pub(crate) pod: &'a ObjectRef,
    /// Distinguishes the pod from earlier ones of the same name.
    pub(crate) uid: &'a str,
    pub(crate) is_warning: bool,
    /// Machine-readable, in CamelCase.
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) count: u32,
    pub(crate) first: SystemTime,
    pub(crate) last: SystemTime,
}

impl Client {
    /// Creates an Event. An existing one of that name is the same one, from an earlier attempt whose response was lost.
    ///
    /// # Errors
    /// If this attempt fails. If [`Error::is_final`] is true, a retry cannot succeed.
    pub(crate) fn create_event(&self, event: &Event<'_>, deadline: Deadline) -> Result<(), Error> {
        let content = event.to_json().to_string();
        let request = Request {
            method: Method::POST,
            path: &collection_path(event.object),
            accept: JSON,
            content: Some((JSON, content.as_bytes())),
            is_limited: false,
        };
        match self.execute_for(event.object, "create", &request, deadline) {
            Ok(_) | Err(Cause::Refused { status: 409, .. }) => Ok(()),
            Err(cause) => Err(Error::new(event.object, cause)),
        }
    }

    /// Updates the count of an Event.
    ///
    /// # Errors
    /// If this attempt fails. If [`Error::is_final`] is true, a retry cannot succeed.
    pub(crate) fn count_event(
        &self,
        object: &ObjectRef,
        count: u32,
        last: SystemTime,
        message: &str,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let patch = json!({"count": count, "lastTimestamp": time(last), "message": message}).to_string();
        let request = Request {
            method: Method::PATCH,
            path: &format!("{}/{}", collection_path(object), object.name()),
            accept: JSON,
            content: Some(("application/merge-patch+json", patch.as_bytes())),
            is_limited: false,
        };
        let patched = self.execute_for(object, "patch", &request, deadline);
        patched.map(drop).map_err(|cause| Error::new(object, cause))
    }

    /// Requests the uid of a pod.
    ///
    /// # Errors
    /// If this attempt fails. If [`Error::is_final`] is true, a retry cannot succeed.
    pub(crate) fn uid(&self, pod: &ObjectRef, deadline: Deadline) -> Result<String, Error> {
        let path = format!("{}/{}", collection_path(pod), pod.name());
        let request = Request { is_limited: false, ..Request::get(&path, METADATA_ONLY) };
        let read = || decode::uid(pod, self.execute_for(pod, "get", &request, deadline)?.expose());
        read().map_err(|cause| Error::new(pod, cause))
    }
}

impl Event<'_> {
    fn to_json(&self) -> Value {
        let namespace = self.pod.namespace.to_string();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": self.object.name(), "namespace": namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": namespace,
                "name": self.pod.name(),
                "uid": self.uid,
            },
            "type": if self.is_warning { "Warning" } else { "Normal" },
            "reason": self.reason,
            "message": self.message,
            "count": self.count,
            "firstTimestamp": time(self.first),
            "lastTimestamp": time(self.last),
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
        })
    }
}

fn time(time: SystemTime) -> String {
    format_rfc3339_seconds(formattable(time)).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_event_before_1970_has_the_first_time_that_the_api_can_show() {
        assert_eq!(time(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }
}
