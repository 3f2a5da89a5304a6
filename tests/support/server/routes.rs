//! Chooses the response to a request in kube-apiserver's order: authentication, authorization, object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::http::{Answer, Request};
use super::objects::{Kind, ObjectRef, metadata_only, parse_collection};
use super::watch::Watch;
use super::{Cluster, USER, reviews};

/// The response to a request without a fault.
pub(super) enum Reply {
    Whole(Answer),
    Watch(Watch),
}

/// A verb of a Role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Get,
    Watch,
    Create,
    Patch,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Patch => "patch",
        }
    }
}

/// The access rules.
pub(super) struct Access {
    tokens: Vec<String>,
    forbidden: BTreeSet<(Verb, ObjectRef)>,
    /// Rules for every object of a kind.
    forbidden_kinds: BTreeSet<(Verb, Kind)>,
    refused_paths: BTreeSet<String>,
    /// Kinds of which only some names may be read, by namespace.
    named: BTreeMap<(Kind, String), Vec<String>>,
}

impl Access {
    pub(super) fn new(tokens: Vec<String>) -> Self {
        Self {
            tokens,
            forbidden: BTreeSet::new(),
            forbidden_kinds: BTreeSet::new(),
            refused_paths: BTreeSet::new(),
            named: BTreeMap::new(),
        }
    }

    pub(super) fn accept(&mut self, tokens: &[&str]) {
        self.tokens = tokens.iter().map(ToString::to_string).collect();
    }

    pub(super) fn forbid(&mut self, verb: Verb, object: ObjectRef) {
        self.forbidden.insert((verb, object));
    }

    pub(super) fn forbid_kind(&mut self, verb: Verb, kind: Kind) {
        self.forbidden_kinds.insert((verb, kind));
    }

    pub(super) fn allow_only(&mut self, kind: Kind, namespace: &str, names: &[&str]) {
        let names = names.iter().map(ToString::to_string).collect();
        self.named.insert((kind, namespace.to_owned()), names);
    }

    /// The `resourceRules` of a SelfSubjectRulesReview.
    pub(super) fn rules(&self, namespace: &str) -> Vec<Value> {
        let granted =
            Kind::ALL.into_iter().filter(|kind| !self.forbidden_kinds.contains(&(Verb::Get, *kind)));
        let rule = |kind: Kind| {
            let rule = json!({ "verbs": ["get"], "apiGroups": [""], "resources": [kind.resource()] });
            match self.named.get(&(kind, namespace.to_owned())).map(Vec::as_slice) {
                None => Some(rule),
                Some([]) => None,
                Some(names) => {
                    let mut rule = rule;
                    rule["resourceNames"] = json!(names);
                    Some(rule)
                }
            }
        };
        granted.filter_map(rule).collect()
    }

    pub(super) fn refuse(&mut self, path: &str) {
        self.refused_paths.insert(path.to_owned());
    }

    pub(super) fn refuses(&self, request: &Request) -> bool {
        self.refused_paths.contains(&request.path)
    }

    pub(super) fn allow(&mut self, verb: Verb, object: &ObjectRef) {
        self.forbidden.remove(&(verb, object.clone()));
    }

    /// Returns the 403 if the object is forbidden.
    pub(super) fn check(&self, verb: Verb, object: &ObjectRef) -> Result<(), Answer> {
        let is_forbidden = self.forbidden.contains(&(verb, object.clone()))
            || self.forbidden_kinds.contains(&(verb, object.kind))
            || self
                .named
                .get(&(object.kind, object.namespace.clone()))
                .is_some_and(|names| !names.contains(&object.name));
        if is_forbidden { Err(forbidden(verb, object)) } else { Ok(()) }
    }

    pub(super) fn knows(&self, token: Option<&str>) -> bool {
        token.is_some_and(|token| self.tokens.iter().any(|known| known == token))
    }
}

/// The reply before any fault.
pub(super) fn reply(cluster: &Cluster, request: &Request) -> Reply {
    if !cluster.access.knows(request.bearer()) {
        return Reply::Whole(status(401, "Unauthorized", None));
    }
    if cluster.access.refuses(request) {
        return Reply::Whole(refused(request));
    }
    match Watch::parse(request) {
        None => Reply::Whole(get(cluster, request).unwrap_or_else(|refusal| refusal)),
        Some(Err(message)) => Reply::Whole(status(400, &message, None)),
        Some(Ok(watch)) => match may_start(cluster, request, &watch) {
            Ok(()) => Reply::Watch(watch),
            Err(refusal) => Reply::Whole(refusal),
        },
    }
}

/// Handles requests that create or patch an Event or create an access review. `None` if it is any other request.
pub(super) fn write(cluster: &mut Cluster, request: &Request) -> Option<Answer> {
    if let Some(answer) = reviews::answer(&cluster.access, request) {
        return Some(answer);
    }
    let is_event = |kind: Kind| kind == Kind::Event && cluster.access.knows(request.bearer());
    let written = match request.method.as_str() {
        "POST" => {
            let (_, namespace) = parse_collection(&request.path).filter(|(kind, _)| is_event(*kind))?;
            let event: Value = serde_json::from_slice(&request.body).ok()?;
            let object = ObjectRef::new(Kind::Event, namespace, event["metadata"]["name"].as_str()?);
            create(cluster, object, event)
        }
        "PATCH" => {
            let object = ObjectRef::parse(&request.path).filter(|object| is_event(object.kind))?;
            patch(cluster, object, serde_json::from_slice(&request.body).ok()?)
        }
        _ => return None,
    };
    Some(written.unwrap_or_else(|refusal| refusal))
}

fn create(cluster: &mut Cluster, object: ObjectRef, event: Value) -> Result<Answer, Answer> {
    cluster.access.check(Verb::Create, &object)?;
    if cluster.objects.get(&object).is_some() {
        return Err(status(409, &format!("events \"{}\" already exists", object.name), Some(&object)));
    }
    cluster.objects.put(object.clone(), event);
    Ok(Answer::json(201, cluster.objects.get(&object).unwrap_or(&Value::Null)))
}

/// Applies a merge patch (RFC 7386) to an Event; all patched fields are at the top level.
fn patch(cluster: &mut Cluster, object: ObjectRef, patch: Map<String, Value>) -> Result<Answer, Answer> {
    cluster.access.check(Verb::Patch, &object)?;
    let mut event = cluster.objects.get(&object).cloned().ok_or_else(|| not_found(&object))?;
    for (field, value) in patch {
        event[field] = value;
    }
    cluster.objects.put(object.clone(), event);
    Ok(Answer::json(200, cluster.objects.get(&object).unwrap_or(&Value::Null)))
}

fn get(cluster: &Cluster, request: &Request) -> Result<Answer, Answer> {
    let object = ObjectRef::parse(&request.path);
    if let Some(object) = &object {
        cluster.access.check(Verb::Get, object)?;
    }
    check_method(request)?;
    if let Some(text) = cluster.objects.raw(&request.path) {
        return Ok(Answer::text(200, text));
    }
    let object =
        object.ok_or_else(|| status(404, "the server could not find the requested resource", None))?;
    match cluster.objects.get(&object) {
        Some(found) if wants_metadata_only(request) => Ok(Answer::json(200, &metadata_only(found))),
        Some(found) => Ok(Answer::json(200, found)),
        None => Err(not_found(&object)),
    }
}

fn may_start(cluster: &Cluster, request: &Request, watch: &Watch) -> Result<(), Answer> {
    cluster.access.check(Verb::Watch, &watch.object)?;
    check_method(request)?;
    match watch.expired(&cluster.objects) {
        Some(message) if cluster.gone_as_status => Err(status(410, &message, None)),
        _ => Ok(()),
    }
}

fn check_method(request: &Request) -> Result<(), Answer> {
    if request.method == "GET" {
        return Ok(());
    }
    Err(status(405, "the server does not allow this method on the requested resource", None))
}

/// Uses the first media type that the server supports, as kube-apiserver does.
pub(super) fn wants_metadata_only(request: &Request) -> bool {
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

fn forbidden(verb: Verb, object: &ObjectRef) -> Answer {
    let ObjectRef { kind, namespace, name } = object;
    let (verb, resource) = (verb.name(), kind.resource());
    let message = format!(
        "{resource} \"{name}\" is forbidden: User \"{USER}\" cannot {verb} resource \"{resource}\" in API group \"\" in the \
         namespace \"{namespace}\""
    );
    status(403, &message, Some(object))
}

/// The 403 for a forbidden path.
fn refused(request: &Request) -> Answer {
    let Request { path, .. } = request;
    let message = format!("\"{path}\" is forbidden: User \"{USER}\" cannot read or write it");
    status(403, &message, None)
}

/// A response with a `Status` object, from whose details clients read the reason.
pub(super) fn status(code: u16, message: &str, object: Option<&ObjectRef>) -> Answer {
    let mut status = status_object(code, message);
    if let Some(object) = object {
        status["details"] = json!({ "name": object.name, "kind": object.kind.resource() });
    }
    Answer::json(code, &status)
}

/// A `Status` without details.
pub(super) fn status_object(code: u16, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason(code),
        "code": code,
    })
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
