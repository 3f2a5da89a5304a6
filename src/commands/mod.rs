//! What each command does with its settings.

pub(crate) mod exec;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod render;
