//! The clusters that sources are read from: the pod's own, and those that a clusters file names. Each has a client of its own,
//! with its own limits and state, made when it is first needed.

pub mod file;
mod open;
mod pool;

pub(crate) use open::{Pod, members};
pub(crate) use pool::{Clusters, Member};
