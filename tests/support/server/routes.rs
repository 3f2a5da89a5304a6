//! Which answer a request gets, in kube-apiserver's order: authentication, authorization, the object.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::http::{Answer, Request};
use super::objects::{ObjectRef, metadata_only};
use super::{Cluster, USER};

/// Who may read what.
pub(super) struct Access {
    tokens: Vec<String>,
    forbidden: BTreeSet<ObjectRef>,
}

impl Access {
    pub(super) fn new(tokens: Vec<String>) -> Self {
        Self { tokens, forbidden: BTreeSet::new() }
    }

    pub(super) fn accept(&mut self, tokens: &[&str]) {
        self.tokens = tokens.iter().map(ToString::to_string).collect();
    }

    pub(super) fn forbid(&mut self, object: ObjectRef) {
        self.forbidden.insert(object);
    }

    pub(super) fn allow(&mut self, object: &ObjectRef) {
        self.forbidden.remove(object);
    }

    fn knows(&self, token: Option<&str>) -> bool {
        token.is_some_and(|token| self.tokens.iter().any(|known| known == token))
    }
}

/// The answer that nothing has spoiled yet.
pub(super) fn answer(cluster: &Cluster, request: &Request) -> Answer {
    if !cluster.access.knows(request.bearer()) {
        return status(401, "Unauthorized", None);
    }
    let object = ObjectRef::parse(&request.path);
    if let Some(object) = object.as_ref().filter(|object| cluster.access.forbidden.contains(object)) {
        return forbidden(object);
    }
    if request.method != "GET" {
        return status(405, "the server does not allow this method on the requested resource", None);
    }
    if let Some(text) = cluster.objects.raw(&request.path) {
        return Answer::text(200, text);
    }
    let Some(object) = object else {
        return status(404, "the server could not find the requested resource", None);
    };
    match cluster.objects.get(&object) {
        Some(found) if wants_metadata_only(request) => Answer::json(200, &metadata_only(found)),
        Some(found) => Answer::json(200, found),
        None => not_found(&object),
    }
}

/// The first media type that the server can give decides, as in kube-apiserver.
fn wants_metadata_only(request: &Request) -> bool {
    let accept = request.header("accept").unwrap_or_default();
    let first = accept.split(',').find(|media| {
        let name = media.split(';').next().unwrap_or_default().trim();
        ["application/json", "application/*", "*/*"].contains(&name)
    });
    let parameters: Vec<&str> = first.unwrap_or_default().split(';').map(str::trim).collect();
    ["as=PartialObjectMetadata", "g=meta.k8s.io", "v=v1"].iter().all(|wanted| parameters.contains(wanted))
}

fn not_found(object: &ObjectRef) -> Answer {
    let resource = object.kind.resource();
    status(404, &format!("{resource} \"{}\" not found", object.name), Some(object))
}

fn forbidden(object: &ObjectRef) -> Answer {
    let ObjectRef { kind, namespace, name } = object;
    let resource = kind.resource();
    let message = format!(
        "{resource} \"{name}\" is forbidden: User \"{USER}\" cannot get resource \"{resource}\" in API group \"\" in the \
         namespace \"{namespace}\""
    );
    status(403, &message, Some(object))
}

/// A `Status` of the kind that clients read their reason from.
pub(super) fn status(code: u16, message: &str, object: Option<&ObjectRef>) -> Answer {
    let mut status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason(code),
        "code": code,
    });
    if let Some(object) = object {
        status["details"] = json!({ "name": object.name, "kind": object.kind.resource() });
    }
    Answer::json(code, &status)
}

/// `StatusReason` of apimachinery (`pkg/apis/meta/v1/types.go`).
fn reason(code: u16) -> Value {
    json!(match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        408 | 504 => "Timeout",
        _ => "",
    })
}
