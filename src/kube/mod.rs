//! The API server: who to ask, how, and what it said. Knows HTTP, TLS and the API's shapes, and nothing of credentials.
//!
//! [`in_cluster`] makes a [`ClientConfig`] from what a pod has mounted. Another way in (a kubeconfig) makes the same
//! configuration; there is one [`Client`].

mod body;
mod client;
mod config;
mod error;
pub mod in_cluster;
mod retry;
mod token;

pub use client::Client;
pub use config::{ClientConfig, Roots, RootsError, Server, ServerError};
pub use error::{Cause, Error};
pub use retry::{Deadline, until_settled};
pub use token::{TokenError, TokenFile};
