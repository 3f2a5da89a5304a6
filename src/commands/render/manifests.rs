//! What manifests contribute to `render`: the annotated pod templates, and the Secrets, ConfigMaps and Services that the cluster may
//! not have yet.

use std::fmt::Display;

use crate::annotations::{self, ReferenceScope};
use crate::credential::Credential;
use crate::kube::decode_object;
use crate::manifest::{self, Manifest, Object, Place};
use crate::object::{Kind, Namespace, ObjectData, ObjectRef};
use crate::render::Sources;
use crate::sync::Annotations;

/// The pods of an object.
pub(crate) struct AnnotatedPods {
    /// The object, for messages and headings: `Deployment/app in namespace prod`.
    pub(crate) workload: String,
    pub(crate) namespace: Namespace,
    pub(crate) annotations: Annotations,
    pub(crate) credentials: Vec<Credential>,
}

/// What is wrong with an object: a line for each problem, with its position.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(String);

impl Error {
    fn new(place: Place<'_>, problem: impl Display) -> Self {
        Self(format!("{place}: {problem}"))
    }
}

/// The annotated pods, in the order of the manifests. `scope` has the namespace of objects without one.
pub(crate) fn annotated_pods(
    manifests: &[Manifest],
    prefix: &str,
    scope: &ReferenceScope,
) -> Result<Vec<AnnotatedPods>, Error> {
    let mut all = Vec::new();
    for object in manifests.iter().flat_map(Manifest::objects) {
        let Some(template) = object.template().filter(|template| template.is_annotated(prefix)) else {
            continue;
        };
        let namespace = namespace_of(&object, scope)?;
        let scope = ReferenceScope { namespace: namespace.clone(), ..scope.clone() };
        let parsed = annotations::parse_template(&template, prefix, &scope);
        let (annotations, credentials) = match parsed {
            Ok((annotations, credentials)) => (annotations, credentials),
            Err(problems) => {
                let problems: Vec<_> =
                    problems.iter().map(|(place, cause)| format!("{place}: {cause}")).collect();
                return Err(Error(problems.join("\n  ")));
            }
        };
        all.push(AnnotatedPods {
            workload: format!("{object} in namespace {namespace}"),
            namespace,
            annotations,
            credentials,
        });
    }
    Ok(all)
}

/// The sources in the manifests.
pub(crate) fn sources(manifests: &[Manifest], scope: &ReferenceScope) -> Result<Sources, Error> {
    let mut sources = Sources::new();
    for object in manifests.iter().flat_map(Manifest::objects).filter(|object| object.group().is_empty()) {
        let kinds = [Kind::Secret, Kind::ConfigMap, Kind::Service];
        let Some(kind) = kinds.into_iter().find(|kind| kind.as_str() == object.kind) else { continue };
        let Some(name) = object.name() else { continue };
        let reference = ObjectRef::new(kind, namespace_of(&object, scope)?, name)
            .map_err(|cause| Error::new(object.place(object.node), cause))?;
        let data = match kind {
            Kind::Service => {
                let mut service = object.node.json();
                service["metadata"]["namespace"] = reference.namespace.to_string().into();
                let read = decode_object(&reference, service.to_string().as_bytes());
                read.map_err(|cause| Error::new(object.place(object.node), cause))?.1
            }
            _ => {
                let data = manifest::data(&object);
                ObjectData::Keys(data.map_err(|(value, cause)| Error::new(object.place(value), cause))?)
            }
        };
        sources.insert(reference, Some(data));
    }
    Ok(sources)
}

fn namespace_of(object: &Object<'_>, scope: &ReferenceScope) -> Result<Namespace, Error> {
    object.namespace().map_or_else(
        || Ok(scope.namespace.clone()),
        |name| {
            Namespace::parse(name).map_err(|cause| {
                Error::new(object.place(object.node), format!("metadata.namespace: {cause}"))
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources_of(text: &str) -> Result<Vec<String>, String> {
        let manifest = Manifest::parse("app.yaml", text.to_owned()).unwrap();
        let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
        let found = sources(&[manifest], &scope).map_err(|error| error.to_string())?;
        let mut lines = Vec::new();
        for (object, data) in found {
            let data = data.unwrap();
            let keys = data
                .keys()
                .into_iter()
                .flatten()
                .chain(data.service().into_iter().flat_map(|service| &service.ports));
            let values = keys.map(|(key, value)| format!("{key}={}", value.expose().escape_ascii()));
            let host = data.service().map(|service| service.host.expose_text().unwrap().to_owned());
            lines.push(format!("{object}: {}", values.chain(host).collect::<Vec<_>>().join(" ")));
        }
        Ok(lines)
    }

    #[test]
    fn sources_are_read_as_the_api_server_stores_them() {
        let text = "
{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: AP8=, b: dGVzdA==}, stringData: {b: plain}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: other}, data: {a: x}, binaryData: {b: AP8=}}
---
{apiVersion: v1, kind: Service, metadata: {name: v}, spec: {ports: [{name: db, port: 5432}]}}
---
{apiVersion: example.com/v1, kind: Secret, metadata: {name: not-ours}, data: {a: '!'}}
";
        assert_eq!(
            sources_of(text).unwrap(),
            [
                "Secret prod/s: a=\\x00\\xff b=plain",
                "ConfigMap other/c: a=x b=\\x00\\xff",
                "Service prod/v: db=5432 v.prod.svc",
            ]
        );
    }

    #[test]
    fn values_are_read_as_the_api_server_reads_them() {
        let text = "{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: \"dGV\\nzdA==\\n\", b: null}, stringData: {c: null}}";
        assert_eq!(sources_of(text).unwrap(), ["Secret prod/s: a=test b= c="]);
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  password: 12345\n";
        assert_eq!(
            sources_of(text).unwrap_err(),
            "app.yaml:5:13: stringData.password is a number, and the API server accepts only text: put it in quotes"
        );
    }

    #[test]
    fn data_that_is_not_base64_is_reported_without_its_value() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  password: test-pa$$word\n";
        assert_eq!(
            sources_of(text).unwrap_err(),
            "app.yaml:5:13: data.password is not base64: plain text belongs in stringData"
        );
    }
}
