//! The clusters that sources are read from: the pod's own, and those that a clusters file names. Each has a client of its own,
//! with its own limits and state, made when it is first needed.

pub mod file;
mod open;
mod pool;

pub use open::{Pod, members};
pub use pool::{Clusters, Member, Open};
