//! Whether a pod's service account has the permissions that podcreds needs.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>

use crate::inspect::graph::{Access, Index, ObjectId, Relation};
use crate::inspect::resource::Kind;
use crate::inspect::review::{self, REVIEW_RULE, ResourceAttributes, Subject};
use crate::inspect::walk::{CURRENT_USER, Walk};
use crate::kube::Cause;
use crate::rbac::Need;
use crate::text::and_more;

/// How a pod does without the permission to read itself.
const ANNOTATIONS_FILE: &str =
    "; or mount the annotations with a downward API volume and pass --annotations-file, which needs no rule";
/// The name of a node for all objects of a kind: a Role cannot name pods that do not exist yet, or their Events.
const ALL: &str = "*";
/// The number of objects that a note names.
const OBJECTS_SHOWN: usize = 4;

impl Walk<'_> {
    /// Reviews whether a service account has these permissions: as an administrator (SubjectAccessReview) or, if that is
    /// forbidden and podcreds runs as that service account, as itself (SelfSubjectAccessReview).
    pub(crate) fn review_access(&mut self, account: Index, name: &str, needs: &[Need]) {
        let mut subject = Subject::account(&self.namespace, name);
        let mut unwatched = Vec::new();
        for Need { kind, namespace, name: object, verbs, sidecar_verbs, .. } in needs {
            let kind = Kind::from(*kind);
            let object = &ObjectId::new(kind, Some(&namespace.to_string()), object.as_deref().unwrap_or(ALL));
            let mut access = Access::default();
            for verb in verbs.iter().chain(*sidecar_verbs) {
                match self.can(&mut subject, verb, kind, object) {
                    Ok(true) => access.allowed.push(verb),
                    Ok(false) if verbs.contains(verb) => access.denied.push(verb),
                    Ok(false) => unwatched.push(object.to_string()),
                    Err(cause) => {
                        let what = format!("review access of ServiceAccount {}/{name}", self.namespace);
                        self.record(what, cause, || REVIEW_RULE.grant(None, CURRENT_USER));
                        return;
                    }
                }
            }
            if !access.denied.is_empty() {
                // The whole rule that a Role should have, although another Role may already grant one of the verbs.
                let verbs = verbs.join(", ");
                let rule = kind.rule(Some(&object.name), &verbs);
                let grant = rule.grant(object.namespace.as_deref(), "the pod's service account");
                let other = match (&subject, kind) {
                    (_, Kind::Pod) => ANNOTATIONS_FILE.to_owned(),
                    // The rules of another account are not known.
                    (Subject::CurrentUser, _) if access.denied.contains(&"get") => self.advice(object, kind),
                    _ => String::new(),
                };
                access.remedy = Some(format!("{grant}{other}"));
            }
            let to = self.graph.add(object.clone());
            self.graph.connect(account, Relation::MayRead, to).access = Some(access);
        }
        if !unwatched.is_empty() {
            let shown = &unwatched[..unwatched.len().min(OBJECTS_SHOWN)];
            let objects = and_more(shown, unwatched.len() - shown.len());
            self.graph.notes.push(format!(
                "ServiceAccount {}/{name} may not watch {objects}; podcreds sidecar needs that, but init does not, and no container's command or args show which of them the pod runs",
                self.namespace
            ));
        }
    }

    fn can(&mut self, subject: &mut Subject, verb: &str, kind: Kind, id: &ObjectId) -> Result<bool, Cause> {
        self.count_request()?;
        // An empty name asks for all objects.
        let name = Some(&id.name).filter(|name| *name != ALL).map_or("", String::as_str);
        let access = ResourceAttributes {
            namespace: id.namespace.as_deref(),
            verb,
            group: kind.group(),
            resource: kind.plural(),
            name,
        };
        review::can(&self.client, self.deadline, subject, &access)
    }
}
