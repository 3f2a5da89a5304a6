//! The commands, one file each: what they do with validated settings.

pub(crate) mod check;
pub(crate) mod exec;
pub(crate) mod init;
pub(crate) mod inject;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod probe;
pub(crate) mod rbac;
pub(crate) mod render;
pub(crate) mod sidecar;
pub(crate) mod status;
