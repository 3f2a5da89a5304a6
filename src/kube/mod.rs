//! The API server: who to ask, how, and what it said. Knows HTTP, TLS and the API's shapes, and nothing of credentials.
//!
//! [`in_cluster`] makes a [`ClientConfig`] from what a pod has mounted. Another way in (a kubeconfig) makes the same
//! configuration; there is one [`Client`].

mod body;
mod client;
mod config;
mod error;
mod event;
mod followed;
pub mod in_cluster;
mod plugin;
mod requests;
mod retry;
mod token;
mod watch;

pub use client::{Client, Object};
pub use config::{ClientConfig, Roots, RootsError, Server, ServerError};
pub use error::{Cause, Error};
pub use event::Event;
pub use followed::{FileError, Followed};
pub use plugin::{
    AnswerError, Interactive, Plugin, PluginCredential, PluginError, PluginProblem, PluginVersion,
};
pub use requests::{RequestCounts, Requests};
pub use retry::{Deadline, until_settled};
pub use token::{Token, TokenFile};
pub use watch::{Change, Watch};
