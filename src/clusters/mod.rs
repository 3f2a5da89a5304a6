//! The clusters that sources are read from: the pod's own, and those that a clusters file names. Each has a client of its own,
//! with its own limits and state, made when it is first needed.

mod pool;

pub use pool::{Clusters, Labels, Member, Open};
