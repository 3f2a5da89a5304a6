//! The clusters that a credential can come from, beside the pod's own.

pub mod file;
