//! What each command does with its settings.

pub mod init;
pub mod render;
