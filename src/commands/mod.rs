//! What each command does with its settings.

pub mod exec;
pub mod init;
pub mod inspect;
pub mod install;
pub mod render;
