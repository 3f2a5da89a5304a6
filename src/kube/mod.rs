//! The API server's client: HTTP, TLS, authentication and the API's JSON. It knows nothing of credentials for databases.
//!
//! [`config`] builds a [`ClientConfig`] from a pod's service account, a kubeconfig or a clusters file, and a [`Client`] is made of
//! it. [`auth`] authenticates its requests, [`transport`] sends them, and `attempts` repeats them, in parallel where there are many.

mod access_rules;
mod attempts;
pub(crate) mod auth;
mod body;
mod client;
pub mod config;
mod decode;
mod error;
mod event;
mod partial_json;
mod reloading_file;
mod request_metrics;
mod retry;
mod rule;
mod transport;
mod upstream_texts;
mod watch;

pub(crate) use access_rules::{AccessRules, Readable, Reviews};
pub(crate) use attempts::{LONGEST_DELAY, retry_until_done};
pub(crate) use auth::{
    CertificateFiles, CertificateFilesError, ExecAuth, Identity, Impersonation, ImpersonationError, Plugin,
    PluginVersion, TokenError, TokenFile,
};
pub use auth::{Interactive, PemSource};
pub use client::Client;
pub(crate) use client::Object;
pub use config::{ClientConfig, Server};
pub(crate) use config::{ServerError, TlsName, TlsNameError, Trust};
pub(crate) use decode::object as decode_object;
pub(crate) use error::{Cause, Class, Error};
pub(crate) use event::Event;
pub(crate) use partial_json::PartialJson;
pub(crate) use reloading_file::{FileError, FileStamp, Reloading};
pub(crate) use request_metrics::RequestMetrics;
pub(crate) use retry::Backoff;
pub use retry::Deadline;
pub use retry::Limits;
pub(crate) use retry::TokenBucket;
pub(crate) use rule::{Rule, with_watch};
pub use transport::Roots;
pub(crate) use transport::error::{tls_error, tls_reason};
pub(crate) use transport::resolver::NoThread;
pub(crate) use transport::{Proxy, ProxyError, RootsError, bypasses_proxy, one_time_agent};
pub(crate) use upstream_texts::{names_object, refuses_user};
pub(crate) use watch::Closer;
pub(crate) use watch::{WATCH_SILENCE, Watch, WatchEvent};

/// Logs at a level about an [`ObjectRef`](crate::object::ObjectRef). In a JSON line, the parts of its name are separate fields. The
/// field `cluster` of an object in the local cluster is empty, and an empty field is not written.
///
/// This is a macro so that each record keeps its caller's module, which RUST_LOG filters by. It is not in [`crate::object`], which is
/// pure.
macro_rules! log_object {
    ($level:expr, $object:expr, $($message:tt)+) => {{
        let object: &$crate::object::ObjectRef = $object;
        ::log::log!(
            $level,
            namespace:% = object.namespace,
            kind:% = object.kind,
            name = object.name(),
            cluster = object.cluster.id().map_or("", |id| id.as_str());
            $($message)+
        )
    }};
}
pub(crate) use log_object;
