//! Why an object could not be had. Every message names the object, says what the API server or the network said, and
//! what to do next. No body of an answer is ever shown, only the `message` of a `Status`.

use std::time::Duration;

use crate::kube::config::server::Server;
use crate::kube::server_messages::Denial;
use crate::object::{Kind, ObjectRef};

/// One object that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {cause}")]
pub struct Error {
    object: ObjectRef,
    /// Why.
    pub(crate) cause: Cause,
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// 403.
    #[error("forbidden: {message}{}", remedy.iter().map(|remedy| format!("; {remedy}")).collect::<String>())]
    Forbidden {
        /// The API server's.
        message: String,
        /// Which rule is missing, and where, if that is known.
        remedy: Option<String>,
    },
    /// 404.
    #[error("{message}")]
    NotFound {
        /// The API server's.
        message: String,
    },
    /// 401, also with the token read again.
    #[error("the API server does not accept {what}: {message}")]
    Unauthorized {
        /// What was shown to it.
        what: &'static str,
        /// The API server's.
        message: String,
    },
    /// 408, 429 and 5xx.
    #[error("the API server answered {status}: {message}")]
    Busy {
        /// The HTTP status.
        status: u16,
        /// The API server's.
        message: String,
        /// What the API server asked for.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    #[error("the API server refused the request with {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The API server's.
        message: String,
    },
    /// 3xx.
    #[error(
        "{server} answered with a redirect ({status}), which no API server does; redirects are not followed"
    )]
    Redirected {
        /// Who answered.
        server: Server,
        /// The HTTP status.
        status: u16,
    },
    /// TCP, name resolution, or a connection that ended early.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        server: Server,
        /// What the operating system or the HTTP library says.
        reason: String,
    },
    /// A certificate or handshake.
    #[error("no secure connection to {server}: {reason}")]
    Tls {
        /// Who was asked.
        server: Server,
        /// What is wrong.
        reason: String,
    },
    /// A phase of the request took too long.
    #[error("{server} did not answer in time ({phase})")]
    TimedOut {
        /// Who was asked.
        server: Server,
        /// What was waited for.
        phase: &'static str,
    },
    /// The whole time was up in the middle of a request, or before it.
    #[error("{server} did not answer before the whole time was up")]
    OutOfTime {
        /// Who was asked.
        server: Server,
    },
    /// The client's own limit leaves no room in time.
    #[error(
        "{server} was not asked: the limit of requests (qps, burst) has room in {:.1} s only, which is too late; raise it",
        wait.as_secs_f64()
    )]
    Limited {
        /// Who was not asked.
        server: Server,
        /// How long it would have taken.
        wait: Duration,
    },
    /// What describes the cluster cannot be used, so that nobody could be asked.
    #[error("the cluster cannot be asked: {reason}")]
    Configuration {
        /// What is wrong, where, and what to do.
        reason: String,
    },
    /// A credential plugin gave nothing to show who we are.
    #[error("{reason}")]
    Plugin {
        /// Which one, and why.
        reason: String,
    },
    /// An answer beyond its bound.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// An answer that is not what the API server sends.
    #[error("the answer is not what an API server sends: {reason}")]
    Unreadable {
        /// What is wrong with it, without its content.
        reason: String,
    },
    /// A version that a watch was to start from, and that the API server no longer has.
    #[error("the API server no longer has the version to watch from: {message}")]
    Expired {
        /// The API server's.
        message: String,
    },
}

impl Error {
    /// The object that could not be read, and why.
    pub(crate) fn new(object: &ObjectRef, cause: Cause) -> Self {
        Self { object: object.clone(), cause }
    }

    /// Whether trying again cannot help: all that is refused by a rule of the protocol and not by the cluster's state.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self.cause,
            Cause::Refused { .. }
                | Cause::Redirected { .. }
                | Cause::TooLarge { .. }
                | Cause::Configuration { .. }
        )
    }

    /// Whether somebody has to do something about it: what may mend itself where many start at once, a person at a terminal does
    /// not wait for.
    pub(crate) fn wants_a_person(&self) -> bool {
        self.is_final() || self.is_refusal() || matches!(self.cause, Cause::Tls { .. })
    }

    /// Whether nobody was asked, because what describes the cluster is wrong.
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(self.cause, Cause::Configuration { .. })
    }

    /// Whether the API server said that there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::NotFound { .. })
    }

    /// Whether the right to do this is missing.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self.cause, Cause::Forbidden { .. })
    }

    /// Whether the API server no longer has the version that was asked for.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self.cause, Cause::Expired { .. })
    }

    /// Whether only the clock ended this attempt, so that an earlier one may know more.
    pub(crate) fn is_out_of_time(&self) -> bool {
        matches!(self.cause, Cause::OutOfTime { .. })
    }

    /// Whether the API server gave a clear answer, and it was no.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self.cause,
            Cause::Forbidden { .. }
                | Cause::NotFound { .. }
                | Cause::Unauthorized { .. }
                | Cause::Refused { .. }
                | Cause::TooLarge { .. }
                | Cause::Expired { .. }
        )
    }

    /// How long the API server asked us to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self.cause {
            Cause::Busy { retry_after, .. } => retry_after,
            _ => None,
        }
    }

    /// The object that could not be read.
    pub(crate) fn object(&self) -> &ObjectRef {
        &self.object
    }
}

impl Cause {
    /// Adds the rule that grants `verb` on this object, if a missing right is the cause.
    pub(crate) fn with_remedy(self, object: &ObjectRef, verb: &str) -> Self {
        let Self::Forbidden { message, .. } = self else { return self };
        let remedy = match Denial::parse(&message) {
            Denial::Anonymous => "the request carries no credentials: give the kubeconfig's user a token, a client certificate or an exec plugin".to_owned(),
            // Who may impersonate whom is independent of the object.
            Denial::Impersonation { resource, mode } => impersonation_rule(resource, mode),
            Denial::Object => object_rule(object, verb),
        };
        Self::Forbidden { message, remedy: Some(remedy) }
    }

    /// The same of a watch, for which 410 says that the version is too old.
    pub(crate) fn of_watch(self) -> Self {
        match self {
            Self::Refused { status: 410, message } => Self::Expired { message },
            other => other,
        }
    }

    pub(crate) fn unreadable(reason: impl Into<String>) -> Self {
        Self::Unreadable { reason: reason.into() }
    }
}

/// The rule that every version takes; constrained impersonation (KEP-5284) is a narrower choice beside it.
fn impersonation_rule(resource: &str, mode: Option<&str>) -> String {
    let group = if matches!(resource, "uids" | "userextras") { "authentication.k8s.io" } else { "" };
    let resource = if resource == "userextras" { "userextras/KEY" } else { resource };
    let mut rule = format!(
        "the kubeconfig impersonates another user (as): a ClusterRole, bound to that user or service account by a ClusterRoleBinding, needs the rule {{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [impersonate]}}; as-groups needs the same for groups, and as-uid and as-user-extra for uids and userextras/KEY in apiGroup authentication.k8s.io"
    );
    if let Some(mode) = mode {
        rule.push_str(&format!(
            "; or, narrower, the verbs impersonate:{mode} in apiGroup authentication.k8s.io and impersonate-on:{mode}:VERB on the object"
        ));
    }
    rule
}

fn object_rule(object: &ObjectRef, verb: &str) -> String {
    let names = match object.kind {
        // The names of a Deployment's pods cannot be known when its Role is written, nor those of their Events.
        Kind::Pod | Kind::Event => String::new(),
        Kind::Secret | Kind::ConfigMap | Kind::Service => format!(", resourceNames: [{}]", object.name()),
    };
    // The account that creates Events counts them too.
    let verb = if object.kind == Kind::Event { "create, patch" } else { verb };
    format!(
        "a Role in namespace {}, bound to that user or service account by a RoleBinding there, needs the rule {{apiGroups: [\"\"], resources: [{}]{names}, verbs: [{verb}]}}",
        object.namespace,
        object.kind.resource()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Namespace;

    fn remedy(message: &str) -> String {
        let namespace = Namespace::parse("prod").unwrap();
        let secret = ObjectRef::new(Kind::Secret, namespace, "db").unwrap();
        let cause =
            Cause::Forbidden { message: message.to_owned(), remedy: None }.with_remedy(&secret, "get");
        let Cause::Forbidden { remedy, .. } = cause else { panic!("{cause}") };
        remedy.unwrap()
    }

    #[test]
    fn missing_impersonation_asks_for_the_rule_that_every_version_takes() {
        let users = "needs the rule {apiGroups: [\"\"], resources: [users], verbs: [impersonate]}";
        let extras = "needs the rule {apiGroups: [\"authentication.k8s.io\"], resources: [userextras/KEY], verbs: [impersonate]}";
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
            let remedy = remedy(&format!("x is forbidden: User \"a\" {denied}"));
            assert!(remedy.contains(rule), "{remedy}");
            assert_eq!(remedy.contains(narrower), names_mode, "{remedy}");
            assert!(!remedy.contains("resourceNames"), "{remedy}");
        }
    }
}
