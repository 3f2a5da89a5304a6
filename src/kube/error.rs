//! Errors of requests to an API server. Each message names the object, quotes the API server or the network, and says what to do: for
//! a missing permission, the RBAC rule that grants it. No response body is ever shown, only the `message` of a `Status`.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

use std::sync::Arc;
use std::time::Duration;

use crate::kube::access_rules::AccessRules;
use crate::kube::auth::exec::PluginError;
use crate::kube::config::Server;
use crate::kube::rule::{impersonation_rule, object_grant, object_rule, rule_name, with_watch};
use crate::kube::upstream_texts::Denial;
use crate::object::ObjectRef;
use crate::text::ShortDuration;

/// A request for an object that failed.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {cause}")]
pub struct Error {
    object: ObjectRef,
    #[source]
    pub(crate) cause: Cause,
}

/// Why a request failed. `message` is that of the API server's `Status`.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// 403.
    #[error("forbidden: {message}{}", hint.iter().map(|hint| format!("; {hint}")).collect::<String>())]
    Forbidden {
        /// The API server's message.
        message: String,
        /// The missing rule; `None` means that it is not known here.
        hint: Option<String>,
    },
    /// 404.
    #[error("{message}")]
    NotFound {
        /// The API server's message.
        message: String,
    },
    /// 401.
    #[error("the API server does not accept {credentials}: {message}")]
    Unauthorized {
        /// The kind of credentials.
        credentials: &'static str,
        /// The API server's message.
        message: String,
    },
    /// 408, 429 and 5xx.
    #[error("the API server answered {status}: {message}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The API server's message.
        message: String,
        /// The delay that the API server asked for.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    #[error("the API server refused the request with {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The API server's message.
        message: String,
    },
    /// No request was sent, as no thread could be started for it.
    #[error("cannot start a thread: {reason}")]
    NoThread {
        /// The error of the operating system.
        reason: String,
    },
    /// No watch was opened, because the process may open too few files.
    #[error(
        "no file descriptor is left for another watch (limit of open files: {limit}): raise the limit of the container runtime, or name fewer objects"
    )]
    NoDescriptor {
        /// `RLIMIT_NOFILE`
        limit: u64,
    },
    /// 3xx.
    #[error(
        "{server} answered with a redirect ({status}), which is not followed: API servers do not redirect"
    )]
    Redirected {
        /// The API server.
        server: Server,
        /// The HTTP status.
        status: u16,
    },
    /// Name resolution or TCP failed, or the connection was closed early.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// The API server.
        server: Server,
        /// The error of the operating system or the HTTP library.
        reason: String,
    },
    /// A certificate was rejected, or the handshake failed otherwise.
    #[error("TLS handshake with {server} failed: {reason}")]
    Tls {
        /// The API server.
        server: Server,
        /// What is wrong, and what to do.
        reason: String,
        /// rustls's error.
        #[source]
        error: Box<rustls::Error>,
    },
    /// A phase of the request timed out.
    #[error("{server} did not answer in time ({phase})")]
    TimedOut {
        /// The API server.
        server: Server,
        /// The phase.
        phase: &'static str,
        /// Whether the deadline left the phase less time than `--request-timeout`.
        is_cut_short: bool,
    },
    /// The deadline passed before or during the request.
    #[error("{server} did not answer before the deadline")]
    DeadlineExceeded {
        /// The API server.
        server: Server,
    },
    /// The client-side rate limit does not admit the request before the deadline.
    #[error(
        "request to {server} not sent: the client-side rate limit (qps, burst) would delay it by {}, past the deadline; raise the limit",
        ShortDuration(*delay)
    )]
    RateLimited {
        /// The API server.
        server: Server,
        /// How long the limit would have delayed the request.
        delay: Duration,
    },
    /// The configuration of the cluster or of its credentials is not usable. No request was sent.
    #[error("cannot connect to the cluster: {reason}")]
    Configuration {
        /// What is wrong, where, and what to do.
        reason: String,
    },
    /// The exec plugin provided no credential.
    #[error(transparent)]
    Plugin(Arc<PluginError>),
    /// A response above the size limit.
    #[error("the response is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// An object with more keys than any application reads.
    #[error("the object has more than {limit} keys: move some to other objects")]
    TooManyKeys {
        /// The limit.
        limit: usize,
    },
    /// With this object, all objects together are larger than what may be kept.
    #[error(
        "with this object, all Secrets and ConfigMaps of the pod exceed the limit of {limit} bytes: name fewer, or move unused keys to other objects"
    )]
    TooMuch {
        /// The limit.
        limit: usize,
    },
    /// A response that no API server sends.
    #[error("unexpected response: {reason}")]
    Unreadable {
        /// What is wrong with it, without its content.
        reason: String,
    },
    /// 410 on a watch.
    #[error("the API server no longer has the resourceVersion to watch from: {message}")]
    Gone {
        /// The API server's message.
        message: String,
    },
}

/// What kind of problem a [`Cause`] is: exit codes and the `reason` of metrics and logs depend on it. Ordered from the
/// most user action needed to the least: of several errors, the smallest class decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// podcreds was configured wrongly. No request was sent.
    Configuration,
    /// The API server rejected the request.
    Refused,
    /// The API server could not be reached, or did not answer in a usable way. It may recover by itself.
    Unreachable,
}

impl Error {
    pub(crate) fn new(object: &ObjectRef, cause: Cause) -> Self {
        Self { object: object.clone(), cause }
    }

    /// The object of the request.
    pub(crate) fn object(&self) -> &ObjectRef {
        &self.object
    }

    pub(crate) fn class(&self) -> Class {
        self.cause.class()
    }

    /// Whether a retry cannot succeed: the request itself is wrong, whatever the state of the cluster. 401, 403 and 404 are not
    /// final, because accounts, roles and objects may still be created.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self.cause,
            Cause::Refused { .. }
                | Cause::Redirected { .. }
                | Cause::TooLarge { .. }
                | Cause::TooManyKeys { .. }
                | Cause::TooMuch { .. }
                | Cause::Configuration { .. }
        )
    }

    /// Whether retrying is pointless without user action. Interactive commands also give up on TLS errors, which a starting cluster
    /// may still recover from.
    pub(crate) fn is_actionable(&self) -> bool {
        self.is_final() || self.class() == Class::Refused || matches!(self.cause, Cause::Tls { .. })
    }

    /// Whether the API server says that the object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::NotFound { .. })
    }

    /// Whether RBAC denies the request.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self.cause, Cause::Forbidden { .. })
    }

    /// The error of a forbidden object that was not requested.
    pub(crate) fn forbidden(object: &ObjectRef) -> Self {
        let message = "no rule lets this account read it".to_owned();
        Self::new(object, Cause::Forbidden { message, hint: None })
    }

    /// Replaces the general remark about a forbidden name with what the account's rules say about the verb `get`. Returns whether
    /// the rules forbid the name.
    pub(crate) fn explain(&mut self, rules: &AccessRules) -> bool {
        let Cause::Forbidden { message, hint } = &mut self.cause else { return false };
        if let (Some(name), Denial::Object) = (rule_name(&self.object), Denial::parse(message))
            && let Some(advice) = rules.advice("", self.object.kind.resource(), name)
        {
            *hint = Some(format!("{}; {advice}", object_grant(&self.object, "get")));
            return true;
        }
        false
    }

    /// Adds the verb `watch` to the rule in the message, so that one change of the Role is enough for a sidecar. Otherwise the verb
    /// would be reported only once the object can be read.
    pub(crate) fn add_watch(&mut self) {
        if let Cause::Forbidden { hint: Some(hint), .. } = &mut self.cause {
            *hint = with_watch(hint);
        }
    }

    /// The delay that the API server asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self.cause {
            Cause::Unavailable { retry_after, .. } => retry_after,
            _ => None,
        }
    }
}

impl Cause {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Configuration { .. } | Self::TooMuch { .. } => Class::Configuration,
            Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::TooManyKeys { .. }
            | Self::Gone { .. } => Class::Refused,
            Self::Unavailable { .. }
            | Self::NoThread { .. }
            | Self::NoDescriptor { .. }
            | Self::Redirected { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::TimedOut { .. }
            | Self::DeadlineExceeded { .. }
            | Self::RateLimited { .. }
            | Self::Plugin(_)
            | Self::Unreadable { .. } => Class::Unreachable,
        }
    }

    /// Adds the RBAC rule that grants `verb` on this object, if the request was forbidden.
    pub(crate) fn with_hint(self, object: &ObjectRef, verb: &str) -> Self {
        let Self::Forbidden { message, .. } = self else { return self };
        let hint = match Denial::parse(&message) {
            Denial::Anonymous => "the request carries no credentials: give the kubeconfig's user a token, a client certificate or an exec plugin".to_owned(),
            // The right to impersonate does not depend on the object.
            Denial::Impersonation { resource, mode } => impersonation_rule(resource, mode),
            Denial::Object => object_rule(object, verb),
        };
        Self::Forbidden { message, hint: Some(hint) }
    }

    /// Maps 410, which on a watch means that the resourceVersion is too old.
    pub(crate) fn for_watch(self) -> Self {
        match self {
            Self::Refused { status: 410, message } => Self::Gone { message },
            other => other,
        }
    }

    pub(crate) fn unreadable(reason: impl Into<String>) -> Self {
        Self::Unreadable { reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Namespace};

    fn secret() -> ObjectRef {
        ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), "db").unwrap()
    }

    #[test]
    fn each_cause_has_a_class_and_a_retry_policy() {
        let (server, message) = (Server::parse("10.0.0.1", "443").unwrap(), String::new());
        let (server, message, delay) = (|| server.clone(), || message.clone(), Duration::ZERO);
        let error = Box::new(rustls::Error::DecryptError);
        for (cause, class, is_final, is_actionable) in [
            (Cause::Configuration { reason: message() }, Class::Configuration, true, true),
            (Cause::Unauthorized { credentials: "", message: message() }, Class::Refused, false, true),
            (Cause::Forbidden { message: message(), hint: None }, Class::Refused, false, true),
            (Cause::NotFound { message: message() }, Class::Refused, false, true),
            (Cause::Gone { message: message() }, Class::Refused, false, true),
            (Cause::Refused { status: 400, message: message() }, Class::Refused, true, true),
            (Cause::TooLarge { limit: 1 }, Class::Refused, true, true),
            (Cause::TooManyKeys { limit: 1 }, Class::Refused, true, true),
            (Cause::TooMuch { limit: 1 }, Class::Configuration, true, true),
            (Cause::Redirected { server: server(), status: 302 }, Class::Unreachable, true, true),
            (Cause::Tls { server: server(), reason: message(), error }, Class::Unreachable, false, true),
            (
                Cause::Unavailable { status: 503, message: message(), retry_after: None },
                Class::Unreachable,
                false,
                false,
            ),
            (Cause::Unreachable { server: server(), reason: message() }, Class::Unreachable, false, false),
            (Cause::NoDescriptor { limit: 24 }, Class::Unreachable, false, false),
            (
                Cause::TimedOut { server: server(), phase: "", is_cut_short: false },
                Class::Unreachable,
                false,
                false,
            ),
            (Cause::DeadlineExceeded { server: server() }, Class::Unreachable, false, false),
            (Cause::RateLimited { server: server(), delay }, Class::Unreachable, false, false),
            (Cause::unreadable(""), Class::Unreachable, false, false),
        ] {
            let error = Error::new(&secret(), cause);
            let shown = format!("{error:?}");
            assert_eq!(
                (error.class(), error.is_final(), error.is_actionable()),
                (class, is_final, is_actionable),
                "{shown}"
            );
        }
    }

    fn hint(message: &str) -> String {
        let cause = Cause::Forbidden { message: message.to_owned(), hint: None }.with_hint(&secret(), "get");
        let Cause::Forbidden { hint, .. } = cause else { panic!("{cause}") };
        hint.unwrap()
    }

    #[test]
    fn a_forbidden_name_may_be_misspelt() {
        let denied =
            "secrets \"db\" is forbidden: User \"a\" cannot get resource \"secrets\" in API group \"\"";
        let shown = hint(denied);
        assert!(shown.contains("resourceNames: [db], verbs: [get]}; if a Role already grants"), "{shown}");
        assert!(shown.contains("the name may be misspelt"), "{shown}");
        let pod = ObjectRef::new(Kind::Pod, Namespace::parse("prod").unwrap(), "app-0").unwrap();
        let cause = Cause::Forbidden { message: denied.to_owned(), hint: None }.with_hint(&pod, "get");
        assert!(!cause.to_string().contains("misspelt"), "a rule for pods names none: {cause}");
    }

    #[test]
    fn a_denied_impersonation_hints_at_the_rule_that_every_version_understands() {
        let users = "needs the rule {apiGroups: [\"\"], resources: [users], verbs: [impersonate]}";
        let extras = "needs the rule {apiGroups: [authentication.k8s.io], resources: [userextras/KEY], verbs: [impersonate]}";
        let narrower =
            "impersonate:user-info in apiGroup authentication.k8s.io and impersonate-on:user-info:VERB";
        for (denied, rule, names_mode) in [
            (r#"cannot impersonate resource "users" in API group """#, users, false),
            (
                r#"cannot impersonate resource "userextras/foo" in API group "authentication.k8s.io""#,
                extras,
                false,
            ),
            (r#"cannot impersonate-on:user-info:get resource "secrets" in API group """#, users, true),
        ] {
            let shown = hint(&format!("x is forbidden: User \"a\" {denied}"));
            assert!(shown.contains(rule), "{shown}");
            assert_eq!(shown.contains(narrower), names_mode, "{shown}");
            assert!(!shown.contains("resourceNames"), "{shown}");
        }
    }
}
