//! What the objects that are read say of themselves.

use serde::de::DeserializeOwned;

use crate::inspect::api::{Claim, Metadata, NodeObject, Partial, Phased, Pod, Workload};
use crate::inspect::graph::Detail;

/// An object that was read.
pub(crate) trait Shape: DeserializeOwned {
    fn metadata(&self) -> &Metadata;

    /// What it says of itself.
    fn details(&self) -> Vec<Detail>;
}

impl Shape for Partial {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        Vec::new()
    }
}

impl Shape for Pod {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        phase(&self.status).into_iter().collect()
    }
}

impl Shape for Workload {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        Vec::new()
    }
}

impl Shape for Claim {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        let volume = given(self.spec.volume_name.as_ref()).map(Detail::Volume);
        phase(&self.status).into_iter().chain(volume).collect()
    }
}

impl Shape for NodeObject {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        let ready = self.status.is_ready().map(Detail::Ready);
        ready.into_iter().chain(given(self.status.kubelet()).map(Detail::Kubelet)).collect()
    }
}

fn phase(status: &Phased) -> Option<Detail> {
    given(status.phase.as_ref()).map(Detail::Phase)
}

/// Go writes an empty text where it has none.
fn given(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}
