//! Events on a pod: what `kubectl describe pod` shows.
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>, in its form of the core group,
//! which kubectl counts and every version of Kubernetes has.

use std::time::SystemTime;

use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::kube::client::Client;
use crate::kube::decode;
use crate::kube::error::{Cause, Error};
use crate::kube::request::{Call, JSON, METADATA_ONLY, collection};
use crate::kube::retry::Deadline;
use crate::object::ObjectRef;

/// Who says it.
const COMPONENT: &str = "podcreds";

/// What happened to a pod.
#[derive(Clone, Debug)]
pub(crate) struct Event<'a> {
    /// The Event itself: its name is one that no other has.
    pub(crate) object: &'a ObjectRef,
    /// The pod.
    pub(crate) pod: &'a ObjectRef,
    /// The pod's uid: another pod may have had its name.
    pub(crate) uid: &'a str,
    /// Whether somebody should look at it.
    pub(crate) is_warning: bool,
    /// What happened, as one word.
    pub(crate) reason: &'a str,
    /// What happened, as a sentence.
    pub(crate) message: &'a str,
    /// How often.
    pub(crate) count: u32,
    /// When for the first time.
    pub(crate) first: SystemTime,
    /// When for the last time.
    pub(crate) last: SystemTime,
}

impl Client {
    /// Creates an Event. One that is there already under its name is this one: an attempt whose answer was lost.
    ///
    /// # Errors
    /// If this attempt fails; [`Error::is_final`] says whether another may succeed.
    pub(crate) fn create_event(&self, event: &Event<'_>, deadline: Deadline) -> Result<(), Error> {
        let content = event.to_json().to_string();
        let call = Call {
            method: Method::POST,
            path: &collection(event.object),
            accept: JSON,
            content: Some((JSON, content.as_bytes())),
        };
        match self.exchange(event.object, "create", &call, deadline) {
            Ok(_) | Err(Cause::Refused { status: 409, .. }) => Ok(()),
            Err(cause) => Err(Error::new(event.object, cause)),
        }
    }

    /// Counts an Event that is there once more.
    ///
    /// # Errors
    /// If this attempt fails; [`Error::is_final`] says whether another may succeed.
    pub(crate) fn count_event(
        &self,
        object: &ObjectRef,
        count: u32,
        last: SystemTime,
        message: &str,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let patch = json!({"count": count, "lastTimestamp": time(last), "message": message}).to_string();
        let call = Call {
            method: Method::PATCH,
            path: &format!("{}/{}", collection(object), object.name()),
            accept: JSON,
            content: Some(("application/merge-patch+json", patch.as_bytes())),
        };
        let patched = self.exchange(object, "patch", &call, deadline);
        patched.map(drop).map_err(|cause| Error::new(object, cause))
    }

    /// Reads a pod's uid.
    ///
    /// # Errors
    /// If this attempt fails; [`Error::is_final`] says whether another may succeed.
    pub(crate) fn uid(&self, pod: &ObjectRef, deadline: Deadline) -> Result<String, Error> {
        let read = || decode::uid(pod, self.get(pod, METADATA_ONLY, deadline)?.expose());
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
    format_rfc3339_seconds(time).to_string()
}
