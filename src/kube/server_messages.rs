//! What podcreds reads out of the text of the API server's answers. The API promises nothing about these texts and Kubernetes has
//! changed them between versions, so every decision that depends on one is made here, and each test quotes the oldest and the
//! newest version that podcreds is tested with.
//!
//! A refusal reads `RESOURCE "NAME" is forbidden: User "USER" cannot VERB resource "RESOURCE" in API group "GROUP" …`.
//! Source: `ForbiddenStatusError` in k8s.io/apiserver, `pkg/endpoints/handlers/responsewriters/errors.go`.

/// Why the API server refused a request with 403.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Denial<'a> {
    /// The request carried no credentials that the API server knows.
    Anonymous,
    /// The user may not impersonate the one that the request names.
    Impersonation {
        /// The resource on which the user lacks the verb `impersonate`.
        resource: &'a str,
        /// The mode of constrained impersonation that the API server tried first (KEP-5284, since Kubernetes 1.36); `None` means
        /// that it knows the verb `impersonate` only.
        mode: Option<&'a str>,
    },
    /// The user lacks a right on the object of the request.
    Object,
}

impl<'a> Denial<'a> {
    /// Reads the `message` of a `Status` with the code 403.
    pub(crate) fn parse(message: &'a str) -> Self {
        let Some((user, verb, what)) = refusal(message) else { return Self::Object };
        if user == "system:anonymous" {
            return Self::Anonymous;
        }
        let named = || what.strip_prefix("resource \"")?.split('"').next()?.split('/').next();
        if let Some(on) = verb.strip_prefix("impersonate-on:") {
            // The refusal names the object of the request, and whom it impersonates only by the mode.
            let mode = on.split(':').next().unwrap_or_default();
            let resource = if mode == "serviceaccount" { "serviceaccounts" } else { "users" };
            return Self::Impersonation { resource, mode: Some(mode) };
        }
        match (verb.strip_prefix("impersonate"), named()) {
            (Some(""), Some(resource)) => Self::Impersonation { resource, mode: None },
            (Some(rest), Some(resource)) if rest.starts_with(':') => {
                // Constrained impersonation has a resource of its own for nodes; the verb `impersonate` takes them as users.
                let resource = if resource == "nodes" { "users" } else { resource };
                Self::Impersonation { resource, mode: Some(&rest[1..]) }
            }
            _ => Self::Object,
        }
    }
}

/// The user, the verb, and the text after it. The user's name is a quoted Go string, and may hold anything.
fn refusal(message: &str) -> Option<(&str, &str, &str)> {
    let (_, rest) = message.split_once("forbidden: User \"")?;
    let mut is_escaped = false;
    let end = rest.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })?;
    let (verb, what) = rest[end + 1..].strip_prefix(" cannot ")?.split_once(' ')?;
    Some((&rest[..end], verb, what))
}

/// Whether a refusal (403) names this user as the one that it refuses.
pub(crate) fn refuses_user(message: &str, user: &str) -> bool {
    refusal(message).is_some_and(|(refused, ..)| refused == user)
}

/// Whether the `message` of a `Status` with the code 404 means that the object is missing. Of a version of an API that it does not
/// have, the API server says that it finds no "requested resource", and names no object.
pub(crate) fn names_object(message: &str, name: &str) -> bool {
    message.contains(&format!(" \"{name}\" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What both versions say to a user without the right to read a Secret.
    const SECRET: &str = r#"secrets "db" is forbidden: User "system:serviceaccount:prod:app" cannot get resource "secrets" in API group "" in the namespace "prod""#;

    fn impersonation<'a>(resource: &'a str, mode: Option<&'a str>) -> Denial<'a> {
        Denial::Impersonation { resource, mode }
    }

    #[test]
    fn a_missing_right_on_an_object_reads_the_same_in_1_20_and_1_37() {
        assert_eq!(Denial::parse(SECRET), Denial::Object);
    }

    #[test]
    fn a_request_without_credentials_reads_the_same_in_1_20_and_1_37() {
        let message = r#"secrets "db" is forbidden: User "system:anonymous" cannot get resource "secrets" in API group "" in the namespace "prod""#;
        assert_eq!(Denial::parse(message), Denial::Anonymous);
    }

    #[test]
    fn missing_impersonation_in_1_20_names_what_is_impersonated() {
        for (message, resource) in [
            (
                r#"users "jane" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "users" in API group "" at the cluster scope"#,
                "users",
            ),
            (
                r#"groups "team" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "groups" in API group "" at the cluster scope"#,
                "groups",
            ),
            (
                r#"serviceaccounts "other" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "prod""#,
                "serviceaccounts",
            ),
            (
                r#"userextras.authentication.k8s.io "bar" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "userextras/foo" in API group "authentication.k8s.io" at the cluster scope"#,
                "userextras",
            ),
        ] {
            assert_eq!(Denial::parse(message), impersonation(resource, None), "{message}");
        }
    }

    #[test]
    fn missing_impersonation_in_1_37_names_the_mode_and_the_object_of_the_request() {
        for (message, resource, mode) in [
            (
                r#"secrets "db" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:user-info:get resource "secrets" in API group "" in the namespace "prod""#,
                "users",
                "user-info",
            ),
            (
                r#"secrets is forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:user-info:watch resource "secrets" in API group "" in the namespace "prod""#,
                "users",
                "user-info",
            ),
            (
                r#"secrets "db" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:serviceaccount:get resource "secrets" in API group "" in the namespace "prod""#,
                "serviceaccounts",
                "serviceaccount",
            ),
            (
                r#"secrets "db" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:arbitrary-node:get resource "secrets" in API group "" in the namespace "prod""#,
                "users",
                "arbitrary-node",
            ),
            (
                r#"forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:user-info:get path "/version""#,
                "users",
                "user-info",
            ),
            (
                r#"groups.authentication.k8s.io "team" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope"#,
                "groups",
                "user-info",
            ),
        ] {
            assert_eq!(Denial::parse(message), impersonation(resource, Some(mode)), "{message}");
        }
        // Once a mode has let the user in, 1.37 words what is missing there as 1.20 does.
        let message = r#"groups "team" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "groups" in API group "" at the cluster scope"#;
        assert_eq!(Denial::parse(message), impersonation("groups", None));
    }

    #[test]
    fn the_name_of_a_user_does_not_pass_for_the_verb() {
        for user in [
            " cannot impersonate resource ",
            r#"x\" cannot impersonate resource \"users\""#,
            r"system:anonymous\\",
        ] {
            let message = SECRET.replace("system:serviceaccount:prod:app", user);
            assert_eq!(Denial::parse(&message), Denial::Object, "{message}");
        }
        assert_eq!(Denial::parse("it gave no reason"), Denial::Object);
        assert_eq!(Denial::parse(r#"x is forbidden: User "a"#), Denial::Object);
    }

    #[test]
    fn a_refused_review_names_the_user_in_1_20_and_1_37() {
        let message = r#"subjectaccessreviews.authorization.k8s.io is forbidden: User "system:serviceaccount:prod:app" cannot create resource "subjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope"#;
        assert!(refuses_user(message, "system:serviceaccount:prod:app"));
        assert!(!refuses_user(message, "system:serviceaccount:prod:ap"));
        assert!(!refuses_user(message, "app"));
    }

    #[test]
    fn a_missing_object_is_told_from_a_missing_version_of_the_api_in_1_20_and_1_37() {
        assert!(names_object(r#"deployments.apps "web" not found"#, "web"));
        for name in ["server", "resource", "web"] {
            assert!(!names_object("the server could not find the requested resource", name), "{name}");
        }
    }
}
